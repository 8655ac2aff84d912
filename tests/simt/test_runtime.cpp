// That the emulated runtime orders, records and refuses what CUDA's does.
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "check.h"
#include "variable.h"

namespace {

// An atomic, for the kernel that follows may look before and meanwhile.
__global__ void increment(int* value) { atomicAdd(value, 1); }

// What a value is before earlier kernels are waited for, and after.
__global__ void look(int* value, int* seen) {
  seen[0] = atomicAdd(value, 0);
  cudaGridDependencySynchronize();
  seen[1] = *value;
}
cudaError_t queue_look(int* value, int* seen, cudaStream_t stream) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.stream = stream;
  config.gridDim = config.blockDim = 1;
  config.attrs = &attribute, config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, look, value, seen);
}

cudaError_t queue_increment(int* value, cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.stream = stream;
  config.gridDim = config.blockDim = 1;
  return cudaLaunchKernelEx(&config, increment, value);
}

// A stream, and an integer each in device and in pinned memory.
struct Fixture {
  cudaStream_t stream = nullptr;
  int *device = nullptr, *pinned = nullptr;

  Fixture() {
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    CHECK(cudaMalloc(&device, sizeof(int)) == cudaSuccess);
    CHECK(cudaHostAlloc(&pinned, sizeof(int), cudaHostAllocMapped) == cudaSuccess);
    *pinned = 0;
  }
  ~Fixture() {
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
    CHECK(cudaFree(device) == cudaSuccess);
    CHECK(cudaFreeHost(pinned) == cudaSuccess);
  }
  cudaError_t upload(const int* value) {
    return cudaMemcpyAsync(device, value, sizeof(int), cudaMemcpyHostToDevice, stream);
  }
  cudaError_t download(int* value) {
    return cudaMemcpyAsync(value, device, sizeof(int), cudaMemcpyDeviceToHost, stream);
  }
};

}  // namespace

TEST(runtime, streams_work_at_once_or_late) {
  for (const char* schedule : {"index", "reverse"}) {
    check::context = schedule;
    const Variable variable("SIMT_SCHEDULE", schedule);
    const bool late = schedule[0] == 'r';
    Fixture f;
    *f.pinned = 5;
    CHECK(f.upload(f.pinned) == cudaSuccess);
    *f.pinned = 7;  // too early where the copy is late
    CHECK(queue_increment(f.device, f.stream) == cudaSuccess);
    CHECK(f.download(f.pinned) == cudaSuccess);
    CHECK(*f.pinned == (late ? 7 : 6));
    CHECK((cudaStreamQuery(f.stream) == cudaErrorNotReady) == late);
    CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
    CHECK(*f.pinned == (late ? 8 : 6));
    CHECK(cudaStreamQuery(f.stream) == cudaSuccess);

    // Pageable memory has been read, or written, when the call returns.
    int pageable = 20;
    CHECK(f.upload(&pageable) == cudaSuccess);
    pageable = 0;
    CHECK(f.download(&pageable) == cudaSuccess);
    CHECK(pageable == 20);
    // But what was read may not have arrived yet.
    pageable = 30;
    CHECK(cudaMemcpy(f.device, &pageable, sizeof(int), cudaMemcpyHostToDevice) == cudaSuccess);
    CHECK(f.download(f.pinned) == cudaSuccess);
    CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
    CHECK(*f.pinned == (late ? 20 : 30));
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(cudaMemcpy(&pageable, f.device, sizeof(int), cudaMemcpyDeviceToHost) == cudaSuccess && pageable == 30);
  }
}

