#include "pyramid.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "reuse.h"

namespace mtcnn_fast {
namespace {

// Relative tolerance for sizes computed in floating point: an image whose side equals min_face_size keeps its level,
// and a level of exactly n pixels does not become n + 1.
constexpr double kTolerance = 1e-9;

int level_side(int side, double scale, LevelSize rounding) {
  const double exact = side * scale;
  if (rounding == LevelSize::truncate_plus_one) return static_cast<int>(exact + 1);
  return static_cast<int>(std::ceil(exact * (1 - kTolerance)));
}

}  // namespace

std::vector<Backend::LevelSize> pyramid_levels(int height, int width, const Options& options,
                                               const Conventions& conventions) {
  std::vector<Backend::LevelSize> levels;
  if (std::min(height, width) < 12) return levels;  // not even one cell of P-Net at native scale
  double pixels = 0;
  double scale = 12.0 / options.min_face_size;
  for (; std::min(height, width) * scale >= 12 * (1 - kTolerance); scale *= options.scale_factor) {
    if (options.max_face_size && 12 / scale > *options.max_face_size * (1 + kTolerance)) break;
    pixels += static_cast<double>(height) * scale * (static_cast<double>(width) * scale);
    if (pixels > 2147483648.0)
      throw std::invalid_argument("min_face_size " + std::to_string(options.min_face_size) + " and scale_factor " +
                                  std::to_string(options.scale_factor) + " give an image of " + std::to_string(width) +
                                  "x" + std::to_string(height) +
                                  " a pyramid of more than 2^31 pixels; a larger min_face_size is wanted");
    levels.push_back({scale, std::max(12, level_side(height, scale, conventions.level_size)),
                      std::max(12, level_side(width, scale, conventions.level_size))});
  }
  return levels;
}

Filter resize_filter(Resampling resampling, int height, int width, int target_height, int target_width) {
  if (resampling == Resampling::adaptive_average) return Filter::adaptive_average;
  const bool shrinks = target_height <= height && target_width <= width;
  if (resampling == Resampling::cv2_inter_area) return shrinks ? Filter::cv2_area : Filter::bilinear_of_areas;
  return shrinks ? Filter::area : Filter::bilinear;
}

void WindowTable::make(int source, int target, Filter filter) {
  reserve(source, target);
  windows.clear();
  weights.clear();
  const double per_unit = 1.0 / source;
  // OpenCV ignores what an output covers no more than 1/1000 of (resize.cpp, computeResizeAreaTab).
  const std::int64_t ignored = filter == Filter::cv2_area ? target / 1000 : 0;
  const auto whole = static_cast<float>(target * per_unit);  // the weight of a pixel that one output covers entirely
  for (std::int64_t i = 0; i < target; ++i) {
    const auto offset = static_cast<std::int32_t>(weights.size());
    int first = 0;
    const auto two_taps = [&](std::int64_t at, double fraction) {
      const std::int64_t a = std::clamp<std::int64_t>(at, 0, source - 1);
      const std::int64_t b = std::clamp<std::int64_t>(at + 1, 0, source - 1);
      first = static_cast<int>(a);
      if (a == b || fraction == 0) {
        weights.push_back(1);
      } else {
        weights.push_back(static_cast<float>(1 - fraction));
        weights.push_back(static_cast<float>(fraction));
      }
    };
    switch (filter) {
      case Filter::area:
      case Filter::cv2_area: {
        // In units of 1 / target pixels output i covers begin .. end and source pixel j covers j * target .. + target:
        // whole numbers, so that no sliver of a pixel comes from rounding.
        const std::int64_t begin = i * source, end = begin + source;
        std::int64_t pixel = begin / target * target;
        const auto weigh = [&](std::int64_t covered) { weights.push_back(static_cast<float>(covered * per_unit)); };
        std::int64_t covered = std::min(end, pixel + target) - begin;
        if (covered > ignored) weigh(covered);
        first = static_cast<int>(pixel / target) + (covered > ignored ? 0 : 1);
        for (pixel += target; pixel + target <= end; pixel += target) weights.push_back(whole);
        covered = end - pixel;
        if (covered > ignored) weigh(covered);
        break;
      }
      case Filter::bilinear: {
        const double centre = (static_cast<double>(i) + 0.5) * source / target - 0.5;
        const double below = std::floor(centre);
        two_taps(static_cast<std::int64_t>(below), centre - below);
        break;
      }
      case Filter::bilinear_of_areas: {
        // cv::resize with INTER_AREA when enlarging: the second pixel counts by what output i covers of it.
        const std::int64_t below = i * source / target;
        const double fraction =
            static_cast<double>(i + 1) - static_cast<double>(below + 1) * target / static_cast<double>(source);
        two_taps(below, fraction <= 0 ? 0 : fraction - std::floor(fraction));
        break;
      }
      case Filter::adaptive_average: {
        first = static_cast<int>(i * source / target);
        const auto count = ((i + 1) * source + target - 1) / target - first;
        for (std::int64_t t = 0; t < count; ++t)
          weights.push_back(static_cast<float>(1.0 / static_cast<double>(count)));
        break;
      }
    }
    windows.push_back({first, static_cast<std::int32_t>(weights.size()) - offset, offset});
  }
}

void WindowTable::reserve(int source, int target) {
  make_room(windows, static_cast<std::size_t>(target));
  // Every source pixel has a weight in each window that it lies in; windows share no more than their ends.
  make_room(weights, static_cast<std::size_t>(source) + 2 * static_cast<std::size_t>(target));
}

void WindowTable::place(int offset, int size) {
  for (Window& window : windows) {
    const int first = window.first + offset;
    const int before = std::min(std::max(-first, 0), window.count);
    const int beyond = std::min(std::max(first + window.count - size, 0), window.count - before);
    window = {first + before, window.count - before - beyond, window.offset + before};
    if (window.count == 0) window.first = 0;
  }
}

int WindowTable::first() const {
  int first = 0;
  bool any = false;
  for (const Window& window : windows) {
    if (window.count == 0) continue;
    first = any ? std::min(first, window.first) : window.first;
    any = true;
  }
  return first;
}

int WindowTable::end() const {
  int end = 0;
  for (const Window& window : windows)
    if (window.count > 0) end = std::max(end, window.first + window.count);
  return end;
}

}  // namespace mtcnn_fast
