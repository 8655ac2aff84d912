// P-Net in float32: three convolutions, PReLU, pooling and both heads, fused, in one launch over the tiles of all
// levels of all images.
//
// A block computes a tile of 16 x 16 or 16 x 32 cells. Its activations never leave shared memory, at the price of a
// border that neighbours compute again: 14 or 10 % of the multiply-adds. Weights lie in shared memory too, and are
// read as broadcasts: a thread computes 4 outputs of a row of the first convolution in two rows for all its 10 maps,
// 4 of the second for 8 maps, and 8 cells of the third for 8 maps, so that a weight serves 4 or 8 multiply-adds and
// a pixel 8 or 10. Sums run over input, row and column in that order, from the bias on, whatever the tile: a cell's
// outputs depend on nothing but its pixels. Four lanes share a cell's 32 maps and add up the logit; the offsets are
// computed only of cells that pass, one in a hundred on photographs.
//
// 16 x 16 cells take 64 KB, with the pixels in the memory of what the second convolution gives: what a block of Turing
// can have, and three such blocks fit in a multiprocessor of Hopper. Where there is room for one such block in a
// multiprocessor but not for two, one of 16 x 32 has twice the warps.
#include "pnet.cuh"

namespace mtcnn_fast::cuda {
namespace {

template <int kHeight, int kWidth>
struct Shared {
  static constexpr int kThreads = kHeight * kWidth / 2;  // 8 cells and a quarter of the maps each
  static constexpr int kPooledHeight = kHeight + 4, kPooledWidth = kWidth + 4;
  static constexpr int kHeight2 = kHeight + 2, kWidth2 = (kWidth + 2 + 3) / 4 * 4;
  static constexpr int kPixelRows = 2 * kPooledHeight + 2, kPixelColumns = 2 * kPooledWidth + 2;
  static constexpr int kPixelPitch = (kPixelColumns + 3) / 4 * 4;
  static_assert(kPooledWidth % 4 == 0 && kWidth % 8 == 0);

  PnetLayers weights;
  float pooled[kMaps1][kPooledHeight][kPooledWidth];
  float beyond[4];  // read with the last row, for outputs that nobody uses
  union {
    float pixels[3][kPixelRows][kPixelPitch];
    float maps2[kMaps2][kHeight2][kWidth2];
  };
};

// The tile's pixels. Beyond the level they are zero: no cell of the level sees them.
template <class S>
__device__ void load_pixels(S& shared, const float* pixels, const Level& level, const PlacedTile& tile) {
  const int height = level.height, width = level.width, pitch = level.pitch;
  pixels += 3 * level.first_pixel;
  for (int i = static_cast<int>(threadIdx.x); i < S::kPixelRows * S::kPixelColumns; i += S::kThreads) {
    const int y = i / S::kPixelColumns, x = i % S::kPixelColumns;
    const int row = 2 * tile.row + y, column = 2 * tile.column + x;
    const bool inside = row < height && column < width;
    const float* const pixel = pixels + 3 * (static_cast<std::int64_t>(row) * pitch + column);
#pragma unroll
    for (int c = 0; c < 3; ++c) shared.pixels[c][y][x] = inside ? __ldg(pixel + c) : 0;
  }
}

// First convolution, PReLU and pooling: two pooled columns at a time.
template <class S>
__device__ void convolve1(S& shared, const Level& level, const PlacedTile& tile) {
  constexpr int kPairs = S::kPooledWidth / 2;
  for (int i = static_cast<int>(threadIdx.x); i < S::kPooledHeight * kPairs; i += S::kThreads) {
    const int y = i / kPairs, x = i % kPairs * 2;
    float sums[2][4][kMaps1];
#pragma unroll
    for (int o = 0; o < kMaps1; ++o) {
      const float bias = shared.weights.bias1[o];
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int q = 0; q < 4; ++q) sums[r][q][o] = bias;
    }
#pragma unroll 1
    for (int c = 0; c < 3; ++c) {
      float v[4][6];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const float* const row = &shared.pixels[c][2 * y + r][2 * x];
        load4(v[r], row);
        load2(v[r] + 4, row + 4);
      }
      add_channel1(sums, v, shared.weights, c);
    }
    // A window that the border cuts looks only at what is there.
    const int rows = level.height - 2 - 2 * (tile.row + y), columns = level.width - 2 - 2 * (tile.column + x);
    if (rows < 2 || columns < 4) {
#pragma unroll
      for (int o = 0; o < kMaps1; ++o) {
        if (rows < 2)
#pragma unroll
          for (int q = 0; q < 4; ++q) sums[1][q][o] = sums[0][q][o];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          if (columns < 2) sums[r][1][o] = sums[r][0][o];
          if (columns < 4) sums[r][3][o] = sums[r][2][o];
        }
      }
    }
#pragma unroll
    for (int o = 0; o < kMaps1; ++o) {
      const float slope = shared.weights.slope1[o];
      float out[2];
#pragma unroll
      for (int p = 0; p < 2; ++p) {
        const float a = sums[0][2 * p][o], b = sums[0][2 * p + 1][o], c = sums[1][2 * p][o], d = sums[1][2 * p + 1][o];
        out[p] = prelu_of_window(fmaxf(fmaxf(a, b), fmaxf(c, d)), fminf(fminf(a, b), fminf(c, d)), slope);
      }
      *reinterpret_cast<float2*>(&shared.pooled[o][y][x]) = make_float2(out[0], out[1]);
    }
  }
}

