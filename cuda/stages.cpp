// The cascade's stages one at a time, from the host's memory to the host's: for tests, studies and pipelines. They take
// the same kernels as the cascade, and wait after each.
#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "workspace.h"

namespace mtcnn_fast::cuda {
namespace {

// Floats as the networks read them: as they are, or in fp16.
std::vector<unsigned char> elements(const float* values, std::size_t count, Arithmetic arithmetic) {
  std::vector<unsigned char> bytes(count * (arithmetic == Arithmetic::fp16 ? sizeof(__half) : sizeof(float)));
  if (arithmetic == Arithmetic::fp32) {
    std::memcpy(bytes.data(), values, bytes.size());
  } else {
    for (std::size_t i = 0; i < count; ++i) {
      const __half half = __float2half_rn(values[i]);
      std::memcpy(bytes.data() + i * sizeof half, &half, sizeof half);
    }
  }
  return bytes;
}

void copy_in(cudaStream_t stream, void* device, const void* host, std::size_t bytes) {
  MTCNN_FAST_CHECK(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream));
}
void copy_out(cudaStream_t stream, void* host, const void* device, std::size_t bytes) {
  MTCNN_FAST_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream));
}

}  // namespace

void Workspace::resize(const PlannedImage& planned, cudaStream_t before, int height, int width, float* out) {
  if (planned.on_device) images_written_.order(before, stream_);
  reserve_pixels({&planned, 1});
  std::size_t used = 0;
  const Image image = stage(planned, used);
  const std::size_t bytes = std::size_t{3} * height * width * sizeof(float);
  pyramid_.reserve(bytes);
  cuda::resize(queue(false), image, model_.settings.conventions, height, width, pyramid_.as<float>());
  copy_out(stream_, out, pyramid_.as<void>(), bytes);
  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));
}

void Workspace::pnet(const float* pixels, int height, int width, float* logits, float* offsets) {
  const PlannedLevel plan = {
      .scale = 1, .height = height, .width = width, .first_row = 0, .end_row = pnet_cells(height), .reach = 0};
  PlannedImage planned = {};
  planned.height = height, planned.width = width, planned.on_device = true;
  planned.levels = &plan, planned.level_count = 1;
  const int share = std::exchange(found_share_, 1);
  describe({&planned, 1}, model_.arithmetic);
  found_share_ = share;
  reserve();

  const Level level = levels_[0];
  const std::vector<unsigned char> rows = elements(pixels, std::size_t{3} * height * width, model_.arithmetic);
  const std::size_t row = 3 * element() * width;
  upload_description();
  MTCNN_FAST_CHECK(cudaMemcpy2DAsync(pyramid_.as<void>(), 3 * element() * level.pitch, rows.data(), row, row, height,
                                     cudaMemcpyHostToDevice, stream_));
  MTCNN_FAST_CHECK(cudaMemsetAsync(counts_.as<void>(), 0, counts_.bytes(), stream_));
  Work work = work_;
  work.settings.cell_logit = -std::numeric_limits<float>::infinity();
  cuda::pnet(queue(false), work, model_.arithmetic, model_.pnet.as<void>());
  LevelCounts counts = {};
  copy_out(stream_, &counts, work_.level_counts, sizeof counts);
  std::vector<Cell> found(static_cast<std::size_t>(level.capacity));
  copy_out(stream_, found.data(), work_.found, found.size() * sizeof(Cell));
  MTCNN_FAST_CHECK(cudaMemsetAsync(cell_map_.as<void>(), 0, cell_map_.bytes(), stream_));
  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));

  // A level that holds NaN has cells that pass no threshold, not even -inf.
  std::fill_n(logits, found.size(), std::numeric_limits<float>::quiet_NaN());
  std::fill_n(offsets, 4 * found.size(), std::numeric_limits<float>::quiet_NaN());
  found.resize(static_cast<std::size_t>(counts.found));
  for (const Cell& cell : found) {
    const std::size_t index = static_cast<std::size_t>(cell.row) * level.columns + cell.column;
    logits[index] = cell.logit;
    std::copy(cell.offsets, cell.offsets + 4, offsets + 4 * index);
  }
}

void Workspace::refine(Stage stage, const float* crops, int n, float* heads) {
  capacity_.windows[stage] = std::max(capacity_.windows[stage], n);
  describe({}, model_.arithmetic);
  reserve();
  const std::size_t side = crop_side(stage);
  const std::vector<unsigned char> bytes = elements(crops, side * side * 3 * n, model_.arithmetic);
  Counts counts = {};
  counts.windows[stage] = n;
  copy_in(stream_, work_.counts, &counts, sizeof counts);
  copy_in(stream_, work_.activations[stage].crops, bytes.data(), bytes.size());
  cuda::refine(queue(false), work_, stage, model_.arithmetic, model_.refine_weights(stage));
  copy_out(stream_, heads, work_.windows[stage].heads, sizeof(float) * kHeadOutputs * n);
  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));
}

void Workspace::look(std::span<const PlannedImage> images, cudaStream_t before, Stage stage,
                     std::span<const BoxD> boxes, const std::int32_t* of, float* heads) {
  if (any_on_device(images)) images_written_.order(before, stream_);
  const int most = static_cast<int>(std::min<std::size_t>(kCropsTogether, boxes.size()));
  capacity_.windows[stage] = std::max(capacity_.windows[stage], most);
  reserve_pixels(images);
  describe(images, model_.arithmetic);
  reserve();
  upload_description();
  const Windows& windows = work_.windows[stage];
  for (std::size_t first = 0; first < boxes.size(); first += kCropsTogether) {
    const std::size_t n = std::min<std::size_t>(kCropsTogether, boxes.size() - first);
    Counts counts = {};
    counts.windows[stage] = static_cast<int>(n);
    copy_in(stream_, work_.counts, &counts, sizeof counts);
    copy_in(stream_, windows.boxes, boxes.data() + first, n * sizeof(BoxD));
    copy_in(stream_, windows.images, of + first, n * sizeof(std::int32_t));
    crops(queue(false), work_, stage, model_.arithmetic);
    cuda::refine(queue(), work_, stage, model_.arithmetic, model_.refine_weights(stage));
    copy_out(stream_, heads + first * kHeadOutputs, windows.heads, n * kHeadOutputs * sizeof(float));
    MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));
  }
}

void Workspace::suppress(const BoxD* boxes, const float* scores, int n, double threshold, Overlap kind, double extra,
                         std::int32_t* kept, std::int32_t* count) {
  DeviceBuffer device_boxes, device_scores, keys, device_kept;
  device_boxes.reserve(n * sizeof(BoxD));
  device_scores.reserve(n * sizeof(float));
  keys.reserve(n * sizeof(std::uint64_t));
  device_kept.reserve((n + std::size_t{1}) * sizeof(int));
  copy_in(stream_, device_boxes.as<void>(), boxes, n * sizeof(BoxD));
  copy_in(stream_, device_scores.as<void>(), scores, n * sizeof(float));
  int* const device_count = device_kept.as<int>() + n;
  suppress_boxes(queue(false), device_boxes.as<BoxD>(), device_scores.as<float>(), n, threshold, kind, extra,
                 keys.as<std::uint64_t>(), device_kept.as<int>(), device_count);
  copy_out(stream_, kept, device_kept.as<int>(), n * sizeof(int));
  copy_out(stream_, count, device_count, sizeof(int));
  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));
}

}  // namespace mtcnn_fast::cuda
