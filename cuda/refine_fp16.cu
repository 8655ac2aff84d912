// R-Net and O-Net on tensor cores: activations and weights in fp16, sums, biases, slopes and the heads in float32. The
// same kernels one after the other as in refine.cu.
//
// A convolution is a product of pixels, 16 at a time, by maps, 8 at a time, over the kernel's places and 16 input maps
// at a time. A pixel's maps are together in memory, and in shared memory 16 bytes longer, so that the eight rows that
// ldmatrix reads at a time lie in different banks: whatever 16 places a product is of, it reads each where it is.
// R-Net's 28 maps are padded to 32 with zeros. The first convolution reads rows of the kernel, which are 9 values of
// the image: products over 3 rows of 10, padded to 32. Where a pixel begins at an odd value, what is read begins one
// earlier, and the weights have the zero in front; so a product's 16 pixels are all in odd columns, or all in even
// ones.
//
// In the matrix products that follow, warps share the inputs. A lane loads 8 inputs of a row at once, which serve as
// two operands: in which order products are summed is free, as long as the weights stand in the same.
#include "mma.h"
#include "refine.cuh"
#include "refine_fp16.h"

namespace mtcnn_fast::cuda {
namespace {

template <class Shape>
__device__ const float* biases_of(const unsigned char* weights, const Shape& s) {
  return reinterpret_cast<const float*>(weights + weight_values(s) * sizeof(__half));
}

__device__ inline unsigned load_pair(const __half* pair) { return *reinterpret_cast<const unsigned*>(pair); }

// The greater of two times two halves, or NaN.
__device__ inline unsigned greater2(unsigned a, unsigned b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  unsigned result;
  asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
#else
  const auto half_of = [](unsigned both, int shift) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(both >> shift)));
  };
  return to_half2(greater(half_of(a, 0), half_of(b, 0)), greater(half_of(a, 16), half_of(b, 16)));
#endif
}

// Pools what stands in shared memory, kMaps maps of each place and kPitch halves from one place to the next, kWindow
// from a window to the next, into rows first .. first + rows - 1 of the windows' pooled maps.
template <class Layer, int kThreads, int kMaps, int kPitch, int kWindow>
__device__ void pool(const __half* shared, int windows, int first, int rows, __half* out) {
  constexpr auto kConv = Layer::kShape;
  constexpr int kSide = conv_side(kConv), kPooled = pooled_side(kConv), kVectors = kMaps / 8;
  const int of_window = rows * kPooled * kVectors;
  for (int i = static_cast<int>(threadIdx.x); i < windows * of_window; i += kThreads) {
    const int window = i / of_window, vector = i % kVectors;
    const int x = i % of_window / kVectors % kPooled, y = i % of_window / (kVectors * kPooled);
    const int height = min(kConv.pool, kSide - 2 * (first + y)), width = min(kConv.pool, kSide - 2 * x);
    const __half* from = shared + window * kWindow + (2 * y * kSide + 2 * x) * kPitch + 8 * vector;
    uint4 best = *reinterpret_cast<const uint4*>(from);
    for (int v = 0; v < height; ++v, from += kSide * kPitch)
      for (int u = 0; u < width; ++u) {
        const uint4 value = *reinterpret_cast<const uint4*>(from + u * kPitch);
        best.x = greater2(best.x, value.x);
        best.y = greater2(best.y, value.y);
        best.z = greater2(best.z, value.z);
        best.w = greater2(best.w, value.w);
      }
    const std::size_t to = static_cast<std::size_t>(window) * map_values(kConv);
    *reinterpret_cast<uint4*>(out + to + ((first + y) * kPooled + x) * kConv.outputs + 8 * vector) = best;
  }
}

constexpr int first_rows(const FirstConvFp16& c) { return std::min(2 * (c.rows - 1) + c.pool, conv_side(c)); }
constexpr int first_pitch(const FirstConvFp16& c) { return 3 * c.side; }
constexpr std::size_t first_outputs(const FirstConvFp16& c) {
  return static_cast<std::size_t>(first_rows(c) * conv_side(c) * (c.outputs + kPad));
}
constexpr std::size_t first_shared_bytes(const FirstConvFp16& c) {
  return sizeof(__half) *
         (first_outputs(c) + static_cast<std::size_t>((first_rows(c) + c.kernel - 1) * first_pitch(c)));
}

