// The least time of what is queued on a stream, by the device's events: nothing can lower it but the clock.
#pragma once

#include <algorithm>
#include <limits>

#include "../cuda/device.h"
#include "../cuda/memory.h"

namespace mtcnn_fast::cuda {

// Longer than a GPU takes to raise its clock from idle, in all.
constexpr int kAttempts = 20;

// Seconds. `attempts` are counted, after one that loads the kernels.
template <class F>
double least_seconds(cudaStream_t stream, int attempts, const F& queue) {
  const Event begin(cudaEventDefault), end(cudaEventDefault);
  double least = std::numeric_limits<double>::infinity();
  for (int attempt = 0; attempt <= attempts; ++attempt) {
    MTCNN_FAST_CHECK(cudaEventRecord(begin, stream));
    queue();
    MTCNN_FAST_CHECK(cudaEventRecord(end, stream));
    MTCNN_FAST_CHECK(cudaEventSynchronize(end));
    float ms = 0;
    MTCNN_FAST_CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (attempt > 0 && ms > 0) least = std::min(least, ms * 1e-3);
  }
  return least;
}

// Blocks that run at the same time, as launch() queues them.
template <class Kernel>
int blocks_at_once(const Queue& queue, Kernel* kernel, int threads) {
  int blocks = 0;
  MTCNN_FAST_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, 0));
  return std::max(blocks, 1) * queue.processors;
}

}  // namespace mtcnn_fast::cuda
