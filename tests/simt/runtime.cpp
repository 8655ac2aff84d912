// The host's side of CUDA. Device memory is the heap's, filled with poison. What is queued on a stream runs in a thread
// of the host's, under one lock: at once by schedule "index", as late as CUDA allows by "reverse" (so that a host that
// does not wait for a result, or that reuses memory too early, is found out), and by "random" now and then.
//
// Conditions for tests, by environment variables: SIMT_DEVICE_COUNT (0 to 16; 1 by default), SIMT_DRIVER=12080 (a
// driver of that version, 0: none), SIMT_MEMORY=bytes (there is no more on the device), SIMT_SHARED_MEMORY=bytes (of a
// block, at most), SIMT_CAPABILITY=75 (compute capability, and what the kernels were compiled for; 90 by default).
#include "runtime.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

namespace simt::runtime {
namespace {

thread_local cudaError_t last_error = cudaSuccess;

long environment(const char* name, long otherwise) {
  const char* const text = std::getenv(name);
  return text && *text ? std::atol(text) : otherwise;
}
int device_count() { return static_cast<int>(environment("SIMT_DEVICE_COUNT", 1)); }
int driver_version() { return static_cast<int>(environment("SIMT_DRIVER", 13000)); }
int capability() { return static_cast<int>(environment("SIMT_CAPABILITY", 90)); }

}  // namespace

// Never destroyed: other global objects may give their memory back after it would have been.
State& state() {
  static State* const all = new State;
  return *all;
}

std::size_t device_memory() { return static_cast<std::size_t>(environment("SIMT_MEMORY", std::int64_t{8} << 30)); }
std::size_t shared_memory_limit() { return static_cast<std::size_t>(environment("SIMT_SHARED_MEMORY", 227 * 1024)); }

// Why no call succeeds.
cudaError_t availability() {
  if (driver_version() < 13000) return cudaErrorInsufficientDriver;
  if (device_count() < 1) return cudaErrorNoDevice;
  return cudaSuccess;
}

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

}  // namespace simt::runtime

using namespace simt::runtime;

// --- Errors ----------------------------------------------------------------------------------------------------------

#define SIMT_ERRORS(X)                                                                                              \
  X(cudaSuccess, "no error")                                                                                        \
  X(cudaErrorInvalidValue, "invalid argument")                                                                      \
  X(cudaErrorMemoryAllocation, "out of memory")                                                                     \
  X(cudaErrorInitializationError, "initialization error")                                                           \
  X(cudaErrorInvalidConfiguration, "invalid configuration argument")                                                \
  X(cudaErrorInvalidPitchValue, "invalid pitch argument")                                                           \
  X(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy")                                           \
  X(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version")                    \
  X(cudaErrorNoDevice, "no CUDA-capable device is detected")                                                        \
  X(cudaErrorInvalidDevice, "invalid device ordinal")                                                               \
  X(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device")                    \
  X(cudaErrorInvalidResourceHandle, "invalid resource handle")                                                      \
  X(cudaErrorNotReady, "device not ready")                                                                          \
  X(cudaErrorHostMemoryAlreadyRegistered, "part or all of the requested memory range is already mapped")            \
  X(cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered memory region")                  \
  X(cudaErrorNotSupported, "operation not supported")                                                               \
  X(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")                          \
  X(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture")                   \
  X(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream")                                    \
  X(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream")                     \
  X(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream") \
  X(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream")

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define SIMT_NAME(name, text) \
  case name:                  \
    return #name;
    SIMT_ERRORS(SIMT_NAME)
  }
  return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
#define SIMT_TEXT(name, text) \
  case name:                  \
    return text;
    SIMT_ERRORS(SIMT_TEXT)
  }
  return "unrecognized error code";
}
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

