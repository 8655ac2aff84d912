// From a network's outputs to windows and detections, by the rules of one profile, once for every backend.
#pragma once

#include <cmath>
#include <limits>

#include <mtcnn_fast/types.h>

#include "boxes.h"
#include "conventions.h"
#include "stage.h"

namespace mtcnn_fast {

// What one network said of one window.
struct Candidate {
  BoxD box;
  float logit;          // of face against not a face: the order of candidates, where probabilities saturate at 1
  float offsets[4];     // of the corners, in units of the window
  float landmarks[10];  // of O-Net, x1 .. x5, y1 .. y5: first in units of the window, then in pixels

  // Takes what R-Net or O-Net said: kHeadOutputs floats.
  MTCNN_FAST_HD void take(const float* head) {
    logit = head[0];
    for (int k = 0; k < 4; ++k) offsets[k] = head[1 + k];
    for (int k = 0; k < 10; ++k) landmarks[k] = head[5 + k];
  }
};

MTCNN_FAST_HD inline float probability(float logit) {
  return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(logit))));
}

// The logit at which a probability is reached; 0 and 1 become -inf and +inf.
inline double logit_of(double probability) { return std::log(probability) - std::log1p(-probability); }

// The smallest float that is not below x: `f >= x` for a float f is `f >= least_float_not_below(x)`.
inline float least_float_not_below(double x) {
  const auto rounded = static_cast<float>(x);
  return rounded < x ? std::nextafter(rounded, std::numeric_limits<float>::infinity()) : rounded;
}

// Networks that were never trained can say anything. What they say counts within these limits (docs/numerics.md), so
// that faces are finite whatever the weights are.
constexpr float kMostOffset = 16;        // of offsets and landmarks, in units of the window
constexpr double kMostSides = 16;        // of a window's corners from the image's origin, in its longer sides
constexpr double kMostPixels = 1 << 24;  // the same in pixels, which float32 tells apart so far

// What is not a number counts as the least.
MTCNN_FAST_HD inline float limited(float offset) {
  return offset > -kMostOffset ? (offset < kMostOffset ? offset : kMostOffset) : -kMostOffset;
}

// The box arithmetic of one profile.
class Geometry {
 public:
  MTCNN_FAST_HD explicit Geometry(const Conventions& conventions) : conventions_(conventions) {}

  // What orders candidates, highest first.
  MTCNN_FAST_HD float rank(float logit) const {
    if (!conventions_.ranks_by_probability) return logit;
    const double x = static_cast<double>(logit);
    return 1 / (1 + static_cast<float>(std::exp(x > -80 ? -x : 80.0)));
  }
  // Which of two candidates of one rank comes first: the one met first, or the one met last.
  MTCNN_FAST_HD bool last_wins(Stage stage) const { return conventions_.ranks_by_probability && stage == Stage::onet; }
  MTCNN_FAST_HD Overlap overlap_kind(Stage stage) const { return stage == Stage::onet ? Overlap::iom : Overlap::iou; }
  MTCNN_FAST_HD int overlap_extra(Stage stage) const { return stage == Stage::onet ? 1 : conventions_.overlap_extra; }

  MTCNN_FAST_HD BoxD cell(int row, int column, double scale) const {
    return conventions_.single_precision ? cell_window<float>(row, column, scale)
                                         : cell_window<double>(row, column, scale);
  }

  // The window for the next network: regressed, squared and, where the profile does so, rounded. `extra` as in
  // regress().
  MTCNN_FAST_HD BoxD next_window(const BoxD& window, const float offsets[4], int extra) const {
    const BoxD box = regressed(window, offsets, extra);
    return rounded(conventions_.single_precision ? square<float>(box) : square<double>(box));
  }
  // A square as the next network takes it.
  MTCNN_FAST_HD BoxD rounded(const BoxD& square) const { return conventions_.fixes_boxes ? fix(square) : square; }

  // The detection that O-Net's outputs stand for.
  MTCNN_FAST_HD void finish(Candidate& c) const {
    // Landmarks are relative to the window that O-Net saw, not to the one that its offsets make of it.
    if (conventions_.single_precision)
      place_landmarks<float>(c);
    else
      place_landmarks<double>(c);
    c.box = regressed(c.box, c.offsets, 1);
  }
  MTCNN_FAST_HD Detection detection(const Candidate& finished) const {
    const double shift = conventions_.shifts_output ? 1 : 0;
    Detection face{{static_cast<float>(finished.box.x1 - shift), static_cast<float>(finished.box.y1 - shift),
                    static_cast<float>(finished.box.x2), static_cast<float>(finished.box.y2)},
                   probability(finished.logit),
                   {}};
    for (int p = 0; p < 5; ++p) face.landmarks[p] = {finished.landmarks[p], finished.landmarks[p + 5]};
    return face;
  }

  // The pixels x1 .. x2, y1 .. y2 (1-based, inclusive) of an image that a window is cropped from.
  MTCNN_FAST_HD BoxD crop_window(const BoxD& window, int height, int width) const {
    const BoxD whole = fix(window);
    if (!conventions_.clips_crops) return whole;
    return {whole.x1 > 1 ? whole.x1 : 1, whole.y1 > 1 ? whole.y1 : 1, whole.x2 < width ? whole.x2 : width,
            whole.y2 < height ? whole.y2 : height};
  }
  // Whether a crop can be made.
  MTCNN_FAST_HD bool has_pixels(const BoxD& window, int height, int width) const {
    const double sides = kMostSides * (height > width ? height : width);
    const double farthest = sides < kMostPixels ? sides : kMostPixels;
    const BoxD w = crop_window(window, height, width);
    return w.x2 >= w.x1 && w.y2 >= w.y1 && window.x1 > -farthest && window.y1 > -farthest && window.x2 < farthest &&
           window.y2 < farthest;
  }

 private:
  MTCNN_FAST_HD BoxD regressed(const BoxD& box, const float offsets[4], int extra) const {
    const float moves[4] = {limited(offsets[0]), limited(offsets[1]), limited(offsets[2]), limited(offsets[3])};
    return conventions_.single_precision ? regress<float>(box, moves, static_cast<float>(extra))
                                         : regress<double>(box, moves, extra);
  }
  template <class Real>
  MTCNN_FAST_HD static void place_landmarks(Candidate& c) {
    for (int p = 0; p < 10; ++p) {
      const Real from = Real(p < 5 ? c.box.x1 : c.box.y1), to = Real(p < 5 ? c.box.x2 : c.box.y2);
      c.landmarks[p] = static_cast<float>((to - from + 1) * Real(limited(c.landmarks[p])) + from - 1);
    }
  }

  Conventions conventions_;
};

}  // namespace mtcnn_fast
