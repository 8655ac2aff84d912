// Resizing: every level of the pyramid straight from its image, and R-Net's and O-Net's crops of it, in one pass each.
// Levels are made before P-Net and not in it, because a tile of a coarse level is made of most of the image, which one
// block would take 0.1 ms to read.
//
// An output is the sum over a window of source pixels, weighted along both axes. Where windows are small a thread makes
// an output, else 8 or 32 lanes share it: neighbours take neighbouring columns, so that they read neighbouring bytes,
// down all rows, whose loads do not wait for one another. Middle rows of a window have one weight: they are added as
// integers, exactly. Sums are made in an order that depends on the window alone.
//
// A task is a strip of a level's or part of a crop's outputs. Its block computes the strip's row and column windows
// once, in shared memory, and reads 100 to 200 KB of the image at most.
#include <cuda_fp16.h>

#include "kernels.h"

namespace mtcnn_fast::cuda {
namespace {

constexpr int kThreads = 256, kCropThreads = 128;
// Of a crop: of its rows, as many tasks share one, by whether its windows are so large that a warp makes an output.
constexpr int kFewParts = 8, kMostParts = 24;

__host__ __device__ int lanes_for(int height, int width, int target_height, int target_width) {
  const double pixels = static_cast<double>(height) * width / (static_cast<double>(target_height) * target_width);
  return pixels < 36 ? 1 : pixels < 300 ? 8 : kWarp;
}

__device__ void store(float* out, float value) { *out = value; }
__device__ void store(__half* out, float value) { *out = __float2half_rn(value); }

// Moves a window by `offset` pixels and drops what then lies outside 0 .. size - 1: black there adds nothing.
__device__ AxisWindow placed(const AxisWindow& window, int offset, int size) {
  const int first = window.first + offset;
  const int before = min(max(-first, 0), window.count);
  const int beyond = min(max(first + window.count - size, 0), window.count - before);
  const int count = window.count - before - beyond;
  if (count == 0) return {0, 0, 0, 0, 0};
  return {first + before, count, window.weight(before), window.middle, window.weight(window.count - beyond - 1)};
}

// This lane's share of an output, without rounding.
template <int kLanes>
__device__ void weigh(const Image& image, const AxisWindow& x, const AxisWindow& y, int lane, float (&sums)[3]) {
  const std::uint8_t* column = image.data + y.first * image.stride + (x.first + lane) * image.pixel;
  for (int tap = lane; tap < x.count; tap += kLanes, column += kLanes * image.pixel) {
    const std::uint8_t* pixel = column;
    int middle[3] = {};
    float rows[3];
    for (int c = 0; c < 3; ++c) rows[c] = y.begin * static_cast<float>(__ldg(pixel + c * image.channel));
    pixel += image.stride;
#pragma unroll 8
    for (int row = 2; row < y.count; ++row, pixel += image.stride)
      for (int c = 0; c < 3; ++c) middle[c] += __ldg(pixel + c * image.channel);
    for (int c = 0; c < 3; ++c) rows[c] = fmaf(y.middle, static_cast<float>(middle[c]), rows[c]);
    if (y.count > 1)
      for (int c = 0; c < 3; ++c) rows[c] = fmaf(y.end, static_cast<float>(__ldg(pixel + c * image.channel)), rows[c]);
    const float weight = x.weight(tap);
    for (int c = 0; c < 3; ++c) sums[c] = fmaf(weight, rows[c], sums[c]);
  }
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2)
    for (int c = 0; c < 3; ++c) sums[c] += __shfl_xor_sync(kAllLanes, sums[c], apart);
}

// The same with OpenCV's float32 operations in OpenCV's order (resize.cpp, ResizeArea), which decides ties of the
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

// A rectangle of outputs whose windows are rows[0 ..] and columns[0 ..]: out(row, column, channel, value). A window
// of no pixels makes 0.
template <int kLanes, bool kRounds, class Out>
__device__ void make_outputs(const Image& image, const AxisWindow* rows, const AxisWindow* columns, int height,
                             int width, Rounding rounding, const Out& out) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int threads = static_cast<int>(blockDim.x);
  // All lanes come along to the last output, whose sums they may have to add.
  for (int base = 0; base < height * width; base += threads / kLanes) {
    const int output = base + static_cast<int>(threadIdx.x) / kLanes;
    const bool any = output < height * width;
    const int row = any ? output / width : height - 1, column = any ? output % width : 0;
    const AxisWindow y = rows[row];
    AxisWindow x = columns[column];
    if (!any || y.count == 0) x.count = 0;
    float sums[3] = {};
    if constexpr (kRounds) {
      weigh_as_opencv<kLanes>(image, x, y, lane, sums);
      for (float& sum : sums) sum = rounded(rounding, sum);
    } else {
      weigh<kLanes>(image, x, y, lane, sums);
    }
    if (!any) continue;
    // Every lane has the sums.
    if constexpr (kLanes == 1) {
      for (int c = 0; c < 3; ++c) out(row, column, c, sums[c]);
    } else if (lane < 3) {
      out(row, column, lane, lane == 0 ? sums[0] : lane == 1 ? sums[1] : sums[2]);
    }
  }
}

template <bool kRounds, class Out>
__device__ void make_outputs(int lanes, const Image& image, const AxisWindow* rows, const AxisWindow* columns,
                             int height, int width, Rounding rounding, const Out& out) {
  if (lanes == 1)
    make_outputs<1, kRounds>(image, rows, columns, height, width, rounding, out);
  else if (lanes == 8)
    make_outputs<8, kRounds>(image, rows, columns, height, width, rounding, out);
  else
    make_outputs<kWarp, kRounds>(image, rows, columns, height, width, rounding, out);
}