// Eight values of a crop, in fp16.
__device__ inline uint4 load_eight(const __half* values) { return __ldg(reinterpret_cast<const uint4*>(values)); }
__device__ inline uint4 load_eight(const float* values) {
  const float4 a = load4(values), b = load4(values + 4);
  return {to_half2(a.x, a.y), to_half2(a.z, a.w), to_half2(b.x, b.y), to_half2(b.z, b.w)};
}

// `Pixel`: what crops are made of; floats are rounded.
template <class Layer, class Pixel>
__global__ void __launch_bounds__(Layer::kShape.warps* kWarp)
    first_kernel(WindowCount windows, const Pixel* in, const unsigned char* weights, __half* out) {
  constexpr FirstConvFp16 kConv = Layer::kShape;
  constexpr int kSide = conv_side(kConv), kHalf = kSide / 2, kPitch = first_pitch(kConv);
  constexpr int kBands = (pooled_side(kConv) + kConv.rows - 1) / kConv.rows;
  constexpr int kMapTiles = kConv.outputs / kColumns, kMapPitch = kConv.outputs + kPad;
  constexpr int kTiles = (first_rows(kConv) * kHalf + kPixels - 1) / kPixels;  // in even columns; as many in odd ones
  constexpr int kThreads = kConv.warps * kWarp, kRowVectors = kPitch / 8;
  static_assert(kSide % 2 == 0 && kPitch % 8 == 0);
  MTCNN_FAST_SHARED_MEMORY(memory);
  __half* const outputs = reinterpret_cast<__half*>(memory);
  __half* const inputs = outputs + first_outputs(kConv);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp;
  const int group = lane / 4, pair = lane % 4 * 2;
  const uint2* const fragments = reinterpret_cast<const uint2*>(weights) + lane;
  const float* const biases = biases_of(weights, kConv);
  // Where the lane's pairs of values are: pair i of a pixel's 15 is pair i % 5 of row i / 5. The sixteenth has weights
  // of zero, and takes the place of the first.
  int offsets[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int value = lane % 4 + 4 * i;
    offsets[i] = value < 15 ? value / 5 * kPitch + value % 5 * 2 : 0;
  }

  wait_for_earlier_kernels();
  const int items = windows.get() * kBands;
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    const int window = item / kBands, first = item % kBands * kConv.rows;
    const int rows = min(first_rows(kConv), kSide - 2 * first);
    const Pixel* const from = in + (static_cast<std::size_t>(window) * kConv.side + 2 * first) * kPitch;
    for (int i = thread; i < (rows + kConv.kernel - 1) * kRowVectors; i += kThreads)
      reinterpret_cast<uint4*>(inputs)[i] = load_eight(from + 8 * i);
    __syncthreads();
#pragma unroll 1
    for (int odd = 0; odd < 2; ++odd) {
      uint2 b[kMapTiles][2];
      float2 bias[kMapTiles], slope[kMapTiles];
#pragma unroll
      for (int m = 0; m < kMapTiles; ++m) {
#pragma unroll
        for (int k = 0; k < 2; ++k) b[m][k] = __ldg(fragments + ((odd * kMapTiles + m) * 2 + k) * kWarp);
        bias[m] = __ldg(reinterpret_cast<const float2*>(biases + m * kColumns + pair));
        slope[m] = __ldg(reinterpret_cast<const float2*>(biases + kConv.outputs + m * kColumns + pair));
      }
#pragma unroll 1
      for (int tile = warp; tile < kTiles; tile += kConv.warps) {
        const int pixel = tile * kPixels + group;  // of those in such columns; the lane's other is 8 later
        __half* to[2];
        const __half* pixels[2];
        bool there[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int p = pixel + 8 * h;
          there[h] = p < rows * kHalf;
          const int y = there[h] ? p / kHalf : 0, x = (there[h] ? 2 * (p % kHalf) : 0) + odd;
          to[h] = outputs + (y * kSide + x) * kMapPitch + pair;
          pixels[h] = inputs + y * kPitch + 3 * x - odd;
        }
        unsigned a[2][4];
#pragma unroll
        for (int k = 0; k < 2; ++k)
#pragma unroll
          for (int i = 0; i < 4; ++i) a[k][i] = load_pair(pixels[i % 2] + offsets[2 * k + i / 2]);
#pragma unroll
        for (int m = 0; m < kMapTiles; ++m) {
          float sums[4] = {bias[m].x, bias[m].y, bias[m].x, bias[m].y};
#pragma unroll
          for (int k = 0; k < 2; ++k) multiply_add(sums, a[k], b[m][k].x, b[m][k].y);
#pragma unroll
          for (int h = 0; h < 2; ++h)
            if (there[h])
              *reinterpret_cast<unsigned*>(to[h] + m * kColumns) =
                  to_half2(prelu(sums[2 * h], slope[m].x), prelu(sums[2 * h + 1], slope[m].y));
        }
      }
    }
    __syncthreads();
    pool<Layer, kThreads, kConv.outputs, kMapPitch, 0>(outputs, 1, first, min(kConv.rows, pooled_side(kConv) - first),
                                                       out + static_cast<std::size_t>(window) * map_values(kConv));
  }
}

