// R-Net and O-Net over a batch of crops. Pixels are interleaved (row, column, channel) and channels are lanes: 28
// (stored as 32), 48, 64 and 128 channels fill them, and the small maps waste nothing at their borders. All layers,
// dense ones too, are one register tile: a few items (pixels of a row, or the crops of the batch) by one to three
// vectors of channels. Layers with few outputs a crop take the crops of the batch as items, so that weights are read
// once a batch.
#pragma once

#include <type_traits>

#include "kernels.h"
#include "resample.h"
#include "simd.h"

namespace mtcnn_fast {
namespace {

// kRuns x kColumns runs of kRun inputs each; consecutive runs of a row lie kRunStride floats apart.
template <int kRuns, int kRunStride, int kRun>
struct Taps {
  static constexpr int runs = kRuns, run_stride = kRunStride, run = kRun;
};

// out[item] = PReLU(bias + sum over the taps of in[item]) for kItems items that lie kItemStride floats apart.
template <class T, int kItemStride, int kItems, int kVectors, bool kPrelu>
inline void item_tile(const float* in, std::ptrdiff_t row_stride, int rows, const float* weight, const float* bias,
                      const float* slope, float* out, std::ptrdiff_t out_stride) {
  F32 sum[kItems][kVectors];
#pragma GCC unroll 12
  for (int m = 0; m < kItems; ++m)
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[m][v] = load(bias + v * kLanes);
  for (int row = 0; row < rows; ++row, in += row_stride) {
    for (int r = 0; r < T::runs; ++r) {
      const float* from = in + r * T::run_stride;
      for (int k = 0; k < T::run; ++k, weight += kVectors * kLanes) {
        F32 w[kVectors];
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) w[v] = load(weight + v * kLanes);
#pragma GCC unroll 12
        for (int m = 0; m < kItems; ++m) {
          const F32 x = splat(from[k + m * kItemStride]);
#pragma GCC unroll 3
          for (int v = 0; v < kVectors; ++v) sum[m][v] = fma(x, w[v], sum[m][v]);
        }
      }
    }
  }
#pragma GCC unroll 12
  for (int m = 0; m < kItems; ++m)
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v)
      store(out + m * out_stride + v * kLanes, kPrelu ? prelu(sum[m][v], load(slope + v * kLanes)) : sum[m][v]);
}

// The largest tile whose sums, one tap's weights and one input fit the registers.
constexpr int max_items(int vectors) { return kRegisters >= 32 ? (vectors == 3 ? 9 : 12) : vectors == 3 ? 4 : 6; }

// `items` items in tiles of nearly equal size: 22 is 11 + 11, not 12 + 10.
template <class T, int kItemStride, int kOut, bool kPrelu>
inline void layer_items(const float* in, std::ptrdiff_t row_stride, int rows, const Layer& layer, int items, float* out,
                        std::ptrdiff_t out_stride) {
  constexpr int kVectors = tile_vectors(kOut / kLanes);
  constexpr int kMost = max_items(kVectors);
  const int tiles = (items + kMost - 1) / kMost;
  const std::ptrdiff_t weights = static_cast<std::ptrdiff_t>(rows) * T::runs * T::run * kVectors * kLanes;
  const float* weight = layer.weight;
  for (int n = 0; n < kOut; n += kVectors * kLanes, weight += weights) {
    for (int t = 0, m = 0; t < tiles; ++t) {
      const int here = items / tiles + (t < items % tiles);
      const auto tile = [&]<int kItems>() {
        if constexpr (kItems <= kMost)
          item_tile<T, kItemStride, kItems, kVectors, kPrelu>(in + m * kItemStride, row_stride, rows, weight,
                                                              layer.bias + n, layer.slope + n, out + m * out_stride + n,
                                                              out_stride);
      };
      switch (here) {
        case 1:
          tile.template operator()<1>();
          break;
        case 2:
          tile.template operator()<2>();
          break;
        case 3:
          tile.template operator()<3>();
          break;
        case 4:
          tile.template operator()<4>();
          break;
        case 5:
          tile.template operator()<5>();
          break;
        case 6:
          tile.template operator()<6>();
          break;
        case 7:
          tile.template operator()<7>();
          break;
        case 8:
          tile.template operator()<8>();
          break;
        case 9:
          tile.template operator()<9>();
          break;
        case 10:
          tile.template operator()<10>();
          break;
        case 11:
          tile.template operator()<11>();
          break;
        case 12:
          tile.template operator()<12>();
          break;
      }
      m += here;
    }
  }
}

