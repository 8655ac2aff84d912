// Greedy non-maximum suppression of a sorted list by one block, in chunks of 64 boxes. Every warp first decides which
// boxes of the chunk survive, with one bit per box. Each thread then tests its own later box against those survivors.
#pragma once

#include "overlap.h"

namespace mtcnn_fast::cuda {

constexpr int kChunk = 64;

// Shared memory for it.
struct Greedy {
  BoxD boxes[kChunk];
  QuickBox quick_boxes[kChunk];
  unsigned left[kChunk / kWarp];
  // Of each box of the chunk, which ones before it overlap it.
  alignas(8) std::uint8_t before[kChunk][kChunk / 8];
};

// Which boxes of a chunk are kept, of those that are left. A box is kept when all before it that overlap it have been
// dropped, dropped when one of them has been kept, and waits for the next round otherwise. All lanes of a warp.
__device__ inline std::uint64_t settle_chunk(const Greedy& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  std::uint64_t before[2];
  for (int half = 0; half < 2; ++half)
    before[half] = *reinterpret_cast<const std::uint64_t*>(shared.before[lane + half * kWarp]);
  std::uint64_t undecided = static_cast<std::uint64_t>(shared.left[1]) << 32 | shared.left[0], kept = 0;
  while (undecided) {
    std::uint64_t keeps = 0, decides = 0;
    for (int half = 0; half < 2; ++half) {
      const bool open = undecided >> (lane + half * kWarp) & 1;
      const bool keep = open && !(before[half] & (undecided | kept)), drop = open && (before[half] & kept);
      keeps |= static_cast<std::uint64_t>(__ballot_sync(kAllLanes, keep)) << (half * kWarp);
      decides |= static_cast<std::uint64_t>(__ballot_sync(kAllLanes, keep || drop)) << (half * kWarp);
    }
    kept |= keeps;
    undecided &= ~decides;
  }
  return kept;
}

// Reduces keys in global memory, best first, to those of the boxes that are kept, in that order, and returns how many
// they are. box_of(key) is a key's box. By a whole block of kThreads; what other threads wrote to `keys` must be behind
// a barrier. Ends with one.
template <int kThreads, class BoxOf>
__device__ int suppress_sorted(std::uint64_t* keys, int n, const OverlapTest& test, const BoxOf& box_of,
                               Greedy& shared) {
  static_assert(kThreads % kChunk == 0);
  const int thread = static_cast<int>(threadIdx.x);
  int kept = 0;
  for (int tile = 0; tile < n; tile += kThreads) {
    // A thread's box stays in registers. Keys of what is kept replace those that all threads have read.
    bool left = tile + thread < n;
    const std::uint64_t key = left ? keys[tile + thread] : 0;
    const BoxD box = left ? box_of(key) : BoxD{};
    const QuickBox quick = test.quick_box(box);
    const auto exceeded = [&](int k) { return test.exceeded(quick, shared.quick_boxes[k], box, shared.boxes[k]); };

    const int kept_before = kept;
    for (int first = 0; first < kept_before; first += kChunk) {
      const int here = min(kChunk, kept_before - first);
      __syncthreads();  // the chunk before has been read; of the last tile, written
      if (thread < here) {
        shared.boxes[thread] = box_of(keys[first + thread]);
        shared.quick_boxes[thread] = test.quick_box(shared.boxes[thread]);
      }
      __syncthreads();
      for (int k = 0; left && k < here; ++k) left = !exceeded(k);
    }

    const int here = min(kThreads, n - tile);
    for (int first = 0; first < here; first += kChunk) {
      const int at = thread - first;
      const bool inside = at >= 0 && at < kChunk;
      const unsigned ballot = __ballot_sync(kAllLanes, left);
      __syncthreads();  // the chunk before has been read
      if (inside) {
        shared.boxes[at] = box;
        shared.quick_boxes[at] = quick;
        if (at % kWarp == 0) shared.left[at / kWarp] = ballot;
      }
      __syncthreads();
      for (int k = thread; k < kChunk * kChunk / 8; k += kThreads) {
        const int own = k / 8, others = k % 8 * 8;
        const auto is_left = [&](int i) { return shared.left[i / kWarp] >> i % kWarp & 1; };
        unsigned before = 0;
        for (int bit = 0; is_left(own) && bit < min(8, own - others); ++bit)
          if (is_left(others + bit) && test.exceeded(shared.quick_boxes[own], shared.quick_boxes[others + bit],
                                                     shared.boxes[own], shared.boxes[others + bit]))
            before |= 1u << bit;
        shared.before[own][k % 8] = static_cast<std::uint8_t>(before);
      }
      __syncthreads();
      const std::uint64_t here_kept = settle_chunk(shared);
      if (inside) {
        const std::uint64_t bit = std::uint64_t{1} << at;
        if (here_kept & bit) keys[kept + __popcll(here_kept & (bit - 1))] = key;
      } else if (at >= kChunk) {
        for (std::uint64_t rest = here_kept; left && rest; rest &= rest - 1)
          left = !exceeded(__ffsll(static_cast<long long>(rest)) - 1);
      }
      kept += __popcll(here_kept);
    }
  }
  __syncthreads();
  return kept;
}

}  // namespace mtcnn_fast::cuda
