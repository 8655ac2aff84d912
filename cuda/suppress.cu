// Non-maximum suppression, and what lies between the networks: the windows that R-Net and O-Net look at, and the faces.
//
// Within a level no sort is needed. Its boxes have one size, on a grid, so that those which overlap by more than the
// threshold are `Level::reach` cells apart at most, and Work::cell_map says which of these passed. A cell's rivals are
// those that come before it and overlap it so. It is dropped when one of them has been kept, kept when all of them have
// been dropped, and waits for the next round otherwise: which gives what taking one after the other gives, in 4 rounds
// or so on photographs. A block takes a level.
//
// All else is by image, a block each: a sort by key, which is the descending rank above and a place below, so that no
// two keys are equal and the order of equal ranks is the CPU's, then the greedy suppression of greedy.h. Images' ranges
// in the lists of windows and faces come in the order in which blocks reserve them; nothing depends on that order.
#include "greedy.h"
#include "kernels.h"
#include "sort.h"

namespace mtcnn_fast::cuda {
namespace {

constexpr int kThreads = 512;
static_assert(kSortedTogether % kThreads == 0);

__device__ int lane_of_thread() { return static_cast<int>(threadIdx.x) % kWarp; }

// Orders as ranks do, highest first, and equal ones by place.
__device__ std::uint64_t key_of(float rank, std::uint32_t place) {
  const unsigned bits = __float_as_uint(rank + 0.0f);  // -0 becomes 0: they tie
  const unsigned descending = bits >> 31 ? bits : ~bits & 0x7fffffffu;
  return static_cast<std::uint64_t>(descending) << 32 | place;
}
__device__ std::uint32_t place_in(std::uint64_t key) { return static_cast<std::uint32_t>(key); }

__device__ OverlapTest overlap_test(const Settings& settings, Stage stage, int which) {
  const Geometry geometry(settings.conventions);
  return {settings.nms[which], geometry.overlap_kind(stage), static_cast<double>(geometry.overlap_extra(stage))};
}

// --- Within levels ---------------------------------------------------------------------------------------------------

// What Work::cell_map has of a cell that passed: 1 + its index while it is undecided, ~ its index when it is kept, and
// 0, as if it had not passed, when it is dropped.
__device__ int index_of_entry(std::int32_t entry) { return entry < 0 ? ~entry : entry - 1; }

constexpr int kSquare = 5;  // cells of a side: all that a reach of two leaves, as with the default threshold

// A square of cells around one that is undecided, or a part of what is near it.
struct Square {
  const std::int32_t* map;
  int first_row, first_column, last_row, last_column, columns;  // not beyond the level

