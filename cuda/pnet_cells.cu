// P-Net in float32 of single cells, each from its own 12 x 12 pixels: of those that the screen left, and of the mirrors
// of lone ones. Sums have the order of pnet.cu, so that a cell's outputs are those of its tile, to the bit.
//
// A block computes eight cells at a time, which are neighbouring lanes. So weights are the same in eight lanes, and
// activations, whose last index is the cell, lie in different banks. A thread computes a pooled output of the first
// convolution for all its maps, 9 of the second for one map, and one of the third for two maps: a weight serves four
// and nine multiply-adds.
#include <cuda_fp16.h>

#include "pnet.cuh"
#include "pnet_fp16.h"

namespace mtcnn_fast::cuda {
namespace {

constexpr int kCells = 8, kThreads = 256, kParts = kThreads / kCells;
constexpr int kSide = 12, kPooledSide = 5, kSide2 = 3;

struct Shared {
  PnetLayers layers;
  // A row has its even columns first. The four values beyond it have the pooled outputs' rows begin in different banks.
  float pixels[3][kSide][kSide * kCells + 4];
  float pooled[kMaps1][kPooledSide * kPooledSide][kCells];
  float maps2[kMaps2][kSide2 * kSide2][kCells];
  float maps3[kMaps3][kCells];
};
static_assert(sizeof(Shared) <= 64 * 1024 && kPooledSide * kPooledSide <= kParts);

__device__ inline int in_row(int column, int cell) { return (column % 2 * (kSide / 2) + column / 2) * kCells + cell; }

// `Element` is that of the pyramid and of what tensor cores multiply, to which activations are rounded.
__device__ inline float rounded(float x, float) { return x; }
__device__ inline float rounded(float x, __half) { return __half2float(__float2half_rn(x)); }
__device__ inline float widened(float x) { return x; }
__device__ inline float widened(__half x) { return __half2float(x); }

// What a cell sees of its level: the pixels from the window's first on, of which so many are in the level.
template <class Element>
struct View {
  const Element* pixels;
  int pitch, height, width;
};
template <class Element>
__device__ View<Element> view_of(const Work& work, const PlacedCell& at) {
  const Level& level = work.levels[at.level];
  const std::int64_t first = level.first_pixel + static_cast<std::int64_t>(2 * at.row) * level.pitch + 2 * at.column;
  return {static_cast<const Element*>(work.pyramid) + 3 * first, level.pitch, level.height - 2 * at.row,
          level.width - 2 * at.column};
}

// All loads come before the first store: the compiler would have each one wait for the store before it.
template <class Element>
__device__ void load_pixels(Shared& shared, const View<Element>& view, int cell, int part) {
  constexpr int kRounds = (kSide * kSide + kParts - 1) / kParts;
  Element values[kRounds][3];
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int y = (i * kParts + part) / kSide, x = (i * kParts + part) % kSide;
    const bool inside = y < min(view.height, kSide) && x < view.width;
    const Element* const pixel = view.pixels + (inside ? 3 * (y * view.pitch + x) : 0);
#pragma unroll
    for (int c = 0; c < 3; ++c) values[i][c] = inside ? __ldg(pixel + c) : Element(0);
  }
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int y = (i * kParts + part) / kSide, x = (i * kParts + part) % kSide;
    if (y >= kSide) break;
#pragma unroll
    for (int c = 0; c < 3; ++c) shared.pixels[c][y][in_row(x, cell)] = widened(values[i][c]);
  }
}

// First convolution, PReLU and pooling of one pooled output.
template <class Element>
__device__ void convolve1(Shared& shared, const View<Element>& view, int cell, int part) {
  const int y = part / kPooledSide * 2, x = part % kPooledSide * 2;
  float sums[2][2][kMaps1];
#pragma unroll
  for (int o = 0; o < kMaps1; ++o) {
    const float bias = shared.layers.bias1[o];
#pragma unroll
    for (int p = 0; p < 4; ++p) sums[p / 2][p % 2][o] = bias;
  }
#pragma unroll 1
  for (int c = 0; c < 3; ++c) {
    float v[4][4];
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int q = 0; q < 4; ++q) v[r][q] = shared.pixels[c][y + r][in_row(x, cell) + in_row(q, 0)];
    add_channel1(sums, v, shared.layers, c);
  }
  // A window that the border cuts looks only at what is there.
  const bool below = view.height - 2 - y >= 2, beside = view.width - 2 - x >= 2;
