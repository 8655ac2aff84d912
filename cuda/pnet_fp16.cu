// P-Net on tensor cores: inputs, weights and activations in fp16, sums, biases, slopes and heads' outputs in float32.
// Fused as in pnet.cu, in tiles of 16 x 32 cells.
//
// Each layer is a matrix product of pixels by maps, 16 pixels at a time for each warp, whose operand of weights stays
// in registers for the tile. Activations are stored with a pixel's 16 maps together, 48 bytes from one pixel to the
// next, so that the eight rows that ldmatrix reads at a time lie in different banks. The second and third convolution
// are sums over 9 places of the kernel of products over 16 maps (the first layer's 10 are padded with zeros). The first
// reads whole rows of its 3 x 3 pixels, which are 9 values: products over 3 rows of 10, padded to 32. Where a pixel
// begins at an odd value, what is read begins one earlier, and the weights have the zero in front. Its four outputs of
// a pooling window come to lie in one thread. The heads are a product more, of the third layer's sums as they lie in
// registers.
//
// As the screen of a detector in float32, the kernel reads a pyramid of floats, and lists the cells that reach a
// lowered threshold without their outputs.
//
// A tile takes 63 KB: what a block of Turing can have, and three in a multiprocessor of Hopper, which has registers for
// two.
#include <type_traits>

#include "mma.h"
#include "pnet.cuh"
#include "pnet_fp16.h"

namespace mtcnn_fast::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
// Blocks that a multiprocessor has memory for, and is to have registers for.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000)
constexpr int kBlocks = 2;
#else
constexpr int kBlocks = 1;
#endif
constexpr int kPixels = 16;     // of a product
constexpr int kPixelMaps = 24;  // halves from one pixel to the next

constexpr int kHeight = 16, kWidth = 32;  // cells
constexpr int kPooledHeight = kHeight + 4, kPooledWidth = kWidth + 4;
constexpr int kHeight2 = kHeight + 2, kWidth2 = kWidth + 2;
constexpr int kPixelRows = 2 * kPooledHeight + 2, kPixelColumns = 2 * kPooledWidth + 2;
constexpr int kPooled = kPooledHeight * kPooledWidth;
constexpr int kProducts2 = (kHeight2 * kWidth2 + kPixels - 1) / kPixels;
static_assert(kPooled % kPixels == 0 && kHeight * kWidth % kPixels == 0);

struct Shared {
  PnetHeads heads;
  __half pooled[kPooled][kPixelMaps];
  union {
    __half pixels[kPixelRows][3 * kPixelColumns];
    __half maps2[kPixels * kProducts2][kPixelMaps];
  };
};
static_assert(sizeof(Shared) <= 64 * 1024);

__device__ inline unsigned load_pair(const __half* pair) { return *reinterpret_cast<const unsigned*>(pair); }
__device__ inline void store_pair(__half* pair, unsigned values) { *reinterpret_cast<unsigned*>(pair) = values; }

// Two values of the pyramid as they are loaded, and in fp16.
__device__ inline unsigned load_values(const __half* pair) { return __ldg(reinterpret_cast<const unsigned*>(pair)); }
__device__ inline float2 load_values(const float* pair) { return __ldg(reinterpret_cast<const float2*>(pair)); }
__device__ inline unsigned halves(unsigned values) { return values; }
__device__ inline unsigned halves(float2 values) { return to_half2(values.x, values.y); }