constexpr int input_pitch(const ConvFp16& c) { return c.inputs + kPad; }
constexpr int output_pitch(const ConvFp16& c) { return c.columns * c.groups * kColumns + kPad; }
constexpr std::size_t shared_bytes(const ConvFp16& c) {
  const int inputs = c.side * c.side * input_pitch(c), outputs = conv_side(c) * conv_side(c) * output_pitch(c);
  return sizeof(__half) * static_cast<std::size_t>(c.windows * std::max(inputs, outputs));
}

template <class Layer>
__global__ void __launch_bounds__(threads(Layer::kShape))
    conv_fp16_kernel(WindowCount windows, const __half* in, const unsigned char* weights, __half* out) {
  constexpr ConvFp16 kConv = Layer::kShape;
  constexpr int kSide = conv_side(kConv), kWindowPixels = kSide * kSide, kInputPixels = kConv.side * kConv.side;
  constexpr int kInputPitch = input_pitch(kConv), kOutputPitch = output_pitch(kConv);
  constexpr int kItemMaps = kConv.columns * kConv.groups * kColumns, kSlices = kConv.outputs / kItemMaps;
  constexpr int kBlocks = kConv.inputs / kDepth, kVectors = kConv.inputs / 8;
  MTCNN_FAST_SHARED_MEMORY(memory);
  __half* const shared = reinterpret_cast<__half*>(memory);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp;
  const int group = warp / pixel_warps(kConv), first_pixel = warp % pixel_warps(kConv) * kConv.tiles * kPixels;
  const float* const biases = biases_of(weights, kConv);
  // Of the rows that the lane hands to ldmatrix.
  int pixels[kConv.tiles];
#pragma unroll
  for (int t = 0; t < kConv.tiles; ++t) {
    const int p = first_pixel + t * kPixels + lane % kPixels;
    const int window = p / kWindowPixels, within = p % kWindowPixels;
    const int place = window * kInputPixels + within / kSide * kConv.side + within % kSide;
    pixels[t] = (p < kConv.windows * kWindowPixels ? place : 0) * kInputPitch + lane / kPixels * 8;
  }

  wait_for_earlier_kernels();
  const int n = windows.get();
  const int items = (n + kConv.windows - 1) / kConv.windows * kSlices;
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    const int first = item / kSlices * kConv.windows, present = min(kConv.windows, n - first);
    const int first_map = item % kSlices * kItemMaps;
    __syncthreads();  // the item before has been pooled
    const uint4* const from =
        reinterpret_cast<const uint4*>(in) + static_cast<std::size_t>(first) * kInputPixels * kVectors;
    for (int i = thread; i < present * kInputPixels * kVectors; i += threads(kConv))
      *reinterpret_cast<uint4*>(shared + i / kVectors * kInputPitch + i % kVectors * 8) = __ldg(from + i);
    __syncthreads();
    float sums[kConv.tiles][kConv.columns][4] = {};
    const int map_tile = first_map / kColumns + group * kConv.columns;
    const uint2* fragments = reinterpret_cast<const uint2*>(weights) + map_tile * depth(kConv) * kWarp + lane;
#pragma unroll 1
    for (int y = 0; y < kConv.kernel; ++y)
#pragma unroll
      for (int step = 0; step < kConv.kernel * kBlocks; ++step, fragments += kWarp) {
        const int offset = (y * kConv.side + step / kBlocks) * kInputPitch + step % kBlocks * kDepth;
        uint2 b[kConv.columns];
#pragma unroll
        for (int m = 0; m < kConv.columns; ++m) b[m] = __ldg(fragments + m * depth(kConv) * kWarp);
#pragma unroll
        for (int t = 0; t < kConv.tiles; ++t) {
          unsigned a[4];
          load_a(a, shared + pixels[t] + offset);
#pragma unroll
          for (int m = 0; m < kConv.columns; ++m) multiply_add(sums[t][m], a, b[m].x, b[m].y);
        }
      }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < kConv.columns; ++m) {
      const int of_item = (group * kConv.columns + m) * kColumns + lane % 4 * 2;
      const float2 bias = __ldg(reinterpret_cast<const float2*>(biases + first_map + of_item));
      const float2 slope = __ldg(reinterpret_cast<const float2*>(biases + kConv.outputs + first_map + of_item));
#pragma unroll
      for (int t = 0; t < kConv.tiles; ++t)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int pixel = first_pixel + t * kPixels + lane / 4 + 8 * h;
          if (pixel < kConv.windows * kWindowPixels)
            *reinterpret_cast<unsigned*>(shared + pixel * kOutputPitch + of_item) =
                to_half2(prelu(sums[t][m][2 * h] + bias.x, slope.x), prelu(sums[t][m][2 * h + 1] + bias.y, slope.y));
        }
    }
    __syncthreads();
    pool<Layer, threads(kConv), kItemMaps, kOutputPitch, kWindowPixels * kOutputPitch>(
        shared, present, 0, pooled_side(kConv), out + static_cast<std::size_t>(first) * map_values(kConv) + first_map);
  }
}

