// Memory of the device and of the host, and copies between them.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "runtime.h"

namespace simt::runtime {
namespace {

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
    error = enqueue(*on, {[copy, staged, uploads] {
      copy.run();
      if (uploads) state().usage.uploaded_bytes += copy.width * copy.height;
    }});
    waits = false;
  } else {
    error = enqueue(*on, {[copy, uploads] {
      copy.run();
      if (uploads) state().usage.uploaded_bytes += copy.width * copy.height;
    }});
  }
  if (error == cudaSuccess && !on->capture && (waits || to == cudaMemoryTypeUnregistered)) run_all(*on);
  return error;
}

cudaError_t queue_memset(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!reachable(memory, bytes)) return cudaErrorInvalidValue;
  return enqueue(stream, {[=] { std::memset(memory, value, bytes); }});
}

}  // namespace
}  // namespace simt::runtime

using namespace simt::runtime;

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
