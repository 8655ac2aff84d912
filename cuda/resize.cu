// Resizing: every level of the pyramid straight from its image, and R-Net's and O-Net's crops of it, in one pass each.
// Levels are made before P-Net and not in it, because a tile of a coarse level is made of most of the image, which one
// block would take 0.1 ms to read.
//
// An output is the sum over a window of source pixels, weighted along both axes: down the rows of each of its columns,
// then across the columns. Where windows are small a thread makes an output, else 8 or 32 lanes share its columns.
// Middle rows of a window have one weight: they are added as integers, exactly. Sums are made in an order that depends
// on the window alone.
//
// A task is a strip of a level's or part of a crop's outputs. Its block computes the strip's row and column windows
// once, in shared memory, and reads 200 KB of the image at most. Interleaved pixels are read as words of four
// bytes, each once for a row of outputs: their columns' sums are in shared memory before outputs are made of them.
// Where that cannot be, every output reads the bytes of its own columns.
#include <cuda_fp16.h>

#include "image_words.h"
#include "kernels.h"
#include "levels.cuh"

namespace mtcnn_fast::cuda {
namespace {

constexpr int kThreads = 256, kCropThreads = 128;
constexpr int kMostCropParts = 8;  // tasks that share a crop's rows
// Words of the image whose columns' sums a block has room for.
constexpr int kStripWords = 1024, kCropWords = 768;

__host__ __device__ int lanes_for(int height, int width, int target_height, int target_width) {
  const double pixels = static_cast<double>(height) * width / (static_cast<double>(target_height) * target_width);
  return pixels < 36 ? 1 : pixels < 300 ? 8 : kWarp;
}

__device__ void store(float* out, float value) { *out = value; }
__device__ void store(__half* out, float value) { *out = __float2half_rn(value); }

// Moves a window by `offset` pixels and drops what then lies outside 0 .. size - 1: black there adds nothing. An empty
// window stands at the nearest border.
__device__ AxisWindow placed(const AxisWindow& window, int offset, int size) {
  const int first = window.first + offset;
  const int before = min(max(-first, 0), window.count);
  const int beyond = min(max(first + window.count - size, 0), window.count - before);
  const int count = window.count - before - beyond;
  if (count == 0) return {min(max(first, 0), size), 0, 0, 0, 0};
  return {first + before, count, window.weight(before), window.middle, window.weight(window.count - beyond - 1)};
}

// This lane's share of an output, without rounding: column(tap, sums) is what the rows of a column sum up to.
// `count`: x's, or 0.
template <int kLanes, class Column>
__device__ void weigh_columns(const AxisWindow& x, int count, int lane, const Column& column, float (&sums)[3]) {
#pragma unroll 1  // few columns, of a lane
  for (int tap = lane; tap < count; tap += kLanes) {
    float rows[3];
    column(tap, rows);
    const float weight = x.weight(tap);
    for (int c = 0; c < 3; ++c) sums[c] = fmaf(weight, rows[c], sums[c]);
  }
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2)
    for (int c = 0; c < 3; ++c) sums[c] += __shfl_xor_sync(kAllLanes, sums[c], apart);
}

// Outputs of bytes that may lie anywhere.
struct OfBytes {
  const Image& image;
  const Window* rows;

  template <int kLanes>
  __device__ void weigh(const AxisWindow& x, int row, int lane, float (&sums)[3]) const {
    const AxisWindow y = rows[row];
    const std::uint8_t* const first = image.data + y.first * image.stride + x.first * image.pixel;
    weigh_columns<kLanes>(
        x, y.count > 0 ? x.count : 0, lane,
        [&](int tap, float(&sum)[3]) {
          const std::uint8_t* pixel = first + tap * image.pixel;
          int middle[3] = {};
          for (int c = 0; c < 3; ++c) sum[c] = y.begin * static_cast<float>(__ldg(pixel + c * image.channel));
          pixel += image.stride;
#pragma unroll 4
          for (int between = y.count - 2; between > 0; --between, pixel += image.stride)
            for (int c = 0; c < 3; ++c) middle[c] += __ldg(pixel + c * image.channel);
          for (int c = 0; c < 3; ++c) sum[c] = fmaf(y.middle, static_cast<float>(middle[c]), sum[c]);
          if (y.count > 1)
            for (int c = 0; c < 3; ++c)
              sum[c] = fmaf(y.end, static_cast<float>(__ldg(pixel + c * image.channel)), sum[c]);
        },
        sums);
  }
};

// Outputs of the sums that sum_rows() makes.
struct OfWords {
  const Words& words;
  const Window* rows;
  const float* sums;

