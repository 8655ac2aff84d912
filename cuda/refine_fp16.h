// The layers as refine_fp16.cu cuts them into products of 16 x 8 outputs over 16 inputs. Shared by the kernels and
// pack_refine.cpp.
#pragma once

#include <cuda_fp16.h>

#include <algorithm>

#include "refine.h"

namespace mtcnn_fast::cuda {

constexpr int kPixels = 16, kColumns = 8, kDepth = 16;  // of a product: rows, columns, and what is summed
constexpr int kPad = 8;                                 // halves

// The first convolution. An item is of some rows of the pooled map of a window; all maps.
struct FirstConvFp16 {
  int side, outputs;  // outputs are padded
  int maps;           // those that there are
  int rows, warps;
  static constexpr int kernel = 3, pool = 3;
};
// The others. An item is of some windows, and columns * groups * 8 of the output maps; a warp makes `tiles` products'
// pixels by `columns` products' maps.
struct ConvFp16 {
  int side, inputs, outputs;
  int maps;  // of the inputs, those that there are
  int kernel, pool;
  int windows, tiles, columns, groups;
};
template <class Shape>
constexpr int conv_side(const Shape& c) {
  return c.side - c.kernel + 1;
}
template <class Shape>
constexpr int pooled_side(const Shape& c) {
  return (conv_side(c) - c.pool + 1) / 2 + 1;
}
template <class Shape>
constexpr std::size_t map_values(const Shape& c) {
  return static_cast<std::size_t>(c.outputs) * pooled_side(c) * pooled_side(c);
}
constexpr int depth(const ConvFp16& c) { return c.kernel * c.kernel * c.inputs / kDepth; }
constexpr int pixel_warps(const ConvFp16& c) {
  const int pixels = c.windows * conv_side(c) * conv_side(c);
  return (pixels + kPixels * c.tiles - 1) / (kPixels * c.tiles);
}
constexpr int threads(const ConvFp16& c) { return pixel_warps(c) * c.groups * kWarp; }

struct ProductFp16 {
  int inputs, outputs, rows, parts, jump;  // as in Product
  int warps, tiles;                        // a block's tile: 16 * tiles rows, 32 columns
};
constexpr int kTileColumns = 4;  // products
constexpr int kStep = 2 * kDepth;

struct RnetFp16 {
  using Net = Rnet;
  struct Conv1 {
    static constexpr FirstConvFp16 kShape = {crop_side(Net::kStage), 32, 28, 11, 8};
  };
  struct Conv2 {
    static constexpr ConvFp16 kShape = {11, 32, 48, 28, 3, 3, 3, 4, 3, 2};
  };
  struct Conv3 {
    static constexpr ProductFp16 kShape = {192, 64, 9, 2, 192, 6, 2};
  };
  struct Dense {
    static constexpr ProductFp16 kShape = {576, 128, 1, 1, 0, 6, 1};
  };
};
struct OnetFp16 {
  using Net = Onet;
  struct Conv1 {
    static constexpr FirstConvFp16 kShape = {crop_side(Net::kStage), 32, 32, 4, 7};
  };
  struct Conv2 {
    static constexpr ConvFp16 kShape = {23, 32, 64, 32, 3, 3, 1, 4, 4, 1};
  };
  struct Conv3 {
    static constexpr ConvFp16 kShape = {10, 64, 64, 64, 3, 2, 1, 2, 4, 2};
  };
  struct Conv4 {
    static constexpr ProductFp16 kShape = {256, 128, 9, 2, 256, 8, 2};
  };
  struct Dense {
    static constexpr ProductFp16 kShape = {1152, 256, 1, 1, 0, 12, 1};
  };
};

// Bytes of a layer's parameters: B's fragments as a lane loads them, biases, slopes.
constexpr std::size_t parameter_bytes(std::size_t values, int outputs) {
  return values * sizeof(__half) + 2 * sizeof(float) * static_cast<std::size_t>(outputs);
}
// Fragments of the first convolution: [odd][products of maps][products of values].
constexpr std::size_t weight_values(const FirstConvFp16& c) {
  return static_cast<std::size_t>(2 * 2 * kDepth * c.outputs);
}
constexpr std::size_t weight_values(const ConvFp16& c) {
  return static_cast<std::size_t>(depth(c) * kDepth) * static_cast<std::size_t>(c.outputs);
}
constexpr std::size_t weight_values(const ProductFp16& p) {
  return static_cast<std::size_t>(p.inputs) * static_cast<std::size_t>(p.outputs);
}
template <class Shape>
constexpr std::size_t parameter_bytes(const Shape& s) {
  return parameter_bytes(weight_values(s), s.outputs);
}

}  // namespace mtcnn_fast::cuda
