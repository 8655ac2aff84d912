// A block's threads run one at a time, each until it waits: for the block at a barrier, for its warp at an intrinsic,
// or for nothing any more. What a schedule chooses is which of those that can go on does. A warp goes on as far as it
// can before the next one does, so that of two warps between which a barrier is missing, one is far ahead.
#include "simt_emulator.h"

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
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
  Waiting lanes[kLanes];
};

struct Block {
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
  char begun, ended, barriers[2];
};

// What a block loaded in an atomic that is none, before it stored.
struct Loaded {
  unsigned block;
  unsigned long long value;
};

Block block;
std::map<const void*, Loaded> loaded;  // in this launch
bool is_running = false;
unsigned char* shared_memory = nullptr;
Schedule current = {};
std::mt19937 generator;
void (*thread_body)(const void*);
const void* thread_context;

Warp& this_warp() { return block.warps[block.warp]; }

void make_ready(int warp, unsigned lanes) {
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
  make_ready(block.warp, lanes);
  return true;
}

void end_thread() {
  Warp& warp = this_warp();
  warp.alive &= ~(1u << block.lane);
  --block.alive;
  // Others may have waited for nothing but this lane.
  for (unsigned left = warp.waiting; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    if (warp.waiting >> lane & 1) complete(warp.lanes[lane]);
  }
}

// A fiber lives for as long as the process, and is a thread of one block after another.
void fiber_main() {
  for (;;) {
    acquire(&block.begun);
    thread_body(thread_context);
    release(&block.ended);
    end_thread();
    wait_for_others();
  }
}

Fiber* fibers[kMostThreads];  // as many as a block has had threads so far

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
  block.warp = pick(block.ready, block.warp);
  Warp& warp = this_warp();
  block.lane = pick(warp.ready, block.lane);
  warp.ready &= ~(1u << block.lane);
  if (!warp.ready) block.ready &= ~(1u << block.warp);
  const unsigned index = static_cast<unsigned>(block.warp * kLanes + block.lane);
  threadIdx = {index % blockDim.x, index / blockDim.x % blockDim.y, index / (blockDim.x * blockDim.y)};
  fibers[index]->resume();
}

[[noreturn]] void report_deadlock() {
  std::fprintf(stderr, "simt: deadlock in block (%u, %u, %u): of %d threads that have not ended, %d wait at ",
               blockIdx.x, blockIdx.y, blockIdx.z, block.alive, block.arrived);
  if (block.arrived)
    std::fprintf(stderr, "%s:%d: %s", block.site.file, block.site.line, block.operation);
  else
    std::fprintf(stderr, "no barrier");
  for (int k = 0; k < block.warp_count; ++k) {
    const Warp& warp = block.warps[k];
    if (!warp.waiting) continue;
    const Waiting& one = warp.lanes[std::countr_zero(warp.waiting)];
    std::fprintf(stderr, "; lanes %08x of warp %d at %s:%d: %s, mask %08x", warp.waiting, k, one.site.file,
                 one.site.line, one.operation, one.mask);
  }
  std::fprintf(stderr, "\n");
  std::abort();
}

void run_block() {
  ++counters().blocks;
  block.ready = 0;
  block.alive = block.threads;
  block.arrived = block.yes = 0;
  block.warp = block.lane = 0;
  for (int k = 0; k < block.warp_count; ++k) {
    const int lanes = std::min(kLanes, block.threads - k * kLanes);
    Warp& warp = block.warps[k];
    warp.alive = lanes == kLanes ? ~0u : (1u << lanes) - 1;
    warp.ready = warp.waiting = warp.aside = 0;
    make_ready(k, warp.alive);
  }
  release(&block.begun);
  for (;;) {
    while (block.ready) run_thread();
    for (int k = 0; k < block.warp_count; ++k) make_ready(k, std::exchange(block.warps[k].aside, 0));
    if (block.ready) continue;
    if (block.alive == 0) break;
    if (block.arrived != block.alive) report_deadlock();
    block.votes = {block.yes, block.arrived};
    block.arrived = block.yes = 0;
    block.turn ^= 1;
    for (int k = 0; k < block.warp_count; ++k) make_ready(k, block.warps[k].alive);
  }
  acquire(&block.ended);
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
  if (is_running) return current;
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

bool running() { return is_running; }
int lane() { return block.lane; }
unsigned char* dynamic_shared_memory() { return shared_memory; }

Counters& counters() {
  static Counters all = {};
  return all;
}

void launch(dim3 grid, dim3 block_size, std::size_t shared_memory_bytes, void (*body)(const void*),
            const void* context) {
  current = schedule();
  generator.seed(current.seed);
  mutation::read_environment();
  loaded.clear();
  is_running = true;
  ++counters().launches;
  gridDim = grid;
  blockDim = block_size;
  thread_body = body;
  thread_context = context;
  block.threads = static_cast<int>(block_size.x * block_size.y * block_size.z);
  block.warp_count = (block.threads + kLanes - 1) / kLanes;
  for (int i = 0; i < block.threads; ++i)
    if (!fibers[i]) fibers[i] = new Fiber(fiber_main);
  // From the heap, and not a byte more, so that AddressSanitizer sees what goes beyond it.
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, shared_memory_bytes) != 0) std::abort();
  shared_memory = static_cast<unsigned char*>(memory);
  std::vector<unsigned> order(std::size_t{grid.x} * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0u);
  if (current.order == Schedule::Order::reverse) std::reverse(order.begin(), order.end());
  if (current.order == Schedule::Order::random) std::shuffle(order.begin(), order.end(), generator);
  for (const unsigned index : order) {
    blockIdx = {index % grid.x, index / grid.x % grid.y, index / (grid.x * grid.y)};
    std::memset(shared_memory, current.poison(), shared_memory_bytes);
    run_block();
  }
  std::free(memory);
  shared_memory = nullptr;
  is_running = false;
}

Votes synchronize_block(const char* operation, bool predicate, Site site) {
  if (mutation::barrier_is_dropped(operation, site)) return {predicate, 1};
  if (block.arrived && (block.site.line != site.line || std::strcmp(block.site.file, site.file) != 0 ||
                        std::strcmp(block.operation, operation) != 0))
    stop(site, "%s, while other threads of the block wait at %s:%d: %s", operation, block.site.file, block.site.line,
         block.operation);
  block.operation = operation;
  block.site = site;
  ++block.arrived;
  block.yes += predicate;
  char& order = block.barriers[block.turn];
  release(&order);
  wait_for_others();
  acquire(&order);
  return block.votes;
}

void meet(const char* operation, unsigned mask, void* request, void (*resolve)(void* const*, unsigned), Site site) {
  Warp& warp = this_warp();
  const int lane = block.lane;
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
    if (!warp.ready) block.ready &= ~(1u << block.warp);
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
  this_warp().aside |= 1u << block.lane;
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
