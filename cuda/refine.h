// R-Net's and O-Net's layers: their sizes, how each is cut into a block's work, and where its parameters stand.
// Shared by the kernels and pack_refine.cpp.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels.h"

namespace mtcnn_fast::cuda {

// A convolution with PReLU and pooling, and what a block does of it at a time: of some windows (one, or as many as fill
// the warps' lanes), some rows of the pooled map, and maps * groups of the output maps.
struct Conv {
  int side, inputs, outputs, kernel;
  int pool;     // pooling window's side; the stride is 2
  int windows;  // of an item
  int rows;     // of the pooled map, of an item
  int pixels;   // in a row, of a thread
  int maps;     // of a thread
  int groups;   // of maps, of a block
  int planes;   // of the input's, in shared memory at a time
  bool planar;  // whether the pooled map goes on as planes, as a convolution reads it; else a pixel's maps are together
};

// Maps are read in planes of four, [plane][row][column][4], so that a thread loads a pixel's at once; an image's three
// are one plane.
constexpr int plane_maps(const Conv& c) { return c.inputs == 3 ? 3 : 4; }
constexpr int taps(const Conv& c) { return c.kernel * c.kernel * c.inputs; }
constexpr int conv_side(const Conv& c) { return c.side - c.kernel + 1; }
// Ceil mode: the last window may be cut by the border.
constexpr int pooled_side(const Conv& c) { return (conv_side(c) - c.pool + 1) / 2 + 1; }
constexpr int conv_rows(const Conv& c) { return std::min(2 * (c.rows - 1) + c.pool, conv_side(c)); }
constexpr int segments(const Conv& c) { return (conv_side(c) + c.pixels - 1) / c.pixels; }
constexpr int segment_warps(const Conv& c) { return (c.windows * conv_rows(c) * segments(c) + kWarp - 1) / kWarp; }
constexpr int threads(const Conv& c) { return segment_warps(c) * c.groups * kWarp; }

// Several rows of outputs (of a 2 x 2 convolution, one per pixel; of a dense layer, one per window) as a matrix
// product. A row's inputs are `parts` pieces, contiguous each and `jump` values from one to the next.
struct Product {
  int inputs, outputs;
  int rows;  // of a window
  int parts, jump;
  int tile_rows;  // of a thread
};

constexpr Product conv2x2(int side, int inputs, int outputs) {
  return {4 * inputs, outputs, (side - 1) * (side - 1), 2, side * inputs, 8};
}
constexpr Product dense(int inputs, int outputs) { return {inputs, outputs, 1, 1, 0, 4}; }

struct Heads {
  int inputs, outputs;
};

// Parameters of a layer: weights, then biases, then (but for the heads) slopes, of each output.
constexpr std::size_t parameters(const Conv& c) { return static_cast<std::size_t>(c.outputs) * (taps(c) + 2); }
constexpr std::size_t parameters(const Product& p) { return static_cast<std::size_t>(p.outputs) * (p.inputs + 2); }

// R-Net's seven windows of 9 rows are 63 threads of 9 pixels, O-Net's 21 rows in threads of 7 pixels also 63: of two
// warps' lanes, all but one work.
struct Rnet {
  using Net = Rnet;
  static constexpr Stage kStage = Stage::rnet;
  struct Conv1 {
    static constexpr Conv kShape = {crop_side(kStage), 3, 28, 3, 3, 2, 11, 4, 4, 1, 1, true};
  };
  struct Conv2 {
    static constexpr Conv kShape = {11, 28, 48, 3, 3, 7, 4, 9, 4, 2, 1, false};
  };
  struct Conv3 {
    static constexpr Product kShape = conv2x2(4, 48, 64);
  };
  struct Dense {
    static constexpr Product kShape = dense(576, 128);
  };
  struct Output {
    static constexpr Heads kShape = {128, 5};
  };
};
struct Onet {
  using Net = Onet;
  static constexpr Stage kStage = Stage::onet;
  struct Conv1 {
    static constexpr Conv kShape = {crop_side(kStage), 3, 32, 3, 3, 1, 8, 4, 8, 1, 1, true};
  };
  struct Conv2 {
    static constexpr Conv kShape = {23, 32, 64, 3, 3, 1, 10, 7, 4, 2, 2, true};
  };
  struct Conv3 {
    static constexpr Conv kShape = {10, 64, 64, 3, 2, 1, 4, 2, 4, 4, 4, false};
  };
  struct Conv4 {
    static constexpr Product kShape = conv2x2(4, 64, 128);
  };
  struct Dense {
    static constexpr Product kShape = dense(1152, 256);
  };
  struct Output {
    static constexpr Heads kShape = {256, 15};
  };
};

constexpr std::size_t map_values(const Conv& c) {
  return static_cast<std::size_t>(c.outputs) * pooled_side(c) * pooled_side(c);
}

// refine_fp16.cu's part of refine().
void refine_fp16(const Queue& queue, const Work& work, Stage stage, const void* weights);

}  // namespace mtcnn_fast::cuda
