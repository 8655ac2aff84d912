// R-Net and O-Net in float32. Five and six kernels: each convolution with its PReLU and pooling, the 2 x 2 convolution
// and the dense layer as matrix products, the heads.
//
// A convolution's item is of a few windows and a few output maps, so that one window's work spreads over many
// multiprocessors when windows are few, and lanes are full when there are many. A thread sums a few pixels in a row by
// a few maps in registers. Lanes are places in the map, and a warp's maps are the same, so that weights are 16 bytes
// that all lanes load at once, through the first-level cache; activations stand in shared memory, an odd number of 16
// bytes from row to row, which neighbouring lanes go down. Of O-Net's second convolution, 63 % of its multiply-adds, a
// row of the kernel by four input maps is 336 multiply-adds and 21 loads. Sums stay in registers while input maps come
// a few planes at a time; they take the same shared memory that outputs go through to be pooled.
//
// Matrix products have few rows (a window's 9, or 1) and many inputs: the block's warps share the inputs, and add up
// what they have in the order of the warps.
//
// Whatever a window shares a block with, each of its sums is made by one thread in one order.
#include "refine.cuh"

namespace mtcnn_fast::cuda {
namespace {

// 16 bytes from a row of the input to the next, and of the outputs; odd. A row's last thread may read beyond its end,
// for pixels that there are not.
constexpr int vectors(const Conv& c) { return ((c.pixels + c.kernel - 1) * plane_maps(c) + 3) / 4; }
constexpr int input_pitch(const Conv& c) {
  const int read = (segments(c) - 1) * c.pixels * plane_maps(c) / 4 + vectors(c);
  return std::max(c.side * plane_maps(c) / 4, read) | 1;
}
constexpr int output_pitch(const Conv& c) { return conv_side(c) | 1; }
constexpr int input_rows(const Conv& c) { return conv_rows(c) + c.kernel - 1; }
constexpr int plane_size(const Conv& c) { return c.windows * input_rows(c) * input_pitch(c); }
constexpr int quads(const Conv& c) { return c.maps * c.groups / 4; }
constexpr int quad_size(const Conv& c) { return c.windows * conv_rows(c) * output_pitch(c); }
constexpr std::size_t shared_bytes(const Conv& c) {
  return sizeof(float4) * std::max(c.planes * plane_size(c), quads(c) * quad_size(c));
}

// Where an item's work lies.
struct Item {
  int window, windows;  // the first, and how many
  int row;              // of the pooled map
  int map;
};

// Planes of the input into shared memory: [plane][window][row][column].
template <class Layer>
__device__ void load_planes(float4* shared, const float* in, WindowCount windows, const Item& item, int plane) {
  constexpr Conv kConv = Layer::kShape;
  constexpr int kRowVectors = kConv.side * plane_maps(kConv) / 4;
  constexpr int kPlanes = kConv.inputs / plane_maps(kConv);
  const int rows = min(input_rows(kConv), kConv.side - 2 * item.row);
  const int vectors_of_window = rows * kRowVectors;
  const int all = kConv.planes * item.windows * vectors_of_window;
  for (int i = static_cast<int>(threadIdx.x); i < all; i += threads(kConv)) {
    const int of_plane = i / vectors_of_window, within = i % vectors_of_window;
    const int p = of_plane / item.windows, window = of_plane % item.windows;
    const int row = within / kRowVectors, column = within % kRowVectors;
    // Only crops lie where their windows are; what is made of them stands one after the other.
    int place = item.window + window;
    if constexpr (kConv.inputs == 3) place = windows.place(place);
    const std::size_t from = (static_cast<std::size_t>(place) * kPlanes + plane + p) * kConv.side + 2 * item.row;
    shared[p * plane_size(kConv) + (window * input_rows(kConv) + row) * input_pitch(kConv) + column] =
        load4(in + 4 * (from * kRowVectors + within));
  }
}

// Adds what the planes in shared memory contribute. `weights` are of the thread's maps and those planes.
template <class Layer>
__device__ void multiply(float (&sums)[Layer::kShape.pixels][Layer::kShape.maps], const float4* shared,
                         const float* weights) {
  constexpr Conv kConv = Layer::kShape;
  constexpr int kMaps = plane_maps(kConv);
  // The loads of a row of the kernel come while the row before is multiplied. The first layer would need so many
  // registers for it that a multiprocessor had room for one block. (The emulator's compiler knows no unrolling.)
  [[maybe_unused]] constexpr int kUnrolled = kConv.inputs == 3 ? 1 : kConv.kernel;
#pragma unroll 1
  for (int p = 0; p < kConv.planes; ++p, shared += plane_size(kConv))
#pragma unroll kUnrolled
    for (int y = 0; y < kConv.kernel; ++y) {
      float4 loaded[vectors(kConv)];
#pragma unroll
      for (int i = 0; i < vectors(kConv); ++i) loaded[i] = shared[y * input_pitch(kConv) + i];
      float values[4 * vectors(kConv)];
#pragma unroll
      for (int i = 0; i < vectors(kConv); ++i) {
        values[4 * i] = loaded[i].x;
        values[4 * i + 1] = loaded[i].y;
        values[4 * i + 2] = loaded[i].z;
        values[4 * i + 3] = loaded[i].w;
      }
#pragma unroll
      for (int tap = 0; tap < kConv.kernel * kMaps; ++tap, weights += kConv.maps)
#pragma unroll
        for (int m = 0; m < kConv.maps; m += 4) {
          const float4 w = load4(weights + m);
#pragma unroll
          for (int x = 0; x < kConv.pixels; ++x) {
            const float value = values[x * kMaps + tap];
            sums[x][m] = fmaf(value, w.x, sums[x][m]);
            sums[x][m + 1] = fmaf(value, w.y, sums[x][m + 1]);
            sums[x][m + 2] = fmaf(value, w.z, sums[x][m + 2]);
            sums[x][m + 3] = fmaf(value, w.w, sums[x][m + 3]);
          }
        }
    }
}

// The greatest of each pooling window, from shared memory ([four maps][window][row][column]) to where the next layer
// reads it.
template <class Layer>
__device__ void pool(const float4* shared, const Item& item, float* out) {
  constexpr Conv kConv = Layer::kShape;
  constexpr int kSide = pooled_side(kConv);
  const int rows = min(kConv.rows, kSide - item.row);
  const int all = item.windows * rows * kSide * quads(kConv);
  for (int i = static_cast<int>(threadIdx.x); i < all; i += threads(kConv)) {
    // Planes are written a row after the other, and else a pixel's maps.
    const int quad = kConv.planar ? i / (rows * kSide) % quads(kConv) : i % quads(kConv);
    const int pixel = kConv.planar ? i % (rows * kSide) : i / quads(kConv) % (rows * kSide);
    const int window = i / (quads(kConv) * rows * kSide);
    const int y = pixel / kSide, x = pixel % kSide;
    const int height = min(kConv.pool, conv_side(kConv) - 2 * (item.row + y));
    const int width = min(kConv.pool, conv_side(kConv) - 2 * x);
    const float4* from =
        shared + quad * quad_size(kConv) + (window * conv_rows(kConv) + 2 * y) * output_pitch(kConv) + 2 * x;
    float4 best = *from;
    for (int v = 0; v < height; ++v, from += output_pitch(kConv))
      for (int u = 0; u < width; ++u) {
        best.x = greater(best.x, from[u].x);
        best.y = greater(best.y, from[u].y);
        best.z = greater(best.z, from[u].z);
        best.w = greater(best.w, from[u].w);
      }
    const std::size_t to = static_cast<std::size_t>(item.window + window) * map_values(kConv);
    const int place = (item.row + y) * kSide + x;
    const int map = item.map + 4 * quad;
    *reinterpret_cast<float4*>(out + to +
                               (kConv.planar ? map * kSide * kSide + 4 * place : place * kConv.outputs + map)) = best;
  }
}

template <class Layer>
__global__ void __launch_bounds__(threads(Layer::kShape), 512 / threads(Layer::kShape))
    conv_kernel(WindowCount windows, const float* in, const float* weights, float* out) {
  constexpr Conv kConv = Layer::kShape;
  MTCNN_FAST_SHARED_MEMORY(memory);
  float4* const shared = reinterpret_cast<float4*>(memory);
  constexpr int kBands = (pooled_side(kConv) + kConv.rows - 1) / kConv.rows;
  constexpr int kItemMaps = kConv.maps * kConv.groups, kSlices = kConv.outputs / kItemMaps;
  constexpr int kLines = kConv.windows * conv_rows(kConv);
  const float* const biases = weights + kConv.outputs * taps(kConv);
  const float* const slopes = biases + kConv.outputs;

  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
  const int group = warp / segment_warps(kConv);
  const int segment = warp % segment_warps(kConv) * kWarp + thread % kWarp;
  const bool working = segment < kLines * segments(kConv);
  const int line = working ? segment % kLines : 0, first = working ? segment / kLines * kConv.pixels : 0;
  const int window = line / conv_rows(kConv), row = line % conv_rows(kConv);
  const int inputs = (window * input_rows(kConv) + row) * input_pitch(kConv) + first * plane_maps(kConv) / 4;
  const int outputs = group * (kConv.maps / 4) * quad_size(kConv) + line * output_pitch(kConv) + first;

  wait_for_earlier_kernels();
  const int n = windows.get();
  const int items = (n + kConv.windows - 1) / kConv.windows * (kBands * kSlices);
  for (int i = static_cast<int>(blockIdx.x); i < items; i += static_cast<int>(gridDim.x)) {
    Item item;
    item.window = i / (kBands * kSlices) * kConv.windows;
    item.windows = min(kConv.windows, n - item.window);
    item.row = i / kSlices % kBands * kConv.rows;
    item.map = i % kSlices * kItemMaps;
    const int map = item.map + group * kConv.maps;

    float sums[kConv.pixels][kConv.maps];
#pragma unroll
    for (int m = 0; m < kConv.maps; ++m) {
      const float bias = __ldg(biases + map + m);
#pragma unroll
      for (int x = 0; x < kConv.pixels; ++x) sums[x][m] = bias;
    }
    const float* map_weights = weights + map * taps(kConv);
#pragma unroll 1
    for (int plane = 0; plane * plane_maps(kConv) < kConv.inputs; plane += kConv.planes) {
      __syncthreads();
      load_planes<Layer>(shared, in, windows, item, plane);
      __syncthreads();
      multiply<Layer>(sums, shared + inputs, map_weights);
      map_weights += kConv.planes * plane_maps(kConv) * kConv.kernel * kConv.kernel * kConv.maps;
    }
    __syncthreads();
    if (working) {
#pragma unroll
      for (int m = 0; m < kConv.maps; m += 4) {
        const float4 slope = load4(slopes + map + m);
#pragma unroll
        for (int x = 0; x < kConv.pixels; ++x)
          if (conv_side(kConv) % kConv.pixels == 0 || first + x < conv_side(kConv))
            shared[outputs + m / 4 * quad_size(kConv) + x] =
                make_float4(prelu(sums[x][m], slope.x), prelu(sums[x][m + 1], slope.y), prelu(sums[x][m + 2], slope.z),
                            prelu(sums[x][m + 3], slope.w));
      }
    }
    __syncthreads();
    pool<Layer>(shared, item, out);
  }
}

// A block makes a tile of outputs: 8 lanes of 4 columns by 4 lanes of tile_rows rows; each warp does its share of the
// inputs.
constexpr int kProductThreads = 256, kProductWarps = kProductThreads / kWarp;
constexpr int kTileColumns = 32;
constexpr int tile_rows(const Product& p) { return 4 * p.tile_rows; }

// Four inputs of a thread's rows, and what they are multiplied by.
template <int kRows>
struct Operands {
  float4 inputs[kRows], weights[4];
};
template <int kRows>
__device__ inline Operands<kRows> load_operands(const float* const (&from)[kRows], const float* weights, int k,
                                                int outputs) {
  Operands<kRows> operands;
#pragma unroll
  for (int r = 0; r < kRows; ++r) operands.inputs[r] = load4(from[r] + k);
#pragma unroll
  for (int i = 0; i < 4; ++i) operands.weights[i] = load4(weights + (k + i) * outputs);
  return operands;
}

template <class Layer>
__global__ void __launch_bounds__(kProductThreads)
    product_kernel(WindowCount windows, const float* in, const float* weights, float* out) {
  constexpr Product kProduct = Layer::kShape;
  constexpr int kRows = kProduct.tile_rows, kInputs = kProduct.inputs / kProductWarps;
  constexpr int kPart = kProduct.inputs / kProduct.parts;
  constexpr int kTile = tile_rows(kProduct) * kTileColumns;
  constexpr int kColumnTiles = kProduct.outputs / kTileColumns;
  // A dense layer of few windows does little but wait for its loads, and with four rows it has registers to load ahead.
  constexpr bool kAhead = kRows == 4;
  static_assert(kPart % kInputs == 0 && kInputs % 4 == 0 && kProduct.outputs % kTileColumns == 0);
  __shared__ float4 shared[kProductWarps * kTile / 4];
  const float* const biases = weights + kProduct.inputs * kProduct.outputs;
  const float* const slopes = biases + kProduct.outputs;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp;
  const int lane_row = lane / 8 * kRows, lane_column = lane % 8 * 4;
  const int input = warp * kInputs;
  const int part = input / kPart;

  wait_for_earlier_kernels();
  const int rows = windows.get() * kProduct.rows;
  const int tiles = (rows + tile_rows(kProduct) - 1) / tile_rows(kProduct) * kColumnTiles;
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
    const int first_row = tile / kColumnTiles * tile_rows(kProduct), first_column = tile % kColumnTiles * kTileColumns;
    const float* from[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = min(first_row + lane_row + r, rows - 1);
      if constexpr (kProduct.parts == 1) {
        from[r] = in + static_cast<std::size_t>(row) * kProduct.inputs + input;
      } else {
        // Of a map of 4 x 4, the 3 x 3 places of a kernel of 2 x 2.
        const int place = row % 9, pixel = place / 3 * 4 + place % 3;
        from[r] = in + static_cast<std::size_t>(row / 9) * (4 * kProduct.jump) + pixel * (kProduct.jump / 4) +
                  part * kProduct.jump + (input - part * kPart);
      }
    }
    const float* w = weights + static_cast<std::size_t>(input) * kProduct.outputs + first_column + lane_column;
    float sums[kRows][4] = {};
    Operands<kRows> next;
    if constexpr (kAhead) next = load_operands(from, w, 0, kProduct.outputs);
#pragma unroll kAhead ? 2 : 1
    for (int k = 0; k < kInputs; k += 4) {
      Operands<kRows> now;
      if constexpr (kAhead) {
        now = next;
        // Behind the last inputs, the first ones again.
        next = load_operands(from, w, k + 4 < kInputs ? k + 4 : 0, kProduct.outputs);
      } else {
        now = load_operands(from, w, k, kProduct.outputs);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 b = now.weights[i];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const float4 a = now.inputs[r];
          const float value = i == 0 ? a.x : i == 1 ? a.y : i == 2 ? a.z : a.w;
          sums[r][0] = fmaf(value, b.x, sums[r][0]);
          sums[r][1] = fmaf(value, b.y, sums[r][1]);
          sums[r][2] = fmaf(value, b.z, sums[r][2]);
          sums[r][3] = fmaf(value, b.w, sums[r][3]);
        }
      }
    }
    __syncthreads();  // the tile before has been read
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      shared[(warp * kTile + (lane_row + r) * kTileColumns + lane_column) / 4] =
          make_float4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    __syncthreads();
    const float* const partial = reinterpret_cast<const float*>(shared);
    for (int i = thread; i < kTile; i += kProductThreads) {
      const int row = first_row + i / kTileColumns, column = first_column + i % kTileColumns;
      if (row >= rows) break;
      float sum = __ldg(biases + column);
#pragma unroll
      for (int share = 0; share < kProductWarps; ++share) sum += partial[share * kTile + i];
      out[static_cast<std::size_t>(row) * kProduct.outputs + column] = prelu(sum, __ldg(slopes + column));
    }
  }
}

