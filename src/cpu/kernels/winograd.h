// R-Net's and O-Net's convolutions by Winograd tiles (winograd_transforms.h). A tile's inputs and, when they are
// packed, the weights are evaluated at a few points, the channels are summed up there, and the outputs are
// interpolated. Tiles are items and channels are lanes, as in refine.h.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/register_tile.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/winograd_transforms.h"

namespace mtcnn_fast {
namespace {

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
        with_items<most>(here, [&]<int kItems>() { sum_up<kItems>(inputs, weight, sums); });
        transform_outputs(sums, first, here, layer.bias + n, layer.slope + n, out + n);
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
#pragma GCC unroll 6
        for (int x = 0; x < edge; ++x)
          Winograd<edge>::input([&](int y) { return load(from + (y * kSide + x) * kInStride + c); },
                                [&](int y, F32 value) { half[x][y] = value; });
#pragma GCC unroll 6
        for (int y = 0; y < edge; ++y)
          Winograd<edge>::input(
              [&](int x) { return half[x][y]; },
              [&](int x, F32 value) { store(inputs + (y * edge + x) * most * kInStride + c, value); });
      }
    }
  }

  // [point][tile][channel] of `channels` outputs.
  template <int kItems>
  static void sum_up(const float* inputs, const float* weight, float* sums) {
    alignas(64) static constexpr float kZero[channels] = {};
    for (int p = 0; p < points; ++p)
      item_register_tile<kIn, kInStride, kItems, vectors, false>(inputs + p * most * kInStride,
                                                                 weight + p * kIn * channels, kZero, nullptr,
                                                                 sums + p * most * channels, channels);
  }

  static void transform_outputs(const float* sums, int first, int count, const float* bias, const float* slope,
                                float* out) {
    for (int i = 0; i < count; ++i, sums += channels) {
      float* const to = out + corner<side, kOut>(first + i);
      for (int v = 0; v < channels; v += kLanes) {
        const F32 start = load(bias + v), leak = load(slope + v);
        F32 half[edge][kTile];  // [column][row]
#pragma GCC unroll 6
        for (int x = 0; x < edge; ++x)
          Winograd<edge>::template output<kTile>(
              [&](int y) { return load(sums + (y * edge + x) * most * channels + v); },
              [&](int y, F32 value) { half[x][y] = value; });
#pragma GCC unroll 6
        for (int y = 0; y < kTile; ++y)
          Winograd<edge>::template output<kTile>(
              [&](int x) { return half[x][y]; },
              [&](int x, F32 value) { store(to + (y * side + x) * kOut + v, prelu(value, leak)); }, start);
      }
    }
  }
};

// With max-pooling kPool / 2 in ceil mode, of at most kMaps maps together: where a map has few tiles, those of several
// fill the register tile.
template <class Conv, int kOut, int kPool, int kMaps>
struct WinogradPool {
  using Pooling = Pool<Conv::side, kOut, kPool>;
  static constexpr int side = Pooling::side, most_maps = kMaps;
  static constexpr int scratch = Conv::scratch + kMaps * Conv::side * Conv::side * kOut;

  static void run(const float* in, int maps, const Layer& layer, float* out, float* scratch) {
    const float* map = scratch + Conv::scratch;
    Conv::run(in, maps, layer, scratch + Conv::scratch, scratch);
    for (int i = 0; i < maps; ++i, map += Conv::side * Conv::side * kOut, out += side * side * kOut)
      for (int y = 0; y < side; ++y) Pooling::template row_of_ring<Conv::side>(map, y, out + y * side * kOut);
  }
};

// The first layer, of three interleaved channels, with max-pooling. Points lie along rows only: the outputs of a tile
// of a row take 9 edge multiplications instead of 27 tile. Along both axes it would be fewer, but with three channels
// to sum up, transforms would be most of it.
template <int kSide, int kOut, int kPool>
struct WinogradRowsPool {
  using Transform = WinogradPixels;
  static constexpr int tile = Transform::tile, edge = Transform::edge;
  static constexpr int conv_side = kSide - 2, tiles = (conv_side + tile - 1) / tile;
  static constexpr int vectors = register_tile_vectors(kOut / kLanes), channels = vectors * kLanes;
  // Tiles of a row are summed up in equal groups, each a register tile.
  static constexpr int groups = (tiles + max_items(vectors) - 1) / max_items(vectors), group = tiles / groups;
  static_assert(groups * group == tiles);
  using Pooling = Pool<conv_side, kOut, kPool>;
  static constexpr int side = Pooling::side;