// The windows of a task's outputs.
struct Windowed {
  static constexpr int kMostRows = 16, kMostColumns = 64;
  AxisWindow rows[kMostRows], columns[kMostColumns];

  // Of outputs first_row .. + height - 1 and first_column .. + width - 1, of a source that lies `top` and `left` pixels
  // off the image.
  struct Axis {
    int source, target, first, count, offset, size;  // the image's size
  };
  __device__ void make(Filter filter, const Axis& y, const Axis& x) {
    for (int k = static_cast<int>(threadIdx.x); k < y.count + x.count; k += static_cast<int>(blockDim.x)) {
      // Member by member: one struct or the other, whole, would stand in local memory.
      const bool row = k < y.count;
      const int source = row ? y.source : x.source, target = row ? y.target : x.target;
      const int i = row ? k : k - y.count, output = (row ? y.first : x.first) + i;
      const AxisWindow window = axis_window(filter, source, target, output, axis_place(source, target, output));
      (row ? rows : columns)[i] = placed(window, row ? y.offset : x.offset, row ? y.size : x.size);
    }
  }
};

// One strip of an image resized to height x width.
template <bool kRounds, class Out>
__device__ void make_strip(const Image& image, const Conventions& conventions, int height, int width, int lanes,
                           int strip, Windowed& windows, const Out& out) {
  const Strip size = resize_strip(lanes);
  const int across = (width + size.width - 1) / size.width;
  const int top = strip / across * size.height, left = strip % across * size.width;
  const int rows = min(size.height, height - top), columns = min(size.width, width - left);
  windows.make(resize_filter(conventions.resampling, image.height, image.width, height, width),
               {image.height, height, top, rows, 0, image.height}, {image.width, width, left, columns, 0, image.width});
  __syncthreads();
  make_outputs<kRounds>(lanes, image, windows.rows, windows.columns, rows, columns,
                        pixel_rounding(conventions, image.height, image.width, height, width),
                        [&](int row, int column, int c, float value) { out(top + row, left + column, c, value); });
  __syncthreads();
}

__device__ void zero_counts(const Work& work) {
  const int first = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int threads = static_cast<int>(gridDim.x * blockDim.x);
  if (first == 0) *work.counts = {};
  for (int i = first; i < work.job->images; i += threads) work.image_counts[i] = {};
  for (int i = first; i < work.job->levels; i += threads) work.level_counts[i] = {};
}

template <class Element, bool kRounds>
__global__ void __launch_bounds__(kThreads, 3) pyramid_kernel(Work work) {
  __shared__ Windowed windows;
  wait_for_earlier_kernels();
  zero_counts(work);
  const Job job = *work.job;
  // The last first: the strips of coarse levels, of which each output takes longest.
  for (int strip = job.strips - 1 - static_cast<int>(blockIdx.x); strip >= 0; strip -= static_cast<int>(gridDim.x)) {
    const Level& level = work.levels[level_of<&Level::first_strip>(work, strip, 0)];
    Element* const out = static_cast<Element*>(work.pyramid) + level.first_pixel * 3;
    make_strip<kRounds>(work.images[level.image], work.settings.conventions, level.height, level.width, level.lanes,
                        strip - level.first_strip, windows, [&](int y, int x, int c, float value) {
                          store(out + (static_cast<std::int64_t>(y) * level.pitch + x) * 3 + c,
                                fmaf(value, kScale, kBias));
                        });
  }
}

template <class Element>
__global__ void __launch_bounds__(kCropThreads, 6) crops_kernel(Work work, Stage stage) {
  __shared__ Windowed windows;
  wait_for_earlier_kernels();
  const Windows& list = work.windows[stage];
  const Geometry geometry(work.settings.conventions);
  const int n = min(work.counts->windows[stage], list.capacity), side = crop_side(stage);
  for (std::int64_t task = blockIdx.x; task < std::int64_t{n} * kMostParts; task += gridDim.x) {
    const int part = static_cast<int>(task / n), index = static_cast<int>(task % n);
    const Image& image = work.images[list.images[index]];
    const BoxD window = geometry.crop_window(list.boxes[index], image.height, image.width);
    const int left = static_cast<int>(window.x1) - 1, top = static_cast<int>(window.y1) - 1;
    const int width = static_cast<int>(window.x2) - left, height = static_cast<int>(window.y2) - top;
    const int lanes = lanes_for(height, width, side, side), parts = lanes == kWarp ? kMostParts : kFewParts;
    if (part >= parts) continue;
    const int rows = side / parts, first_row = part * rows;
    windows.make(resize_filter(work.settings.conventions.resampling, height, width, side, side),
                 {height, side, first_row, rows, top, image.height}, {width, side, 0, side, left, image.width});
    __syncthreads();
    Element* const out = static_cast<Element*>(work.activations[stage].crops) +
                         (static_cast<std::int64_t>(index) * side + first_row) * side * 3;
    make_outputs<false>(
        lanes, image, windows.rows, windows.columns, rows, side, Rounding::none,
        [&](int y, int x, int c, float value) { store(out + (y * side + x) * 3 + c, fmaf(value, kScale, kBias)); });
    __syncthreads();
  }
}

template <bool kRounds>
__global__ void __launch_bounds__(kThreads, 3)
    resize_kernel(Image image, Conventions conventions, int height, int width, int lanes, int strips, float* out) {
  __shared__ Windowed windows;
  wait_for_earlier_kernels();
  for (int strip = static_cast<int>(blockIdx.x); strip < strips; strip += static_cast<int>(gridDim.x))
    make_strip<kRounds>(
        image, conventions, height, width, lanes, strip, windows,
        [&](int y, int x, int c, float value) { out[(static_cast<std::int64_t>(y) * width + x) * 3 + c] = value; });
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
