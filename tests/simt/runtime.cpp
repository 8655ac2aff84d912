// The host's side of CUDA. Device memory is the heap's, filled with poison. What is queued on a stream runs in a thread
// of the host's, under one lock: at once by schedule "index", as late as CUDA allows by "reverse" (so that a host that
// does not wait for a result, or that reuses memory too early, is found out), and by "random" now and then.
//
// Conditions for tests, by environment variables: SIMT_DEVICE_COUNT (0 to 16; 1 by default), SIMT_DRIVER=12080 (a
// driver of that version, 0: none), SIMT_MEMORY=bytes (there is no more on the device), SIMT_SHARED_MEMORY=bytes (of a
// block, at most).
#include "simt_runtime.h"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "contexts.h"
#include "simt_emulator.h"

using Work = std::function<void()>;

// A point in a stream's order of work.
struct Mark {
  CUstream_st* stream;
  bool reached = false;
  std::chrono::steady_clock::time_point time = {};
};

struct Capture {
  cudaStream_t origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool invalid = false;
  std::vector<Work> work;
};

struct CUstream_st {
  unsigned flags = cudaStreamDefault;
  int device = 0;  // of the legacy stream, which each device has, any
  bool destroyed = false;
  std::deque<Work> queue;
  std::shared_ptr<Capture> capture;
};
struct CUevent_st {
  unsigned flags;
  int device;
  std::shared_ptr<Mark> mark;        // of the last record
  std::shared_ptr<Capture> capture;  // or that record was captured
};
struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  std::vector<Work> work;
};

