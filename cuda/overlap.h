// The test whether boxes overlap by more than a threshold. It decides as overlap() does in float64. A graphics card
// may compute in float64 64 times more slowly than in float32, so the test uses float32 wherever the two cannot
// differ.
#pragma once

#include "../src/boxes.h"
#include "device.h"

namespace mtcnn_fast::cuda {

// A box in float32, sides with `extra`. Along an axis, what two boxes share is known to the sum of their `slack`.
struct QuickBox {
  float x1, y1, x2, y2, area, slack;
};

class OverlapTest {
 public:
  __device__ OverlapTest(double threshold, Overlap kind, double extra)
      : threshold_(threshold),
        extra_(extra),
        kind_(kind),
        // Below kLeast, and without a number, nothing is decided by products that may have lost their bits.
        low_(threshold >= kLeast ? static_cast<float>(threshold) * (1 - kMargin) : 0),
        high_(static_cast<float>(threshold >= kLeast ? threshold : kLeast) * (1 + kMargin)) {}

  __device__ QuickBox quick_box(const BoxD& box) const {
    const auto area = static_cast<float>((box.x2 - box.x1 + extra_) * (box.y2 - box.y1 + extra_));
    const auto x1 = static_cast<float>(box.x1), y1 = static_cast<float>(box.y1);
    const auto x2 = static_cast<float>(box.x2), y2 = static_cast<float>(box.y2);
    // Six roundings of 2^-24 of a coordinate at most: of both ends, of `extra` and of the sums. 2^-20 is more than
    // twice that. A box whose area float32 may not hold is left to float64.
    const float size = fabsf(x1) + fabsf(y1) + fabsf(x2) + fabsf(y2) + static_cast<float>(extra_);
    return {x1, y1, x2, y2, area, area > kLeast && area < kMost ? size * 0x1p-20f : kUnknown};
  }

  // `a` and `b` are the quick boxes of `box_a` and `box_b`.
  __device__ bool exceeded(const QuickBox& a, const QuickBox& b, const BoxD& box_a, const BoxD& box_b) const {
    const auto extra = static_cast<float>(extra_);
    const float slack = a.slack + b.slack;
    const float width = fminf(a.x2, b.x2) - fmaxf(a.x1, b.x1) + extra;
    const float height = fminf(a.y2, b.y2) - fmaxf(a.y1, b.y1) + extra;
    if (width + slack < 0 || height + slack < 0) return false;
    // Never decreasing in the intersection: its bounds bound the overlap.
    const float most = (width + slack) * (height + slack);
    if (most < low_ * whole(a, b, most)) return false;
    const float least_width = width - slack, least_height = height - slack, least = least_width * least_height;
    if (least_width > 0 && least_height > 0 && least > high_ * whole(a, b, least)) return true;
    return overlap(box_a, box_b, kind_, extra_) > threshold_;
  }

 private:
  // Room for the roundings of a few products and sums, each 2^-24.
  static constexpr float kMargin = 0x1p-18f;
  static constexpr float kLeast = 1e-6f, kMost = 1e30f, kUnknown = 3e38f;

  __device__ float whole(const QuickBox& a, const QuickBox& b, float intersection) const {
    return kind_ == Overlap::iou ? a.area + b.area - intersection : fminf(a.area, b.area);
  }

  double threshold_, extra_;
  Overlap kind_;
  float low_, high_;
};

}  // namespace mtcnn_fast::cuda