// --- Devices ---------------------------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  if (!count) return result(cudaErrorInvalidValue);
  *count = 0;
  return call([&] {
    *count = device_count();
    return cudaSuccess;
  });
}
cudaError_t cudaSetDevice(int device) {
  return call([&] {
    if (device < 0 || device >= device_count()) return cudaErrorInvalidDevice;
    simt::contexts::set(device);
    return cudaSuccess;
  });
}
cudaError_t cudaGetDevice(int* device) {
  return call([&] {
    *device = simt::contexts::device();
    return cudaSuccess;
  });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call([&] {
    if (device < 0 || device >= device_count()) return cudaErrorInvalidDevice;
    *properties = {.name = "emulator",
                   .totalGlobalMem = device_memory(),
                   .sharedMemPerBlock = kSharedMemoryWithoutAsking,
                   .sharedMemPerBlockOptin = shared_memory_limit(),
                   .major = capability() / 10,
                   .minor = capability() % 10,
                   .multiProcessorCount = kProcessors,
                   .warpSize = simt::kLanes,
                   .maxThreadsPerBlock = kMostThreads};
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties = {};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
  }
  return result(cudaErrorInvalidValue);
}
cudaError_t cudaDeviceReset() {
  return call([&] {
    run_everything();
    simt::contexts::reset(simt::contexts::device());
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceSynchronize() {
  return in_context([&] {
    // In whatever mode: it would wait for the stream that captures.
    for (const cudaStream_t stream : state().streams)
      if (stream->capture) {
        stream->capture->invalid = true;
        return cudaErrorStreamCaptureUnsupported;
      }
    run_everything();
    return end_wait();
  });
}
// Needs no driver.
cudaError_t cudaDriverGetVersion(int* version) {
  *version = driver_version();
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
// --- Kernels ---------------------------------------------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  return in_context([&] {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (!kernel || value < 0 || static_cast<std::size_t>(value) > shared_memory_limit()) return cudaErrorInvalidValue;
    state().shared_memory[kernel] = value;
    return cudaSuccess;
  });
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  return in_context([&] {
    if (!kernel) return cudaErrorInvalidValue;
    attributes->ptxVersion = attributes->binaryVersion = capability();
    return cudaSuccess;
  });
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel, int threads,
                                                          std::size_t shared_memory) {
  return in_context([&] {
    if (!kernel || threads < 1) return cudaErrorInvalidValue;
    *blocks = threads <= kMostThreads && shared_memory <= shared_memory_limit();
    return cudaSuccess;
  });
}

cudaError_t simt::queue_kernel(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread) {
  return in_context([&] {
    const dim3 grid = config.gridDim, block = config.blockDim;
    if (!grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z) return cudaErrorInvalidConfiguration;
    if (std::uint64_t{block.x} * block.y * block.z > kMostThreads) return cudaErrorInvalidConfiguration;
    const auto asked = state().shared_memory.find(kernel);
    const std::size_t limit = asked == state().shared_memory.end()
                                  ? kSharedMemoryWithoutAsking
                                  : std::max(kSharedMemoryWithoutAsking, static_cast<std::size_t>(asked->second));
    if (config.dynamicSmemBytes > std::min(limit, shared_memory_limit())) return cudaErrorInvalidValue;
    CUstream_st* const found = find(config.stream);
    if (!found || !is_on(simt::contexts::device(), *found)) return cudaErrorInvalidResourceHandle;
    bool programmatic = false;
    for (unsigned i = 0; i < config.numAttrs; ++i) {
      if (config.attrs[i].id != cudaLaunchAttributeProgrammaticStreamSerialization) return cudaErrorInvalidValue;
      programmatic = config.attrs[i].val.programmaticStreamSerializationAllowed != 0;
    }
    // A card whose kernels have no way to wait.
    if (programmatic && capability() < 90) return cudaErrorNotSupported;
    return enqueue(*found, {nullptr, std::make_shared<const Kernel>(Kernel{.grid = grid,
                                                                           .block = block,
                                                                           .shared_memory = config.dynamicSmemBytes,
                                                                           .programmatic = programmatic,
                                                                           .thread = std::move(thread)})});
  });
}

simt::Usage simt::usage() {
  const std::lock_guard lock(state().mutex);
  return state().usage;
}