// A block's threads run one at a time, each until it waits: for the block at a barrier, for its warp at an intrinsic,
// or for nothing any more. What a schedule chooses is which of those that can go on does. A warp goes on as far as it
// can before the next one does, so that of two warps between which a barrier is missing, one is far ahead.
//
// Of a kernel that may begin before the one in front of it has ended, all blocks run first, each as far as it comes
// without waiting for that; then runs the kernel in front; then those blocks go on.
#include "simt_emulator.h"

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "fiber.h"
#include "mutation.h"
#include "sanitizers.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace simt {
namespace {

constexpr int kMostThreads = 1024, kMostWarps = kMostThreads / kLanes;

// Fibers live for as long as the process, and are threads of one block after another. So does their list: at the end
// LeakSanitizer must find them.
std::vector<Fiber*>& idle_fibers = *new std::vector<Fiber*>;

// At a warp's intrinsic.
struct Waiting {
  const char* operation;
  Site site;
  unsigned mask;
  void* request;
  void (*resolve)(void* const*, unsigned);
};

struct Warp {
  unsigned alive, ready, waiting;  // by lane; the others wait at the block's barrier
  unsigned aside;                  // wait until no other thread of the block is ready
  unsigned early;                  // wait for earlier kernels
  Waiting lanes[kLanes];
};

}  // namespace

struct Block {
  uint3 index;
  std::vector<Fiber*> fibers;  // of its threads
  std::unique_ptr<unsigned char, void (*)(void*)> shared_memory = {nullptr, std::free};
  bool has_waited;  // for earlier kernels, any of its threads

  Warp warps[kMostWarps];
  int threads, warp_count;
  unsigned ready;  // by warp: whether any lane is ready
  int alive;
  // At the barrier.
  int arrived, yes;
  const char* operation;
  Site site;
  Votes votes;  // of the last barrier

  int warp, lane;  // running

  // For ThreadSanitizer. Barriers take turns: a thread that is slow to leave one must not seem to come after what
  // others did before the next.
  int turn;
  char begun, ended, resumed, barriers[2];
};

namespace {

// That is running, and its grid.
Block* block = nullptr;
Grid* grid = nullptr;
// What a block loaded in an atomic that is none, before it stored.
struct Loaded {
  unsigned block;
  unsigned long long value;
};
std::map<const void*, Loaded> loaded;  // in this launch

bool is_early = false;  // earlier kernels have yet to run
Schedule current = {};
std::mt19937 generator;

Warp& this_warp() { return block->warps[block->warp]; }

void make_ready(Block& block, int warp, unsigned lanes) {
  block.warps[warp].ready |= lanes;
  if (block.warps[warp].ready) block.ready |= 1u << warp;
}

void wait_for_others() {
  ++counters().switches;
  Fiber::yield();
}

// Lets those lanes of the running warp go on for which `waiting` waited, if all have come.
bool complete(const Waiting& waiting) {
  Warp& warp = this_warp();
  const unsigned lanes = waiting.mask & warp.alive;
  if (!lanes || (warp.waiting & lanes) != lanes) return false;
  void* requests[kLanes] = {};
  for (unsigned left = lanes; left; left &= left - 1) {
    const Waiting& other = warp.lanes[std::countr_zero(left)];
    if (other.mask != waiting.mask) return false;
    requests[std::countr_zero(left)] = other.request;
  }
  for (unsigned left = lanes; left; left &= left - 1) acquire(&warp.lanes[std::countr_zero(left)]);
  if (waiting.resolve) waiting.resolve(requests, lanes);
  for (unsigned left = lanes; left; left &= left - 1) release(&warp.lanes[std::countr_zero(left)]);
  warp.waiting &= ~lanes;
  make_ready(*block, block->warp, lanes);
  return true;
}

void end_thread() {
  Warp& warp = this_warp();
  warp.alive &= ~(1u << block->lane);
  --block->alive;
  // Others may have waited for nothing but this lane.
  for (unsigned left = warp.waiting; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    if (warp.waiting >> lane & 1) complete(warp.lanes[lane]);
  }
}

void fiber_main() {
  for (;;) {
    acquire(&block->begun);
    grid->run_thread();
    release(&block->ended);
    end_thread();
    wait_for_others();
  }
}

int pick(unsigned among, int before) {
  switch (current.order) {
    case Schedule::Order::index:
      return std::countr_zero(among);
    case Schedule::Order::reverse:
      return 31 - std::countl_zero(among);
    default:
      // Mostly the same as before, so that one gets ahead of the others.
      if ((among >> before & 1) && generator() % 8 != 0) return before;
      for (int skip = static_cast<int>(generator() % static_cast<unsigned>(std::popcount(among))); skip > 0; --skip)
        among &= among - 1;
      return std::countr_zero(among);
  }
}

void run_thread() {
  block->warp = pick(block->ready, block->warp);
  Warp& warp = this_warp();
  block->lane = pick(warp.ready, block->lane);
  warp.ready &= ~(1u << block->lane);
  if (!warp.ready) block->ready &= ~(1u << block->warp);
  const unsigned index = static_cast<unsigned>(block->warp * kLanes + block->lane);
  threadIdx = {index % blockDim.x, index / blockDim.x % blockDim.y, index / (blockDim.x * blockDim.y)};
  block->fibers[index]->resume();
}

[[noreturn]] void report_deadlock() {
  std::fprintf(stderr, "simt: deadlock in block (%u, %u, %u): of %d threads that have not ended, %d wait at ",
               blockIdx.x, blockIdx.y, blockIdx.z, block->alive, block->arrived);
  if (block->arrived)
    std::fprintf(stderr, "%s:%d: %s", block->site.file, block->site.line, block->operation);
  else
    std::fprintf(stderr, "no barrier");
  for (int k = 0; k < block->warp_count; ++k) {
    const Warp& warp = block->warps[k];
    if (!warp.waiting) continue;
    const Waiting& one = warp.lanes[std::countr_zero(warp.waiting)];
    std::fprintf(stderr, "; lanes %08x of warp %d at %s:%d: %s, mask %08x", warp.waiting, k, one.site.file,
                 one.site.line, one.operation, one.mask);
  }
  std::fprintf(stderr, "\n");
  std::abort();
}

// Until the block's threads have ended, or wait for earlier kernels.
void run_block(Block& next) {
  block = &next;
  blockIdx = next.index;
  for (;;) {
    while (block->ready) run_thread();
    for (int k = 0; k < block->warp_count; ++k) make_ready(*block, k, std::exchange(block->warps[k].aside, 0));
    if (block->ready) continue;
    if (block->alive == 0) break;
    if (std::any_of(block->warps, block->warps + block->warp_count, [](const Warp& warp) { return warp.early; })) break;
    if (block->arrived != block->alive) report_deadlock();
    block->votes = {block->yes, block->arrived};
    block->arrived = block->yes = 0;
    block->turn ^= 1;
    for (int k = 0; k < block->warp_count; ++k) make_ready(*block, k, block->warps[k].alive);
  }
  acquire(&block->ended);
}

}  // namespace

