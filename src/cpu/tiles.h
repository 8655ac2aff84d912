// Matrix products in bf16 on tiles (AMX): sums of products of bfloat16 numbers in float32, 16 positions by 16 channels at
// a time. A step multiplies 32 inputs of each position with 32 x 16 weights.
//
// A tile's rows may overlap in memory: a convolution over interleaved pixels is a product whose rows start one pixel
// apart, and nothing is copied for it. What a row holds beyond a kernel's taps meets weights of zero, but must be finite.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace mtcnn_fast {
namespace {

using Bf16 = std::uint16_t;

constexpr int kTileSide = 16;   // rows, and columns of sums
constexpr int kTileDepth = 32;  // inputs a row, bf16
constexpr int kTileSums = kTileSide * kTileSide;
// Inputs that the last tile of a map may read beyond it: its last rows stand for positions that are not there.
constexpr int kTileSlack = 512;

// Tile registers of this thread, all of full size, for as long as this lives. Their release spares the system 8 KiB at
// every switch to another thread.
class TileRegisters {
 public:
  TileRegisters() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~TileRegisters() { asm volatile("tilerelease"); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

// GCC's intrinsics want the register's number as a literal, so that templates cannot use them.
template <int kTile>
inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
template <int kTile>
inline void tile_load(const Bf16* from, std::ptrdiff_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride_bytes), "i"(kTile) : "memory");
}
template <int kTile>
inline void tile_store(float* to) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(std::ptrdiff_t{64}), "i"(kTile) : "memory");
}
template <int kSums, int kLeft, int kRight>
inline void tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
}

// f.template operator()<0>() .. f.template operator()<kCount - 1>()
template <int kCount, int kFirst = 0, class F>
__attribute__((always_inline)) inline void for_constants(const F& f) {
  if constexpr (kFirst < kCount) {
    f.template operator()<kFirst>();
    for_constants<kCount, kFirst + 1>(f);
  }
}

// Where a product finds its inputs: kRuns runs (a kernel's rows) of kSteps * kTileDepth inputs.
template <int kRuns, int kSteps>
struct TileTaps {
  static constexpr int runs = kRuns, steps = kSteps;
};

// sums: kM x kN tiles, of positions `in`, `in` + stride, .. by kN * 16 channels; weights: [run][step][kN] tiles.
template <class T, int kM, int kN>
__attribute__((always_inline)) inline void multiply_tiles(const Bf16* in, std::ptrdiff_t stride,
                                                          std::ptrdiff_t run_stride, const Bf16* weights, float* sums) {
  static_assert(kM * kN <= 6);
  // Eight registers: the sums, one tile of weights, and a tile of inputs a row of sums where there is room for it.
  constexpr bool kKeep = kM * kN + kM + 1 <= 8;
  constexpr int kWeights = 7;
  for_constants<kM * kN>([]<int kTile>() { tile_zero<kTile>(); });
  for (int run = 0; run < T::runs; ++run, in += run_stride) {
    const Bf16* from = in;
    for (int step = 0; step < T::steps; ++step, from += kTileDepth) {
      if constexpr (kKeep)
        for_constants<kM>([&]<int m>() { tile_load<kM * kN + m>(from + m * kTileSide * stride, 2 * stride); });
      for_constants<kN>([&]<int n>() {
        tile_load<kWeights>(weights, 64);
        weights += kTileSide * kTileDepth;
        for_constants<kM>([&]<int m>() {
          if constexpr (!kKeep) tile_load<6>(from + m * kTileSide * stride, 2 * stride);
          tile_multiply<m * kN + n, kKeep ? kM * kN + m : 6, kWeights>();
        });
      });
    }
  }
  for_constants<kM * kN>([&]<int kTile>() { tile_store<kTile>(sums + kTile * kTileSums); });
}

inline void store_bf16(Bf16* to, F32 x) {
  const auto rounded = _mm512_cvtneps_pbh(x);
  std::memcpy(to, &rounded, sizeof rounded);
}

// Of one layer with kChannels outputs (a multiple of 16): PReLU(bias + sums) of `positions` positions, which lie `stride`
// inputs apart, in tiles of 16, the last filled up with positions that nobody reads. write(position, channel, value)
// takes 16 channels.
template <class T, int kChannels, bool kPrelu, class Write>
inline void tile_layer(const Bf16* in, std::ptrdiff_t stride, std::ptrdiff_t run_stride, int positions,
                       const TileLayer& layer, const Write& write) {
  constexpr int kTiles = kChannels / kTileSide;
  constexpr int kN = kTiles % 2 == 0 ? 2 : kTiles % 3 == 0 ? 3 : 1;
  constexpr int kMost = kN == 2 ? 3 : kN == 3 ? 2 : 4;
  constexpr int kGroup = T::runs * T::steps * kN * kTileSide * kTileDepth;
  for (int n = 0; n < kTiles; n += kN) {
    const Bf16* weights = layer.tiles + n / kN * kGroup;
    F32 bias[kN], slope[kN];
    for (int k = 0; k < kN; ++k) {
      bias[k] = load(layer.bias + (n + k) * kTileSide);
      slope[k] = load(layer.slope + (n + k) * kTileSide);
    }
    alignas(64) float sums[kMost * kN * kTileSums];
    const auto block = [&]<int kM>(int first) {
      multiply_tiles<T, kM, kN>(in + first * stride, stride, run_stride, weights, sums);
      for (int m = 0; m < kM; ++m)
        for (int r = 0; r < kTileSide; ++r)
          for (int k = 0; k < kN; ++k) {
            const F32 x = load(sums + (m * kN + k) * kTileSums + r * kTileSide) + bias[k];
            write(first + m * kTileSide + r, (n + k) * kTileSide, kPrelu ? prelu(x, slope[k]) : x);
          }
    };
    int first = 0;
    for (; first + kMost * kTileSide <= positions; first += kMost * kTileSide) block.template operator()<kMost>(first);
    for (; first < positions; first += kTileSide) block.template operator()<1>(first);
  }
}

}  // namespace
}  // namespace mtcnn_fast
