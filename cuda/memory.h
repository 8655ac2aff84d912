// The CUDA runtime's memory, streams, events and graphs, given back by destructors.
#pragma once

#include <utility>

#include "device.h"

namespace mtcnn_fast::cuda {

// Memory that grows, and whose contents are lost when it does.
template <cudaError_t (*kAllocate)(void**, std::size_t), cudaError_t (*kFree)(void*)>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { kFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // Room for that many bytes. Whether the memory is another than before.
  bool reserve(std::size_t bytes) {
    if (bytes <= bytes_) return false;
    MTCNN_FAST_CHECK(kFree(std::exchange(data_, nullptr)));
    bytes_ = 0;
    // A quarter more: images of slowly growing sizes would have everything made anew each time.
    const std::size_t wanted = bytes + bytes / 4;
    MTCNN_FAST_CHECK(kAllocate(&data_, wanted));
    bytes_ = wanted;
    return true;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

inline cudaError_t allocate_device(void** p, std::size_t bytes) { return cudaMalloc(p, bytes); }
inline cudaError_t free_device(void* p) { return cudaFree(p); }
// Pinned, and mapped: kernels can write it.
inline cudaError_t allocate_host(void** p, std::size_t bytes) { return cudaHostAlloc(p, bytes, cudaHostAllocMapped); }
inline cudaError_t free_host(void* p) { return cudaFreeHost(p); }

using DeviceBuffer = Buffer<allocate_device, free_device>;
using HostBuffer = Buffer<allocate_host, free_host>;

class Stream {
 public:
  // Does not wait for the legacy default stream, nor that for it.
  Stream() { MTCNN_FAST_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  explicit Event(unsigned flags = cudaEventDisableTiming) {
    MTCNN_FAST_CHECK(cudaEventCreateWithFlags(&event_, flags));
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

  // What is queued on `stream` from now on waits for what is queued on `first`.
  void order(cudaStream_t first, cudaStream_t stream) const {
    MTCNN_FAST_CHECK(cudaEventRecord(event_, first));
    MTCNN_FAST_CHECK(cudaStreamWaitEvent(stream, event_, 0));
  }

 private:
  cudaEvent_t event_ = nullptr;
};

// Kernels and copies recorded once, to be queued by one call.
class Graph {
 public:
  Graph() = default;
  ~Graph() { reset(); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  explicit operator bool() const { return executable_ != nullptr; }
  void reset() {
    if (executable_) cudaGraphExecDestroy(std::exchange(executable_, nullptr));
  }
  // Records what `queue` queues on the stream.
  template <class F>
  void record(cudaStream_t stream, const F& queue) {
    reset();
    // Thread-local: other threads may allocate memory meanwhile.
    MTCNN_FAST_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cudaGraph_t graph = nullptr;
    try {
      queue();
    } catch (...) {
      if (cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph) cudaGraphDestroy(graph);
      throw;
    }
    MTCNN_FAST_CHECK(cudaStreamEndCapture(stream, &graph));
    const cudaError_t made = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(made, "cudaGraphInstantiate");
  }
  void launch(cudaStream_t stream) const { MTCNN_FAST_CHECK(cudaGraphLaunch(executable_, stream)); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace mtcnn_fast::cuda