template <class Network>
struct Steps {
  using Net = Network;
  using Layers = Network;
  using Element = float;
  using Pixel = float;

  template <class Shape>
  static constexpr std::size_t bytes(const Shape& shape) {
    return parameters(shape) * sizeof(float);
  }
  static constexpr std::size_t values(const Conv& shape) { return map_values(shape); }

  template <class Layer>
  static void conv(const Queue& queue, WindowCount windows, const float* in, const unsigned char* weights, float* out) {
    launch(queue, conv_kernel<Layer>, threads(Layer::kShape), shared_bytes(Layer::kShape), windows, in,
           reinterpret_cast<const float*>(weights), out);
  }
  template <class Layer>
  static void first(const Queue& queue, WindowCount windows, const float* in, const unsigned char* weights,
                    float* out) {
    conv<Layer>(queue, windows, in, weights, out);
  }
  template <class Layer>
  static void product(const Queue& queue, WindowCount windows, const float* in, const unsigned char* weights,
                      float* out) {
    launch(queue, product_kernel<Layer>, kProductThreads, 0, windows, in, reinterpret_cast<const float*>(weights), out);
  }
};

}  // namespace

void refine(const Queue& queue, const Work& work, Stage stage, Arithmetic arithmetic, const void* weights) {
  if (arithmetic == Arithmetic::fp16)
    refine_fp16(queue, work, stage, weights);
  else if (stage == Stage::rnet)
    run_layers<Steps<Rnet>, KeepHeads>(queue, work, window_count(work, stage), weights);
  else
    run_layers<Steps<Onet>, KeepHeads>(queue, work, window_count(work, stage), weights);
}

void confirm_windows(const Queue& queue, const Work& work, const void* weights) {
  const WindowCount windows = {&work.counts->windows_left, work.windows[Stage::rnet].capacity, work.windows_left};
  run_layers<Steps<Rnet>, KeepHeads>(queue, work, windows, weights);
}

}  // namespace mtcnn_fast::cuda
