#include "engine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <stdexcept>

namespace mtcnn_fast::cuda {
namespace {

// Workspaces kept between calls: as many as calls were in progress at a time, two for one that has many images. One
// that has grown beyond a gigabyte, by an image out of the common, is given up with its call.
constexpr std::size_t kMostKept = 8, kLargestKept = std::size_t{1} << 30;

void upload_packed(DeviceBuffer& buffer, const std::vector<unsigned char>& packed) {
  buffer.reserve(packed.size());
  MTCNN_FAST_CHECK(cudaMemcpy(buffer.as<void>(), packed.data(), packed.size(), cudaMemcpyHostToDevice));
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
      settings{
          .conventions = options.conventions, .cell_logit = options.cell_logit, .logits = options.logits, .nms = {}},
      first_capacity(options.first_capacity) {
  std::copy(std::begin(options.nms), std::end(options.nms), settings.nms);
  NamedTensors tensors;
  for (std::size_t i = 0; i < options.tensor_count; ++i)
    tensors[options.tensors[i].name] = {options.tensors[i].data, options.tensors[i].size};
  upload_packed(pnet, pack_pnet(tensors, arithmetic));
  for (const Stage stage : {Stage::rnet, Stage::onet})
    upload_packed(refine[stage], pack_refine(tensors, stage, arithmetic));
}

Engine::Engine(const EngineOptions& options) : device_(options.device), process_(getpid()) {
  DeviceGuard guard(device_);
  cudaDeviceProp properties;
  MTCNN_FAST_CHECK(cudaGetDeviceProperties(&properties, device_));
  std::snprintf(name_, sizeof name_, "%s", properties.name);
  model_ = std::make_unique<Model>(options);
  with_workspace([](Workspace& workspace) { workspace.warm_up(); });
}

Engine::~Engine() {
  // A forked child has the parent's addresses, but none of its device.
  if (process_ != getpid()) {
    for (auto& workspace : workspaces_) static_cast<void>(workspace.release());
    static_cast<void>(model_.release());
    return;
  }
  int before = 0;
  cudaGetDevice(&before);
  cudaSetDevice(device_);
  workspaces_.clear();
  model_.reset();
  cudaSetDevice(before);
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
  if (workspace->bytes() > kLargestKept) return;
  const std::lock_guard lock(mutex_);
  if (workspaces_.size() < kMostKept) workspaces_.push_back(std::move(workspace));
}

// Runs of several images each; while one works, the next one's images are uploaded.
void Engine::detect(std::span<const PlannedImage> images, cudaStream_t stream, bool timed, Emit emit, void* context) {
  check_process();
  DeviceGuard guard(device_);
  std::unique_ptr<Event> input;
  if (std::any_of(images.begin(), images.end(), [](const PlannedImage& image) { return image.on_device; })) {
    input = std::make_unique<Event>();
    MTCNN_FAST_CHECK(cudaEventRecord(*input, stream));
  }
  const cudaEvent_t event = input ? static_cast<cudaEvent_t>(*input) : nullptr;
  std::unique_ptr<Loan> running;
  int running_first = 0;
  for (std::size_t first = 0, count; first < images.size(); first += count) {
    count = Workspace::images_together(images.subspan(first));
    auto next = std::make_unique<Loan>(*this);
    (*next)->start(images.subspan(first, count), event, timed);
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

float* Engine::upload(const float* values, std::size_t count) {
  check_process();
  DeviceGuard guard(device_);
  void* device = nullptr;
  MTCNN_FAST_CHECK(cudaMalloc(&device, std::max<std::size_t>(count, 1) * sizeof(float)));
  const cudaError_t copied = cudaMemcpy(device, values, count * sizeof(float), cudaMemcpyHostToDevice);
  if (copied != cudaSuccess) cudaFree(device);
  check(copied, "cudaMemcpy");
  return static_cast<float*>(device);
}

void Engine::order_streams(cudaStream_t first, cudaStream_t stream) {
  check_process();
  DeviceGuard guard(device_);
  const Event event;
  MTCNN_FAST_CHECK(cudaEventRecord(event, first));
  MTCNN_FAST_CHECK(cudaStreamWaitEvent(stream, event));
}

void Engine::release(float* device) noexcept {
  if (process_ == getpid()) cudaFree(device);
}

}  // namespace mtcnn_fast::cuda