  template <int kLanes>
  __device__ void weigh(const AxisWindow& x, int row, int lane, float (&out)[3]) const {
    const float* const first = sums + 4 * words.count * row + words.lead + 3 * (x.first - words.first_column);
    const int count = rows[row].count > 0 ? x.count : 0;
    const auto add = [&](int tap, float weight) {
      for (int c = 0; c < 3; ++c) out[c] = fmaf(weight, first[3 * tap + c], out[c]);
    };
    if constexpr (kLanes == 1) {
      // As weigh_columns() does it, but for the choice of each column's weight: 10 instructions a column, and not 16.
      if (count > 0) add(0, x.begin);
#pragma unroll 1
      for (int tap = 1; tap < count - 1; ++tap) add(tap, x.middle);
      if (count > 1) add(count - 1, x.end);
    } else {
      weigh_columns<kLanes>(
          x, count, lane,
          [&](int tap, float(&sum)[3]) {
            for (int c = 0; c < 3; ++c) sum[c] = first[3 * tap + c];
          },
          out);
    }
    if (!words.reversed) return;
    const float red = out[2];
    out[2] = out[0], out[0] = red;
  }
};

// With OpenCV's float32 operations in OpenCV's order (resize.cpp, ResizeArea), which decides ties of the
// rounding: columns before rows, products rounded before they are added. Lanes take a row each, and add them up in
// turn.
template <int kLanes>
__device__ void weigh_as_opencv(const Image& image, const AxisWindow& x, const AxisWindow& y, int lane,
                                float (&sums)[3]) {
  for (int first = 0; first < y.count; first += kLanes) {
    const int row = first + lane;
    float own[3] = {};
    if (row < y.count) {
      const std::uint8_t* pixel = image.data + (y.first + row) * image.stride + x.first * image.pixel;
#pragma unroll 4
      for (int tap = 0; tap < x.count; ++tap, pixel += image.pixel) {
        const float weight = x.weight(tap);
        for (int c = 0; c < 3; ++c) own[c] += static_cast<float>(__ldg(pixel + c * image.channel)) * weight;
      }
      const float weight = y.weight(row);
      for (int c = 0; c < 3; ++c) own[c] *= weight;
    }
    // Outputs of a warp may have windows of different heights.
    const int first_lane = static_cast<int>(threadIdx.x) % kWarp - lane;
    const unsigned group = kAllLanes >> (kWarp - kLanes) << first_lane;
    for (int k = 0; k < min(kLanes, y.count - first); ++k)
      for (int c = 0; c < 3; ++c) sums[c] += kLanes == 1 ? own[c] : __shfl_sync(group, own[c], first_lane + k);
  }
}

__device__ float rounded(Rounding rounding, float sum) {
  // Means of four pixels are multiples of 1/4: an eighth more sends ties up and nothing else over.
  if (rounding == Rounding::opencv_halving) sum += 0.125f;
  return rintf(sum);  // ties to even
}

// Outputs as OpenCV makes them, of bytes.
struct AsOpenCv {
  const Image& image;
  const Window* rows;
  Rounding rounding;

  template <int kLanes>
  __device__ void weigh(const AxisWindow& x, int row, int lane, float (&sums)[3]) const {
    AxisWindow y = rows[row];
    if (x.count == 0) y.count = 0;
    weigh_as_opencv<kLanes>(image, x, y, lane, sums);
    for (float& sum : sums) sum = rounded(rounding, sum);
  }
};

// How a block's threads go through rows of `count` places, each shared by `lanes` of them: 2^shift places of a row at a
// time, in as many rows as there are threads for. All threads of a warp are in the same row.
struct Walk {
  int shift, row, rows_at_a_time, place;

  __device__ Walk(int count, int lanes) {
    const int thread = static_cast<int>(threadIdx.x) / lanes, threads = static_cast<int>(blockDim.x) / lanes;
    shift = max(31 - __clz(kWarp / lanes), min(31 - __clz(threads), 32 - __clz(count - 1)));
    row = thread >> shift, rows_at_a_time = threads >> shift;
    place = thread & ((1 << shift) - 1);
  }
};

// A rectangle of outputs, of columns' windows columns[0 ..]: out(row, column, channel, value). A window of no pixels
// makes 0.
template <int kLanes, class Source, class Out>
__device__ void make_outputs(const Source& source, const Window* columns, int height, int width, const Out& out) {
  const Walk walk(width, kLanes);
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  for (int base = 0; base < width; base += 1 << walk.shift) {
    // All lanes come along to the last column, whose sums they may have to add.
    const int column = min(base + walk.place, width - 1);
    const bool any = column == base + walk.place;
    AxisWindow x = columns[column];
    if (!any) x.count = 0;
    for (int row = walk.row; row < height; row += walk.rows_at_a_time) {
      float sums[3] = {};
      source.template weigh<kLanes>(x, row, lane, sums);
      if (!any) continue;
      // Every lane has the sums.
      if constexpr (kLanes == 1) {
        for (int c = 0; c < 3; ++c) out(row, column, c, sums[c]);
      } else if (lane < 3) {
        out(row, column, lane, lane == 0 ? sums[0] : lane == 1 ? sums[1] : sums[2]);
      }
    }
  }
}

template <class Source, class Out>
__device__ void make_outputs(int lanes, const Source& source, const Window* columns, int height, int width,
                             const Out& out) {
  if (lanes == 1)
    make_outputs<1>(source, columns, height, width, out);
  else if (lanes == 8)
    make_outputs<8>(source, columns, height, width, out);
  else
    make_outputs<kWarp>(source, columns, height, width, out);
}

// Outputs first .. first + count - 1 of an axis, of a source that lies `offset` pixels off the image, whose size is
// `size`.
struct Axis {
  int source, target, first, count, offset, size;
};

// Shared memory of a task: the windows of its outputs' rows and columns, and room for sums of kWords words.
template <int kWords>
struct Task {
  Window windows[96];  // rows, then columns
  alignas(16) float sums[4 * kWords];