#pragma unroll
  for (int o = 0; o < kMaps1; ++o) {
    const float a = sums[0][0][o], b = beside ? sums[0][1][o] : a;
    const float c = below ? sums[1][0][o] : a, d = below ? (beside ? sums[1][1][o] : c) : b;
    const float pooled =
        prelu_of_window(fmaxf(fmaxf(a, b), fmaxf(c, d)), fminf(fminf(a, b), fminf(c, d)), shared.layers.slope1[o]);
    shared.pooled[o][part][cell] = rounded(pooled, Element());
  }
}

// The second convolution's outputs of one map.
template <class Element>
__device__ void convolve2(Shared& shared, int cell, int map) {
  float sums[kSide2 * kSide2];
#pragma unroll
  for (float& sum : sums) sum = shared.layers.bias2[map];
#pragma unroll 2
  for (int c = 0; c < kMaps1; ++c) {
    float v[kPooledSide * kPooledSide];
#pragma unroll
    for (int i = 0; i < kPooledSide * kPooledSide; ++i) v[i] = shared.pooled[c][i][cell];
#pragma unroll
    for (int t = 0; t < 9; ++t) {
      const float weight = shared.layers.conv2[c * 9 + t][map];
#pragma unroll
      for (int p = 0; p < kSide2 * kSide2; ++p)
        sums[p] = fmaf(v[(p / kSide2 + t / 3) * kPooledSide + p % kSide2 + t % 3], weight, sums[p]);
    }
  }
#pragma unroll
  for (int p = 0; p < kSide2 * kSide2; ++p)
    shared.maps2[map][p][cell] = rounded(prelu(sums[p], shared.layers.slope2[map]), Element());
}

// The third convolution's outputs of two maps.
template <class Element>
__device__ void convolve3(Shared& shared, int cell, int map) {
  float sums[2];
  load2(sums, shared.layers.bias3 + map);
#pragma unroll 4
  for (int c = 0; c < kMaps2; ++c)
#pragma unroll
    for (int t = 0; t < 9; ++t) {
      const float value = shared.maps2[c][t][cell];
      float w[2];
      load2(w, &shared.layers.conv3[c * 9 + t][map]);
      sums[0] = fmaf(value, w[0], sums[0]);
      sums[1] = fmaf(value, w[1], sums[1]);
    }
#pragma unroll
  for (int o = 0; o < 2; ++o)
    shared.maps3[map + o][cell] = rounded(prelu(sums[o], shared.layers.slope3[map + o]), Element());
}

// The sum of what the four lanes of one cell have, the same to the bit in each of them. In the order of pnet.cu.
__device__ inline float sum_of_parts(float x) {
  x += __shfl_xor_sync(kAllLanes, x, kCells);
  return x + __shfl_xor_sync(kAllLanes, x, 2 * kCells);
}

struct Outputs {
  float logit, offsets[4];
};
// Both heads, by one warp: of each cell, four lanes share the maps.
__device__ inline Outputs heads(const Shared& shared, const PnetWeights& weights, int cell, int part) {
  constexpr int kMaps = kMaps3 / (kWarp / kCells);
  Outputs out = {};
#pragma unroll
  for (int o = 0; o < kMaps; ++o) {
    const int map = part * kMaps + o;
    const float value = shared.maps3[map][cell];
    const float4 box = __ldg(reinterpret_cast<const float4*>(weights.box[map]));
    out.logit = fmaf(value, shared.layers.face[map], out.logit);
    out.offsets[0] = fmaf(value, box.x, out.offsets[0]);
    out.offsets[1] = fmaf(value, box.y, out.offsets[1]);
    out.offsets[2] = fmaf(value, box.z, out.offsets[2]);
    out.offsets[3] = fmaf(value, box.w, out.offsets[3]);
  }
  out.logit = sum_of_parts(out.logit) + shared.layers.face_bias[0];
#pragma unroll
  for (int k = 0; k < 4; ++k) out.offsets[k] = sum_of_parts(out.offsets[k]) + __ldg(&weights.box_bias[k]);
  return out;
}