unsigned char Schedule::poison() const {
  switch (order) {
    case Order::index:
      return 255;
    case Order::reverse:
      return 127;
    default:
      return static_cast<unsigned char>(seed * 37 + 0xCD);
  }
}

Schedule schedule() {
  if (grid) return current;
  const char* const text = std::getenv("SIMT_SCHEDULE");
  if (!text || std::strcmp(text, "index") == 0) return {Schedule::Order::index, 0};
  if (std::strcmp(text, "reverse") == 0) return {Schedule::Order::reverse, 0};
  char* end = nullptr;
  if (std::strncmp(text, "random:", 7) == 0) {
    const unsigned long seed = std::strtoul(text + 7, &end, 10);
    if (end != text + 7 && *end == 0) return {Schedule::Order::random, static_cast<unsigned>(seed)};
  }
  std::fprintf(stderr, "simt: SIMT_SCHEDULE is '%s', wanted index, reverse or random:SEED\n", text);
  std::abort();
}

bool running() { return grid; }
int lane() { return block->lane; }
unsigned char* dynamic_shared_memory() { return block->shared_memory.get(); }

Counters& counters() {
  static Counters all = {};
  return all;
}

Grid::Grid(dim3 grid_size, dim3 block_size, std::size_t shared_memory, bool programmatic, std::function<void()> thread)
    : grid_size_(grid_size),
      block_size_(block_size),
      shared_memory_(shared_memory),
      programmatic_(programmatic),
      thread_(std::move(thread)),
      order_(std::size_t{grid_size.x} * grid_size.y * grid_size.z) {
  const Schedule chosen = schedule();
  std::iota(order_.begin(), order_.end(), 0u);
  if (chosen.order == Schedule::Order::reverse) std::reverse(order_.begin(), order_.end());
  if (chosen.order == Schedule::Order::random) std::shuffle(order_.begin(), order_.end(), std::mt19937(chosen.seed));
}
Grid::~Grid() = default;

void Grid::enter() {
  current = schedule();
  generator.seed(current.seed);
  mutation::read_environment();
  loaded.clear();
  grid = this;
  gridDim = grid_size_;
  blockDim = block_size_;
}

std::unique_ptr<Block> Grid::make_block(unsigned index) const {
  auto made = std::make_unique<Block>();
  made->index = {index % grid_size_.x, index / grid_size_.x % grid_size_.y, index / (grid_size_.x * grid_size_.y)};
  // From the heap, and not a byte more, so that AddressSanitizer sees what goes beyond it.
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, shared_memory_) != 0) std::abort();
  std::memset(memory, current.poison(), shared_memory_);
  made->shared_memory.reset(static_cast<unsigned char*>(memory));
  made->threads = made->alive = static_cast<int>(block_size_.x * block_size_.y * block_size_.z);
  made->warp_count = (made->threads + kLanes - 1) / kLanes;
  for (int i = 0; i < made->threads; ++i) {
    if (idle_fibers.empty()) idle_fibers.push_back(new Fiber(fiber_main));
    made->fibers.push_back(idle_fibers.back());
    idle_fibers.pop_back();
  }
  for (int k = 0; k < made->warp_count; ++k) {
    const int lanes = std::min(kLanes, made->threads - k * kLanes);
    make_ready(*made, k, made->warps[k].alive = lanes == kLanes ? ~0u : (1u << lanes) - 1);
  }
  ++counters().blocks;
  release(&made->begun);
  return made;
}

