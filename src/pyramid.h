// The image pyramid's levels, and the window tables by which an axis is resized. The kernels know tables, not filters.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <mtcnn_fast/detector.h>

#include "axis_window.h"
#include "conventions.h"
#include "cpu/kernels.h"

namespace mtcnn_fast {

struct PyramidLevel {
  double scale;
  int height, width;
};

// Throws std::invalid_argument for an image whose pyramid has more than 2^31 pixels, and for one that has a pyramid and
// a side of more than 2^28.
void check_pyramid(int height, int width, const Options& options);

// Levels of the pyramid for an image of height x width, largest first: scale_k = 12 / min_face_size * scale_factor^k
// while the shorter side is at least 12. Throws as check_pyramid() does.
std::vector<PyramidLevel> pyramid_levels(int height, int width, const Options& options, const Conventions& conventions);

// Throws std::invalid_argument for a resize that is beyond the kernels' reach: a side of the source or the target of
// more than 2^28 pixels (rows are counted in bytes, by int), or a target of more than 2^30 (tasks on a GPU are counted
// by int).
void check_resize(int height, int width, int target_height, int target_width);

// How the outputs of one axis are weighted from its source pixels; output i has windows[i].
struct WindowTable {
  std::vector<Window> windows;
  std::vector<float> weights;

  // Fills the table for `source` pixels resized to `target`. Weights sum to 1.
  void make(int source, int target, Filter filter);
  // Makes room for the tables of up to `source` pixels resized to up to `target`.
  void reserve(int source, int target);
  std::size_t bytes() const;
  // Moves the source by `offset` pixels and drops what then lies outside 0 .. size - 1: black there adds nothing.
  void place(int offset, int size);

  // The first source pixel used, and the one after the last.
  int first() const;
  int end() const;

  // What kernels read of rows and of columns; valid until the table changes.
  Rows rows() const { return {windows.data(), weights.data(), taps()}; }
  Columns columns();

 private:
  int taps() const;
  std::vector<std::int32_t> column_first_;
  std::vector<float> column_weights_;
};

}  // namespace mtcnn_fast
