// Sorting by one block, of any number of keys. Bitonic, in the variant whose every comparison puts the smaller key
// first: then keys beyond the last, which would be greater than all, never move and need not exist. Keys of the same
// aligned run of 64 are ordered in the registers of a warp, others in shared memory with a barrier after each step.
#pragma once

#include "device.h"

namespace mtcnn_fast::cuda {

constexpr int kSortedTogether = 4096;  // keys that are sorted in shared memory: 32 KB

__device__ inline void order_pair(std::uint64_t* keys, int n, int i, int j) {
  if (j >= n) return;
  const std::uint64_t a = keys[i], b = keys[j];
  if (a > b) keys[i] = b, keys[j] = a;
}

// Both of the following go through pairs of places, of which a thread takes every blockDim.x-th. Shifts and masks only:
// a division by a number that is a power of two at run time takes 30 instructions.

// Of each run of twice `half` keys, two sorted halves: the first ordered with the last, the second with the last but
// one, and so on. Then every key of the first half is no greater than any of the second, and both are bitonic.
__device__ inline void order_halves(std::uint64_t* keys, int n, int half) {
  const int last = half + (half - 1);
  for (int pair = static_cast<int>(threadIdx.x);; pair += static_cast<int>(blockDim.x)) {
    const int first = 2 * pair - (pair & (half - 1));
    if (first >= n) return;
    order_pair(keys, n, first, first ^ last);
  }
}

// Of each run of twice `distance` keys, each of the first half ordered with the one that far behind it.
__device__ inline void order_apart(std::uint64_t* keys, int n, int distance) {
  for (int pair = static_cast<int>(threadIdx.x);; pair += static_cast<int>(blockDim.x)) {
    const int first = 2 * pair - (pair & (distance - 1));
    if (first >= n) return;
    order_pair(keys, n, first, first + distance);
  }
}

// A warp sorts as many keys in its registers, without barriers. Lane i % 32 holds key i of them.
constexpr int kWarpRun = 2 * kWarp;

// Orders a lane's key with that of lane ^ `lanes`; the smaller one stays where `bit` of the lane is not set.
__device__ inline void order_lanes(std::uint64_t& key, int lane, int lanes, int bit) {
  const std::uint64_t other = __shfl_xor_sync(kAllLanes, key, lanes);
  key = (other < key) == !(lane & bit) ? other : key;
}

// Makes aligned runs of kWarpRun keys sorted. `bitonic`: each run is bitonic already, else it is in no order. Without a
// barrier: each warp reads and writes runs of its own.
template <bool bitonic>
__device__ void sort_warp_runs(std::uint64_t* keys, int n) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto order_both = [lane](std::uint64_t& low, std::uint64_t& high, int distance) {
#pragma unroll 1  // unrolled, as those below, it takes more registers than there are
    for (; distance > 0; distance /= 2)
      order_lanes(low, lane, distance, distance), order_lanes(high, lane, distance, distance);
  };
  for (int i = static_cast<int>(threadIdx.x) / kWarp * kWarpRun + lane; i - lane < n;
       i += static_cast<int>(blockDim.x) / kWarp * kWarpRun) {
    // Those beyond the last are no smaller than any and stay there.
    std::uint64_t low = i < n ? keys[i] : ~std::uint64_t{0}, high = i + kWarp < n ? keys[i + kWarp] : ~std::uint64_t{0};
    std::uint64_t across;
    if constexpr (bitonic) {
      across = high;
    } else {
#pragma unroll 1
      for (int length = 2; length <= kWarp; length *= 2) {
        order_lanes(low, lane, length - 1, length / 2), order_lanes(high, lane, length - 1, length / 2);
        order_both(low, high, length / 4);
      }
      // The upper half backwards, which is bitonic as well.
      across = __shfl_xor_sync(kAllLanes, high, kWarp - 1);
    }
    high = low < across ? across : low;
    low = low < across ? low : across;
    order_both(low, high, kWarp / 2);
    if (i < n) keys[i] = low;
    if (i + kWarp < n) keys[i + kWarp] = high;
  }
}

// Sorts bitonic runs of twice `distance` keys, at least kWarpRun. Ends with a barrier.
__device__ inline void sort_bitonic_runs(std::uint64_t* keys, int n, int distance) {
#pragma unroll 1
  for (; distance >= kWarpRun; distance /= 2) {
    order_apart(keys, n, distance);
    __syncthreads();
  }
  sort_warp_runs<true>(keys, n);
  __syncthreads();
}

// Ends with a barrier.
__device__ inline void sort_together(std::uint64_t* keys, int n) {
  sort_warp_runs<false>(keys, n);
  __syncthreads();
  for (int half = kWarpRun; half < n; half *= 2) {
    order_halves(keys, n, half);
    __syncthreads();
    sort_bitonic_runs(keys, n, half / 2);
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
    in_shared_memory(keys + first, here, shared, [here](std::uint64_t* run) { sort_together(run, here); });
  }
  // Longer runs: in global memory as long as what is ordered is far apart.
  for (std::int64_t half = kSortedTogether; half < n; half *= 2) {
    order_halves(keys, n, static_cast<int>(half));
    __syncthreads();
    // No barriers: at such distances, as on the way to shared memory, a thread's keys are those whose index leaves its
    // own when divided by the block's size.
    for (int distance = static_cast<int>(half / 2); distance >= kSortedTogether; distance /= 2)
      order_apart(keys, n, distance);
    for (int first = 0; first < n; first += kSortedTogether) {
      const int here = min(kSortedTogether, n - first);
      in_shared_memory(keys + first, here, shared,
                       [here](std::uint64_t* run) { sort_bitonic_runs(run, here, kSortedTogether / 2); });
    }
  }
}

}  // namespace mtcnn_fast::cuda
