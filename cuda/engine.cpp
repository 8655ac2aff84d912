#include "engine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <stdexcept>

namespace mtcnn_fast::cuda {
namespace {

// Workspaces kept between calls: as many as calls were in progress at a time, two for one that has many images.
// Together they have a share of the card's memory; what would take more, after images out of the common, is given up
// with its call. Eight crowded frames of 1920x1080 need 1.3 GB.
constexpr std::size_t kMostKept = 8, kKeptShare = 4;

void upload_packed(DeviceBuffer& buffer, const std::vector<unsigned char>& packed, cudaStream_t stream) {
  buffer.reserve(packed.size());
  MTCNN_FAST_CHECK(cudaMemcpyAsync(buffer.as<void>(), packed.data(), packed.size(), cudaMemcpyHostToDevice, stream));
}

// Detection cannot be recorded: the host reads counts in the middle of it. Only asking leaves the capture as it is.
void check_not_captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const cudaError_t asked = cudaStreamIsCapturing(stream, &status);
  // Of the legacy default stream while a stream is captured for which it would wait.
  if (asked != cudaErrorStreamCaptureImplicit) check(asked, "cudaStreamIsCapturing");
  if (asked == cudaSuccess && status == cudaStreamCaptureStatusNone) return;
  cudaGetLastError();  // not to be found by the next call
  throw std::invalid_argument(kCapturedStream);
}

int attribute(cudaDeviceAttr attribute, int device) {
  int value = 0;
  MTCNN_FAST_CHECK(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

}  // namespace

Model::Model(const EngineOptions& options)
    : device(options.device),
      processors(attribute(cudaDevAttrMultiProcessorCount, device)),
      shared_memory(static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device))),
      arithmetic(options.fp16 ? Arithmetic::fp16 : Arithmetic::fp32),
      screens_pnet(options.pnet_screen.used),
      screens_rnet(options.rnet_screen.used),
      settings{.conventions = options.conventions,
               .cell_logit = options.cell_logit,
               .screen_logit = options.pnet_screen.least_logit,
               .rnet_screen_logit = options.rnet_screen.least_logit,
               .logits = options.logits,
               .nms = {}},
      first_capacity(options.first_capacity) {
  std::copy(std::begin(options.nms), std::end(options.nms), settings.nms);
  NamedTensors tensors;
  for (std::size_t i = 0; i < options.tensor_count; ++i)
    tensors[options.tensors[i].name] = {options.tensors[i].data, options.tensors[i].size};
  // Not cudaMemcpy(), which waits for the caller's work on the legacy default stream, and may return before the device
  // has the bytes.
  const Stream stream;
  upload_packed(pnet, pack_pnet(tensors, arithmetic), stream);
  if (screens_pnet) upload_packed(pnet_screen, pack_pnet(tensors, Arithmetic::fp16), stream);
  if (screens_rnet) upload_packed(rnet_screen, pack_refine(tensors, Stage::rnet, Arithmetic::fp16), stream);
  for (const Stage stage : {Stage::rnet, Stage::onet})
    upload_packed(refine[stage], pack_refine(tensors, stage, arithmetic), stream);
  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream));
}

Engine::Engine(const EngineOptions& options) : device_(options.device), process_(getpid()) {
  DeviceGuard guard(device_);
  cudaDeviceProp properties;
  MTCNN_FAST_CHECK(cudaGetDeviceProperties(&properties, device_));
  std::snprintf(name_, sizeof name_, "%s", properties.name);
  most_kept_ = properties.totalGlobalMem / kKeptShare;
  exchange_ = std::make_unique<Exchange>();
  model_ = std::make_unique<Model>(options);
  with_workspace([](Workspace& workspace) { workspace.warm_up(); });
}

