#include "candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reuse.h"

namespace mtcnn_fast {

float probability(float logit) { return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(logit)))); }

double logit_of(double probability) { return std::log(probability) - std::log1p(-probability); }

float least_float_not_below(double x) {
  const auto rounded = static_cast<float>(x);
  return rounded < x ? std::nextafter(rounded, std::numeric_limits<float>::infinity()) : rounded;
}

void keep_above(std::vector<Candidate>& candidates, double threshold) {
  const double logit = logit_of(threshold);
  std::erase_if(candidates, [logit](const Candidate& c) { return !(c.logit > logit); });
}

void Suppression::reserve(std::size_t candidates) {
  nms.reserve(candidates);
  make_room(boxes, candidates);
  make_room(ranks, candidates);
  make_room(kept, candidates);
}

std::size_t Suppression::bytes() const {
  return nms.bytes() + boxes.capacity() * sizeof(BoxD) + ranks.capacity() * sizeof(float) +
         kept.capacity() * sizeof(Candidate);
}

void Geometry::suppress(std::vector<Candidate>& candidates, double threshold, Stage stage, Suppression& work) const {
  const auto rank = [this](float logit) {
    if (!conventions_.ranks_by_probability) return logit;
    return 1 / (1 + static_cast<float>(std::exp(-std::max(static_cast<double>(logit), -80.0))));
  };
  const bool last_wins = conventions_.ranks_by_probability && stage == Stage::onet;
  const std::size_t n = candidates.size();
  const auto index = [&](std::size_t i) { return last_wins ? n - 1 - i : i; };
  work.reserve(n);
  work.boxes.resize(n);
  work.ranks.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    work.boxes[i] = candidates[index(i)].box;
    work.ranks[i] = rank(candidates[index(i)].logit);
  }
  const bool onet = stage == Stage::onet;
  work.kept.clear();
  for (const std::int32_t i : work.nms(work.boxes, work.ranks, threshold, onet ? Overlap::iom : Overlap::iou,
                                       onet ? 1 : conventions_.overlap_extra))
    work.kept.push_back(candidates[index(static_cast<std::size_t>(i))]);
  // Copied, not exchanged: each list keeps the memory that its own part in the cascade needs.
  candidates.assign(work.kept.begin(), work.kept.end());
}

BoxD Geometry::cell(int row, int column, double scale) const {
  return conventions_.single_precision ? cell_window<float>(row, column, scale)
                                       : cell_window<double>(row, column, scale);
}

BoxD Geometry::regressed(const Candidate& c, int extra) const {
  return conventions_.single_precision ? regress<float>(c.box, c.offsets, static_cast<float>(extra))
                                       : regress<double>(c.box, c.offsets, extra);
}

BoxD Geometry::next_window(const Candidate& c, int extra) const {
  const BoxD box = regressed(c, extra);
  const BoxD squared = conventions_.single_precision ? square<float>(box) : square<double>(box);
  return conventions_.fixes_boxes ? fix(squared) : squared;
}

void Geometry::finish(Candidate& c) const {
  const auto place = [&c]<class Real>(Real) {
    for (int p = 0; p < 10; ++p) {
      const Real from = Real(p < 5 ? c.box.x1 : c.box.y1), to = Real(p < 5 ? c.box.x2 : c.box.y2);
      c.landmarks[p] = static_cast<float>((to - from + 1) * Real(c.landmarks[p]) + from - 1);
    }
  };
  // Landmarks are relative to the window that O-Net saw, not to the one that its offsets make of it.
  conventions_.single_precision ? place(float{}) : place(double{});
  c.box = regressed(c, 1);
}

Detection Geometry::detection(const Candidate& c) const {
  const double shift = conventions_.shifts_output ? 1 : 0;
  Detection face{{static_cast<float>(c.box.x1 - shift), static_cast<float>(c.box.y1 - shift),
                  static_cast<float>(c.box.x2), static_cast<float>(c.box.y2)},
                 probability(c.logit),
                 {}};
  for (int p = 0; p < 5; ++p) face.landmarks[p] = {c.landmarks[p], c.landmarks[p + 5]};
  return face;
}

BoxD Geometry::crop_window(const BoxD& window, int height, int width) const {
  const BoxD whole = fix(window);
  if (!conventions_.clips_crops) return whole;
  return {std::max(whole.x1, 1.0), std::max(whole.y1, 1.0), std::min<double>(whole.x2, width),
          std::min<double>(whole.y2, height)};
}

bool Geometry::has_pixels(const BoxD& window, int height, int width) const {
  constexpr double kFarthest = 1 << 24;
  const BoxD w = crop_window(window, height, width);
  return w.x2 >= w.x1 && w.y2 >= w.y1 && w.x1 > -kFarthest && w.y1 > -kFarthest && w.x2 < kFarthest && w.y2 < kFarthest;
}

}  // namespace mtcnn_fast
