// Matrix products in bf16 on tiles (AMX): sums of products of bfloat16 numbers in float32, 16 positions by 16 channels
// at a time. A step multiplies 32 inputs of each position with 32 x 16 weights.
//
// A tile's rows may overlap in memory: a convolution over interleaved pixels is a product whose rows start a pixel
// apart, and nothing is copied for it, as long as a row of 64 bytes lies in one cache line. (Measured: a tile is loaded
// in 2.6 ns, in 6 where every other row straddles two lines, in 15 where all do; its product takes 5.3.)
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

using Bf16 = std::uint16_t;

constexpr int kAmxTileSide = 16;   // rows, and columns of sums
constexpr int kAmxTileDepth = 32;  // inputs a row, bf16
constexpr int kAmxTileSums = kAmxTileSide * kAmxTileSide;
// Inputs that the last tile of a map may read beyond it: its last rows stand for positions that are not there.
constexpr int kAmxTileSlack = 512;

// Tile registers of this thread, all of full size.
inline void configure_amx_tiles() {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  asm volatile("ldtilecfg %0" : : "m"(config));
}
// Spares the system 8 KiB at every switch to another thread. Not a destructor: its landing pad would add a symbol of
// the C++ runtime to this unit, and an exception on its way through leaves nothing but registers that the next release
// frees.
inline void release_amx_tiles() { asm volatile("tilerelease"); }

// GCC's intrinsics want the register's number as a literal, so that templates cannot use them.
template <int kTile>
inline void amx_tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
template <int kTile>
inline void amx_tile_load(const Bf16* from, std::ptrdiff_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride_bytes), "i"(kTile) : "memory");
}
template <int kTile>
inline void amx_tile_store(float* to, std::ptrdiff_t stride_bytes = sizeof(float) * kAmxTileSide) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride_bytes), "i"(kTile) : "memory");
}
template <int kSums, int kLeft, int kRight>
inline void amx_tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
}

// Where a product finds its inputs: kRuns runs (a kernel's rows) of kSteps * kAmxTileDepth inputs.
template <int kRuns, int kSteps>
struct AmxTaps {
  static constexpr int runs = kRuns, steps = kSteps;
};

// Tiles kFirst .. kFirst + kM - 1 = products of 16 kM positions, which lie `stride` inputs apart from `in` on, and the
// tiles [run][step] of weights.
template <class T, int kM, int kFirst>
__attribute__((always_inline)) inline void multiply_amx_tiles(const Bf16* in, std::ptrdiff_t stride,
                                                              std::ptrdiff_t run_stride, const Bf16* weights) {
  constexpr int kInput = 6, kWeights = 7;
  for_constants<kM>([]<int m>() { amx_tile_zero<kFirst + m>(); });
  for (int run = 0; run < T::runs; ++run, in += run_stride) {
    const Bf16* from = in;
    for (int step = 0; step < T::steps; ++step, from += kAmxTileDepth, weights += kAmxTileSide * kAmxTileDepth) {
      amx_tile_load<kWeights>(weights, 2 * kAmxTileDepth);
      for_constants<kM>([&]<int m>() {
        amx_tile_load<kInput>(from + m * kAmxTileSide * stride, 2 * stride);
        amx_tile_multiply<kFirst + m, kInput, kWeights>();
      });
    }
  }
}

inline void store_bf16(Bf16* to, F32 x) {
  const auto rounded = _mm512_cvtneps_pbh(x);
  std::memcpy(to, &rounded, sizeof rounded);
}