// The tile's pixels, two values at a time; a warp takes a row. Beyond the level they are zero: no cell of the level
// sees them. A row of an odd number of values is followed by three that nobody wrote. The loads of three rows come
// before their first use: a memory's latency twice for a tile.
template <class Element>
__device__ void load_pixels(Shared& shared, const Element* pixels, const Level& level, const PlacedTile& tile) {
  constexpr int kPairs = 3 * kPixelColumns / 2, kLoads = (kPairs + kWarp - 1) / kWarp, kRows = 3;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int height = level.height - 2 * tile.row, values = 3 * level.width - 6 * tile.column - 2 * lane;
  const std::int64_t pitch = 3 * level.pitch;
  pixels += 3 * level.first_pixel + 2 * tile.row * pitch + 6 * tile.column + 2 * lane;
#pragma unroll 1
  for (int first = static_cast<int>(threadIdx.x) / kWarp; first < kPixelRows; first += kRows * kWarps) {
    decltype(load_values(pixels)) loaded[kRows][kLoads];
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const int y = first + r * kWarps, x = 2 * kWarp * i;
        loaded[r][i] = {};
        if (y < height && x < values) loaded[r][i] = load_values(pixels + y * pitch + x);
      }
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const int y = first + r * kWarps, x = 2 * kWarp * i;
        const unsigned both = halves(loaded[r][i]);
        if (y < kPixelRows && kWarp * i + lane < kPairs)
          store_pair(&shared.pixels[y][x + 2 * lane], x + 1 == values ? both & 0xffff : both);
      }
  }
}

// This lane's columns of the products: biases or slopes of maps 8 * block + pair, pair + 1.
template <int kMapBlocks>
__device__ inline void load_columns(float (&out)[kMapBlocks][2], const float* values, int pair) {
#pragma unroll
  for (int b = 0; b < kMapBlocks; ++b) {
    const float2 v = *reinterpret_cast<const float2*>(values + 8 * b + pair);
    out[b][0] = v.x, out[b][1] = v.y;
  }
}
template <int kMapBlocks>
__device__ inline void start_sums(float (&sums)[kMapBlocks][4], const float (&bias)[kMapBlocks][2]) {
#pragma unroll
  for (int b = 0; b < kMapBlocks; ++b)
#pragma unroll
    for (int e = 0; e < 4; ++e) sums[b][e] = bias[b][e % 2];
}

// First convolution, PReLU and pooling of 16 pooled pixels.
__device__ void convolve1(Shared& shared, const PnetFragments& fragments, const Level& level, const PlacedTile& tile) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, group = lane / 4, pair = lane % 4 * 2;
  uint4 weights[2][2];
#pragma unroll
  for (int odd = 0; odd < 2; ++odd)
#pragma unroll
    for (int k = 0; k < 2; ++k) weights[odd][k] = __ldg(&fragments.conv1[odd][k][lane]);
  float bias[2][2], slope[2][2];
  load_columns(bias, fragments.bias1, pair);
  load_columns(slope, fragments.slope1, pair);
  // From a pixel on, this lane's values in the four blocks of 8. The last two of 32 have zeros for weights, and may be
  // any that the window looks at.
  int places[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int value = 8 * k + pair;
    places[k] = value < 30 ? value / 10 * (3 * kPixelColumns) + value % 10 : 0;
  }
  const int rows = level.height - 2 - 2 * tile.row, columns = level.width - 2 - 2 * tile.column;
  const bool cut = rows < 2 * kPooledHeight || columns < 2 * kPooledWidth;
#pragma unroll 1
  for (int m = thread / kWarp; m < kPooled / kPixels; m += kWarps) {
    int y[2], x[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int pixel = m * kPixels + group + 8 * h;
      y[h] = pixel / kPooledWidth * 2, x[h] = pixel % kPooledWidth * 2;
    }
    float greatest[2][4], least[2][4];
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const int dy = p / 2, dx = p % 2;
      // The values of an odd pixel begin at an odd place.
      const __half* const first = &shared.pixels[y[0] + dy][3 * x[0] + 2 * dx];
      const __half* const second = &shared.pixels[y[1] + dy][3 * x[1] + 2 * dx];
      float sums[2][4];
      start_sums(sums, bias);
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const unsigned a[4] = {load_pair(first + places[2 * k]), load_pair(second + places[2 * k]),
                               load_pair(first + places[2 * k + 1]), load_pair(second + places[2 * k + 1])};
        multiply_add(sums[0], a, weights[dx][k].x, weights[dx][k].y);
        multiply_add(sums[1], a, weights[dx][k].z, weights[dx][k].w);
      }
      // A window that the border cuts looks only at what is there.
      if (p > 0 && cut) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const bool there = y[e / 2] + dy < rows && x[e / 2] + dx < columns;