  __device__ Square(const Work& work, const Level& level, int row, int column, int reach)
      : map(work.cell_map + level.first_cell),
        first_row(max(row - reach, 0)),
        first_column(max(column - reach, 0)),
        last_row(min(row + reach, level.rows - 1)),
        last_column(min(column + reach, level.columns - 1)),
        columns(level.columns) {}
  __device__ const std::int32_t* at(int place) const {
    return map + static_cast<std::int64_t>(first_row + place / kSquare) * columns + first_column + place % kSquare;
  }
  // The places of those that passed and are not dropped. The loads do not wait for one another: beyond the last row and
  // column they load those again, because nvcc has too few predicates for 25 conditions.
  __device__ unsigned occupied() const {
    const int rows = min(kSquare, last_row - first_row + 1), width = min(kSquare, last_column - first_column + 1);
    std::int32_t entries[kSquare][kSquare];
#pragma unroll
    for (int r = 0; r < kSquare; ++r) {
      const std::int32_t* const row = at(min(r, rows - 1) * kSquare);
#pragma unroll
      for (int c = 0; c < kSquare; ++c) entries[r][c] = row[min(c, width - 1)];
    }
    unsigned places = 0;
#pragma unroll
    for (int place = 0; place < kSquare * kSquare; ++place)
      places |= static_cast<unsigned>(entries[place / kSquare][place % kSquare] != 0) << place;
    constexpr unsigned kColumn = 0x108421;  // the first place of each row
    return places & ((1u << width) - 1) * kColumn & ((1u << rows * kSquare) - 1);
  }
};

// The rivals of a cell in a square, as places of it.
__device__ unsigned rivals_in(const Square& square, const Work& work, const Cell& own, int index,
                              const OverlapTest& test) {
  const BoxD box = work.found_boxes[index];
  const QuickBox quick = test.quick_box(box);
  unsigned rivals = 0;
  for (unsigned left = square.occupied(); left; left &= left - 1) {
    const int place = __ffs(static_cast<int>(left)) - 1;
    const int other = index_of_entry(*square.at(place));
    const float logit = work.found[other].logit;
    const BoxD other_box = work.found_boxes[other];
    const int row = square.first_row + place / kSquare - own.row;
    const bool earlier = row < 0 || (row == 0 && square.first_column + place % kSquare < own.column);
    if ((logit > own.logit || (logit == own.logit && earlier)) &&
        test.exceeded(quick, test.quick_box(other_box), box, other_box))
      rivals |= 1u << place;
  }
  return rivals;
}

// Of a cell that is undecided: 1 when it is to be kept, -1 when it is to be dropped, else 0.
__device__ int decide(const Work& work, const Level& level, int index, bool first_round, const OverlapTest& test) {
  Cell& own = work.found[index];
  bool waits = false;
  const auto dropped_by = [&](const Square& square, unsigned rivals) {
    for (unsigned left = rivals; left; left &= left - 1) {
      const std::int32_t entry = *square.at(__ffs(static_cast<int>(left)) - 1);
      if (entry < 0) return true;
      waits |= entry > 0;
    }
    return false;
  };
  if (level.reach <= kSquare / 2) {
    const Square square(work, level, own.row, own.column, level.reach);
    if (first_round) own.rivals = rivals_in(square, work, own, index, test);
    if (dropped_by(square, own.rivals)) return -1;
  } else {
    // Square by square, in each round anew.
    const Square all(work, level, own.row, own.column, level.reach);
    Square square = all;
    for (; square.first_row <= all.last_row; square.first_row += kSquare)
      for (square.first_column = all.first_column; square.first_column <= all.last_column;
           square.first_column += kSquare)
        if (dropped_by(square, rivals_in(square, work, own, index, test))) return -1;
  }
  return waits ? 0 : 1;
}

// One block on a multiprocessor: with the registers of two, a square's entries would not fit.
__global__ void __launch_bounds__(kThreads, 1) suppress_levels_kernel(Work work) {
  wait_for_earlier_kernels();
  const int thread = static_cast<int>(threadIdx.x);
  const Geometry geometry(work.settings.conventions);
  const OverlapTest test = overlap_test(work.settings, Stage::pnet, 0);
  for (int l = static_cast<int>(blockIdx.x); l < work.job->levels; l += static_cast<int>(gridDim.x)) {
    const Level level = work.levels[l];  // not read again behind each store
    const int n = min(work.level_counts[l].found, level.capacity);
    for (int i = level.found + thread; i < level.found + n; i += kThreads) {
      Cell& cell = work.found[i];
      work.found_boxes[i] = geometry.cell(level.first_row + cell.row, cell.column, level.scale);
      cell.logit = geometry.rank(cell.logit);
    }
    __syncthreads();

    const auto entry_of = [&](const Cell& cell) -> std::int32_t& {
      return work.cell_map[level.first_cell + static_cast<std::int64_t>(cell.row) * level.columns + cell.column];
    };
    bool waits, first_round = true;
    do {
      waits = false;
      for (int first = 0; first < n; first += kThreads) {
        // What a thread decides does not depend on whether others have written their decisions of this round, only in
        // which round it can. The barriers keep reads and writes of the map apart. No serial order shows either.
        if (first > 0) __syncthreads();
        const int index = level.found + first + thread;
        std::int32_t* const entry = first + thread < n ? &entry_of(work.found[index]) : nullptr;
        const bool open = entry && *entry > 0;
        const int decision = open ? decide(work, level, index, first_round, test) : 0;
        __syncthreads();  // No serial order shows it, as above.
        if (decision) *entry = decision > 0 ? ~index : 0;
        waits |= open && !decision;
      }
      first_round = false;
    } while (__syncthreads_or(waits));

    const Image& image = work.images[level.image];
    for (int first = 0; first < n; first += kThreads) {
      const int index = level.found + first + thread;
      const bool kept = first + thread < n && entry_of(work.found[index]) < 0;
      const unsigned ballot = __ballot_sync(kAllLanes, kept);
      int place = 0;
      if (lane_of_thread() == 0 && ballot) {
        place = atomicAdd(&work.image_counts[level.image].candidates, __popc(ballot));
        atomicAdd(&work.level_counts[l].kept, __popc(ballot));
      }
      place = __shfl_sync(kAllLanes, place, 0) + __popc(ballot & ((1u << lane_of_thread()) - 1));
      if (!kept) continue;
      const Cell& cell = work.found[index];
      const std::int64_t ordinal =
          level.first_cell - image.first_cell + static_cast<std::int64_t>(cell.row) * level.columns + cell.column;
      work.keys[image.first_found + place] = key_of(cell.logit, static_cast<std::uint32_t>(ordinal));
    }
  }
}

// --- By image --------------------------------------------------------------------------------------------------------

struct Shared {
  std::uint64_t sorted[kSortedTogether];
  Greedy greedy;
  int counts[kThreads / kWarp];
  int base;
};

struct Place {
  int before, all;
};
// How many of the threads before this one have something, and how many of all. By the whole block.
__device__ Place count_before(bool any, Shared& shared) {
  const unsigned ballot = __ballot_sync(kAllLanes, any);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  __syncthreads();  // the counts before have been read
  if (lane_of_thread() == 0) shared.counts[warp] = __popc(ballot);
  __syncthreads();
  Place place = {__popc(ballot & ((1u << lane_of_thread()) - 1)), 0};
  for (int w = 0; w < kThreads / kWarp; ++w) {
    if (w < warp) place.before += shared.counts[w];
    place.all += shared.counts[w];
  }
  return place;
}

// Reserves `count` places of a list, of whose length `counter` keeps count. By the whole block, behind a barrier since
// the call before.
__device__ int reserve(int* counter, int count, Shared& shared) {
  if (threadIdx.x == 0) shared.base = atomicAdd(counter, count);
  __syncthreads();
  return shared.base;
}

// The windows of the next network, of boxes that stand in order: index_of(key) is where in `boxes`, and offsets_of()
// what the network before said of one. Those without a pixel are left out. Overwrites keys and boxes. Ends with a
// barrier.
template <class IndexOf, class OffsetsOf>
__device__ void make_windows(const Work& work, int image, Stage stage, int extra, std::uint64_t* keys, int n,
                             BoxD* boxes, const IndexOf& index_of, const OffsetsOf& offsets_of, Shared& shared) {
  const Geometry geometry(work.settings.conventions);
  const int height = work.images[image].height, width = work.images[image].width;
  const int thread = static_cast<int>(threadIdx.x);
  int count = 0;
  for (int first = 0; first < n; first += kThreads) {
    bool any = false;
    std::uint64_t index = 0;
    if (first + thread < n) {
      index = index_of(keys[first + thread]);
      const BoxD window = geometry.next_window(boxes[index], offsets_of(index), extra);
      any = geometry.has_pixels(window, height, width);
      if (any) boxes[index] = window;
    }
    const Place place = count_before(any, shared);
    if (any) keys[count + place.before] = index;
    count += place.all;
  }
  const int base = reserve(&work.counts->windows[stage], count, shared);
  const Windows& windows = work.windows[stage];
  for (int k = thread; k < min(count, windows.capacity - base); k += kThreads) {
    windows.boxes[base + k] = boxes[keys[k]];
    windows.images[base + k] = image;
  }
  if (thread == 0) {
    work.image_counts[image].first[stage] = base;
    work.image_counts[image].windows[stage] = count;
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) suppress_cells_kernel(Work work) {
  __shared__ Shared shared;
  wait_for_earlier_kernels();
  const OverlapTest test = overlap_test(work.settings, Stage::pnet, 1);
  for (int i = static_cast<int>(blockIdx.x); i < work.job->images; i += static_cast<int>(gridDim.x)) {
    const Image& image = work.images[i];
    std::uint64_t* const keys = work.keys + image.first_found;
    int n = work.image_counts[i].candidates;
    sort_ascending(keys, n, shared.sorted);
    const auto index_of = [&](std::uint64_t key) -> std::uint64_t {
      return static_cast<std::uint64_t>(index_of_entry(work.cell_map[image.first_cell + place_in(key)]));
    };
    if (image.across)
      n = suppress_sorted<kThreads>(
          keys, n, test, [&](std::uint64_t key) { return work.found_boxes[index_of(key)]; }, shared.greedy);
    make_windows(
        work, i, Stage::rnet, 0, keys, n, work.found_boxes, index_of,
        [&](std::uint64_t index) { return work.found[index].offsets; }, shared);
    for (int l = image.first_level; l < image.first_level + image.levels; ++l) {
      const Level& level = work.levels[l];
      const int found = min(work.level_counts[l].found, level.capacity);
      for (int k = static_cast<int>(threadIdx.x); k < found; k += kThreads) {
        const Cell& cell = work.found[level.found + k];
        work.cell_map[level.first_cell + static_cast<std::int64_t>(cell.row) * level.columns + cell.column] = 0;
      }
    }
  }
}

// An image's windows of a network, and the keys of those that are left.
struct Ranked {
  int first, left;
  std::uint64_t* keys;
};

// Those whose logit is above the threshold, sorted; pass(index) for each, before its rank is asked for. `last_wins`:
// of equal ranks the last comes first.
template <class Pass>
__device__ Ranked rank_windows(const Work& work, int image, Stage stage, bool last_wins, const Pass& pass,
                               Shared& shared) {
  const Geometry geometry(work.settings.conventions);
  const Windows& windows = work.windows[stage];
  const ImageCounts& counts = work.image_counts[image];
  const int first = counts.first[stage], n = min(counts.windows[stage], windows.capacity - first);
  Ranked ranked = {first, 0, work.keys + first};
  for (int start = 0; start < n; start += kThreads) {
    const int k = start + static_cast<int>(threadIdx.x);
    const float logit = k < n ? windows.heads[std::int64_t{kHeadOutputs} * (first + k)] : 0;
    const bool any = k < n && logit > work.settings.logits[stage];
    const Place place = count_before(any, shared);
    if (any) {
      pass(first + k);
      const auto index = static_cast<std::uint32_t>(k);
      ranked.keys[ranked.left + place.before] = key_of(geometry.rank(logit), last_wins ? ~index : index);
    }
    ranked.left += place.all;
  }
  __syncthreads();
  sort_ascending(ranked.keys, ranked.left, shared.sorted);
  return ranked;
}

__global__ void __launch_bounds__(kThreads) suppress_rnet_kernel(Work work) {
  __shared__ Shared shared;
  wait_for_earlier_kernels();
  const OverlapTest test = overlap_test(work.settings, Stage::rnet, 2);
  const bool last_wins = Geometry(work.settings.conventions).last_wins(Stage::rnet);
  const Windows& windows = work.windows[Stage::rnet];
  for (int i = static_cast<int>(blockIdx.x); i < work.job->images; i += static_cast<int>(gridDim.x)) {
    const Ranked ranked = rank_windows(
        work, i, Stage::rnet, last_wins, [](int) {}, shared);
    const auto index_of = [&](std::uint64_t key) -> std::uint64_t {
      return static_cast<std::uint64_t>(ranked.first) + (last_wins ? ~place_in(key) : place_in(key));
    };
    const int n = suppress_sorted<kThreads>(
        ranked.keys, ranked.left, test, [&](std::uint64_t key) { return windows.boxes[index_of(key)]; }, shared.greedy);
    make_windows(
        work, i, Stage::onet, 1, ranked.keys, n, windows.boxes, index_of,
        [&](std::uint64_t index) { return windows.heads + kHeadOutputs * index + 1; }, shared);
  }
}

__device__ Candidate candidate_of(const Windows& windows, std::int64_t index) {
  Candidate c = {windows.boxes[index], 0, {}, {}};
  c.take(windows.heads + kHeadOutputs * index);
  return c;
}

// All counts to the host's memory, by the block that is the last to come here: what the others counted before they
// came, it sees (CUDA's Programming Guide, "Memory Fence Functions"). By the warp whose first lane wrote the block's
// counts.
__device__ void report_counts(const Work& work) {
  const int lane = lane_of_thread();
  int before = 0;
  if (lane == 0) {
    __threadfence();
    before = atomicAdd(&work.counts->blocks_done, 1);
  }
  if (__shfl_sync(kAllLanes, before, 0) != static_cast<int>(gridDim.x) - 1) return;
  __threadfence();
  if (lane == 0) *work.host_counts = *work.counts;
  for (int i = lane; i < work.job->images; i += kWarp) work.host_image_counts[i] = work.image_counts[i];
  for (int l = lane; l < work.job->levels; l += kWarp) work.host_level_counts[l] = work.level_counts[l];
}

// One block a multiprocessor: in 64 registers, which two would have, it spills on compute capability 8.0.
__global__ void __launch_bounds__(kThreads, 1) suppress_onet_kernel(Work work) {
  __shared__ Shared shared;
  wait_for_earlier_kernels();
  const Geometry geometry(work.settings.conventions);
  const OverlapTest test = overlap_test(work.settings, Stage::onet, 3);
  const bool last_wins = geometry.last_wins(Stage::onet);
  const Windows& windows = work.windows[Stage::onet];
  for (int i = static_cast<int>(blockIdx.x); i < work.job->images; i += static_cast<int>(gridDim.x)) {
    // The regressed box takes the window's place, and landmarks in pixels those in units of it.
    const auto finish = [&](int index) {
      Candidate c = candidate_of(windows, index);
      geometry.finish(c);
      windows.boxes[index] = c.box;
      for (int k = 0; k < 10; ++k) windows.heads[std::int64_t{kHeadOutputs} * index + 5 + k] = c.landmarks[k];
    };
    const Ranked ranked = rank_windows(work, i, Stage::onet, last_wins, finish, shared);
    const auto index_of = [&](std::uint64_t key) {
      return static_cast<std::int64_t>(ranked.first) + (last_wins ? ~place_in(key) : place_in(key));
    };
    const int n = suppress_sorted<kThreads>(
        ranked.keys, ranked.left, test, [&](std::uint64_t key) { return windows.boxes[index_of(key)]; }, shared.greedy);
    const int base = reserve(&work.counts->faces, n, shared);
    for (int k = static_cast<int>(threadIdx.x); k < min(n, work.face_capacity - base); k += kThreads)
      work.faces[base + k] = geometry.detection(candidate_of(windows, index_of(ranked.keys[k])));
    if (threadIdx.x == 0) {
      work.image_counts[i].first_face = base;
      work.image_counts[i].faces = n;
    }
  }
  if (threadIdx.x < kWarp) report_counts(work);
}

__global__ void __launch_bounds__(kThreads)
    suppress_boxes_kernel(const BoxD* boxes, const float* scores, int n, double threshold, Overlap kind, double extra,
                          std::uint64_t* keys, int* kept, int* count) {
  __shared__ Shared shared;
  wait_for_earlier_kernels();
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads)
    keys[i] = key_of(scores[i], static_cast<std::uint32_t>(i));
  // No barrier: the sort's threads take to shared memory what they have just written.
  sort_ascending(keys, n, shared.sorted);
  const int left = suppress_sorted<kThreads>(
      keys, n, OverlapTest(threshold, kind, extra), [&](std::uint64_t key) { return boxes[place_in(key)]; },
      shared.greedy);
  for (int k = static_cast<int>(threadIdx.x); k < left; k += kThreads) kept[k] = static_cast<int>(place_in(keys[k]));
  if (threadIdx.x == 0) *count = left;
}

}  // namespace

void suppress_levels(const Queue& queue, const Work& work) {
  launch_up_to(work.level_capacity, queue, suppress_levels_kernel, kThreads, 0, work);
}

void suppress_cells(const Queue& queue, const Work& work) {
  launch_up_to(work.image_capacity, queue, suppress_cells_kernel, kThreads, 0, work);
}

void suppress_rnet(const Queue& queue, const Work& work) {
  launch_up_to(work.image_capacity, queue, suppress_rnet_kernel, kThreads, 0, work);
}

void suppress_onet(const Queue& queue, const Work& work) {
  launch_up_to(work.image_capacity, queue, suppress_onet_kernel, kThreads, 0, work);
}

void suppress_boxes(const Queue& queue, const BoxD* boxes, const float* scores, int n, double threshold, Overlap kind,
                    double extra, std::uint64_t* keys, int* kept, int* count) {
  launch_up_to(1, queue, suppress_boxes_kernel, kThreads, 0, boxes, scores, n, threshold, kind, extra, keys, kept,
               count);
}

}  // namespace mtcnn_fast::cuda