// One output row of max-pooling over `size` x `size` windows, stride 2, ceil mode: windows are cut at the map's border.
template <int kChannels>
inline void pool_row(const float* const* rows, int row_count, int width, int size, int outputs, float* out) {
  for (int x = 0; x < outputs; ++x) {
    const int columns = width - 2 * x < size ? width - 2 * x : size;
    for (int c = 0; c < kChannels; c += kLanes) {
      F32 most = load(rows[0] + 2 * x * kChannels + c);
      for (int r = 0; r < row_count; ++r)
        for (int k = 0; k < columns; ++k) most = max(most, load(rows[r] + (2 * x + k) * kChannels + c));
      store(out + x * kChannels + c, most);
    }
  }
}

// Convolution of a kSide x kSide map with PReLU, then max-pooling kPool / 2 in ceil mode. Only the rows of one pooling
// window are kept in between. kIn of kInStride channels are real; kOut outputs are a multiple of kChannelPad.
template <int kSide, int kIn, int kInStride, int kKernel, int kOut, int kPool>
struct ConvPool {
  static constexpr int conv_side = kSide - kKernel + 1;
  static constexpr int side = (conv_side - kPool + 1) / 2 + 1;  // ceil((conv_side - kPool) / 2) + 1
  static constexpr int ring = conv_side * kOut * kPool;

  static void run(const float* in, const Layer& layer, float* out, float* scratch) {
    using T = std::conditional_t<kIn == kInStride, Taps<1, 0, kKernel * kIn>, Taps<kKernel, kInStride, kIn>>;
    int ready = 0;  // convolution rows computed; row r lies at r % kPool
    for (int y = 0; y < side; ++y) {
      const int end = 2 * y + kPool < conv_side ? 2 * y + kPool : conv_side;
      for (; ready < end; ++ready)
        layer_items<T, kInStride, kOut, true>(in + static_cast<std::ptrdiff_t>(ready) * kSide * kInStride,
                                              kSide * kInStride, kKernel, layer, conv_side,
                                              scratch + ready % kPool * conv_side * kOut, kOut);
      const float* rows[kPool];
      int count = 0;
      for (int r = 2 * y; r < end; ++r) rows[count++] = scratch + r % kPool * conv_side * kOut;
      pool_row<kOut>(rows, count, conv_side, kPool, side, out + y * side * kOut);
    }
  }
};

// 2x2 convolution with PReLU of n kSide x kSide maps, the maps as items.
template <int kSide, int kIn, int kOut>
inline void conv2x2_batch(const float* in, int n, const Layer& layer, float* out) {
  constexpr int kOutSide = kSide - 1;
  for (int y = 0; y < kOutSide; ++y)
    for (int x = 0; x < kOutSide; ++x)
      layer_items<Taps<1, 0, 2 * kIn>, kSide * kSide * kIn, kOut, true>(in + (y * kSide + x) * kIn, kSide * kIn, 2,
                                                                        layer, n, out + (y * kOutSide + x) * kOut,
                                                                        kOutSide * kOutSide * kOut);
}

template <int kIn, int kOut, bool kPrelu>
inline void dense(const float* in, int n, const Layer& layer, float* out) {
  layer_items<Taps<1, 0, kIn>, kIn, kOut, kPrelu>(in, 0, 1, layer, n, out, kOut);
}