#pragma unroll
          for (int b = 0; b < 2; ++b) sums[b][e] = there ? sums[b][e] : greatest[b][e];
        }
      }
#pragma unroll
      for (int b = 0; b < 2; ++b)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          greatest[b][e] = p ? fmaxf(greatest[b][e], sums[b][e]) : sums[b][e];
          least[b][e] = p ? fminf(least[b][e], sums[b][e]) : sums[b][e];
        }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int b = 0; b < 2; ++b)
        store_pair(&shared.pooled[m * kPixels + group + 8 * h][8 * b + pair],
                   to_half2(prelu_of_window(greatest[b][2 * h], least[b][2 * h], slope[b][0]),
                            prelu_of_window(greatest[b][2 * h + 1], least[b][2 * h + 1], slope[b][1])));
  }
}

__device__ void convolve2(Shared& shared, const PnetFragments& fragments) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, group = lane / 4, pair = lane % 4 * 2;
  uint4 weights[9];
#pragma unroll
  for (int t = 0; t < 9; ++t) weights[t] = __ldg(&fragments.conv2[t][lane]);
  float bias[2][2], slope[2][2];
  load_columns(bias, fragments.bias2, pair);
  load_columns(slope, fragments.slope2, pair);
#pragma unroll 1
  for (int m = thread / kWarp; m < kProducts2; m += kWarps) {
    // The last product's rows beyond the tile repeat the last pixel.
    const int pixel = min(m * kPixels + lane % kPixels, kHeight2 * kWidth2 - 1);
    const int y = pixel / kWidth2, x = pixel % kWidth2;
    const __half* const from = &shared.pooled[y * kPooledWidth + x][lane / kPixels * 8];
    float sums[2][4];
    start_sums(sums, bias);
#pragma unroll
    for (int t = 0; t < 9; ++t) {
      unsigned a[4];
      load_a(a, from + (t / 3 * kPooledWidth + t % 3) * kPixelMaps);
      multiply_add(sums[0], a, weights[t].x, weights[t].y);
      multiply_add(sums[1], a, weights[t].z, weights[t].w);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int b = 0; b < 2; ++b)
        store_pair(&shared.maps2[m * kPixels + group + 8 * h][8 * b + pair],
                   to_half2(prelu(sums[b][2 * h], slope[b][0]), prelu(sums[b][2 * h + 1], slope[b][1])));
  }
}

// Third convolution and heads. `kScreens`: the cells are only listed.
template <bool kScreens>
__device__ void convolve3(const Shared& shared, const PnetFragments& fragments, const Work& work,
                          const PlacedTile& tile) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, group = lane / 4, pair = lane % 4 * 2;
  uint4 weights[9][2];
#pragma unroll
  for (int t = 0; t < 9; ++t)
#pragma unroll
    for (int b = 0; b < 2; ++b) weights[t][b] = __ldg(&fragments.conv3[t][b][lane]);
  const Level& level = work.levels[tile.level];
  const int rows = level.rows - tile.row, columns = level.columns - tile.column;
  const float least = kScreens ? work.settings.screen_logit : work.settings.cell_logit;
#pragma unroll 1
  for (int m = thread / kWarp; m < kHeight * kWidth / kPixels; m += kWarps) {
    const int pixel = m * kPixels + lane % kPixels;
    const __half* const from = &shared.maps2[pixel / kWidth * kWidth2 + pixel % kWidth][lane / kPixels * 8];
    float bias[4][2], sums[4][4];
    load_columns(bias, shared.heads.bias3, pair);
    start_sums(sums, bias);
#pragma unroll
    for (int t = 0; t < 9; ++t) {
      unsigned a[4];
      load_a(a, from + (t / 3 * kWidth2 + t % 3) * kPixelMaps);
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        multiply_add(sums[2 * b], a, weights[t][b].x, weights[t][b].y);
        multiply_add(sums[2 * b + 1], a, weights[t][b].z, weights[t][b].w);
      }
    }
    float head_bias[1][2], outputs[1][4];
    load_columns(head_bias, shared.heads.bias, pair);
    start_sums(outputs, head_bias);
    const uint4 heads = shared.heads.weights[lane];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      // D's fragments of two blocks of 8 maps are A's of 16.
      unsigned a[4];
      float slope[2][2];
      load_columns(slope, shared.heads.slope3 + 16 * k, pair);
