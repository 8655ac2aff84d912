#include "cuda_small.h"

#include <chrono>
#include <cmath>
#include <cstdint>

#include "../cuda/memory.h"
#include "../cuda/sort.h"
#include "cuda_timing.h"

namespace mtcnn_fast::cuda {
namespace {

constexpr int kChain = 20;  // about as many kernels as a call of the cascade
constexpr int kThreads = 256;

// --- Launches in a graph ---------------------------------------------------------------------------------------------

__global__ void empty_kernel() { wait_for_earlier_kernels(); }

// programmatic: the kernel may begin before the one in front of it has ended.
void queue_empty(cudaStream_t stream, bool programmatic) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(1);
  config.blockDim = dim3(kWarp);
  config.stream = stream;
  cudaLaunchAttribute attribute = programmatic_launch();
  config.attrs = &attribute;
  config.numAttrs = programmatic ? 1 : 0;
  MTCNN_FAST_CHECK(cudaLaunchKernelEx(&config, empty_kernel));
}

// Microseconds of a graph of kernels that do nothing, one after the other, with a copy of `bytes` in front.
double chain(const Queue& queue, bool brief, bool programmatic, std::size_t bytes) {
  HostBuffer from;
  DeviceBuffer to;
  from.reserve(bytes + 1);
  to.reserve(bytes + 1);
  Graph graph;
  graph.record(queue.stream, [&] {
    if (bytes > 0)
      MTCNN_FAST_CHECK(cudaMemcpyAsync(to.as<void>(), from.as<void>(), bytes, cudaMemcpyHostToDevice, queue.stream));
    for (int i = 0; i < kChain; ++i) queue_empty(queue.stream, programmatic && i > 0);
  });
  return 1e6 * least_seconds(queue.stream, brief ? 1 : kAttempts, [&] { graph.launch(queue.stream); });
}

double plain_chain(const Queue& queue, bool brief) { return chain(queue, brief, false, 0); }
double chain_behind_a_copy(const Queue& queue, bool brief) { return chain(queue, brief, false, 4096); }
double programmatic_chain(const Queue& queue, bool brief) {
  const bool possible = can_wait_for_earlier_kernels(reinterpret_cast<const void*>(empty_kernel));
  return possible ? chain(queue, brief, true, 0) : std::nan("");
}

// Microseconds from the launch of a graph without nodes to the end of the host's wait.
double empty_graph(const Queue& queue, bool brief) {
  Graph graph;
  graph.record(queue.stream, [] {});
  double least = INFINITY;
  for (int attempt = 0; attempt <= (brief ? 1 : 10 * kAttempts); ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    graph.launch(queue.stream);
    MTCNN_FAST_CHECK(cudaStreamSynchronize(queue.stream));
    const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - start;
    if (attempt > 0) least = std::min(least, elapsed.count());
  }
  return least;
}

// --- Loads -----------------------------------------------------------------------------------------------------------

constexpr int kSums = 7, kTable = 256;

// 28 multiply-adds for each load of 16 bytes at one address of the whole warp, as weights are read.
__global__ void __launch_bounds__(kThreads) ffma_and_loads(int rounds, float x, const float4* table, float* out) {
  float sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = static_cast<float>(threadIdx.x + i);
  for (int round = 0; round < rounds; ++round)
#pragma unroll 8
    for (int k = 0; k < kTable; ++k) {
      const float4 weights = table[k];
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        sums[i] = fmaf(sums[i], x, weights.x);
        sums[i] = fmaf(sums[i], x, weights.y);
        sums[i] = fmaf(sums[i], x, weights.z);
        sums[i] = fmaf(sums[i], x, weights.w);
      }
    }
  if (!out) return;
  for (int i = 0; i < kSums; ++i) out[threadIdx.x * kSums + i] = sums[i];
}

