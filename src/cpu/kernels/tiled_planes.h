// 3x3 convolutions of P-Net by Winograd tiles of 2 rows x 4 columns, with pixels as lanes. winograd_transforms.h
// explains the tiles.
//
// Maps are kept as tiled planes: pixel (y, x) of a channel stands in plane (y % rows, x % columns) of the channel, at
// position (y / rows) * pitch + x / columns. So all inputs of a tile lie at one position of the channel's planes, and
// at its right and lower neighbours. The lanes of a vector are kLanes neighbouring tiles, and both transforms are
// arithmetic of whole vectors without a shuffle. The convolutions between the transforms are 1 x 1, one per point; they
// run at more than nine tenths of the peak.
//
// A value depends on where its tile begins, and in its last bits on all inputs of the tile.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/winograd_transforms.h"

namespace mtcnn_fast {
namespace {

// The two axes of a Winograd tile of P-Net.
struct TileRows : Winograd<4> {
  static constexpr int tile = 2, edge = 4;
};
struct TileColumns : Winograd<6> {
  static constexpr int tile = 4, edge = 6;
};

// Positions that a plane holds. From 128 to 320 they were measured to be equal within 5 %.
constexpr int kPositions = 256;
// Floats of a plane, with what vectors read and write beyond: an odd number of cache lines, because planes that lie a
// power of two apart share the same few lines of the cache. Known here, so that addresses are constants.
constexpr int kPlaneFloats = (kPositions + 2 * kLanes + 31) / 32 * 32 + 16;

template <int kRows, int kColumns>
struct TiledPlanes {
  float* data;
  int pitch;  // positions from one row of tiles to the next

  // Where row y >= 0 and column x >= 0 of the tile at position 0 stand.
  float* at(int channel, int y, int x) const {
    return data + ((channel * kRows + y % kRows) * kColumns + x % kColumns) * kPlaneFloats + y / kRows * pitch +
           x / kColumns;
  }
};

// A convolution with PReLU from tiled planes, of `lanes` tiles at a time.
template <int kIn, int kOut>
struct TiledConv {
  using Rows = TileRows;
  using Columns = TileColumns;
  using Planes = TiledPlanes<Rows::tile, Columns::tile>;
  static constexpr int points = Rows::edge * Columns::edge;
  // The register tile: block outputs of kVectors vectors. With 16 registers 4 x 3 is 7 % slower than 4 x 2, because the
  // transformed inputs of 24 tiles do not fit the first-level cache.
  static constexpr int block = planar_block(kOut, kRegisters);
  static constexpr int kVectors = kRegisters >= 32 ? 3 : 2;
  static constexpr int lanes = kVectors * kLanes;
  static constexpr int inputs_floats = points * kIn * lanes, sums_floats = points * block * lanes;

  // [point][channel][lane]
  __attribute__((noinline)) static void transform_inputs(const Planes& in, std::ptrdiff_t position, float* inputs) {
    const std::ptrdiff_t pitch = in.pitch;
    for (int i = 0; i < kIn; ++i) {
      const float* const base = in.at(i, 0, 0) + position;
      for (int v = 0; v < lanes; v += kLanes) {
        F32 half[Columns::edge][Rows::edge];
#pragma GCC unroll 6
        for (int x = 0; x < Columns::edge; ++x) {
          const float* const column = base + x % Columns::tile * kPlaneFloats + x / Columns::tile + v;
          Rows::input(
              [&](int y) {
                return load(column + y % Rows::tile * Columns::tile * kPlaneFloats + y / Rows::tile * pitch);
              },
              [&](int y, F32 value) { half[x][y] = value; });
        }
#pragma GCC unroll 4
        for (int y = 0; y < Rows::edge; ++y)
          Columns::input(
              [&](int x) { return half[x][y]; },
              [&](int x, F32 value) { store(inputs + ((y * Columns::edge + x) * kIn + i) * lanes + v, value); });
      }
    }
  }