template <class S>
__device__ void convolve2(S& shared) {
  constexpr int kGroups = S::kWidth2 / 4;
  for (int i = static_cast<int>(threadIdx.x); i < S::kHeight2 * kGroups * 2; i += S::kThreads) {
    const int map = i % 2 * 8, y = i / 2 / kGroups, x = i / 2 % kGroups * 4;
    float sums[4][8];
#pragma unroll
    for (int o = 0; o < 8; ++o) {
      const float bias = shared.weights.bias2[map + o];
#pragma unroll
      for (int q = 0; q < 4; ++q) sums[q][o] = bias;
    }
#pragma unroll 2
    for (int c = 0; c < kMaps1; ++c)
#pragma unroll
      for (int ky = 0; ky < 3; ++ky) {
        const float* const row = &shared.pooled[c][y + ky][x];
        float v[6];
        load4(v, row);
        load2(v + 4, row + 4);
#pragma unroll
        for (int kx = 0; kx < 3; ++kx) {
          const float* const weights = &shared.weights.conv2[(c * 3 + ky) * 3 + kx][map];
          float w[8];
          load4(w, weights);
          load4(w + 4, weights + 4);
#pragma unroll
          for (int q = 0; q < 4; ++q)
#pragma unroll
            for (int o = 0; o < 8; ++o) sums[q][o] = fmaf(v[q + kx], w[o], sums[q][o]);
        }
      }
#pragma unroll
    for (int o = 0; o < 8; ++o) {
      const float slope = shared.weights.slope2[map + o];
      *reinterpret_cast<float4*>(&shared.maps2[map + o][y][x]) = make_float4(
          prelu(sums[0][o], slope), prelu(sums[1][o], slope), prelu(sums[2][o], slope), prelu(sums[3][o], slope));
    }
  }
}