  // Where a tile begins. The last one overlaps its neighbour where the row is no multiple of a tile: both give what
  // they share, and the last one's counts.
  static constexpr int begin(int t) { return (t + 1) * tile <= conv_side ? t * tile : conv_side - tile; }

  // Of an input row: edge lines, one a point, of the values at every position.
  static constexpr int positions = 3 * (conv_side - tile + 1), line = 3 * kSide;
  static constexpr int lines = edge * line, map_row = conv_side * kOut;
  static constexpr int scratch = 3 * lines + kPool * map_row + edge * group * channels;

  static void transform_row(const float* in, float* out) {
    for (int p = 0; p < positions; p += kLanes) {
      const int at = p + kLanes < positions ? p : positions - kLanes;  // nothing beyond the row is read
      Transform::input([&](int k) { return load(in + at + 3 * k); },
                       [&](int k, F32 value) { store(out + k * line + at, value); });
    }
  }

  // The tiles from kFirst on at one point, [tile][channel], from its lines of three input rows. One point at a time,
  // because the sums of all points of as many tiles do not fit 16 registers: with fewer tiles, loads are the limit.
  template <int kFirst>
  __attribute__((noinline)) static void sum_up(const float* const* rows, std::ptrdiff_t point, const float* weight,
                                               float* sums) {
    F32 sum[group][vectors];
#pragma GCC unroll 12
    for (int t = 0; t < group; ++t)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sum[t][v] = F32{};
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const float* const from = rows[r] + point * line;
#pragma GCC unroll 3
      for (int c = 0; c < 3; ++c, weight += channels) {
        F32 w[vectors];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) w[v] = in_register(load(weight + v * kLanes));
#pragma GCC unroll 12
        for (int t = 0; t < group; ++t) {
          const F32 x = splat(from[3 * begin(kFirst + t) + c]);
#pragma GCC unroll 2
          for (int v = 0; v < vectors; ++v) sum[t][v] = fma(x, w[v], sum[t][v]);
        }
      }
    }
#pragma GCC unroll 12
    for (int t = 0; t < group; ++t)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) store(sums + t * channels + v * kLanes, sum[t][v]);
  }

  static void transform_outputs(const float* sums, int first, const float* bias, const float* slope, float* out) {
    for (int v = 0; v < channels; v += kLanes) {
      const F32 start = load(bias + v), leak = load(slope + v);
      for (int t = 0; t < group; ++t)
        Transform::output([&](int p) { return load(sums + (p * group + t) * channels + v); },
                          [&](int k, F32 value) { store(out + (begin(first + t) + k) * kOut + v, prelu(value, leak)); },
                          start);
    }
  }

  static void convolve_row(const float* const* rows, const Layer& layer, float* out, float* sums) {
    for (int n = 0; n < kOut; n += channels) {
      const float* const weight = layer.weight + n * edge * 9;
      for_constants<groups>([&]<int kGroup>() {
        for (int p = 0; p < edge; ++p)
          sum_up<kGroup * group>(rows, p, weight + p * 9 * channels, sums + p * group * channels);
        transform_outputs(sums, kGroup * group, layer.bias + n, layer.slope + n, out + n);
      });
    }
  }

  static void run(const float* in, const Layer& layer, float* out, float* scratch) {
    float* const map = scratch + 3 * lines;  // row r lies at r % kPool, lines of input row r at r % 3
    float* const sums = map + kPool * map_row;
    int read = 0, ready = 0;
    for (int y = 0; y < side; ++y) {
      for (; ready < 2 * y + kPool && ready < conv_side; ++ready) {
        for (; read < ready + 3; ++read) transform_row(in + read * line, scratch + read % 3 * lines);
        const float* rows[3];
        for (int r = 0; r < 3; ++r) rows[r] = scratch + (ready + r) % 3 * lines;
        convolve_row(rows, layer, map + ready % kPool * map_row, sums);
      }
      Pooling::template row_of_ring<kPool>(map, y, out + y * side * kOut);
    }
  }
};

}  // namespace
}  // namespace mtcnn_fast