  // [point][output of the block][lane], by weights [point][channel][output of the block].
  __attribute__((noinline)) static void sum_up(const float* inputs, const float* weight, float* sums) {
    for (int p = 0; p < points; ++p, sums += block * lanes) {
      F32 sum[block][kVectors];
#pragma GCC unroll 8
      for (int c = 0; c < block; ++c)
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) sum[c][v] = F32{};
#pragma GCC unroll 8
      for (int i = 0; i < kIn; ++i, inputs += lanes, weight += block) {
        F32 x[kVectors];
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) x[v] = load(inputs + v * kLanes);
        const Factors<block> factors(weight);
        for_constants<block>([&]<int c>() {
#pragma GCC unroll 3
          for (int v = 0; v < kVectors; ++v) sum[c][v] = factors.template multiply_add<c>(x[v], sum[c][v]);
        });
      }
#pragma GCC unroll 8
      for (int c = 0; c < block; ++c)
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) store(sums + (c * kVectors + v) * kLanes, sum[c][v]);
    }
  }

  // To out + ((output of the block * rows + y) * columns + x) * kStride.
  template <int kStride>
  __attribute__((noinline)) static void transform_outputs(const float* sums, const float* bias, const float* slope,
                                                          float* out) {
    for (int c = 0; c < block; ++c, out += Rows::tile * Columns::tile * kStride) {
      const F32 start = splat(bias[c]), leak = splat(slope[c]);
      for (int v = 0; v < kVectors; ++v) {
        const float* const from = sums + (c * kVectors + v) * kLanes;
        F32 half[Rows::tile][Columns::edge];
#pragma GCC unroll 6
        for (int x = 0; x < Columns::edge; ++x)
          Rows::output<Rows::tile>([&](int y) { return load(from + (y * Columns::edge + x) * block * lanes); },
                                   [&](int y, F32 value) { half[y][x] = value; });
#pragma GCC unroll 2
        for (int y = 0; y < Rows::tile; ++y)
          Columns::output<Columns::tile>([&](int x) { return half[y][x]; },
                                         [&](int x, F32 value) {
                                           store(out + (y * Columns::tile + x) * kStride + v * kLanes,
                                                 prelu(value, leak));
                                         },
                                         start);
      }
    }
  }

  // All outputs of the tiles from `position` on.
  template <int kStride>
  static void run(const Planes& in, std::ptrdiff_t position, const Layer& layer, float* out, float* inputs,
                  float* sums) {
    transform_inputs(in, position, inputs);
    for (int c = 0; c < kOut; c += block) {
      sum_up(inputs, layer.weight + c * points * kIn, sums);
      transform_outputs<kStride>(sums, layer.bias + c, layer.slope + c, out + c * Rows::tile * Columns::tile * kStride);
    }
  }
};

// P-Net's first convolution with PReLU and 2x2 max-pooling. Its points lie along columns only: four of its rows, which
// are two pooled ones, take 6 products instead of 12. Along both axes, the transforms of three channels would cost what
// the products spare. It reads planes of 4 x 8, so that both columns of a pooled pixel are vectors at one position.
struct TiledConv1 {
  using Rows = WinogradPixels;
  using Planes = TiledPlanes<2 * TileRows::tile, 2 * TileColumns::tile>;
  using Pooled = TiledPlanes<TileRows::tile, TileColumns::tile>;
  static constexpr int channels = 3, outputs = 10, block = planar_block(outputs, kRegisters), taps = 3;
  static constexpr int columns = 2 * TileColumns::tile + 2;  // that a pooled tile looks at
  static constexpr int inputs_floats = Rows::edge * channels * columns * kLanes;
  static constexpr int sums_floats = Rows::edge * block * 2 * kLanes;

  // Lanes in which the level ends after the first column, or the first row, of a pooled pixel: the second is not there.
  struct Cut {
    I32 column, row[2];
  };

  // [point][channel][column][lane]
  __attribute__((noinline)) static void transform_inputs(const Planes& in, std::ptrdiff_t position, float* inputs) {
    const float* rows[Rows::edge];
    for (int y = 0; y < Rows::edge; ++y) rows[y] = in.at(0, y, 0) + position;
    const std::ptrdiff_t channel = in.at(1, 0, 0) - in.at(0, 0, 0);
    for (int i = 0; i < channels; ++i, inputs += columns * kLanes)
      for (int x = 0; x < columns; ++x) {
        const std::ptrdiff_t at = i * channel + (in.at(0, 0, x) - in.at(0, 0, 0));
        Rows::input([&](int y) { return load(rows[y] + at); },
                    [&](int y, F32 value) { store(inputs + (y * channels * columns + x) * kLanes, value); });
      }
  }

  // [point][output of the block][column of the pair][lane], by weights [point][channel][tap][output of the block].
  __attribute__((noinline)) static void sum_up(const float* inputs, const float* weight, float* sums) {
    for (int p = 0; p < Rows::edge; ++p, sums += 2 * block * kLanes) {
      F32 sum[block][2];
#pragma GCC unroll 5
      for (int c = 0; c < block; ++c) sum[c][0] = sum[c][1] = F32{};
#pragma GCC unroll 1
      for (int i = 0; i < channels; ++i, inputs += columns * kLanes) {
        F32 first, second = load(inputs);
#pragma GCC unroll 3
        for (int t = 0; t < taps; ++t, weight += block) {
          first = second;
          second = load(inputs + (t + 1) * kLanes);
#pragma GCC unroll 5
          for (int c = 0; c < block; ++c) {
            const F32 w = splat(weight[c]);
            sum[c][0] = fma(w, first, sum[c][0]);
            sum[c][1] = fma(w, second, sum[c][1]);
          }
        }
      }
#pragma GCC unroll 5
      for (int c = 0; c < block; ++c) {
        store(sums + 2 * c * kLanes, sum[c][0]);
        store(sums + (2 * c + 1) * kLanes, sum[c][1]);
      }
    }
  }

