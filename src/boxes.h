// Box arithmetic of the cascade, once for every backend. Coordinates are the authors': 1-based, both corners inclusive.
// Each function is a template on the precision that a profile computes in.
#pragma once

#include <cmath>

#include "host_device.h"

namespace mtcnn_fast {

struct BoxD {
  double x1, y1, x2, y2;
};

enum class Overlap {
  iou,  // intersection over union ("union")
  iom,  // intersection over the smaller area ("min")
};

// `extra` is 1 where a box counts the pixels of both corners (width = x2 - x1 + 1), 0 where it is half-open. The
// quotient is formed before it is compared with a threshold: an overlap of exactly 7/10 is then no more than 0.7.
MTCNN_FAST_HD inline double overlap(const BoxD& a, const BoxD& b, Overlap kind, double extra) {
  const double width = (a.x2 < b.x2 ? a.x2 : b.x2) - (a.x1 > b.x1 ? a.x1 : b.x1) + extra;
  const double height = (a.y2 < b.y2 ? a.y2 : b.y2) - (a.y1 > b.y1 ? a.y1 : b.y1) + extra;
  if (!(width > 0 && height > 0)) return 0;
  const double intersection = width * height;
  const double area_a = (a.x2 - a.x1 + extra) * (a.y2 - a.y1 + extra);
  const double area_b = (b.x2 - b.x1 + extra) * (b.y2 - b.y1 + extra);
  return intersection / (kind == Overlap::iou ? area_a + area_b - intersection : area_a < area_b ? area_a : area_b);
}

// Cells of P-Net's map along one axis of a level with that many pixels; none for a level under 12 pixels.
MTCNN_FAST_HD inline constexpr int pnet_cells(int side) { return side < 12 ? 0 : (side - 1) / 2 - 4; }

// The window of the image that P-Net's cell in that row and column looked at ("generateBoundingBox"): stride 2, 12
// wide.
template <class Real>
MTCNN_FAST_HD inline BoxD cell_window(int row, int column, double scale) {
  const Real s = Real(scale);
  return {std::trunc(Real(2 * column + 1) / s), std::trunc(Real(2 * row + 1) / s),
          std::trunc(Real(2 * column + 12) / s), std::trunc(Real(2 * row + 12) / s)};
}

// Moves the corners by the network's offsets, in units of width and height ("bbreg").
template <class Real>
MTCNN_FAST_HD inline BoxD regress(const BoxD& box, const float offsets[4], Real extra) {
  const Real x1 = Real(box.x1), y1 = Real(box.y1), x2 = Real(box.x2), y2 = Real(box.y2);
  const Real width = x2 - x1 + extra, height = y2 - y1 + extra;
  return {x1 + Real(offsets[0]) * width, y1 + Real(offsets[1]) * height, x2 + Real(offsets[2]) * width,
          y2 + Real(offsets[3]) * height};
}

// The square of the longer side about the same centre ("rerec").
template <class Real>
MTCNN_FAST_HD inline BoxD square(const BoxD& box) {
  const Real width = Real(box.x2) - Real(box.x1), height = Real(box.y2) - Real(box.y1);
  const Real side = width > height ? width : height;
  const Real x1 = Real(box.x1) + width * Real(0.5) - side * Real(0.5);
  const Real y1 = Real(box.y1) + height * Real(0.5) - side * Real(0.5);
  return {x1, y1, x1 + side, y1 + side};
}

// Rounds toward zero, which in 1-based coordinates is not the same as rounding down 0-based ones.
MTCNN_FAST_HD inline BoxD fix(const BoxD& box) {
  return {std::trunc(box.x1), std::trunc(box.y1), std::trunc(box.x2), std::trunc(box.y2)};
}

}  // namespace mtcnn_fast