TEST(runtime, the_legacy_stream_waits_for_blocking_streams) {
  const Variable variable("SIMT_SCHEDULE", "reverse");
  Fixture f;
  cudaStream_t blocking = nullptr;
  CHECK(cudaStreamCreate(&blocking) == cudaSuccess);
  int value = 1;
  CHECK(cudaMemcpy(f.device, &value, sizeof(int), cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(queue_increment(f.device, blocking) == cudaSuccess);
  CHECK(cudaMemcpy(&value, f.device, sizeof(int), cudaMemcpyDeviceToHost) == cudaSuccess && value == 2);
  CHECK(cudaStreamDestroy(blocking) == cudaSuccess);
  CHECK(cudaStreamDestroy(blocking) == cudaErrorInvalidResourceHandle);
}

TEST(runtime, events) {
  for (const char* schedule : {"index", "reverse", "random:3"}) {
    check::context = schedule;
    const Variable variable("SIMT_SCHEDULE", schedule);
    Fixture a, b;
    cudaEvent_t before = nullptr, after = nullptr, untimed = nullptr;
    CHECK(cudaEventCreate(&before) == cudaSuccess && cudaEventCreate(&after) == cudaSuccess);
    CHECK(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming) == cudaSuccess);
    float ms = -1;
    CHECK(cudaEventElapsedTime(&ms, before, after) == cudaErrorInvalidResourceHandle);
    CHECK(cudaEventQuery(before) == cudaSuccess && cudaEventSynchronize(before) == cudaSuccess);
    int value = 3;
    CHECK(a.upload(&value) == cudaSuccess);
    CHECK(cudaEventRecord(before, a.stream) == cudaSuccess);
    CHECK(queue_increment(a.device, a.stream) == cudaSuccess);
    CHECK(cudaEventRecord(after, a.stream) == cudaSuccess);
    // Work that the event stands for comes before what waits for it in another stream.
    CHECK(cudaStreamWaitEvent(b.stream, after) == cudaSuccess);
    CHECK(cudaMemcpyAsync(b.pinned, a.device, sizeof(int), cudaMemcpyDeviceToHost, b.stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(b.stream) == cudaSuccess);
    CHECK(*b.pinned == 4);
    CHECK(cudaEventElapsedTime(&ms, before, after) == cudaSuccess && ms >= 0);
    CHECK(cudaEventRecord(untimed, a.stream) == cudaSuccess && cudaEventSynchronize(untimed) == cudaSuccess);
    CHECK(cudaEventElapsedTime(&ms, untimed, after) == cudaErrorInvalidResourceHandle);
    for (const cudaEvent_t event : {before, after, untimed}) CHECK(cudaEventDestroy(event) == cudaSuccess);
    CHECK(cudaEventDestroy(after) == cudaErrorInvalidResourceHandle);
  }
}

TEST(runtime, a_captured_stream_records) {
  for (const char* schedule : {"index", "reverse", "random:3"}) {
    check::context = schedule;
    const Variable variable("SIMT_SCHEDULE", schedule);
    Fixture f;
    CHECK(cudaStreamBeginCapture(f.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    cudaStreamCaptureStatus status = {};
    CHECK(cudaStreamIsCapturing(f.stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusActive);
    CHECK(f.upload(f.pinned) == cudaSuccess);
    CHECK(queue_increment(f.device, f.stream) == cudaSuccess);
    CHECK(queue_increment(f.device, f.stream) == cudaSuccess);
    CHECK(f.download(f.pinned) == cudaSuccess);
    cudaGraph_t graph = nullptr, none = nullptr;
    CHECK(cudaStreamEndCapture(f.stream, &graph) == cudaSuccess);
    CHECK(cudaStreamEndCapture(f.stream, &none) == cudaErrorStreamCaptureUnmatched && !none);
    cudaGraphExec_t executable = nullptr;
    CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
    CHECK(*f.pinned == 0);  // recorded, not run
    *f.pinned = 10;
    CHECK(cudaGraphUpload(executable, f.stream) == cudaSuccess);
    for (int i = 0; i < 3; ++i) CHECK(cudaGraphLaunch(executable, f.stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
    CHECK(*f.pinned == 16);
    CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
  }
}

TEST(runtime, programmatic_kernels_begin_before_the_one_in_front_has_ended) {
  for (const char* schedule : {"index", "reverse"}) {
    const Variable variable("SIMT_SCHEDULE", schedule);
    const bool early = schedule[0] == 'r';
    for (const bool copies_between : {false, true})
      for (const bool captured : {false, true}) {
        check::context =
            std::string(schedule) + (copies_between ? ", behind a copy" : "") + (captured ? ", captured" : "");
        Fixture f;
        int *seen = nullptr, result[2] = {};
        CHECK(cudaMalloc(&seen, sizeof result) == cudaSuccess);
        CHECK(f.upload(f.pinned) == cudaSuccess);
        if (captured) CHECK(cudaStreamBeginCapture(f.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
        CHECK(queue_increment(f.device, f.stream) == cudaSuccess);
        if (copies_between) CHECK(f.download(f.pinned) == cudaSuccess);
        CHECK(queue_look(f.device, seen, f.stream) == cudaSuccess);
        if (captured) {
          cudaGraph_t graph = nullptr;
          cudaGraphExec_t executable = nullptr;
          CHECK(cudaStreamEndCapture(f.stream, &graph) == cudaSuccess);
          CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
          CHECK(cudaGraphLaunch(executable, f.stream) == cudaSuccess);
          CHECK(cudaGraphDestroy(graph) == cudaSuccess && cudaGraphExecDestroy(executable) == cudaSuccess);
        }
        CHECK(cudaMemcpyAsync(result, seen, sizeof result, cudaMemcpyDeviceToHost, f.stream) == cudaSuccess);
        CHECK(result[0] == (early && !copies_between ? 0 : 1));
        CHECK(result[1] == 1);
        CHECK(cudaFree(seen) == cudaSuccess);
      }
  }
  const Variable variable("SIMT_CAPABILITY", "89");
  Fixture f;
  CHECK(queue_look(f.device, f.device, f.stream) == cudaErrorNotSupported);
  cudaGetLastError();
}

TEST(runtime, a_capture_takes_other_streams_along_by_events) {
  Fixture a, b;
  cudaEvent_t fork = nullptr, join = nullptr;
  CHECK(cudaEventCreate(&fork) == cudaSuccess && cudaEventCreate(&join) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(a.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(a.upload(a.pinned) == cudaSuccess);
  CHECK(cudaEventRecord(fork, a.stream) == cudaSuccess);
  CHECK(cudaEventQuery(fork) == cudaErrorCapturedEvent);
  CHECK(cudaStreamWaitEvent(b.stream, fork) == cudaSuccess);
  CHECK(queue_increment(a.device, b.stream) == cudaSuccess);
  CHECK(cudaEventRecord(join, b.stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(a.stream, join) == cudaSuccess);
  CHECK(a.download(a.pinned) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(b.stream, &graph) == cudaErrorStreamCaptureUnmatched);
  CHECK(cudaStreamEndCapture(a.stream, &graph) == cudaSuccess);
  cudaStreamCaptureStatus status = {};
  CHECK(cudaStreamIsCapturing(b.stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusNone);
  cudaGraphExec_t executable = nullptr;
  CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
  CHECK(*a.pinned == 0);
  CHECK(cudaGraphLaunch(executable, a.stream) == cudaSuccess && cudaStreamSynchronize(a.stream) == cudaSuccess);
  CHECK(*a.pinned == 1);
  cudaGraphDestroy(graph), cudaGraphExecDestroy(executable);
  cudaEventDestroy(fork), cudaEventDestroy(join);
}

TEST(runtime, what_a_capture_forbids) {
  struct Call {
    const char* name;
    cudaError_t expected;
    std::function<cudaError_t(Fixture&)> run;
  };
  void* memory = nullptr;
  const Call calls[] = {
      {"cudaMalloc", cudaErrorStreamCaptureUnsupported, [&](Fixture&) { return cudaMalloc(&memory, 4); }},
      {"cudaFree", cudaErrorStreamCaptureUnsupported, [](Fixture& f) { return cudaFree(f.device); }},
      {"cudaHostAlloc", cudaErrorStreamCaptureUnsupported, [&](Fixture&) { return cudaHostAlloc(&memory, 4, 0); }},
      {"cudaMemcpy", cudaErrorStreamCaptureUnsupported,
       [](Fixture& f) { return cudaMemcpy(f.device, f.pinned, 4, cudaMemcpyHostToDevice); }},
      {"cudaStreamSynchronize", cudaErrorStreamCaptureUnsupported,
       [](Fixture& f) { return cudaStreamSynchronize(f.stream); }},
      {"cudaStreamQuery", cudaErrorStreamCaptureUnsupported, [](Fixture& f) { return cudaStreamQuery(f.stream); }},
      {"cudaDeviceSynchronize", cudaErrorStreamCaptureUnsupported, [](Fixture&) { return cudaDeviceSynchronize(); }},
  };
  for (const Call& call : calls) {
    check::context = call.name;
    Fixture f;
    CHECK(cudaStreamBeginCapture(f.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    CHECK(call.run(f) == call.expected);
    CHECK(cudaGetLastError() == call.expected);
    cudaStreamCaptureStatus status = {};
    CHECK(cudaStreamIsCapturing(f.stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusInvalidated);
    CHECK(queue_increment(f.device, f.stream) == cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(f.stream, &graph) == cudaErrorStreamCaptureInvalidated && !graph);
  }
  // Another thread's calls are forbidden by a global capture only.
  for (const auto mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal}) {
    Fixture f;
    CHECK(cudaStreamBeginCapture(f.stream, mode) == cudaSuccess);
    cudaError_t error = cudaSuccess;
    std::thread([&] {
      error = cudaMalloc(&memory, 4);
      cudaFree(memory);
    }).join();
    const bool global = mode == cudaStreamCaptureModeGlobal;
    CHECK(error == (global ? cudaErrorStreamCaptureUnsupported : cudaSuccess));
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(f.stream, &graph) == (global ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
    if (graph) cudaGraphDestroy(graph);
  }
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
  cudaGetLastError();
}

// A thread that says so may allocate and wait beside a capture, but not for the captured stream itself.
TEST(runtime, what_a_relaxed_thread_may_do) {
  Fixture f;
  cudaStream_t blocking = nullptr;
  CHECK(cudaStreamCreate(&blocking) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeGlobal) == cudaSuccess);
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  CHECK(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess && mode == cudaStreamCaptureModeGlobal);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 4) == cudaSuccess && cudaFree(memory) == cudaSuccess);
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  // Asking about the legacy stream, which would wait for the other, leaves the capture as it is.
  cudaStreamCaptureStatus status = {};
  CHECK(cudaStreamIsCapturing(nullptr, &status) == cudaErrorStreamCaptureImplicit);
  CHECK(cudaStreamIsCapturing(blocking, &status) == cudaSuccess && status == cudaStreamCaptureStatusActive);
  CHECK(cudaDeviceSynchronize() == cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(blocking, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess && mode == cudaStreamCaptureModeRelaxed);
  CHECK(cudaStreamDestroy(blocking) == cudaSuccess);
  cudaGetLastError();
}

TEST(runtime, a_destroyed_stream_does_not_wait) {
  const Variable variable("SIMT_SCHEDULE", "reverse");
  Fixture f;
  cudaStream_t other = nullptr;
  CHECK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) == cudaSuccess);
  int value = 3;
  CHECK(f.upload(&value) == cudaSuccess && cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(cudaMemcpyAsync(f.pinned, f.device, sizeof(int), cudaMemcpyDeviceToHost, other) == cudaSuccess);
  CHECK(cudaStreamDestroy(other) == cudaSuccess);
  CHECK(*f.pinned == 0);
  CHECK(cudaStreamQuery(other) == cudaErrorInvalidResourceHandle);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(*f.pinned == 3);
  cudaGetLastError();
}

TEST(runtime, contexts) {
  const Variable variable("SIMT_DEVICE_COUNT", "3");
  const auto has_context = [](int device) {
    unsigned flags = 0;
    int active = -1;
    CHECK(cuDevicePrimaryCtxGetState(device, &flags, &active) == CUDA_SUCCESS);
    return active == 1;
  };
  const auto current = [] {
    int device = -1;
    CHECK(cudaGetDevice(&device) == cudaSuccess);
    return device;
  };
  for (int device = 0; device < 3; ++device)
    CHECK(cudaSetDevice(device) == cudaSuccess && cudaDeviceReset() == cudaSuccess);
  std::thread([&] {
    int count = 0;
    cudaDeviceProp properties = {};
    CHECK(cudaGetDeviceCount(&count) == cudaSuccess && count == 3);
    CHECK(cudaGetDeviceProperties(&properties, 1) == cudaSuccess && current() == 0);
    CUcontext first = nullptr, context = nullptr;
    CHECK(cuCtxGetCurrent(&context) == CUDA_SUCCESS && !context);
    CHECK(!has_context(0) && !has_context(1) && !has_context(2));
    CHECK(cuDevicePrimaryCtxRetain(&first, 1) == CUDA_SUCCESS && has_context(1) && current() == 0);
    CHECK(cuCtxPushCurrent(first) == CUDA_SUCCESS && current() == 1);
    // Streams and events belong to the device that was current.
    cudaStream_t stream = nullptr;
    cudaEvent_t event = nullptr;
    void* memory = nullptr;
    cudaPointerAttributes attributes = {};
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    CHECK(cudaMalloc(&memory, sizeof(int)) == cudaSuccess && !has_context(0));
    CHECK(cuCtxPopCurrent(&context) == CUDA_SUCCESS && context == first && current() == 0);
    CHECK(cuCtxPopCurrent(&context) == CUDA_ERROR_INVALID_CONTEXT);
    CHECK(cudaSetDevice(2) == cudaSuccess && has_context(2) && !has_context(0));
    CHECK(cudaPointerGetAttributes(&attributes, memory) == cudaSuccess && attributes.device == 1);
    CHECK(queue_increment(static_cast<int*>(memory), stream) == cudaErrorInvalidResourceHandle);
    CHECK(cudaEventCreate(&event) == cudaSuccess);
    CHECK(cudaEventRecord(event, stream) == cudaErrorInvalidResourceHandle);
    CHECK(cudaEventDestroy(event) == cudaSuccess && cudaStreamDestroy(stream) == cudaSuccess);
    CHECK(cudaFree(memory) == cudaSuccess);
    cudaGetLastError();
  }).join();
  // Most calls make a context, where the thread has none.
  std::thread([&] {
    CHECK(!has_context(0));
    CHECK(cudaFree(nullptr) == cudaSuccess && has_context(0));
  }).join();
  CUdevice device = 0;
  CHECK(cuDeviceGet(&device, 3) == CUDA_ERROR_INVALID_DEVICE && cuDeviceGet(&device, 2) == CUDA_SUCCESS && device == 2);
  CHECK(cudaSetDevice(0) == cudaSuccess);
}

TEST(runtime, copies_know_what_memory_is_whose) {
  Fixture f;
  char *device = nullptr, host[100] = {};
  CHECK(cudaMalloc(&device, 100) == cudaSuccess);
  CHECK(cudaMemcpy(device, host, 100, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(device, host, 101, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(device + 60, host, 40, cudaMemcpyDefault) == cudaSuccess);
  CHECK(cudaMemcpy(device + 60, host, 41, cudaMemcpyDefault) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host, device, 10, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(device, host, 10, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(device, host, 0, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(cudaMemset(device, 1, 101) == cudaErrorInvalidValue && cudaMemset(host, 1, 1) == cudaErrorInvalidValue);
  CHECK(cudaMemset(device, 1, 100) == cudaSuccess);
  for (int i = 0; i < 100; ++i) host[i] = static_cast<char>(i);
  // Four rows of three bytes, 10 apart in the host's memory and 25 on the device.
  CHECK(cudaMemcpy2D(device, 25, host, 10, 3, 4, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemcpy2D(device, 25, host, 10, 26, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidPitchValue);
  CHECK(cudaMemcpy2D(device + 23, 25, host, 10, 3, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  char back[100];
  CHECK(cudaMemcpy(back, device, 100, cudaMemcpyDeviceToHost) == cudaSuccess);
  for (int i = 0; i < 100; ++i) CHECK(back[i] == (i % 25 < 3 ? i / 25 * 10 + i % 25 : 1));

  cudaPointerAttributes attributes = {};
  CHECK(cudaPointerGetAttributes(&attributes, device + 99) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice && attributes.devicePointer == device + 99);
  CHECK(cudaPointerGetAttributes(&attributes, f.pinned) == cudaSuccess && attributes.type == cudaMemoryTypeHost);
  CHECK(cudaPointerGetAttributes(&attributes, host) == cudaSuccess && attributes.type == cudaMemoryTypeUnregistered);
  void* mapped = nullptr;
  CHECK(cudaHostGetDevicePointer(&mapped, f.pinned, 0) == cudaSuccess && mapped == f.pinned);
  CHECK(cudaHostGetDevicePointer(&mapped, host, 0) == cudaErrorInvalidValue);
  CHECK(cudaHostRegister(host, 100, cudaHostRegisterDefault) == cudaSuccess);
  CHECK(cudaHostRegister(host + 50, 10, cudaHostRegisterDefault) == cudaErrorHostMemoryAlreadyRegistered);
  CHECK(cudaPointerGetAttributes(&attributes, host + 99) == cudaSuccess && attributes.type == cudaMemoryTypeHost);
  CHECK(cudaHostUnregister(host) == cudaSuccess && cudaHostUnregister(host) == cudaErrorHostMemoryNotRegistered);
  CHECK(cudaFree(device + 1) == cudaErrorInvalidValue && cudaFree(f.pinned) == cudaErrorInvalidValue);
  CHECK(cudaFree(device) == cudaSuccess && cudaFree(device) == cudaErrorInvalidValue &&
        cudaFree(nullptr) == cudaSuccess);
  cudaGetLastError();
}

TEST(runtime, failures_on_demand) {
  const simt::Usage before = simt::usage();
  {
    const Variable variable("SIMT_MEMORY", std::to_string(before.device_bytes + 1000));
    void *first = nullptr, *second = nullptr;
    std::size_t free = 0, total = 0;
    CHECK(cudaMalloc(&first, 600) == cudaSuccess);
    CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess && free == 400);
    CHECK(cudaMalloc(&second, 401) == cudaErrorMemoryAllocation && !second);
    CHECK(cudaMalloc(&second, 400) == cudaSuccess);
    CHECK(simt::usage().device_bytes == before.device_bytes + 1000);
    CHECK(cudaFree(first) == cudaSuccess && cudaFree(second) == cudaSuccess);
    CHECK(simt::usage().device_bytes == before.device_bytes);
  }
  cudaGetLastError();
  int value = -1;
  {
    const Variable variable("SIMT_DEVICE_COUNT", "0");
    CHECK(cudaGetDeviceCount(&value) == cudaErrorNoDevice && value == 0);
    CHECK(cudaGetLastError() == cudaErrorNoDevice);
  }
  {
    const Variable variable("SIMT_DRIVER", "12080");
    CHECK(cudaGetDeviceCount(&value) == cudaErrorInsufficientDriver);
    CHECK(cudaDriverGetVersion(&value) == cudaSuccess && value == 12080);
    CHECK(std::string(cudaGetErrorString(cudaGetLastError())).find("driver version") != std::string::npos);
  }
  CHECK(cudaGetDeviceCount(&value) == cudaSuccess && value == 1);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice && cudaSetDevice(0) == cudaSuccess);
  cudaDeviceProp properties = {};
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess && properties.major == 9);
  CHECK(properties.multiProcessorCount == 3 && properties.sharedMemPerBlockOptin == 227 * 1024);
  CHECK(std::string(cudaGetErrorName(cudaErrorNotReady)) == "cudaErrorNotReady");
  cudaGetLastError();
}