  // The two pooled rows of one pooled column of the tiles.
  template <bool kCut>
  __attribute__((noinline)) static void pool_outputs(const float* sums, const float* bias, const float* slope,
                                                     const Cut& cut, float* out) {
    constexpr int kPoint = 2 * block * kLanes;
    for (int c = 0; c < block; ++c, sums += 2 * kLanes, out += TileRows::tile * TileColumns::tile * kPlaneFloats) {
      const F32 start = splat(bias[c]), leak = splat(slope[c]);
      F32 left[4], right[4];
      Rows::output([&](int y) { return load(sums + y * kPoint); },
                   [&](int y, F32 value) { left[y] = prelu(value, leak); }, start);
      Rows::output([&](int y) { return load(sums + y * kPoint + kLanes); },
                   [&](int y, F32 value) { right[y] = prelu(value, leak); }, start);
#pragma GCC unroll 2
      for (int y = 0; y < 2; ++y) {
        F32 upper, lower;
        if constexpr (kCut) {
          upper = max(left[2 * y], cut.column ? left[2 * y] : right[2 * y]);
          lower = max(left[2 * y + 1], cut.column ? left[2 * y + 1] : right[2 * y + 1]);
          lower = cut.row[y] ? upper : lower;
        } else {
          upper = max(left[2 * y], right[2 * y]), lower = max(left[2 * y + 1], right[2 * y + 1]);
        }
        store(out + y * TileColumns::tile * kPlaneFloats, max(upper, lower));
      }
    }
  }

  // The pooled pixels of the tiles from `position` on, to `position_out` on. `cut` holds but where `any` says so for
  // the pooled column.
  static void run(const Planes& in, std::ptrdiff_t position, const Layer& layer, const Pooled& pooled,
                  std::ptrdiff_t position_out, const Cut (&cut)[TileColumns::tile],
                  const bool (&any)[TileColumns::tile], float* inputs, float* sums) {
    transform_inputs(in, position, inputs);
    for (int x = 0; x < TileColumns::tile; ++x)
      for (int c = 0; c < outputs; c += block) {
        sum_up(inputs + 2 * x * kLanes, layer.weight + c * Rows::edge * channels * taps, sums);
        float* const out = pooled.at(c, 0, x) + position_out;
        (any[x] ? pool_outputs<true> : pool_outputs<false>)(sums, layer.bias + c, layer.slope + c, cut[x], out);
      }
  }
};

// kCount vectors of neighbouring pixels, dealt to kCount phases: v[p] becomes every kCount-th pixel from p on.
template <int kCount>
inline void split_phases(F32 (&v)[kCount]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (kCount == 8) {  // the transposition of 8 x 8 takes half the shuffles
    F32 a[8], b[8];
#pragma GCC unroll 4
    for (int k = 0; k < 8; k += 2) {
      a[k] = _mm256_unpacklo_ps(v[k], v[k + 1]);
      a[k + 1] = _mm256_unpackhi_ps(v[k], v[k + 1]);
    }
#pragma GCC unroll 2
    for (int k = 0; k < 8; k += 4) {
      b[k] = _mm256_shuffle_ps(a[k], a[k + 2], _MM_SHUFFLE(1, 0, 1, 0));
      b[k + 1] = _mm256_shuffle_ps(a[k], a[k + 2], _MM_SHUFFLE(3, 2, 3, 2));
      b[k + 2] = _mm256_shuffle_ps(a[k + 1], a[k + 3], _MM_SHUFFLE(1, 0, 1, 0));
      b[k + 3] = _mm256_shuffle_ps(a[k + 1], a[k + 3], _MM_SHUFFLE(3, 2, 3, 2));
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      v[k] = _mm256_permute2f128_ps(b[k], b[k + 4], 0x20);
      v[k + 4] = _mm256_permute2f128_ps(b[k], b[k + 4], 0x31);
    }
    return;
  }
#endif
  if constexpr (kCount > 1) {
    F32 low[kCount / 2], high[kCount / 2];
#pragma GCC unroll 4
    for (int k = 0; k < kCount / 2; ++k) {
      low[k] = even(v[2 * k], v[2 * k + 1]);
      high[k] = odd(v[2 * k], v[2 * k + 1]);
    }
    split_phases(low);
    split_phases(high);
#pragma GCC unroll 4
    for (int k = 0; k < kCount / 2; ++k) v[2 * k] = low[k], v[2 * k + 1] = high[k];
  }
}

}  // namespace
}  // namespace mtcnn_fast