double ffma_beside_loads(const Queue& queue, bool brief) {
  const int rounds = brief ? 1 : 128;
  DeviceBuffer table;
  table.reserve(kTable * sizeof(float4));
  MTCNN_FAST_CHECK(cudaMemsetAsync(table.as<void>(), 0, kTable * sizeof(float4), queue.stream));
  float* const nowhere = nullptr;
  const double blocks = blocks_at_once(queue, ffma_and_loads, kThreads);
  const double seconds = least_seconds(queue.stream, brief ? 1 : kAttempts, [&] {
    launch(queue, ffma_and_loads, kThreads, 0, rounds, 0.999f, table.as<float4>(), nowhere);
  });
  return 2.0 * 4 * kSums * kTable * rounds * kThreads * blocks / seconds * 1e-12;
}

template <class T>
__global__ void __launch_bounds__(kThreads) read_kernel(const T* values, int n, unsigned* out) {
  unsigned sum = 0;
  const int stride = static_cast<int>(gridDim.x) * kThreads;
#pragma unroll 8
  for (int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x); i < n; i += stride)
    sum += values[i];
  if (out) out[threadIdx.x] = sum;
}

// Microseconds of reading a frame of 1920x1080 in L2, each lane a value of T.
template <class T>
double read_frame(const Queue& queue, bool brief) {
  const int bytes = brief ? 1 << 16 : 3 * 1920 * 1080;
  DeviceBuffer frame;
  frame.reserve(bytes);
  MTCNN_FAST_CHECK(cudaMemsetAsync(frame.as<void>(), 0, bytes, queue.stream));
  unsigned* const nowhere = nullptr;
  return 1e6 * least_seconds(queue.stream, brief ? 1 : kAttempts, [&] {
           launch(queue, read_kernel<T>, kThreads, 0, frame.as<const T>(), bytes / static_cast<int>(sizeof(T)),
                  nowhere);
         });
}

// --- Sort ------------------------------------------------------------------------------------------------------------

constexpr int kSortThreads = 512;  // as the suppression's blocks

__global__ void __launch_bounds__(kSortThreads) sort_kernel(std::uint64_t* keys, int n, int repeats) {
  __shared__ std::uint64_t sorted[kSortedTogether];
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kSortThreads)
      keys[i] = (static_cast<std::uint64_t>(i) + 1) * (0x9e3779b97f4a7c15u + 2u * static_cast<unsigned>(repeat));
    __syncthreads();
    sort_ascending(keys, n, sorted);
  }
}

// Microseconds of one block's sort.
template <int kKeys>
double sort_keys(const Queue& queue, bool brief) {
  const int repeats = brief ? 1 : 32;
  DeviceBuffer keys;
  keys.reserve(kKeys * sizeof(std::uint64_t));
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(1);
  config.blockDim = dim3(kSortThreads);
  config.stream = queue.stream;
  const double seconds = least_seconds(queue.stream, brief ? 1 : kAttempts, [&] {
    MTCNN_FAST_CHECK(cudaLaunchKernelEx(&config, sort_kernel, keys.as<std::uint64_t>(), int{kKeys}, repeats));
  });
  return 1e6 * seconds / repeats;
}

constexpr SmallMeasurement kMeasurements[] = {
    {"graph of 20 empty kernels", "us", plain_chain},
    {"the same, programmatic edges", "us", programmatic_chain},
    {"the same behind a copy of 4 KB", "us", chain_behind_a_copy},
    {"empty graph, launch to wait", "us", empty_graph},
    {"FFMA, 28 a uniform 16-byte load", "TFLOP/s", ffma_beside_loads},
    {"1920x1080 frame read by bytes", "us", read_frame<std::uint8_t>},
    {"1920x1080 frame read by words", "us", read_frame<std::uint32_t>},
    {"sort of 512 keys", "us", sort_keys<512>},
    {"sort of 1024 keys", "us", sort_keys<1024>},
};

}  // namespace

std::span<const SmallMeasurement> small_measurements() { return kMeasurements; }

}  // namespace mtcnn_fast::cuda