__device__ inline void store(float* out, float value) { *out = value; }
__device__ inline void store(__half* out, float value) { *out = __float2half(value); }

template <class Layer, class Out>
__global__ void __launch_bounds__(Layer::kShape.warps* kWarp)
    product_fp16_kernel(WindowCount windows, const __half* in, const unsigned char* weights, Out* out) {
  constexpr ProductFp16 kProduct = Layer::kShape;
  constexpr int kSteps = kProduct.inputs / kStep, kWarpSteps = kSteps / kProduct.warps;
  constexpr int kPart = kProduct.inputs / kProduct.parts;
  constexpr int kTileRows = kPixels * kProduct.tiles, kWidth = kTileColumns * kColumns, kTile = kTileRows * kWidth;
  constexpr int kAcross = kProduct.outputs / kWidth;
  static_assert(kSteps % kProduct.warps == 0 && kPart % (kWarpSteps * kStep) == 0);
  __shared__ float2 shared[kProduct.warps * kTile / 2];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp;
  const int input = warp * kWarpSteps * kStep, part = input / kPart;
  const float* const biases = biases_of(weights, kProduct);

  wait_for_earlier_kernels();
  const int rows = windows.get() * kProduct.rows;
  const int tiles = (rows + kTileRows - 1) / kTileRows * kAcross;
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
    const int first_row = tile / kAcross * kTileRows, first_column = tile % kAcross * kWidth;
    const __half* from[kProduct.tiles][2];
#pragma unroll
    for (int t = 0; t < kProduct.tiles; ++t)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = min(first_row + t * kPixels + 8 * h + lane / 4, rows - 1);
        if constexpr (kProduct.parts == 1) {
          from[t][h] = in + static_cast<std::size_t>(row) * kProduct.inputs + input + lane % 4 * 8;
        } else {
          const int place = row % 9, pixel = place / 3 * 4 + place % 3;
          from[t][h] = in + static_cast<std::size_t>(row / 9) * (4 * kProduct.jump) + pixel * (kProduct.jump / 4) +
                       part * kProduct.jump + (input - part * kPart) + lane % 4 * 8;
        }
      }
    const uint4* fragments =
        reinterpret_cast<const uint4*>(weights) + (first_column / kColumns * kSteps + warp * kWarpSteps) * kWarp + lane;
    float sums[kProduct.tiles][kTileColumns][4] = {};