// Products of `positions` positions, which lie `stride` inputs apart, with kTiles columns of weights, in tiles of 16
// positions, the last filled up with positions that nobody reads. finish<kM, kFirst>(position, column) stores tiles
// kFirst .. kFirst + kM - 1, of one column and 16 kM positions.
//
// Registers are not renamed: a tile's store and its next use wait for one another. While three are stored and read
// back, the products of the next three run (measured: 12 products and 4 stores in 64 instead of 79 ns).
template <class T, int kTiles, class Finish>
inline void amx_products(const Bf16* in, std::ptrdiff_t stride, std::ptrdiff_t run_stride, int positions,
                         const Bf16* weights, const Finish& finish) {
  constexpr int kGroup = T::runs * T::steps * kAmxTileSide * kAmxTileDepth;
  const auto pass = [&]<int kM>(int first, int blocks) {
    blocks *= kTiles;
    const auto place = [&](int block) { return first + block / kTiles * kM * kAmxTileSide; };
    const auto begin = [&]<int kFirst>(int block) {
      multiply_amx_tiles<T, kM, kFirst>(in + place(block) * stride, stride, run_stride,
                                        weights + block % kTiles * kGroup);
    };
    const auto end = [&]<int kFirst>(int block) {
      finish.template operator()<kM, kFirst>(place(block), block % kTiles);
    };
    begin.template operator()<0>(0);
    for (int block = 1; block < blocks; ++block) {
      if (block % 2) {
        begin.template operator()<3>(block);
        end.template operator()<0>(block - 1);
      } else {
        begin.template operator()<0>(block);
        end.template operator()<3>(block - 1);
      }
    }
    if (blocks % 2)
      end.template operator()<0>(blocks - 1);
    else
      end.template operator()<3>(blocks - 1);
  };
  const int tiles = (positions + kAmxTileSide - 1) / kAmxTileSide, left = tiles % 3, whole = tiles - left;
  if (whole) pass.template operator()<3>(0, whole / 3);
  if (left == 1) pass.template operator()<1>(whole * kAmxTileSide, 1);
  if (left == 2) pass.template operator()<2>(whole * kAmxTileSide, 1);
}

// One layer with kChannels outputs (a multiple of 16): write(position, channel, value) takes 16 channels of
// PReLU(bias + sums).
template <class T, int kChannels, bool kPrelu, class Write>
inline void amx_layer(const Bf16* in, std::ptrdiff_t stride, std::ptrdiff_t run_stride, int positions,
                      const LayerBf16& layer, const Write& write) {
  alignas(64) float sums[3 * kAmxTileSums];
  amx_products<T, kChannels / kAmxTileSide>(
      in, stride, run_stride, positions, layer.amx_tiles, [&]<int kM, int kFirst>(int position, int column) {
        const int channel = column * kAmxTileSide;
        for_constants<kM>([&]<int m>() { amx_tile_store<kFirst + m>(sums + m * kAmxTileSums); });
        const F32 bias = load(layer.bias + channel), slope = load(layer.slope + channel);
        for (int r = 0; r < kM * kAmxTileSide; ++r) {
          const F32 x = load(sums + r * kAmxTileSide) + bias;
          write(position + r, channel, kPrelu ? prelu(x, slope) : x);
        }
      });
}

// The sums alone, kChannels a position.
template <class T, int kChannels>
inline void amx_sums(const Bf16* in, std::ptrdiff_t stride, std::ptrdiff_t run_stride, int positions,
                     const LayerBf16& layer, float* sums) {
  amx_products<T, kChannels / kAmxTileSide>(
      in, stride, run_stride, positions, layer.amx_tiles, [&]<int kM, int kFirst>(int position, int column) {
        float* const to = sums + position * kChannels + column * kAmxTileSide;
        for_constants<kM>(
            [&]<int m>() { amx_tile_store<kFirst + m>(to + m * kAmxTileSide * kChannels, sizeof(float) * kChannels); });
      });
}

// The greatest and the least sums of a pooling window. The largest PReLU(bias + sum) is that of the greatest or, where
// the slope is negative, of the least.
struct Extremes {
  F32 most, least;

  void include(F32 x) { most = max(most, x), least = min(least, x); }
  void include(const Extremes& other) { most = max(most, other.most), least = min(least, other.least); }
  F32 pooled(F32 bias, F32 slope) const { return max(prelu(most + bias, slope), prelu(least + bias, slope)); }
};

}  // namespace
}  // namespace mtcnn_fast