  __device__ void make_windows(Filter filter, const Axis& y, const Axis& x) {
    for (int k = static_cast<int>(threadIdx.x); k < y.count + x.count; k += static_cast<int>(blockDim.x)) {
      // Member by member: one struct or the other, whole, would stand in local memory.
      const bool row = k < y.count;
      const int source = row ? y.source : x.source, target = row ? y.target : x.target;
      const int output = (row ? y.first : x.first - y.count) + k;
      const AxisWindow window = axis_window(filter, source, target, output, axis_place(source, target, output));
      windows[k] = {placed(window, row ? y.offset : x.offset, row ? y.size : x.size)};
    }
  }

  // All outputs of the rows and columns, whose windows have been made. By the whole block. Ends with a barrier.
  template <class Out>
  __device__ void make_outputs(const Image& image, int lanes, int height, int width, const Out& out) {
    const Window *const rows = windows, *const columns = windows + height;
    const Words words = words_of(image, rows, columns, height, width, kWords);
    if (words.count == 0) {
      cuda::make_outputs(lanes, OfBytes{image, rows}, columns, height, width, out);
      __syncthreads();
      return;
    }
    const int together = kWords / words.count;  // rows
    for (int first = 0; first < height; first += together) {
      const int here = min(together, height - first);
      if (words.aligned)
        sum_rows<true>(words, rows + first, here, sums);
      else
        sum_rows<false>(words, rows + first, here, sums);
      __syncthreads();
      cuda::make_outputs(lanes, OfWords{words, rows + first, sums}, columns, here, width,
                         [&](int row, int column, int c, float value) { out(first + row, column, c, value); });
      __syncthreads();
    }
  }
};

// One strip of the rows from `first_row` on, `height` of them, of an image resized to whole_height x width: of
// [height][pitch][3], to which value_of(pixel value) is written.
template <bool kRounds, class Shared, class Element, class ValueOf>
__device__ void make_strip(const Image& image, const Conventions& conventions, int whole_height, int width,
                           int first_row, int height, int lanes, int strip, Shared& task, Element* out, int pitch,
                           const ValueOf& value_of) {
  const Strip size = resize_strip(lanes);
  const int across = (width + size.width - 1) / size.width;
  const int top = strip / across * size.height, left = strip % across * size.width;
  const int rows = min(size.height, height - top), columns = min(size.width, width - left);
  task.make_windows(resize_filter(conventions.resampling, image.height, image.width, whole_height, width),
                    {image.height, whole_height, first_row + top, rows, 0, image.height},
                    {image.width, width, left, columns, 0, image.width});
  __syncthreads();
  Element* const first = out + (std::int64_t{top} * pitch + left) * 3;
  const auto put = [&](int row, int column, int c, float value) {
    store(first + (row * pitch + column) * 3 + c, value_of(value));
  };
  if constexpr (kRounds) {
    const Rounding rounding = pixel_rounding(conventions, image.height, image.width, whole_height, width);
    make_outputs(lanes, AsOpenCv{image, task.windows, rounding}, task.windows + rows, rows, columns, put);
    __syncthreads();
  } else {
    task.make_outputs(image, lanes, rows, columns, put);
  }
}

// Sums of columns are not what OpenCV's order needs.
template <bool kRounds>
using StripTask = Task<kRounds ? 1 : kStripWords>;

__device__ float normalised(float value) { return fmaf(value, kScale, kBias); }

__device__ void zero_counts(const Work& work) {
  const int first = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int threads = static_cast<int>(gridDim.x * blockDim.x);
  if (first == 0) *work.counts = {};
  for (int i = first; i < work.job->images; i += threads) work.image_counts[i] = {};
  for (int i = first; i < work.job->levels; i += threads) work.level_counts[i] = {};
}

template <class Element, bool kRounds>
__global__ void __launch_bounds__(kThreads, 3) pyramid_kernel(Work work) {
  __shared__ StripTask<kRounds> task;
  wait_for_earlier_kernels();
  zero_counts(work);
  const Job job = *work.job;
  // The last first: the strips of coarse levels, of which each output takes longest.
  for (int strip = job.strips - 1 - static_cast<int>(blockIdx.x); strip >= 0; strip -= static_cast<int>(gridDim.x)) {
    const Level& level = work.levels[level_of<&Level::first_strip>(work, strip, 0)];
    make_strip<kRounds>(work.images[level.image], work.settings.conventions, level.whole_height, level.width,
                        2 * level.first_row, level.height, level.lanes, strip - level.first_strip, task,
                        static_cast<Element*>(work.pyramid) + level.first_pixel * 3, level.pitch, normalised);
  }
}

template <class Element>
__global__ void __launch_bounds__(kCropThreads, 5) crops_kernel(Work work, Stage stage) {
  __shared__ Task<kCropWords> shared;
  wait_for_earlier_kernels();
  const Windows& list = work.windows[stage];
  const Geometry geometry(work.settings.conventions);
  const int n = min(work.counts->windows[stage], list.capacity), side = crop_side(stage);
  // As many tasks as all blocks can take at once.
  int parts = 1;
  while (parts < kMostCropParts && 2 * parts * n <= static_cast<int>(gridDim.x)) parts *= 2;
  const int rows = side / parts;
  for (int task = static_cast<int>(blockIdx.x); task < n * parts; task += static_cast<int>(gridDim.x)) {
    const int index = task / parts, first_row = task % parts * rows;
    const Image& image = work.images[list.images[index]];
    const BoxD window = geometry.crop_window(list.boxes[index], image.height, image.width);
    const int left = static_cast<int>(window.x1) - 1, top = static_cast<int>(window.y1) - 1;
    const int width = static_cast<int>(window.x2) - left, height = static_cast<int>(window.y2) - top;
    shared.make_windows(resize_filter(work.settings.conventions.resampling, height, width, side, side),
                        {height, side, first_row, rows, top, image.height}, {width, side, 0, side, left, image.width});
    __syncthreads();
    Element* const out = static_cast<Element*>(work.activations[stage].crops) +
                         (static_cast<std::int64_t>(index) * side + first_row) * side * 3;
    shared.make_outputs(image, lanes_for(height, width, side, side), rows, side,
                        [&](int row, int column, int c, float value) {
                          store(out + (row * side + column) * 3 + c, normalised(value));
                        });
  }
}

// Not a step of the cascade: one block less on a multiprocessor, for registers.
template <bool kRounds>
__global__ void __launch_bounds__(kThreads, 2)
    resize_kernel(Image image, Conventions conventions, int height, int width, int lanes, int strips, float* out) {
  __shared__ StripTask<kRounds> task;
  wait_for_earlier_kernels();
  for (int strip = static_cast<int>(blockIdx.x); strip < strips; strip += static_cast<int>(gridDim.x))
    make_strip<kRounds>(image, conventions, height, width, 0, height, lanes, strip, task, out, width,
                        [](float value) { return value; });
}

}  // namespace