#pragma unroll
    for (int step = 0; step < kWarpSteps; ++step) {
      uint4 b[kTileColumns];
#pragma unroll
      for (int m = 0; m < kTileColumns; ++m) b[m] = __ldg(fragments + (m * kSteps + step) * kWarp);
#pragma unroll
      for (int t = 0; t < kProduct.tiles; ++t) {
        const uint4 above = __ldg(reinterpret_cast<const uint4*>(from[t][0] + step * kStep));
        const uint4 below = __ldg(reinterpret_cast<const uint4*>(from[t][1] + step * kStep));
        const unsigned a[2][4] = {{above.x, below.x, above.y, below.y}, {above.z, below.z, above.w, below.w}};
#pragma unroll
        for (int m = 0; m < kTileColumns; ++m) {
          multiply_add(sums[t][m], a[0], b[m].x, b[m].y);
          multiply_add(sums[t][m], a[1], b[m].z, b[m].w);
        }
      }
    }
    __syncthreads();  // the tile before has been read
#pragma unroll
    for (int t = 0; t < kProduct.tiles; ++t)
#pragma unroll
      for (int m = 0; m < kTileColumns; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          shared[(warp * kTile + (t * kPixels + 8 * h + lane / 4) * kWidth + m * kColumns) / 2 + lane % 4] =
              make_float2(sums[t][m][2 * h], sums[t][m][2 * h + 1]);
    __syncthreads();
    const float* const partial = reinterpret_cast<const float*>(shared);
    for (int i = thread; i < kTile; i += kProduct.warps * kWarp) {
      const int row = first_row + i / kWidth, column = first_column + i % kWidth;
      if (row >= rows) break;
      float sum = __ldg(biases + column);
#pragma unroll
      for (int share = 0; share < kProduct.warps; ++share) sum += partial[share * kTile + i];
      store(out + static_cast<std::size_t>(row) * kProduct.outputs + column,
            prelu(sum, __ldg(biases + kProduct.outputs + column)));
    }
  }
}

template <class Fp16, class Crops>
struct Steps {
  using Net = typename Fp16::Net;
  using Layers = Fp16;
  using Element = __half;
  using Pixel = Crops;

  template <class Shape>
  static constexpr std::size_t bytes(const Shape& shape) {
    return parameter_bytes(shape);
  }
  template <class Shape>
  static constexpr std::size_t values(const Shape& shape) {
    return map_values(shape);
  }

  template <class Layer>
  static void first(const Queue& queue, WindowCount windows, const Pixel* in, const unsigned char* weights,
                    __half* out) {
    launch(queue, first_kernel<Layer, Pixel>, Layer::kShape.warps * kWarp, first_shared_bytes(Layer::kShape), windows,
           in, weights, out);
  }
  template <class Layer>
  static void conv(const Queue& queue, WindowCount windows, const __half* in, const unsigned char* weights,
                   __half* out) {
    launch(queue, conv_fp16_kernel<Layer>, threads(Layer::kShape), shared_bytes(Layer::kShape), windows, in, weights,
           out);
  }
  template <class Layer, class Out>
  static void product(const Queue& queue, WindowCount windows, const __half* in, const unsigned char* weights,
                      Out* out) {
    launch(queue, product_fp16_kernel<Layer, Out>, Layer::kShape.warps * kWarp, 0, windows, in, weights, out);
  }
};

}  // namespace

void refine_fp16(const Queue& queue, const Work& work, Stage stage, const void* weights) {
  if (stage == Stage::rnet)
    run_layers<Steps<RnetFp16, __half>, KeepHeads>(queue, work, window_count(work, stage), weights);
  else
    run_layers<Steps<OnetFp16, __half>, KeepHeads>(queue, work, window_count(work, stage), weights);
}

void screen_windows(const Queue& queue, const Work& work, const void* weights) {
  run_layers<Steps<RnetFp16, float>, ScreenHeads>(queue, work, window_count(work, Stage::rnet), weights);
}

}  // namespace mtcnn_fast::cuda