// Of R-Net and O-Net, the layers that need room, and that room in floats.
struct Rnet {
  using Conv1 = ConvPool<kRnetSide, 3, 3, 3, 32, 3>;
  using Conv2 = ConvPool<Conv1::side, 28, 32, 3, 48, 3>;
  static constexpr int conv2_out = Conv2::side * Conv2::side * 48;
  static constexpr int features = (Conv2::side - 1) * (Conv2::side - 1) * 64;
  static constexpr int hidden = 128;
  static constexpr int ring = Conv1::ring > Conv2::ring ? Conv1::ring : Conv2::ring;
  static constexpr int maps = Conv1::side * Conv1::side * 32;
};
struct Onet {
  using Conv1 = ConvPool<kOnetSide, 3, 3, 3, 32, 3>;
  using Conv2 = ConvPool<Conv1::side, 32, 32, 3, 64, 3>;
  using Conv3 = ConvPool<Conv2::side, 64, 64, 3, 64, 2>;
  static constexpr int conv3_out = Conv3::side * Conv3::side * 64;
  static constexpr int features = (Conv3::side - 1) * (Conv3::side - 1) * 128;
  static constexpr int hidden = 256;
  static constexpr int ring = Conv1::ring > Conv2::ring ? Conv1::ring : Conv2::ring;
  static constexpr int maps1 = Conv1::side * Conv1::side * 32;
  static constexpr int maps2 = Conv2::side * Conv2::side * 64;
};
static_assert(Rnet::Conv1::side == 11 && Rnet::Conv2::side == 4 && Rnet::features == 576);
static_assert(Onet::Conv1::side == 23 && Onet::Conv2::side == 10 && Onet::Conv3::side == 4 && Onet::features == 1152);

std::size_t refine_scratch() {
  return Onet::ring + Onet::maps1 + Onet::maps2 +
         static_cast<std::size_t>(kMaxRefineBatch) * (Onet::conv3_out + Onet::features + Onet::hidden);
}

void rnet(const RefineWeights& weights, const float* crops, int n, float* out, float* scratch) {
  float* const ring = scratch;
  float* const maps = ring + Rnet::ring;
  float* const conv2 = maps + Rnet::maps;
  float* const features = conv2 + n * Rnet::conv2_out;
  float* const hidden = features + n * Rnet::features;
  for (int i = 0; i < n; ++i) {
    Rnet::Conv1::run(crops + static_cast<std::ptrdiff_t>(i) * kRnetSide * kRnetSide * 3, weights.conv1, maps, ring);
    Rnet::Conv2::run(maps, weights.conv2, conv2 + i * Rnet::conv2_out, ring);
  }
  conv2x2_batch<Rnet::Conv2::side, 48, 64>(conv2, n, weights.conv3, features);
  dense<Rnet::features, Rnet::hidden, true>(features, n, weights.fc, hidden);
  dense<Rnet::hidden, kHeadOutputs, false>(hidden, n, weights.heads, out);
}

void onet(const RefineWeights& weights, const float* crops, int n, float* out, float* scratch) {
  float* const ring = scratch;
  float* const maps1 = ring + Onet::ring;
  float* const maps2 = maps1 + Onet::maps1;
  float* const conv3 = maps2 + Onet::maps2;
  float* const features = conv3 + n * Onet::conv3_out;
  float* const hidden = features + n * Onet::features;
  for (int i = 0; i < n; ++i) {
    Onet::Conv1::run(crops + static_cast<std::ptrdiff_t>(i) * kOnetSide * kOnetSide * 3, weights.conv1, maps1, ring);
    Onet::Conv2::run(maps1, weights.conv2, maps2, ring);
    Onet::Conv3::run(maps2, weights.conv3, conv3 + i * Onet::conv3_out, ring);
  }
  conv2x2_batch<Onet::Conv3::side, 64, 128>(conv3, n, weights.conv4, features);
  dense<Onet::features, Onet::hidden, true>(features, n, weights.fc, hidden);
  dense<Onet::hidden, kHeadOutputs, false>(hidden, n, weights.heads, out);
}

}  // namespace
}  // namespace mtcnn_fast
