// The resizing of an image's windows to R-Net's or O-Net's input. Most crops are small squares. Their window tables
// are made once: making one takes about as long as weighting a crop's rows by it.
#pragma once

#include <vector>

#include "boxes.h"
#include "conventions.h"
#include "cpu/kernels/kernels.h"
#include "cpu/plan.h"
#include "cpu/window_table.h"

namespace mtcnn_fast {

class CropTables {
 public:
  CropTables(Resampling resampling, int side) : resampling_(resampling), side_(side) {
    squares_.resize(kLargest);
    for (int size = 1; size <= kLargest; ++size) {
      Square& square = squares_[size - 1];
      square.filter = resize_filter(resampling, size, size, side, side);
      square.table.make(size, side, square.filter);
      square.columns = square.table.columns();
      square.rows = square.table.rows();
    }
  }
  CropTables(const CropTables&) = delete;
  CropTables& operator=(const CropTables&) = delete;

  // Of the window x1 .. x2, y1 .. y2 (1-based, inclusive, whole numbers) of an image, normalised; it may reach beyond
  // the image. What is returned refers to these tables or to `x` and `y`.
  Resample resampling(Source source, int image_height, int image_width, const BoxD& window, WindowTable& x,
                      WindowTable& y) const {
    const int left = static_cast<int>(window.x1) - 1, top = static_cast<int>(window.y1) - 1;
    const int width = static_cast<int>(window.x2) - left, height = static_cast<int>(window.y2) - top;
    Resample r = {.source = source,
                  .x{},
                  .y{},
                  .width = side_,
                  .source_first = 0,
                  .source_end = width,
                  .rounding = Rounding::none,
                  .scale = kScale,
                  .bias = kBias};
    const Filter filter = resize_filter(resampling_, height, width, side_, side_);
    const bool inside = top >= 0 && left >= 0 && top + height <= image_height && left + width <= image_width;
    if (inside && height <= kLargest && width <= kLargest && squares_[height - 1].filter == filter &&
        squares_[width - 1].filter == filter) {
      r.source.data += top * source.stride + std::ptrdiff_t{left} * source.channels;
      r.x = squares_[width - 1].columns;
      r.y = squares_[height - 1].rows;
      return r;
    }
    x.make(width, side_, filter);
    if (height == width)
      y = x;
    else
      y.make(height, side_, filter);
    x.place(left, image_width);
    y.place(top, image_height);
    r.x = x.columns();
    r.y = y.rows();
    r.source_first = x.first();
    r.source_end = x.end();
    return r;
  }

 private:
  static constexpr int kLargest = 128;
  struct Square {
    Filter filter;
    WindowTable table;
    Columns columns;
    Rows rows;
  };
  Resampling resampling_;
  int side_;
  std::vector<Square> squares_;
};

}  // namespace mtcnn_fast