int resize_lanes(int height, int width, int target_height, int target_width) {
  return lanes_for(height, width, target_height, target_width);
}

void pyramid(const Queue& queue, const Work& work, Arithmetic arithmetic) {
  const bool rounds = work.settings.conventions.rounds_levels;
  if (arithmetic == Arithmetic::fp16)
    launch(queue, rounds ? pyramid_kernel<__half, true> : pyramid_kernel<__half, false>, kThreads, 0, work);
  else
    launch(queue, rounds ? pyramid_kernel<float, true> : pyramid_kernel<float, false>, kThreads, 0, work);
}

void crops(const Queue& queue, const Work& work, Stage stage, Arithmetic arithmetic) {
  launch(queue, arithmetic == Arithmetic::fp16 ? crops_kernel<__half> : crops_kernel<float>, kCropThreads, 0, work,
         stage);
}

void resize(const Queue& queue, const Image& image, const Conventions& conventions, int height, int width, float* out) {
  const int lanes = lanes_for(image.height, image.width, height, width);
  const Strip strip = resize_strip(lanes);
  const int strips = ((height + strip.height - 1) / strip.height) * ((width + strip.width - 1) / strip.width);
  launch(queue, conventions.rounds_levels ? resize_kernel<true> : resize_kernel<false>, kThreads, 0, image, conventions,
         height, width, lanes, strips, out);
}

}  // namespace mtcnn_fast::cuda
