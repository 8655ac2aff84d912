// Convolutions with fewer multiplications: Winograd's minimal filtering as Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks" (2016), apply it to tiles of outputs. A tile's inputs and, when they are packed, the
// weights are evaluated at a few points, the channels are summed up there, and the outputs are interpolated. Tiles are
// items and channels are lanes, as in refine.h.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/register_tile.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

// Along one axis: input() multiplies by B^T, output() by A^T in the paper's names; kEdge inputs, finite points of
// kWinogradPoints and infinity. Every factor is a sum of powers of two and exact; what has none (thirds) stands in the
// weights. Values are read by get(index) and written by set(index, value): GCC 12 would keep arrays of them in memory
// (the inputs of five tiles of O-Net's conv2 with AVX-512: 0.57 instead of 0.17 microseconds).
template <int kEdge>
struct Winograd;

template <>
struct Winograd<4> {
  template <class Get, class Set>
  static void input(const Get& get, const Set& set) {
    const F32 d1 = get(1), d2 = get(2);
    set(0, d2 - get(0));
    set(1, d2 + d1);
    set(2, d2 - d1);
    set(3, get(3) - d1);
  }
  template <int kTile, class Get, class Set>
  static void output(const Get& get, const Set& set) {
    static_assert(kTile == 2 || kTile == 3);
    const F32 m1 = get(1), m2 = get(2), even = m1 + m2, odd = m1 - m2;
    set(0, get(0) + even);
    if constexpr (kTile == 2) {
      set(1, get(3) + odd);
    } else {
      set(1, odd);
      set(2, get(3) + even);
    }
  }
};

template <>
struct Winograd<5> {
  template <class Get, class Set>
  static void input(const Get& get, const Set& set) {
    const F32 d1 = get(1), d2 = get(2), d3 = get(3), half = splat(0.5f), odd = d3 - d1;
    set(0, fma(half, get(0) - d2, odd));
    set(1, fma(half, d2 - d1, d3));
    set(2, fma(half, d1, fma(splat(-1.5f), d2, d3)));
    set(3, odd);
    set(4, fma(splat(-0.5f), odd, get(4) - d2));
  }
  template <int kTile, class Get, class Set>
  static void output(const Get& get, const Set& set) {
    static_assert(kTile == 3);
    const F32 m1 = get(1), m2 = get(2), m3 = get(3), even = m1 + m2;
    set(0, get(0) + (even + m3));
    set(1, fma(splat(0.5f), m3, m1 - m2));
    set(2, get(4) + fma(splat(0.25f), m3, even));
  }
};

// Convolution with PReLU of kSide x kSide maps by tiles of kTile x kTile outputs. kIn of kInStride channels are real;
// kOut outputs are a multiple of kChannelPad.
template <int kSide, int kIn, int kInStride, int kOut, int kKernel, int kTile>
struct WinogradConv {
  static constexpr int side = kSide - kKernel + 1;
  static constexpr int tile_row = side / kTile, tiles = tile_row * tile_row;  // of a map
  static_assert(tile_row * kTile == side);
  static constexpr int edge = kTile + kKernel - 1, points = edge * edge;
  static constexpr int vectors = register_tile_vectors(kOut / kLanes), channels = vectors * kLanes;
  static constexpr int most = max_items(vectors);
  static constexpr int scratch = points * most * (kInStride + channels);

  // `maps` of them, one after the other. A few tiles at a time, of one map or of several.
  static void run(const float* in, int maps, const Layer& layer, float* out, float* scratch) {
    float* const inputs = scratch;
    float* const sums = inputs + points * most * kInStride;
    const int count = maps * tiles, parts = (count + most - 1) / most;
    for (int part = 0, first = 0; part < parts; ++part) {
      const int here = count / parts + (part < count % parts);
      transform_inputs(in, first, here, inputs);
      const float* weight = layer.weight;
      for (int n = 0; n < kOut; n += channels, weight += points * kIn * channels) {
        with_items<most>(here, [&]<int kItems>() { sum_up<kItems>(inputs, weight, layer.bias + n, sums); });
        transform_outputs(sums, first, here, layer.slope + n, out + n);
      }
      first += here;
    }
  }

