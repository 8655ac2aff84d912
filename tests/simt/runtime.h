// What the emulated runtime's files share: what has been allocated, and what has been queued where.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "contexts.h"
#include "simt_emulator.h"
#include "simt_runtime.h"

namespace simt::runtime {

struct Kernel {
  dim3 grid, block;
  std::size_t shared_memory;
  bool programmatic;  // may begin before the kernel in front of it has ended
  std::function<void()> thread;
};

// One of both.
struct Work {
  std::function<void()> run;
  std::shared_ptr<const Kernel> kernel = nullptr;
};
// That is queued, and the kernel, if it has begun.
struct Queued {
  Work work;
  std::unique_ptr<Grid> grid = nullptr;
};

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

}  // namespace simt::runtime

struct CUstream_st {
  unsigned flags = cudaStreamDefault;
  int device = 0;  // of the legacy stream, which each device has, any
  bool destroyed = false;
  std::deque<simt::runtime::Queued> queue;
  std::shared_ptr<simt::runtime::Capture> capture;
};

namespace simt::runtime {

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
State& state();

std::size_t device_memory();
std::size_t shared_memory_limit();

// Why no call succeeds.
cudaError_t availability();
// What cudaGetLastError() says from now on, if it is an error.
cudaError_t result(cudaError_t error);

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

// --- Streams (runtime_streams.cpp) -----------------------------------------------------------------------------------

// Null where there is no such stream. The default stream of a thread is not told from the legacy one.
cudaStream_t find(cudaStream_t stream);
bool is_on(int device, const CUstream_st& stream);

cudaError_t enqueue(CUstream_st& stream, Work work);
cudaError_t enqueue(cudaStream_t stream, Work work);
void run_all(CUstream_st& stream);
void run_everything();

// What a call does that is not allowed while a stream captures, if one does, in this thread or for all.
cudaError_t check_no_capture();
// The end of a call that has waited.
cudaError_t end_wait();

}  // namespace simt::runtime