namespace {

constexpr std::size_t kSharedMemoryWithoutAsking = 48 * 1024;
constexpr int kProcessors = 3, kMostThreads = 1024;

struct Allocation {
  std::size_t bytes;
  cudaMemoryType type;
  bool registered;  // memory of the host's own
  int device;
};

struct State {
  std::recursive_mutex mutex;
  std::map<std::uintptr_t, Allocation> allocations;
  CUstream_st legacy;
  std::set<cudaStream_t> streams = {&legacy};
  std::set<cudaEvent_t> events;
  std::map<const void*, int> shared_memory;  // of kernels, where they asked for more
  simt::Usage usage = {};
  std::mt19937 generator;
};
// Never destroyed: other global objects may give their memory back after it would have been.
State& state() {
  static State* const all = new State;
  return *all;
}

thread_local cudaError_t last_error = cudaSuccess;
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

long environment(const char* name, long otherwise) {
  const char* const text = std::getenv(name);
  return text && *text ? std::atol(text) : otherwise;
}
int device_count() { return static_cast<int>(environment("SIMT_DEVICE_COUNT", 1)); }
int driver_version() { return static_cast<int>(environment("SIMT_DRIVER", 13000)); }
std::size_t device_memory() { return static_cast<std::size_t>(environment("SIMT_MEMORY", std::int64_t{8} << 30)); }
std::size_t shared_memory_limit() { return static_cast<std::size_t>(environment("SIMT_SHARED_MEMORY", 227 * 1024)); }

// Why no call succeeds.
cudaError_t availability() {
  if (driver_version() < 13000) return cudaErrorInsufficientDriver;
  if (device_count() < 1) return cudaErrorNoDevice;
  return cudaSuccess;
}

// Runs a call under the lock, where there is a device.
template <class F>
cudaError_t call(const F& body) {
  const std::lock_guard lock(state().mutex);
  const cudaError_t unavailable = availability();
  return result(unavailable != cudaSuccess ? unavailable : body());
}

// The same for a call that makes the device's context, where there is none.
template <class F>
cudaError_t in_context(const F& body) {
  return call([&] {
    simt::contexts::make();
    return body();
  });
}

// --- Captures --------------------------------------------------------------------------------------------------------

bool captures(const Capture& capture, cudaStream_t stream) { return stream->capture.get() == &capture; }

// What a call does that is not allowed while a stream captures, if one does, in this thread or for all.
cudaError_t check_no_capture() {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  const bool own_only = thread_mode == cudaStreamCaptureModeThreadLocal;
  for (const cudaStream_t stream : state().streams) {
    Capture* const capture = stream->capture.get();
    if (!capture || capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if ((own_only || capture->mode == cudaStreamCaptureModeThreadLocal) &&
        capture->thread != std::this_thread::get_id())
      continue;
    capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

// The legacy stream waits for all others but the nonblocking ones, which cannot be captured.
Capture* legacy_is_blocked() {
  for (const cudaStream_t stream : state().streams)
    if (stream->capture && !(stream->flags & cudaStreamNonBlocking)) return stream->capture.get();
  return nullptr;
}
cudaError_t check_legacy() {
  Capture* const capture = legacy_is_blocked();
  if (!capture) return cudaSuccess;
  capture->invalid = true;
  return cudaErrorStreamCaptureImplicit;
}

// --- Streams ---------------------------------------------------------------------------------------------------------

// Null where there is no such stream. The default stream of a thread is not told from the legacy one.
cudaStream_t find(cudaStream_t stream) {
  if (!stream || stream == cudaStreamLegacy || stream == cudaStreamPerThread) return &state().legacy;
  return state().streams.count(stream) && !stream->destroyed ? stream : nullptr;
}

bool is_on(int device, const CUstream_st& stream) { return &stream == &state().legacy || stream.device == device; }

void run_one(CUstream_st& stream) {
  const Work work = std::move(stream.queue.front());
  stream.queue.pop_front();
  work();
}
void run_all(CUstream_st& stream) {
  while (!stream.queue.empty()) run_one(stream);
}
void run_until(const Mark& mark) {
  while (!mark.reached) run_one(*mark.stream);
}
// CUDA does not wait when a stream is destroyed: what was queued is done some time.
void bury() {
  std::erase_if(state().streams, [](cudaStream_t stream) {
    const bool done = stream->destroyed && stream->queue.empty();
    if (done) delete stream;
    return done;
  });
}
void run_everything() {
  for (const cudaStream_t stream : state().streams) run_all(*stream);
  bury();
}

bool runs_at_once() {
  const simt::Schedule schedule = simt::schedule();
  if (schedule.order != simt::Schedule::Order::random) return schedule.order == simt::Schedule::Order::index;
  return (state().generator() ^ schedule.seed) % 2 == 0;
}

cudaError_t enqueue(CUstream_st& stream, Work work) {
  if (stream.capture) {
    if (stream.capture->invalid) return cudaErrorStreamCaptureInvalidated;
    stream.capture->work.push_back(std::move(work));
    return cudaSuccess;
  }
  if (&stream == &state().legacy) {
    if (const cudaError_t error = check_legacy(); error != cudaSuccess) return error;
    for (const cudaStream_t other : state().streams)
      if (!(other->flags & cudaStreamNonBlocking)) run_all(*other);
  } else if (!(stream.flags & cudaStreamNonBlocking)) {
    run_all(state().legacy);
  }
  stream.queue.push_back(std::move(work));
  if (runs_at_once()) run_all(stream);
  return cudaSuccess;
}
cudaError_t enqueue(cudaStream_t stream, Work work) {
  CUstream_st* const found = find(stream);
  return found ? enqueue(*found, std::move(work)) : cudaErrorInvalidResourceHandle;
}

// --- Memory ----------------------------------------------------------------------------------------------------------

// The allocation that the byte lies in, if any.
std::pair<const std::uintptr_t, Allocation>* find_allocation(const void* pointer) {
  auto& all = state().allocations;
  const auto at = reinterpret_cast<std::uintptr_t>(pointer);
  auto next = all.upper_bound(at);
  if (next == all.begin()) return nullptr;
  --next;
  return at < next->first + next->second.bytes ? &*next : nullptr;
}
cudaMemoryType type_of(const void* pointer) {
  const auto* const found = find_allocation(pointer);
  return found ? found->second.type : cudaMemoryTypeUnregistered;
}
// Whether the device can use all of those bytes.
bool reachable(const void* pointer, std::size_t bytes) {
  const auto* const found = find_allocation(pointer);
  return found && reinterpret_cast<std::uintptr_t>(pointer) + bytes <= found->first + found->second.bytes;
}

cudaError_t allocate(void** memory, std::size_t bytes, cudaMemoryType type) {
  if (!memory) return cudaErrorInvalidValue;
  *memory = nullptr;
  if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
  if (bytes == 0) return cudaSuccess;
  simt::Usage& usage = state().usage;
  const bool device = type == cudaMemoryTypeDevice;
  if (device && (bytes > device_memory() || usage.device_bytes > device_memory() - bytes))
    return cudaErrorMemoryAllocation;
  if (posix_memalign(memory, 256, bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*memory, simt::schedule().poison(), bytes);
  state().allocations[reinterpret_cast<std::uintptr_t>(*memory)] = {
      .bytes = bytes, .type = type, .registered = false, .device = simt::contexts::device()};
  (device ? usage.device_bytes : usage.host_bytes) += bytes;
  ++usage.allocations;
  return cudaSuccess;
}

// Waits for everything, as CUDA does.
cudaError_t give_back(void* memory, cudaMemoryType type) {
  if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
  if (!memory) return cudaSuccess;
  const auto found = state().allocations.find(reinterpret_cast<std::uintptr_t>(memory));
  if (found == state().allocations.end() || found->second.type != type || found->second.registered)
    return cudaErrorInvalidValue;
  run_everything();
  const std::size_t bytes = found->second.bytes;
  (type == cudaMemoryTypeDevice ? state().usage.device_bytes : state().usage.host_bytes) -= bytes;
  state().allocations.erase(found);
  std::memset(memory, simt::schedule().poison(), bytes);
  std::free(memory);
  return cudaSuccess;
}

struct Copy {
  void* to;
  std::size_t to_pitch;
  const void* from;
  std::size_t from_pitch, width, height;
  cudaMemcpyKind kind;

  std::size_t to_bytes() const { return (height - 1) * to_pitch + width; }
  std::size_t from_bytes() const { return (height - 1) * from_pitch + width; }
  void run() const {
    for (std::size_t y = 0; y < height; ++y)
      std::memcpy(static_cast<char*>(to) + y * to_pitch, static_cast<const char*>(from) + y * from_pitch, width);
  }
};

cudaError_t check(Copy& copy) {
  if (copy.to_pitch < copy.width || copy.from_pitch < copy.width) return cudaErrorInvalidPitchValue;
  const cudaMemoryType to = type_of(copy.to), from = type_of(copy.from);
  const bool to_device = copy.kind == cudaMemcpyHostToDevice || copy.kind == cudaMemcpyDeviceToDevice,
             from_device = copy.kind == cudaMemcpyDeviceToHost || copy.kind == cudaMemcpyDeviceToDevice;
  if (copy.kind < cudaMemcpyHostToHost || copy.kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  if (copy.kind != cudaMemcpyDefault) {
    if (to_device ? to == cudaMemoryTypeUnregistered : to == cudaMemoryTypeDevice) return cudaErrorInvalidValue;
    if (from_device ? from == cudaMemoryTypeUnregistered : from == cudaMemoryTypeDevice) return cudaErrorInvalidValue;
  }
  if (to != cudaMemoryTypeUnregistered && !reachable(copy.to, copy.to_bytes())) return cudaErrorInvalidValue;
  if (from != cudaMemoryTypeUnregistered && !reachable(copy.from, copy.from_bytes())) return cudaErrorInvalidValue;
  return cudaSuccess;
}

// CUDA has read pageable memory when the call returns, not necessarily written what it read to the device; and it has
// written pageable memory. Pinned memory it reads and writes when the stream has got there.
cudaError_t queue_copy(Copy copy, cudaStream_t stream, bool waits) {
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  if (const cudaError_t error = check(copy); error != cudaSuccess) return error;
  CUstream_st* const on = find(stream);
  if (!on) return cudaErrorInvalidResourceHandle;
  if (waits)
    if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
  const cudaMemoryType to = type_of(copy.to), from = type_of(copy.from);
  const bool uploads = to == cudaMemoryTypeDevice && from != cudaMemoryTypeDevice;
  cudaError_t error;
  if (from == cudaMemoryTypeUnregistered && !on->capture) {
    auto staged = std::make_shared<std::vector<char>>(static_cast<const char*>(copy.from),
                                                      static_cast<const char*>(copy.from) + copy.from_bytes());
    copy.from = staged->data();
    error = enqueue(*on, [copy, staged, uploads] {
      copy.run();
      if (uploads) state().usage.uploaded_bytes += copy.width * copy.height;
    });
    waits = false;
  } else {
    error = enqueue(*on, [copy, uploads] {
      copy.run();
      if (uploads) state().usage.uploaded_bytes += copy.width * copy.height;
    });
  }
  if (error == cudaSuccess && !on->capture && (waits || to == cudaMemoryTypeUnregistered)) run_all(*on);
  return error;
}

cudaError_t queue_memset(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!reachable(memory, bytes)) return cudaErrorInvalidValue;
  return enqueue(stream, [=] { std::memset(memory, value, bytes); });
}

// Waits for a stream or an event, or asks for it: not while it captures.
cudaError_t check_waitable(const CUstream_st& stream) {
  if (stream.capture) {
    stream.capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return &stream == &state().legacy ? check_legacy() : cudaSuccess;
}

cudaError_t end_wait() {
  ++state().usage.synchronisations;
  return cudaSuccess;
}

}  // namespace

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
                   .major = 9,
                   .minor = 0,
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

// --- Memory ----------------------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return in_context([&] { return allocate(memory, bytes, cudaMemoryTypeDevice); });
}
cudaError_t cudaFree(void* memory) {
  return in_context([&] { return give_back(memory, cudaMemoryTypeDevice); });
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  return cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return in_context([&] { return allocate(memory, bytes, cudaMemoryTypeHost); });
}
cudaError_t cudaFreeHost(void* memory) {
  return in_context([&] { return give_back(memory, cudaMemoryTypeHost); });
}
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned flags) {
  return in_context([&] {
    if (flags != 0 || type_of(host) != cudaMemoryTypeHost) return cudaErrorInvalidValue;
    *device = host;
    return cudaSuccess;
  });
}
cudaError_t cudaHostRegister(void* memory, std::size_t bytes, unsigned) {
  return in_context([&] {
    if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
    if (!memory || bytes == 0) return cudaErrorInvalidValue;
    if (find_allocation(memory) || find_allocation(static_cast<char*>(memory) + bytes - 1))
      return cudaErrorHostMemoryAlreadyRegistered;
    state().allocations[reinterpret_cast<std::uintptr_t>(memory)] = {
        .bytes = bytes, .type = cudaMemoryTypeHost, .registered = true, .device = simt::contexts::device()};
    return cudaSuccess;
  });
}
cudaError_t cudaHostUnregister(void* memory) {
  return in_context([&] {
    if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
    const auto found = state().allocations.find(reinterpret_cast<std::uintptr_t>(memory));
    if (found == state().allocations.end() || !found->second.registered) return cudaErrorHostMemoryNotRegistered;
    run_everything();
    state().allocations.erase(found);
    return cudaSuccess;
  });
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return in_context([&] {
    const cudaMemoryType type = type_of(pointer);
    void* const address = const_cast<void*>(pointer);
    const auto* const found = find_allocation(pointer);
    *attributes = {type, found ? found->second.device : -1, type == cudaMemoryTypeUnregistered ? nullptr : address,
                   type == cudaMemoryTypeDevice ? nullptr : address};
    return cudaSuccess;
  });
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return in_context([&] {
    *total = device_memory();
    *free = *total - std::min(*total, state().usage.device_bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return in_context([&] { return queue_copy({to, bytes, from, bytes, bytes, 1, kind}, nullptr, true); });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return in_context([&] { return queue_copy({to, bytes, from, bytes, bytes, 1, kind}, stream, false); });
}
cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
                         std::size_t height, cudaMemcpyKind kind) {
  return in_context([&] { return queue_copy({to, to_pitch, from, from_pitch, width, height, kind}, nullptr, true); });
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return in_context([&] { return queue_copy({to, to_pitch, from, from_pitch, width, height, kind}, stream, false); });
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  return in_context([&] {
    const cudaError_t error = check_no_capture();
    return error != cudaSuccess ? error : queue_memset(memory, value, bytes, nullptr);
  });
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  return in_context([&] { return queue_memset(memory, value, bytes, stream); });
}

// --- Streams and events ----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return in_context([&] {
    if (flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *stream = new CUstream_st{
        .flags = flags, .device = simt::contexts::device(), .destroyed = false, .queue = {}, .capture = {}};
    state().streams.insert(*stream);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return in_context([&] {
    if (!stream || !find(stream) || find(stream) == &state().legacy) return cudaErrorInvalidResourceHandle;
    stream->destroyed = true;
    bury();
    return cudaSuccess;
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    if (const cudaError_t error = check_waitable(*found); error != cudaSuccess) return error;
    if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
    if (found == &state().legacy)
      for (const cudaStream_t other : state().streams)
        if (!(other->flags & cudaStreamNonBlocking)) run_all(*other);
    run_all(*found);
    return end_wait();
  });
}
// A host that asks again and again gets on.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    if (const cudaError_t error = check_waitable(*found); error != cudaSuccess) return error;
    if (!found->queue.empty()) run_one(*found);
    return found->queue.empty() ? cudaSuccess : cudaErrorNotReady;
  });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found || !state().events.count(event)) return cudaErrorInvalidResourceHandle;
    if (event->capture) {
      // The stream takes part in the capture from here on.
      if (found->capture && found->capture != event->capture) return cudaErrorStreamCaptureIsolation;
      found->capture = event->capture;
      return cudaSuccess;
    }
    if (!event->mark) return cudaSuccess;
    if (found->capture) {
      found->capture->invalid = true;
      return cudaErrorStreamCaptureIsolation;
    }
    return enqueue(*found, [mark = event->mark] { run_until(*mark); });
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return in_context([&] {
    *event = new CUevent_st{.flags = flags, .device = simt::contexts::device(), .mark = {}, .capture = {}};
    state().events.insert(*event);
    ++state().usage.events;
    return cudaSuccess;
  });
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return in_context([&] {
    if (state().events.erase(event) == 0) return cudaErrorInvalidResourceHandle;
    delete event;
    return cudaSuccess;
  });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found || !state().events.count(event) || !is_on(event->device, *found)) return cudaErrorInvalidResourceHandle;
    event->capture = found->capture;
    event->mark = nullptr;
    if (event->capture) return cudaSuccess;
    event->mark = std::make_shared<Mark>(Mark{.stream = found});
    return enqueue(*found, [mark = event->mark] {
      mark->time = std::chrono::steady_clock::now();
      mark->reached = true;
    });
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return in_context([&] {
    if (!state().events.count(event)) return cudaErrorInvalidResourceHandle;
    if (event->capture) return cudaErrorCapturedEvent;
    if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
    if (event->mark) run_until(*event->mark);
    return end_wait();
  });
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return in_context([&] {
    if (!state().events.count(event)) return cudaErrorInvalidResourceHandle;
    if (event->capture) return cudaErrorCapturedEvent;
    if (!event->mark) return cudaSuccess;
    if (!event->mark->reached) run_one(*event->mark->stream);
    return event->mark->reached ? cudaSuccess : cudaErrorNotReady;
  });
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  return in_context([&] {
    for (const cudaEvent_t event : {from, to}) {
      if (!state().events.count(event) || (event->flags & cudaEventDisableTiming) || (!event->mark && !event->capture))
        return cudaErrorInvalidResourceHandle;
      if (event->capture) return cudaErrorCapturedEvent;
    }
    if (!from->mark->reached || !to->mark->reached) return cudaErrorNotReady;
    *ms = std::chrono::duration<float, std::milli>(to->mark->time - from->mark->time).count();
    return cudaSuccess;
  });
}

