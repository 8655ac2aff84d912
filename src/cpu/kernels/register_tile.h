// The register tile of R-Net's and O-Net's layers, and their pooling. Channels are lanes.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

// out[item] = PReLU(bias + sum over the taps of in[item]) for kItems items that lie kItemStride floats apart. An item
// has kTaps inputs. Not inlined: GCC 12 runs out of registers for the addresses (conv1 of R-Net with
// AVX2: 13.8 instead of 8.9 microseconds per crop).
template <int kTaps, int kItemStride, int kItems, int kVectors, bool kPrelu>
__attribute__((noinline)) void item_register_tile(const float* in, const float* weight, const float* bias,
                                                  const float* slope, float* out, std::ptrdiff_t out_stride) {
  F32 sum[kItems][kVectors];
#pragma GCC unroll 14
  for (int m = 0; m < kItems; ++m)
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[m][v] = load(bias + v * kLanes);
#pragma GCC unroll 4
  for (int k = 0; k < kTaps; ++k, weight += kVectors * kLanes) {
    F32 w[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) w[v] = load(weight + v * kLanes);
#pragma GCC unroll 14
    for (int m = 0; m < kItems; ++m) {
      const F32 x = splat(in[k + m * kItemStride]);
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[m][v] = fma(x, w[v], sum[m][v]);
    }
  }
#pragma GCC unroll 14
  for (int m = 0; m < kItems; ++m)
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v)
      store(out + m * out_stride + v * kLanes, kPrelu ? prelu(sum[m][v], load(slope + v * kLanes)) : sum[m][v]);
}

// The largest tile whose sums, one tap's weights and one input fit the registers. NEON has no operands in memory: GCC
// 12 keeps inputs of several items in registers, and from 11 items on sums go through the stack.
#if defined(__ARM_NEON)
constexpr int max_items(int vectors) { return vectors == 3 ? 6 : 10; }
#else
constexpr int max_items(int vectors) { return kRegisters >= 32 ? (vectors == 3 ? 9 : 13) : vectors == 3 ? 4 : 6; }
#endif

// f.template operator()<items>(), for 1 to kMost items.
template <int kMost, class F>
inline void with_items(int items, const F& f) {
  if constexpr (kMost > 1)
    if (items < kMost) return with_items<kMost - 1>(items, f);
  f.template operator()<kMost>();
}

// out[item] for `items` items, which lie kItemStride floats apart, in tiles of nearly equal size: 24 is 12 + 12, not
// 13 + 11.
template <int kTaps, int kItemStride, int kOut, bool kPrelu>
inline void layer_items(const float* in, const Layer& layer, int items, float* out) {
  constexpr int kVectors = register_tile_vectors(kOut / kLanes);
  constexpr int kMost = max_items(kVectors);
  const int tiles = (items + kMost - 1) / kMost;
  const float* weight = layer.weight;
  for (int n = 0; n < kOut; n += kVectors * kLanes, weight += kTaps * kVectors * kLanes) {
    for (int t = 0, m = 0; t < tiles; ++t) {
      const int here = items / tiles + (t < items % tiles);
      with_items<kMost>(here, [&]<int kItems>() {
        item_register_tile<kTaps, kItemStride, kItems, kVectors, kPrelu>(in + m * kItemStride, weight, layer.bias + n,
                                                                         layer.slope + n, out + m * kOut + n, kOut);
      });
      m += here;
    }
  }
}

// Max-pooling over kPool x kPool windows, stride 2, ceil mode: windows are cut at the map's border.
template <int kWidth, int kChannels, int kPool>
struct Pool {
  static constexpr int side = (kWidth - kPool + 1) / 2 + 1;  // ceil((kWidth - kPool) / 2) + 1

  // One output row, from kRows rows of the map. Neighbouring windows share a column, whose maximum is taken once.
  template <int kRows>
  static void row(const float* const* rows, float* out) {
    for (int c = 0; c < kChannels; c += kLanes) {
      const auto column = [&](int x) {
        F32 most = load(rows[0] + x * kChannels + c);
#pragma GCC unroll 3
        for (int r = 1; r < kRows; ++r) most = max(most, load(rows[r] + x * kChannels + c));
        return most;
      };
      constexpr int kWhole = (kWidth - kPool) / 2 + 1;
      F32 first = column(0);
      for (int x = 0; x < kWhole; ++x) {
        const F32 second = max(first, column(2 * x + 1));
        if constexpr (kPool == 3) {
          first = column(2 * x + 2);
          store(out + x * kChannels + c, max(second, first));
        } else {
          store(out + x * kChannels + c, second);
          if (x + 1 < side) first = column(2 * x + 2);
        }
      }
      if constexpr (kWhole < side) {
        if constexpr (kPool == 3) first = max(first, column(kWidth - 1));
        store(out + kWhole * kChannels + c, first);
      }
    }
  }

  // Output row y. Row r of the map lies at r % kRing of `ring`.
  template <int kRing>
  static void row_of_ring(const float* ring, int y, float* out) {
    const float* rows[kPool];
    for (int r = 0; r < kPool; ++r) rows[r] = ring + (2 * y + r) % kRing * kWidth * kChannels;
    if (2 * y + kPool <= kWidth)
      row<kPool>(rows, out);
    else
      row<kPool - 1>(rows, out);
  }
};

}  // namespace
}  // namespace mtcnn_fast
