// Sorting by one block, of any number of keys. Bitonic, in the variant whose every comparison puts the smaller key
// first: then keys beyond the last, which would be greater than all, never move and need not exist.
#pragma once

#include "device.h"

namespace mtcnn_fast::cuda {

constexpr int kSortedTogether = 4096;  // keys that are sorted in shared memory: 32 KB

__device__ inline void order_pair(std::uint64_t* keys, int n, int i, int j) {
  if (j >= n) return;
  const std::uint64_t a = keys[i], b = keys[j];
  if (a > b) keys[i] = b, keys[j] = a;
}

// Of each run of `length` keys, two sorted halves: the first ordered with the last, the second with the last but one,
// and so on. Then every key of the first half is no greater than any of the second, and both are bitonic.
__device__ inline void order_halves(std::uint64_t* keys, int n, int length) {
  const int half = length / 2;
  for (int pair = static_cast<int>(threadIdx.x); pair / half * length < n; pair += static_cast<int>(blockDim.x)) {
    const int run = pair / half * length, at = pair % half;
    order_pair(keys, n, run + at, run + length - 1 - at);
  }
}

// Of each run of twice `distance` keys, each of the first half ordered with the one that far behind it.
__device__ inline void order_apart(std::uint64_t* keys, int n, int distance) {
  for (int pair = static_cast<int>(threadIdx.x); pair / distance * 2 * distance < n;
       pair += static_cast<int>(blockDim.x)) {
    const int first = pair / distance * 2 * distance + pair % distance;
    order_pair(keys, n, first, first + distance);
  }
}

// Runs of `length` / 2 keys are sorted; makes them sorted runs of `length`, a power of two. Ends with a barrier.
__device__ inline void merge_runs(std::uint64_t* keys, int n, int length) {
  order_halves(keys, n, length);
  __syncthreads();
  for (int distance = length / 4; distance > 0; distance /= 2) {
    order_apart(keys, n, distance);
    __syncthreads();
  }
}

// Takes `n` keys to shared memory, has them sorted there, and brings them back.
template <class Sort>
__device__ void in_shared_memory(std::uint64_t* keys, int n, std::uint64_t* shared, const Sort& sort) {
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) shared[i] = keys[i];
  __syncthreads();
  sort(shared);
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) keys[i] = shared[i];
  __syncthreads();
}

// Sorts keys in global memory, the smallest first. `shared` has room for kSortedTogether; the whole block calls it, of
// a size that divides that, and what other threads wrote to `keys` must be behind a barrier. Ends with one.
__device__ inline void sort_ascending(std::uint64_t* keys, int n, std::uint64_t* shared) {
  for (int first = 0; first < n; first += kSortedTogether) {
    const int here = min(kSortedTogether, n - first);
    in_shared_memory(keys + first, here, shared, [here](std::uint64_t* run) {
      for (int length = 2; length < 2 * here; length *= 2) merge_runs(run, here, length);
    });
  }
  // Longer runs: in global memory as long as what is ordered is far apart.
  for (std::int64_t length = 2 * kSortedTogether; length < 2 * std::int64_t{n}; length *= 2) {
    order_halves(keys, n, static_cast<int>(length));
    __syncthreads();
    // No barriers: at such distances, as on the way to shared memory, a thread's keys are those whose index leaves its
    // own when divided by the block's size.
    for (int distance = static_cast<int>(length / 4); distance >= kSortedTogether; distance /= 2)
      order_apart(keys, n, distance);
    for (int first = 0; first < n; first += kSortedTogether) {
      const int here = min(kSortedTogether, n - first);
      in_shared_memory(keys + first, here, shared, [here](std::uint64_t* run) {
        for (int distance = kSortedTogether / 2; distance > 0; distance /= 2) {
          order_apart(run, here, distance);
          __syncthreads();
        }
      });
    }
  }
}

}  // namespace mtcnn_fast::cuda
