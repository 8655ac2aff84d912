#include "pyramid.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "boxes.h"

namespace mtcnn_fast {
namespace {

// Relative tolerance for sizes computed in floating point: an image whose side equals min_face_size keeps its level,
// and a level of exactly n pixels does not become n + 1.
constexpr double kTolerance = 1e-9;

constexpr int kLongestSide = 1 << 28;

void check_side(const char* what, int height, int width) {
  if (std::max(height, width) > kLongestSide)
    throw std::invalid_argument(std::string(what) + " of " + std::to_string(width) + "x" + std::to_string(height) +
                                " pixels has a side of more than 2^28");
}

int level_side(int side, double scale, LevelRounding rounding) {
  const double exact = side * scale;
  if (rounding == LevelRounding::truncate_plus_one) return static_cast<int>(exact + 1);
  return static_cast<int>(std::ceil(exact * (1 - kTolerance)));
}

// Calls f(scale) for each level, largest first.
template <class F>
void for_each_scale(int height, int width, const Options& options, const F& f) {
  if (std::min(height, width) < 12) return;  // not even one cell of P-Net at native scale
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
    check_side("an image", height, width);
    f(scale);
  }
}

// The row of a level's map with which part `index` of `count` begins.
int first_row(const PyramidLevel& level, int index, int count) {
  // At a cut some three rows are computed twice: fewer are not cut off.
  constexpr int kLeastRows = 4;
  const int rows = pnet_cells(level.height);
  if (index == 0) return 0;
  if (index == count) return rows;
  const double share = (static_cast<double>(index) / count - level.begin) / (level.end - level.begin);
  // At even rows, because parts that begin there share no row of Winograd tiles.
  const int row = 2 * static_cast<int>(std::clamp(share, 0.0, 1.0) * rows / 2 + 0.5);
  if (2 * row < rows) return row < kLeastRows ? 0 : row;
  return row > rows - kLeastRows ? rows : row;
}

}  // namespace

CellRows rows_of(const PyramidLevel& level, const Part& part) {
  return {first_row(level, part.index, part.count), first_row(level, part.index + 1, part.count)};
}

void check_pyramid(int height, int width, const Options& options) {
  for_each_scale(height, width, options, [](double) {});
}

void check_resize(int height, int width, int target_height, int target_width) {
  constexpr std::int64_t kMostPixels = 1 << 30;
  check_side("an image", height, width);
  check_side("a size", target_height, target_width);
  if (std::int64_t{target_height} * target_width > kMostPixels)
    throw std::invalid_argument("a size of " + std::to_string(target_width) + "x" + std::to_string(target_height) +
                                " has more than 2^30 pixels");
}

std::vector<PyramidLevel> pyramid_levels(int height, int width, const Options& options,
                                         const Conventions& conventions) {
  std::vector<PyramidLevel> levels;
  for_each_scale(height, width, options, [&](double scale) {
    levels.push_back({scale, std::max(12, level_side(height, scale, conventions.level_size)),
                      std::max(12, level_side(width, scale, conventions.level_size))});
  });
  double total = 0, before = 0;
  for (const PyramidLevel& level : levels) total += level_work(level, height, width);
  for (PyramidLevel& level : levels) {
    level.begin = before / total;
    before += level_work(level, height, width);
    level.end = before / total;
  }
  return levels;
}

}  // namespace mtcnn_fast
