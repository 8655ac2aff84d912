// What the cascade does with a network's answers, in the way of one profile: windows, regression, suppression.
#pragma once

#include <vector>

#include <mtcnn_fast/types.h>

#include "boxes.h"
#include "conventions.h"
#include "nms.h"

namespace mtcnn_fast {

// What one network said of one window.
struct Candidate {
  BoxD box;
  float logit;          // of face against not a face: the order of candidates, where probabilities saturate at 1
  float offsets[4];     // of the corners, in units of the window
  float landmarks[10];  // of O-Net, x1 .. x5, y1 .. y5: first in units of the window, then in pixels
};

float probability(float logit);

// The logit at which a probability is reached; 0 and 1 become -inf and +inf.
double logit_of(double probability);

// The smallest float that is not below x: `f >= x` for a float f is `f >= least_float_not_below(x)`.
float least_float_not_below(double x);

// Drops candidates whose probability does not exceed the threshold.
void keep_above(std::vector<Candidate>& candidates, double threshold);

// What Geometry::suppress works in, kept from one call to the next.
struct Suppression {
  Nms nms;
  std::vector<BoxD> boxes;
  std::vector<float> ranks;
  std::vector<Candidate> kept;

  // Makes room for that many candidates.
  void reserve(std::size_t candidates);
  std::size_t bytes() const;
};

// The box arithmetic of one profile.
class Geometry {
 public:
  explicit Geometry(const Conventions& conventions) : conventions_(conventions) {}

  enum class Stage { pnet, rnet, onet };
  // Reduces a list to what non-maximum suppression leaves, best first.
  void suppress(std::vector<Candidate>& candidates, double threshold, Stage stage, Suppression& work) const;

  BoxD cell(int row, int column, double scale) const;
  // The window for the next network: regressed, squared and, where the profile does so, rounded. `extra` as in
  // regress().
  BoxD next_window(const Candidate& candidate, int extra) const;
  // The detection that O-Net's answer stands for.
  void finish(Candidate& candidate) const;
  Detection detection(const Candidate& finished) const;
  // The pixels x1 .. x2, y1 .. y2 (1-based, inclusive) of an image that a window is cropped from.
  BoxD crop_window(const BoxD& window, int height, int width) const;
  // Whether a crop can be made. Weights that were never trained can send a box anywhere.
  bool has_pixels(const BoxD& window, int height, int width) const;

 private:
  BoxD regressed(const Candidate& candidate, int extra) const;

  const Conventions& conventions_;
};

}  // namespace mtcnn_fast