Engine::~Engine() {
  // A forked child has the parent's addresses, but none of its device.
  if (process_ != getpid()) {
    for (auto& workspace : workspaces_) static_cast<void>(workspace.release());
    static_cast<void>(model_.release());
    static_cast<void>(exchange_.release());
    return;
  }
  try {
    const DeviceGuard guard(device_);
    workspaces_.clear();
    model_.reset();
    exchange_.reset();
  } catch (const Error&) {
    // At the end of the process there may be no driver any more, nor anything to give back to it.
  }
}

void Engine::check_process() const {
  if (process_ != getpid())
    throw std::runtime_error(
        "this CUDA detector was made in another process: a forked child cannot use its parent's GPU. Make the detector "
        "in the child and start children by spawn, such as multiprocessing.get_context(\"spawn\"), or use "
        "device='cpu'");
}

std::unique_ptr<Workspace> Engine::borrow() {
  {
    const std::lock_guard lock(mutex_);
    if (!workspaces_.empty()) {
      std::unique_ptr<Workspace> workspace = std::move(workspaces_.back());
      workspaces_.pop_back();
      return workspace;
    }
  }
  return std::make_unique<Workspace>(*model_);
}

void Engine::give_back(std::unique_ptr<Workspace> workspace) noexcept {
  const std::lock_guard lock(mutex_);
  std::size_t bytes = workspace->bytes();
  for (const auto& kept : workspaces_) bytes += kept->bytes();
  if (workspaces_.size() < kMostKept && bytes <= most_kept_) workspaces_.push_back(std::move(workspace));
}

// Runs of several images each; while one works, the next one's images are uploaded.
void Engine::detect(std::span<const PlannedImage> images, cudaStream_t stream, bool timed, Emit emit, void* context) {
  check_process();
  DeviceGuard guard(device_);
  if (any_on_device(images)) check_not_captured(stream);
  std::unique_ptr<Loan> running;
  int running_first = 0;
  for (std::size_t first = 0, count; first < images.size(); first += count) {
    count = Workspace::images_together(images.subspan(first));
    auto next = std::make_unique<Loan>(*this);
    (*next)->start(images.subspan(first, count), stream, timed);
    if (running) {
      (*running)->finish(running_first, emit, context);
      running->done();
    }
    running = std::move(next);
    running_first = static_cast<int>(first);
  }
  if (!running) return;
  (*running)->finish(running_first, emit, context);
  running->done();
}

void Engine::look(std::span<const PlannedImage> images, cudaStream_t stream, Stage stage, std::span<const BoxD> boxes,
                  const std::int32_t* of, float* heads) {
  with_workspace([&](Workspace& workspace) {
    if (any_on_device(images)) check_not_captured(stream);
    workspace.look(images, stream, stage, boxes, of, heads);
  });
}

void Engine::resize(const PlannedImage& image, cudaStream_t stream, int height, int width, float* out) {
  with_workspace([&](Workspace& workspace) {
    if (image.on_device) check_not_captured(stream);
    workspace.resize(image, stream, height, width, out);
  });
}

float* Engine::upload(const float* values, std::size_t count) {
  check_process();
  DeviceGuard guard(device_);
  Exchange& exchange = *exchange_;
  const std::size_t bytes = count * sizeof(float);
  void* const device = exchange.results.take(bytes);
  // Whoever gets the array need not wait for any stream: the values are there when this returns.
  cudaError_t copied = cudaMemcpyAsync(device, values, bytes, cudaMemcpyHostToDevice, exchange.uploads);
  if (copied == cudaSuccess) copied = cudaStreamSynchronize(exchange.uploads);
  if (copied != cudaSuccess) exchange.results.give_back(device);
  check(copied, "copying results to the device");
  return static_cast<float*>(device);
}

void Engine::order_streams(cudaStream_t first, cudaStream_t stream) {
  check_process();
  DeviceGuard guard(device_);
  for (const cudaStream_t each : {first, stream}) check_not_captured(each);
  const std::lock_guard lock(exchange_->mutex);
  exchange_->order.order(first, stream);
}

void Engine::release(float* device) noexcept {
  if (process_ == getpid()) exchange_->results.give_back(device);
}

}  // namespace mtcnn_fast::cuda
