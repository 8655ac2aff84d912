// The device code that P-Net's kernels share: loads of weights, the search for a tile's level, PReLU and pooling, and
// the lists of cells.
#pragma once

#include "levels.cuh"
#include "pnet.h"
#include "prelu.h"

namespace mtcnn_fast::cuda {

__device__ inline void load4(float* out, const float* in) {
  const float4 v = *reinterpret_cast<const float4*>(in);
  out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
}
__device__ inline void load2(float* out, const float* in) {
  const float2 v = *reinterpret_cast<const float2*>(in);
  out[0] = v.x, out[1] = v.y;
}

// Adds what channel c contributes to outputs of the first convolution, from their pixels: the one order of its sums.
template <int kRows, int kColumns>
__device__ inline void add_channel1(float (&sums)[kRows][kColumns][kMaps1], const float (&v)[kRows + 2][kColumns + 2],
                                    const PnetLayers& layers, int c) {
#pragma unroll
  for (int ky = 0; ky < 3; ++ky)
#pragma unroll
    for (int kx = 0; kx < 3; ++kx) {
      const float* const weights = layers.conv1[(c * 3 + ky) * 3 + kx];
      float w[kMaps1];
      load4(w, weights);
      load4(w + 4, weights + 4);
      load2(w + 8, weights + 8);
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int q = 0; q < kColumns; ++q)
#pragma unroll
          for (int o = 0; o < kMaps1; ++o) sums[r][q][o] = fmaf(v[r + ky][q + kx], w[o], sums[r][q][o]);
    }
}

// A tile of cells of some level.
struct PlacedTile {
  int level, row, column;  // of the first cell
};

// Tiles go level by level, and within one row by row. `least`: a level that the tile does not come before.
__device__ inline PlacedTile place_tile(const Work& work, int tile, int height, int width, int least) {
  const int first = level_of<&Level::first_tile>(work, tile, least);
  const Level& level = work.levels[first];
  const int across = (level.columns + width - 1) / width, local = tile - level.first_tile;
  return {first, local / across * height, local % across * width};
}

// The greatest of a window's outputs after PReLU, from its greatest and least before: PReLU rises or falls on either
// side of zero, so its greatest value is at one end. (Six of the trained first layer's ten slopes are negative: pooling
// comes after PReLU.)
__device__ inline float prelu_of_window(float greatest, float least, float slope) {
  return fmaxf(prelu(greatest, slope), prelu(least, slope));
}

// Where this lane's cell goes in the list that `counter` counts, if it is one of `passed`. For all lanes of a warp.
__device__ inline int reserve_place(int* counter, unsigned passed) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int first = 0;
  if (lane == 0) first = atomicAdd(counter, __popc(passed));
  first = __shfl_sync(kAllLanes, first, 0);
  return first + __popc(passed & ((1u << lane) - 1));
}

__device__ inline void store_found(const Work& work, const Level& level, int place, const Cell& cell) {
  if (place >= level.capacity) return;
  work.found[level.found + place] = cell;
  work.cell_map[level.first_cell + static_cast<std::int64_t>(cell.row) * level.columns + cell.column] =
      1 + level.found + place;
}

}  // namespace mtcnn_fast::cuda