// The cells that the screen left.
struct Confirm {
  static __device__ int count(const Work& work) { return min(work.counts->cells_left, work.cells_left_capacity); }
  static __device__ PlacedCell place(const Work& work, int index) { return work.cells_left[index]; }
  static __device__ void finish(const Work& work, const PlacedCell& at, const Outputs& outputs) {
    if (!(outputs.logit >= work.settings.cell_logit)) return;
    Cell found = {outputs.logit, {}, at.row, at.column, 0};
    for (int k = 0; k < 4; ++k) found.offsets[k] = outputs.offsets[k];
    store_found(work, work.levels[at.level], atomicAdd(&work.level_counts[at.level].found, 1), found);
  }
};

// The only cell that passed in a level takes the offsets of the cell that mirrors it in its row. In a piece of a level
// nothing says that it is the only one.
struct Mirror {
  static __device__ int count(const Work& work) { return work.job->levels; }
  static __device__ PlacedCell place(const Work& work, int index) {
    const Level& level = work.levels[index];
    const bool whole = level.height == level.whole_height;
    if (!whole || work.level_counts[index].found != 1 || level.capacity < 1) return {-1, 0, 0};
    const Cell& lone = work.found[level.found];
    return {index, lone.row, level.columns - 1 - lone.column};
  }
  static __device__ void finish(const Work& work, const PlacedCell& at, const Outputs& outputs) {
    Cell& lone = work.found[work.levels[at.level].found];
    for (int k = 0; k < 4; ++k) lone.offsets[k] = outputs.offsets[k];
  }
};

template <class Element, class Task>
__global__ void __launch_bounds__(kThreads, 2) cells_kernel(Work work, const PnetWeights* weights) {
  MTCNN_FAST_SHARED_MEMORY(memory);
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const int thread = static_cast<int>(threadIdx.x), cell = thread % kCells, part = thread / kCells;
  for (int i = thread; i < static_cast<int>(sizeof(PnetLayers) / sizeof(float4)); i += kThreads)
    reinterpret_cast<float4*>(&shared.layers)[i] = __ldg(reinterpret_cast<const float4*>(&weights->layers) + i);
  wait_for_earlier_kernels();
  const int n = Task::count(work), step = static_cast<int>(gridDim.x) * kCells;
  for (int first = static_cast<int>(blockIdx.x) * kCells; first < n; first += step) {
    const PlacedCell at = first + cell < n ? Task::place(work, first + cell) : PlacedCell{-1, 0, 0};
    const bool any = at.level >= 0;
    View<Element> view = {};
    if (any) {
      view = view_of<Element>(work, at);
      load_pixels(shared, view, cell, part);
    }
    __syncthreads();
    if (any && part < kPooledSide * kPooledSide) convolve1(shared, view, cell, part);
    __syncthreads();
    if (part < kMaps2) convolve2<Element>(shared, cell, part);
    __syncthreads();
    if (part < kMaps3 / 2) convolve3<Element>(shared, cell, 2 * part);
    __syncthreads();
    if (thread < kWarp) {
      const Outputs outputs = heads(shared, *weights, cell, part);
      if (any && part == 0) Task::finish(work, at, outputs);
    }
  }
}

// `most`: cells of a call.
template <class Element, class Task>
void launch_cells(const Queue& queue, const Work& work, const PnetWeights* weights, int most) {
  launch_up_to((most + kCells - 1) / kCells, queue, cells_kernel<Element, Task>, kThreads, sizeof(Shared), work,
               weights);
}

}  // namespace

void confirm_cells(const Queue& queue, const Work& work, const void* weights) {
  launch_cells<float, Confirm>(queue, work, static_cast<const PnetWeights*>(weights), work.cells_left_capacity);
}

void mirror_lone_cells(const Queue& queue, const Work& work, Arithmetic arithmetic, const void* weights) {
  if (arithmetic == Arithmetic::fp16)
    launch_cells<__half, Mirror>(queue, work, pnet_fp16_layers(weights), work.level_capacity);
  else
    launch_cells<float, Mirror>(queue, work, static_cast<const PnetWeights*>(weights), work.level_capacity);
}

}  // namespace mtcnn_fast::cuda