// The sum of four lanes' values, the same to the bit in each of them.
__device__ inline float sum_of_four(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

// Third convolution and heads. Each thread has 8 cells and 8 maps of its own.
template <class S, int kWidth>
__device__ void convolve3(S& shared, const Work& work, const PnetWeights& weights, const PlacedTile& tile) {
  constexpr int kCells = 8, kGroups = kWidth / kCells;
  const int thread = static_cast<int>(threadIdx.x);
  const int map = thread % 4 * 8, y = thread / 4 / kGroups, x = thread / 4 % kGroups * kCells;
  float sums[kCells][8];
#pragma unroll
  for (int o = 0; o < 8; ++o) {
    const float bias = shared.weights.bias3[map + o];
#pragma unroll
    for (int q = 0; q < kCells; ++q) sums[q][o] = bias;
  }
#pragma unroll 1
  for (int c = 0; c < kMaps2; ++c)
#pragma unroll
    for (int ky = 0; ky < 3; ++ky) {
      const float* const row = &shared.maps2[c][y + ky][x];
      float v[kCells + 2];
      load4(v, row);
      load4(v + 4, row + 4);
      load2(v + 8, row + 8);
#pragma unroll
      for (int kx = 0; kx < 3; ++kx) {
        const float* const from = &shared.weights.conv3[(c * 3 + ky) * 3 + kx][map];
        float w[8];
        load4(w, from);
        load4(w + 4, from + 4);
#pragma unroll
        for (int q = 0; q < kCells; ++q)
#pragma unroll
          for (int o = 0; o < 8; ++o) sums[q][o] = fmaf(v[q + kx], w[o], sums[q][o]);
      }
    }

  float logits[kCells] = {};
#pragma unroll
  for (int o = 0; o < 8; ++o) {
    const float slope = shared.weights.slope3[map + o], face = shared.weights.face[map + o];
#pragma unroll
    for (int q = 0; q < kCells; ++q) {
      sums[q][o] = prelu(sums[q][o], slope);
      logits[q] = fmaf(sums[q][o], face, logits[q]);
    }
  }
  const Level& level = work.levels[tile.level];
  const int row = tile.row + y, column = tile.column + x;
  const int columns = row < level.rows ? level.columns - column : 0;
#pragma unroll
  for (int q = 0; q < kCells; ++q) {
    const float logit = sum_of_four(logits[q]) + shared.weights.face_bias[0];
    const bool passed = q < columns && logit >= work.settings.cell_logit;
    const unsigned all_passed = __ballot_sync(kAllLanes, passed && thread % 4 == 0);
    if (!all_passed) continue;
    float offsets[4] = {};
#pragma unroll
    for (int o = 0; o < 8; ++o) {
      const float4 box = __ldg(reinterpret_cast<const float4*>(weights.box[map + o]));
      offsets[0] = fmaf(sums[q][o], box.x, offsets[0]);
      offsets[1] = fmaf(sums[q][o], box.y, offsets[1]);
      offsets[2] = fmaf(sums[q][o], box.z, offsets[2]);
      offsets[3] = fmaf(sums[q][o], box.w, offsets[3]);
    }
    Cell found = {logit, {}, row, column + q, 0};
#pragma unroll
    for (int k = 0; k < 4; ++k) found.offsets[k] = sum_of_four(offsets[k]) + __ldg(&weights.box_bias[k]);
    const int place = reserve_place(&work.level_counts[tile.level].found, all_passed);
    if (passed && thread % 4 == 0) store_found(work, level, place, found);
  }
}

template <int kHeight, int kWidth, int kBlocks>
__global__ void __launch_bounds__(Shared<kHeight, kWidth>::kThreads, kBlocks)
    pnet_kernel(Work work, const PnetWeights* weights) {
  using S = Shared<kHeight, kWidth>;
  MTCNN_FAST_SHARED_MEMORY(memory);
  S& shared = *reinterpret_cast<S*>(memory);
  for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(sizeof(PnetLayers) / sizeof(float4));
       i += S::kThreads)
    reinterpret_cast<float4*>(&shared.weights)[i] = __ldg(reinterpret_cast<const float4*>(&weights->layers) + i);
  wait_for_earlier_kernels();
  const int tiles = work.job->tiles;
  PlacedTile tile = {0, 0, 0};
  for (int i = static_cast<int>(blockIdx.x); i < tiles; i += static_cast<int>(gridDim.x)) {
    tile = place_tile(work, i, kHeight, kWidth, tile.level);
    const Level& level = work.levels[tile.level];
    load_pixels(shared, static_cast<const float*>(work.pyramid), level, tile);
    __syncthreads();
    convolve1(shared, level, tile);
    __syncthreads();
    convolve2(shared);
    __syncthreads();
    convolve3<S, kWidth>(shared, work, *weights, tile);
    __syncthreads();
  }
}

// As many bytes as a block of that tile has.
template <int kHeight, int kWidth>
constexpr std::size_t kSharedMemory = sizeof(Shared<kHeight, kWidth>);
static_assert(kSharedMemory<16, 16> <= 64 * 1024 && kSharedMemory<16, 32> <= 99 * 1024);

// Whether a multiprocessor that can give one block so much has room for two blocks of 16 x 16 (the system takes 1 KB
// of each).
bool fits_two(std::size_t shared_memory) { return shared_memory >= 2 * kSharedMemory<16, 16> + 1024; }

template <int kHeight, int kWidth, int kBlocks>
void launch_pnet(const Queue& queue, const Work& work, const void* weights) {
  launch(queue, pnet_kernel<kHeight, kWidth, kBlocks>, Shared<kHeight, kWidth>::kThreads,
         kSharedMemory<kHeight, kWidth>, work, static_cast<const PnetWeights*>(weights));
}

}  // namespace

PnetTile pnet_tile(Arithmetic arithmetic, std::size_t shared_memory) {
  if (arithmetic == Arithmetic::fp16) return pnet_fp16_tile();
  return {16, shared_memory >= kSharedMemory<16, 32> && !fits_two(shared_memory) ? 32 : 16};
}

void pnet(const Queue& queue, const Work& work, Arithmetic arithmetic, const void* weights) {
  if (arithmetic == Arithmetic::fp16)
    pnet_fp16(queue, work, weights);
  else if (pnet_tile(arithmetic, queue.shared_memory).width == 32)
    launch_pnet<16, 32, 1>(queue, work, weights);
  else
    launch_pnet<16, 16, 3>(queue, work, weights);
}

}  // namespace mtcnn_fast::cuda