 private:
  // Where tile t begins in maps of kMapSide x kMapSide.
  template <int kMapSide, int kChannels>
  static std::ptrdiff_t corner(int t) {
    const int map = t / tiles, y = t % tiles / tile_row * kTile, x = t % tile_row * kTile;
    return static_cast<std::ptrdiff_t>((map * kMapSide + y) * kMapSide + x) * kChannels;
  }

  // [point][tile][channel]
  static void transform_inputs(const float* in, int first, int count, float* inputs) {
    for (int i = 0; i < count; ++i, inputs += kInStride) {
      const float* from = in + corner<kSide, kInStride>(first + i);
      for (int c = 0; c < kInStride; c += kLanes) {
        F32 half[edge][edge];  // [column][row]
#pragma GCC unroll 5
        for (int x = 0; x < edge; ++x)
          Winograd<edge>::input([&](int y) { return load(from + (y * kSide + x) * kInStride + c); },
                                [&](int y, F32 value) { half[x][y] = value; });
#pragma GCC unroll 5
        for (int y = 0; y < edge; ++y)
          Winograd<edge>::input(
              [&](int x) { return half[x][y]; },
              [&](int x, F32 value) { store(inputs + (y * edge + x) * most * kInStride + c, value); });
      }
    }
  }

  // [point][tile][channel] of `channels` outputs. The point (1, 1) counts once in every output of a tile, and so brings
  // the bias.
  template <int kItems>
  static void sum_up(const float* inputs, const float* weight, const float* bias, float* sums) {
    alignas(64) static constexpr float kZero[channels] = {};
    for (int p = 0; p < points; ++p)
      item_register_tile<kIn, kInStride, kItems, vectors, false>(
          inputs + p * most * kInStride, weight + p * kIn * channels, p == edge + 1 ? bias : kZero, nullptr,
          sums + p * most * channels, channels);
  }

  static void transform_outputs(const float* sums, int first, int count, const float* slope, float* out) {
    for (int i = 0; i < count; ++i, sums += channels) {
      float* const to = out + corner<side, kOut>(first + i);
      for (int v = 0; v < channels; v += kLanes) {
        const F32 a = load(slope + v);
        F32 half[edge][kTile];  // [column][row]
#pragma GCC unroll 5
        for (int x = 0; x < edge; ++x)
          Winograd<edge>::template output<kTile>(
              [&](int y) { return load(sums + (y * edge + x) * most * channels + v); },
              [&](int y, F32 value) { half[x][y] = value; });
#pragma GCC unroll 5
        for (int y = 0; y < kTile; ++y)
          Winograd<edge>::template output<kTile>(
              [&](int x) { return half[x][y]; },
              [&](int x, F32 value) { store(to + (y * side + x) * kOut + v, prelu(value, a)); });
      }
    }
  }
};

// Of one map, with max-pooling kPool / 2 in ceil mode.
template <class Conv, int kOut, int kPool>
struct WinogradPool {
  using Pooling = Pool<Conv::side, kOut, kPool>;
  static constexpr int side = Pooling::side;
  static constexpr int scratch = Conv::scratch + Conv::side * Conv::side * kOut;

  static void run(const float* in, const Layer& layer, float* out, float* scratch) {
    float* const map = scratch + Conv::scratch;
    Conv::run(in, 1, layer, map, scratch);
    for (int y = 0; y < side; ++y) Pooling::template row_of_ring<Conv::side>(map, y, out + y * side * kOut);
  }
};

// The first layer, of three interleaved channels, with max-pooling. Points lie along rows only: kTile outputs of a row
// take 9 (kTile + 2) multiplications instead of 27 kTile, and their points all fit the registers, where the outputs are
// made of them. Along both axes it would be fewer, but with three channels to sum up, transforms would be most of it.
template <int kSide, int kOut, int kPool>
struct WinogradRowsPool {
  static constexpr int kTile = kConv1WinogradTile;
  static constexpr int conv_side = kSide - 2, tile_row = conv_side / kTile, edge = kTile + 2;
  static_assert(tile_row * kTile == conv_side);
  static constexpr int weight_vectors = register_tile_vectors(kOut / kLanes);
  using Pooling = Pool<conv_side, kOut, kPool>;
  static constexpr int side = Pooling::side;