#pragma unroll
      for (int b = 0; b < 2; ++b)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          a[2 * b + h] =
              to_half2(prelu(sums[2 * k + b][2 * h], slope[b][0]), prelu(sums[2 * k + b][2 * h + 1], slope[b][1]));
      multiply_add(outputs[0], a, k ? heads.z : heads.x, k ? heads.w : heads.y);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int cell = m * kPixels + group + 8 * h, y = cell / kWidth, x = cell % kWidth;
      const float first = outputs[0][2 * h], second = outputs[0][2 * h + 1];
      const bool passed = pair == kLogitColumn && y < rows && x < columns && first >= least;
      const unsigned all_passed = __ballot_sync(kAllLanes, passed);
      if (!all_passed) continue;
      if constexpr (kScreens) {
        if (lane == 0) atomicAdd(&work.level_counts[tile.level].cells_left, __popc(all_passed));
        const int place = reserve_place(&work.counts->cells_left, all_passed);
        if (passed && place < work.cells_left_capacity)
          work.cells_left[place] = {tile.level, tile.row + y, tile.column + x};
        continue;
      }
      const int offsets = lane / 4 * 4;  // the lane that has the first two
      Cell found = {first, {}, tile.row + y, tile.column + x, 0};
      found.offsets[0] = __shfl_sync(kAllLanes, first, offsets);
      found.offsets[1] = __shfl_sync(kAllLanes, second, offsets);
      found.offsets[2] = __shfl_sync(kAllLanes, first, offsets + 1);
      found.offsets[3] = __shfl_sync(kAllLanes, second, offsets + 1);
      const int place = reserve_place(&work.level_counts[tile.level].found, all_passed);
      if (passed) store_found(work, level, place, found);
    }
  }
}

// `Element` is that of the pyramid; with floats, this is the screen.
template <class Element>
__global__ void __launch_bounds__(kThreads, kBlocks) pnet_fp16_kernel(Work work, const PnetFragments* fragments) {
  MTCNN_FAST_SHARED_MEMORY(memory);
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(sizeof(PnetHeads) / sizeof(uint4)); i += kThreads)
    reinterpret_cast<uint4*>(&shared.heads)[i] = __ldg(reinterpret_cast<const uint4*>(&fragments->heads) + i);
  wait_for_earlier_kernels();
  PlacedTile tile = {0, 0, 0};
  // The number of tiles is read for each: kept, it would be one register too many.
  for (int i = static_cast<int>(blockIdx.x); i < work.job->tiles; i += static_cast<int>(gridDim.x)) {
    tile = place_tile(work, i, kHeight, kWidth, tile.level);
    const Level& level = work.levels[tile.level];
    load_pixels(shared, static_cast<const Element*>(work.pyramid), level, tile);
    __syncthreads();
    convolve1(shared, *fragments, level, tile);
    __syncthreads();
    convolve2(shared, *fragments);
    __syncthreads();
    convolve3<std::is_same_v<Element, float>>(shared, *fragments, work, tile);
    __syncthreads();
  }
}

template <class Element>
void launch_pnet(const Queue& queue, const Work& work, const void* weights) {
  launch(queue, pnet_fp16_kernel<Element>, kThreads, sizeof(Shared), work,
         &static_cast<const PnetWeightsFp16*>(weights)->fragments);
}

}  // namespace

PnetTile pnet_fp16_tile() { return {kHeight, kWidth}; }

void pnet_fp16(const Queue& queue, const Work& work, const void* weights) { launch_pnet<__half>(queue, work, weights); }
void screen_cells(const Queue& queue, const Work& work, const void* weights) {
  launch_pnet<float>(queue, work, weights);
}

const PnetWeights* pnet_fp16_layers(const void* weights) {
  return &static_cast<const PnetWeightsFp16*>(weights)->layers;
}

}  // namespace mtcnn_fast::cuda
