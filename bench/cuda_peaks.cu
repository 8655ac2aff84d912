// Loops of nothing but the instructions that the cascade is made of: independent sums in registers, in as many threads
// as run at the same time. The highest of several measurements counts, because nothing can raise it but the clock.
#include "cuda_peaks.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "../cuda/context.h"
#include "../cuda/device.h"
#include "../cuda/memory.h"
#include "../cuda/mma.h"
#include "cuda_timing.h"

namespace mtcnn_fast::cuda {
namespace {

constexpr int kThreads = 256, kSums = 8, kUnrolled = 8;

// `x` and `y` are not known to the compiler, and the sums must not be thrown away: they are stored where `out` is not
// null, which the compiler does not know either.
__global__ void __launch_bounds__(kThreads) ffma_loop(int rounds, float x, float y, float* out) {
  float sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = static_cast<float>(threadIdx.x + i);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int k = 0; k < kUnrolled; ++k)
#pragma unroll
      for (int i = 0; i < kSums; ++i) sums[i] = fmaf(sums[i], x, y);
  }
  if (!out) return;
  for (int i = 0; i < kSums; ++i) out[threadIdx.x * kSums + i] = sums[i];
}
constexpr double kFfmaFlops = 2.0 * kThreads * kSums * kUnrolled;  // of a block, a round

__global__ void __launch_bounds__(kThreads) tensor_loop(int rounds, unsigned x, float* out) {
  float sums[kSums][4] = {};
  const unsigned a[4] = {x, x, x, x};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int k = 0; k < kUnrolled; ++k)
#pragma unroll
      for (int i = 0; i < kSums; ++i) multiply_add(sums[i], a, x, x);
  }
  if (!out) return;
  for (int i = 0; i < kSums; ++i)
    for (int k = 0; k < 4; ++k) out[(threadIdx.x * kSums + i) * 4 + k] = sums[i][k];
}
constexpr double kTensorFlops = 2.0 * 16 * 8 * 16 * (kThreads / kWarp) * kSums * kUnrolled;

// The greatest rate of `queue`, which does `amount` of work: the amount a second.
template <class F>
double best_rate(cudaStream_t stream, int attempts, double amount, const F& queue) {
  return amount / least_seconds(stream, attempts, queue);
}

}  // namespace

Peaks measure_peaks(int device, bool brief) {
  const DeviceGuard guard(device);
  int processors = 0;
  MTCNN_FAST_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  const Stream stream;
  const Queue queue{stream, processors, 0};
  const int rounds = brief ? 1 : 4096, attempts = brief ? 1 : kAttempts;
  Peaks peaks = {};
  float* const nowhere = nullptr;
  peaks.ffma_flops = best_rate(stream, attempts, kFfmaFlops * rounds * blocks_at_once(queue, ffma_loop, kThreads),
                               [&] { launch(queue, ffma_loop, kThreads, 0, rounds, 0.999f, 0.001f, nowhere); });
  constexpr unsigned kOnes = 0x3c003c00;  // two of fp16
  peaks.tensor_flops = best_rate(stream, attempts, kTensorFlops * rounds * blocks_at_once(queue, tensor_loop, kThreads),
                                 [&] { launch(queue, tensor_loop, kThreads, 0, rounds, kOnes, nowhere); });

  // Larger than any cache; an upload as large as a 1920x1080 frame.
  const std::size_t bytes = std::size_t{brief ? 1u : 256u} << 20, frame = std::size_t{3} * 1920 * 1080;
  DeviceBuffer from, to;
  from.reserve(std::max(bytes, frame));
  to.reserve(std::max(bytes, frame));
  MTCNN_FAST_CHECK(cudaMemsetAsync(from.as<void>(), 0, from.bytes(), stream));
  peaks.copy_bytes = best_rate(stream, attempts, 2.0 * static_cast<double>(bytes), [&] {
    MTCNN_FAST_CHECK(cudaMemcpyAsync(to.as<void>(), from.as<void>(), bytes, cudaMemcpyDeviceToDevice, stream));
  });
  HostBuffer pinned;
  pinned.reserve(frame);
  const std::vector<unsigned char> pageable(frame, 1);
  const auto upload = [&](const void* host) {
    return best_rate(stream, attempts, static_cast<double>(frame), [&] {
      MTCNN_FAST_CHECK(cudaMemcpyAsync(to.as<void>(), host, frame, cudaMemcpyHostToDevice, stream));
    });
  };
  peaks.upload_pinned = upload(pinned.as<void>());
  peaks.upload_pageable = upload(pageable.data());
  return peaks;
}

}  // namespace mtcnn_fast::cuda