  // Of an input row: edge lines, one a point, of the values at every position.
  static constexpr int positions = 3 * (conv_side - kTile + 1), line = 3 * kSide;
  static constexpr int lines = edge * line, map_row = conv_side * kOut;
  static constexpr int scratch = 3 * lines + kPool * map_row;

  static void transform_row(const float* in, float* out) {
    for (int p = 0; p < positions; p += kLanes) {
      const int at = p + kLanes < positions ? p : positions - kLanes;  // nothing beyond the row is read
      Winograd<edge>::input([&](int k) { return load(in + at + 3 * k); },
                            [&](int k, F32 value) { store(out + k * line + at, value); });
    }
  }

  // kTiles tiles of a row, kVectors vectors of channels of them, from the lines of three input rows.
  template <int kTiles, int kVectors>
  __attribute__((noinline)) static void tiles(const float* const* rows, const float* weight, const float* bias,
                                              const float* slope, float* out) {
    F32 sum[kTiles][kVectors][edge];
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 5
        for (int p = 0; p < edge; ++p) sum[t][v][p] = p == 1 ? load(bias + v * kLanes) : F32{};
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const float* const from = rows[r];
#pragma GCC unroll 3
      for (int c = 0; c < 3; ++c)
#pragma GCC unroll 5
        for (int p = 0; p < edge; ++p, weight += weight_vectors * kLanes) {
          F32 w[kVectors];
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) w[v] = in_register(load(weight + v * kLanes));
#pragma GCC unroll 4
          for (int t = 0; t < kTiles; ++t) {
            const F32 x = splat(from[p * line + 3 * kTile * t + c]);
#pragma GCC unroll 2
            for (int v = 0; v < kVectors; ++v) sum[t][v][p] = fma(x, w[v], sum[t][v][p]);
          }
        }
    }
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const F32 a = load(slope + v * kLanes);
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t)
        Winograd<edge>::template output<kTile>(
            [&](int p) { return sum[t][v][p]; },
            [&](int k, F32 value) { store(out + (t * kTile + k) * kOut + v * kLanes, prelu(value, a)); });
    }
  }

  static void convolve_row(const float* const* rows, const Layer& layer, float* out) {
    // Three tiles of four points: 24 sums of the 32 registers, or 12 of 16.
    constexpr int kVectors = kRegisters >= 32 ? weight_vectors : 1, kTiles = 3;
    for (int n = 0; n < kOut; n += kVectors * kLanes) {
      const int within = n % (weight_vectors * kLanes);
      const float* const weight = layer.weight + (n - within) * 9 * edge + within;
      const float* at[3] = {rows[0], rows[1], rows[2]};
      int t = 0;
      for (; t + kTiles <= tile_row; t += kTiles) {
        tiles<kTiles, kVectors>(at, weight, layer.bias + n, layer.slope + n, out + t * kTile * kOut + n);
        for (const float*& row : at) row += 3 * kTile * kTiles;
      }
      if constexpr (tile_row % kTiles != 0)
        tiles<tile_row % kTiles, kVectors>(at, weight, layer.bias + n, layer.slope + n, out + t * kTile * kOut + n);
    }
  }

  static void run(const float* in, const Layer& layer, float* out, float* scratch) {
    float* const map = scratch + 3 * lines;  // row r lies at r % kPool, lines of input row r at r % 3
    int read = 0, ready = 0;
    for (int y = 0; y < side; ++y) {
      for (; ready < 2 * y + kPool && ready < conv_side; ++ready) {
        for (; read < ready + 3; ++read) transform_row(in + read * line, scratch + read % 3 * lines);
        const float* rows[3];
        for (int r = 0; r < 3; ++r) rows[r] = scratch + (ready + r) % 3 * lines;
        convolve_row(rows, layer, map + ready % kPool * map_row);
      }
      Pooling::template row_of_ring<kPool>(map, y, out + y * side * kOut);
    }
  }
};

}  // namespace
}  // namespace mtcnn_fast
