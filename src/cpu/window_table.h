// The tables of weights by which an axis is resized: the kernels know tables, not filters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "axis_window.h"
#include "cpu/kernels/kernels.h"

namespace mtcnn_fast {

// How the outputs of one axis are weighted from its source pixels; output i has taps[i].
struct WindowTable {
  std::vector<Taps> taps;
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
  Rows rows() const { return {taps.data(), weights.data(), most_taps()}; }
  Columns columns();

 private:
  int most_taps() const;
  std::vector<std::int32_t> column_first_;
  std::vector<float> column_weights_;
};

}  // namespace mtcnn_fast