void Grid::begin() {
  enter();
  is_early = true;
  for (const unsigned index : order_) {
    begun_.push_back(make_block(index));
    run_block(*begun_.back());
  }
  is_early = false;
  grid = nullptr;
}

void Grid::finish() {
  enter();
  ++counters().launches;
  for (std::size_t k = 0; k < order_.size(); ++k) {
    const std::unique_ptr<Block> next = begun_.empty() ? make_block(order_[k]) : std::move(begun_[k]);
    for (int warp = 0; warp < next->warp_count; ++warp)
      make_ready(*next, warp, std::exchange(next->warps[warp].early, 0));
    release(&next->resumed);
    run_block(*next);
    if (programmatic_ && !next->has_waited) {
      std::fprintf(stderr, "simt: block (%u, %u, %u) has ended, and did not wait for earlier kernels\n", next->index.x,
                   next->index.y, next->index.z);
      std::abort();
    }
    idle_fibers.insert(idle_fibers.end(), next->fibers.begin(), next->fibers.end());
  }
  begun_.clear();
  grid = nullptr;
}

void wait_for_earlier_kernels(Site site) {
  if (mutation::wait_is_dropped("cudaGridDependencySynchronize", site)) return;
  block->has_waited = true;
  if (!is_early) return;
  this_warp().early |= 1u << block->lane;
  wait_for_others();
  acquire(&block->resumed);
}

Votes synchronize_block(const char* operation, bool predicate, Site site) {
  if (mutation::barrier_is_dropped(operation, site)) return {predicate, 1};
  if (block->arrived && (block->site.line != site.line || std::strcmp(block->site.file, site.file) != 0 ||
                         std::strcmp(block->operation, operation) != 0))
    stop(site, "%s, while other threads of the block wait at %s:%d: %s", operation, block->site.file, block->site.line,
         block->operation);
  block->operation = operation;
  block->site = site;
  ++block->arrived;
  block->yes += predicate;
  char& order = block->barriers[block->turn];
  release(&order);
  wait_for_others();
  acquire(&order);
  return block->votes;
}

void meet(const char* operation, unsigned mask, void* request, void (*resolve)(void* const*, unsigned), Site site) {
  Warp& warp = this_warp();
  const int lane = block->lane;
  if (!(mask >> lane & 1)) stop(site, "%s: lane %d is not in its own mask %08x", operation, lane, mask);
  const Waiting mine = {operation, site, mask, request, resolve};
  for (unsigned left = warp.waiting & mask; left; left &= left - 1) {
    const Waiting& other = warp.lanes[std::countr_zero(left)];
    // One that waits for others first may come here afterwards.
    if (!(other.mask >> lane & 1)) continue;
    if (other.mask != mask || other.site.line != site.line || std::strcmp(other.site.file, site.file) != 0 ||
        std::strcmp(other.operation, operation) != 0)
      stop(site, "%s with mask %08x, while lane %d waits for this one at %s:%d: %s with mask %08x", operation, mask,
           std::countr_zero(left), other.site.file, other.site.line, other.operation, other.mask);
  }
  warp.lanes[lane] = mine;
  warp.waiting |= 1u << lane;
  release(&warp.lanes[lane]);
  if (complete(mine)) {
    // The last to come goes on at once.
    warp.ready &= ~(1u << lane);
    if (!warp.ready) block->ready &= ~(1u << block->warp);
  } else {
    wait_for_others();
  }
  acquire(&warp.lanes[lane]);
}

void synchronize_warp(unsigned mask, Site site) {
  if (mutation::barrier_is_dropped("__syncwarp", site)) return;
  meet("__syncwarp", mask, nullptr, nullptr, site);
}

bool atomic_is_dropped(const char* operation, Site site) { return mutation::atomic_is_dropped(operation, site); }

void load_in_turns(const void* from, void* to, std::size_t bytes) {
  const unsigned index = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  std::memcpy(to, from, bytes);
  const auto before = loaded.find(from);
  if (before != loaded.end() && before->second.block != index) std::memcpy(to, &before->second.value, bytes);
  Loaded mine = {index, 0};
  std::memcpy(&mine.value, to, bytes);
  loaded[from] = mine;
  this_warp().aside |= 1u << block->lane;
  wait_for_others();
}

void stop(Site site, const char* format, ...) {
  std::fprintf(stderr, "simt: %s:%d: block (%u, %u, %u), thread (%u, %u, %u): ", site.file, site.line, blockIdx.x,
               blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  std::va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "\n");
  std::abort();
}

}  // namespace simt
