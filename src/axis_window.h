// The source pixels of one output of a resize and their weights, along one axis, once for every backend. The CPU
// keeps them in tables; the CUDA kernels compute them where they use them.
#pragma once

#include <cstdint>

#include "boxes.h"
#include "conventions.h"
#include "pixel_values.h"

namespace mtcnn_fast {

enum class Filter { area, cv2_area, bilinear, bilinear_of_areas, adaptive_average };

// The filter for resizing height x width to target_height x target_width.
MTCNN_FAST_HD inline Filter resize_filter(Resampling resampling, int height, int width, int target_height,
                                          int target_width) {
  if (resampling == Resampling::adaptive_average) return Filter::adaptive_average;
  const bool shrinks = target_height <= height && target_width <= width;
  if (resampling == Resampling::cv2_inter_area) return shrinks ? Filter::cv2_area : Filter::bilinear_of_areas;
  return shrinks ? Filter::area : Filter::bilinear;
}

// How the pixels of a pyramid level of that size are rounded.
MTCNN_FAST_HD inline Rounding pixel_rounding(const Conventions& conventions, int height, int width, int target_height,
                                             int target_width) {
  if (!conventions.rounds_levels) return Rounding::none;
  return height == 2 * target_height && width == 2 * target_width ? Rounding::opencv_halving : Rounding::opencv;
}

// `count` source pixels from `first` on, and the weights of the first, of each between, and of the last of several.
// All filters' weights have this form.
struct AxisWindow {
  std::int32_t first, count;
  float begin, middle, end;

  MTCNN_FAST_HD float weight(int tap) const { return tap == 0 ? begin : tap == count - 1 ? end : middle; }
};

// Where an output lies among the source pixels, in whole numbers, so that no sliver of a pixel comes from rounding.
struct AxisPlace {
  // The output begins at pixel `pixel` and `part` / target more; the next one likewise.
  int pixel, part, next, next_part;
  // Its centre lies `between` / (2 * target) beyond the centre of pixel `below`.
  int below;
  std::int64_t between;
};

MTCNN_FAST_HD inline AxisPlace axis_place(int source, int target, int i) {
  const std::int64_t from = std::int64_t{i} * source, to = from + source, twice = std::int64_t{2} * target;
  const std::int64_t centre = 2 * from + source - target;
  const std::int64_t below = centre >= 0 ? centre / twice : -((-centre + twice - 1) / twice);
  return {static_cast<int>(from / target), static_cast<int>(from % target), static_cast<int>(to / target),
          static_cast<int>(to % target),   static_cast<int>(below),         centre - below * twice};
}

// Output i of `target`, of `source` pixels, at its place. Weights sum to 1.
MTCNN_FAST_HD inline AxisWindow axis_window(Filter filter, int source, int target, int i, const AxisPlace& at) {
  const auto taps = [&](int pixel, double fraction) -> AxisWindow {
    const int first = pixel < 0 ? 0 : pixel > source - 1 ? source - 1 : pixel;
    if (pixel < 0 || pixel + 1 >= source || fraction == 0) return {first, 1, 1, 0, 0};
    return {first, 2, static_cast<float>(1 - fraction), 0, static_cast<float>(fraction)};
  };
  switch (filter) {
    case Filter::area:
    case Filter::cv2_area: {
      // OpenCV ignores what an output covers no more than 1/1000 of (resize.cpp, computeResizeAreaTab).
      const int ignored = filter == Filter::cv2_area ? target / 1000 : 0;
      const double per_unit = 1.0 / source;
      const auto whole = static_cast<float>(target * per_unit);  // of a pixel that one output covers entirely
      // At least one pixel wide, so that the first pixel is covered to its end.
      const int covered = target - at.part;
      const bool has_first = covered > ignored, has_last = at.next_part > ignored;
      const int between = at.next - at.pixel - 1;
      const float last = has_last ? static_cast<float>(at.next_part * per_unit) : whole;
      const int count = between + has_first + has_last;
      const float first = has_first ? static_cast<float>(covered * per_unit) : between > 0 ? whole : last;
      return {at.pixel + !has_first, count, first, whole, last};
    }
    case Filter::bilinear:
      return taps(at.below, static_cast<double>(at.between) * (1.0 / (2.0 * target)));
    case Filter::bilinear_of_areas: {
      // cv::resize with INTER_AREA when enlarging: the second pixel counts by what output i covers of it.
      const double fraction = (i + 1) - (at.pixel + 1.0) * target / source;
      return taps(at.pixel, fraction <= 0 ? 0 : fraction - static_cast<int>(fraction));
    }
    case Filter::adaptive_average:
      break;
  }
  const int count = at.next - at.pixel + (at.next_part > 0);
  const auto equal = static_cast<float>(1.0 / count);
  return {at.pixel, count, equal, equal, equal};
}

}  // namespace mtcnn_fast