// --- Graphs ----------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    if (found == &state().legacy) return cudaErrorStreamCaptureUnsupported;
    if (found->capture) return cudaErrorInvalidValue;
    found->capture = std::make_shared<Capture>(
        Capture{.origin = found, .mode = mode, .thread = std::this_thread::get_id(), .invalid = false, .work = {}});
    return cudaSuccess;
  });
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    *graph = nullptr;
    const std::shared_ptr<Capture> capture = found->capture;
    if (!capture || capture->origin != found) return cudaErrorStreamCaptureUnmatched;
    for (const cudaStream_t other : state().streams)
      if (captures(*capture, other)) other->capture = nullptr;
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    *graph = new CUgraph_st{std::move(capture->work)};
    return cudaSuccess;
  });
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    if (found == &state().legacy && legacy_is_blocked()) return cudaErrorStreamCaptureImplicit;
    *status = !found->capture           ? cudaStreamCaptureStatusNone
              : found->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  return in_context([&] {
    if (!graph) return cudaErrorInvalidValue;
    *executable = new CUgraphExec_st{graph->work};
    return cudaSuccess;
  });
}
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  return in_context([&] { return executable && find(stream) ? cudaSuccess : cudaErrorInvalidValue; });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return in_context([&] {
    if (!executable) return cudaErrorInvalidValue;
    ++state().usage.graphs;
    for (const Work& work : executable->work)
      if (const cudaError_t error = enqueue(stream, work); error != cudaSuccess) return error;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return in_context([&] {
    delete graph;
    return graph ? cudaSuccess : cudaErrorInvalidValue;
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return in_context([&] {
    delete executable;
    return executable ? cudaSuccess : cudaErrorInvalidValue;
  });
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
    return enqueue(*found, [=, bytes = config.dynamicSmemBytes] {
      ++state().usage.kernels;
      simt::launch(
          grid, block, bytes, [](const void* run) { (*static_cast<const std::function<void()>*>(run))(); }, &thread);
    });
  });
}

simt::Usage simt::usage() {
  const std::lock_guard lock(state().mutex);
  return state().usage;
}
