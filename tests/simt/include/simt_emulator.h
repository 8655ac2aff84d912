// How a kernel runs on the CPU: block after block, and each thread of a block is a fiber, which runs until it waits for
// others. So a kernel is ordinary code of the host's, for debuggers and sanitizers too, and what order its threads run
// in is the emulator's choice (Schedule). See tests/simt/emulator.cpp.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "simt_types.h"

// Of the thread that is running.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace simt {

constexpr int kLanes = 32;

// Where a barrier or a warp's intrinsic is written.
struct Site {
  const char* file;
  int line;
};

// The order of a block's threads between barriers, of the grid's blocks, and of streams (see runtime.cpp). Environment
// variable SIMT_SCHEDULE: "index" (the default), "reverse" or "random:SEED".
struct Schedule {
  enum class Order { index, reverse, random } order;
  unsigned seed;
  // What memory holds before it is written. By bytes 255, floats are NaN and integers -1; by bytes 127, they are large.
  unsigned char poison() const;
};
Schedule schedule();

struct Block;

// A kernel that runs: thread() as each thread of each block. A programmatic one may begin before earlier kernels have
// ended, and each of its blocks has to wait for them, so that what follows it is ordered behind those as well.
class Grid {
 public:
  Grid(dim3 grid, dim3 block, std::size_t shared_memory, bool programmatic, std::function<void()> thread);
  ~Grid();
  Grid(const Grid&) = delete;
  Grid& operator=(const Grid&) = delete;

  // Before earlier kernels have run: every block, until all its threads wait for that or have ended. What it writes to
  // shared memory that is no dynamic one, others overwrite meanwhile.
  void begin();
  // When they have ended: what is left.
  void finish();

  void run_thread() const { thread_(); }

 private:
  void enter();
  std::unique_ptr<Block> make_block(unsigned index) const;

  dim3 grid_size_, block_size_;
  std::size_t shared_memory_;
  bool programmatic_;
  std::function<void()> thread_;
  std::vector<unsigned> order_;                // of the blocks
  std::vector<std::unique_ptr<Block>> begun_;  // in that order
};
// By the running thread.
void wait_for_earlier_kernels(Site site);

// Whether a kernel is running.
bool running();

// Of the block that is running: as many bytes as it was launched with, aligned to 128, poisoned at its beginning.
unsigned char* dynamic_shared_memory();

// Waits for the block's other threads. Returns for how many of them, itself included, `predicate` was true, and of how
// many.
struct Votes {
  int yes, all;
};
Votes synchronize_block(const char* operation, bool predicate, Site site);

int lane();

// Waits for the other lanes named in `mask`. The last to arrive calls `resolve` with the requests of all that have not
// ended, by lane: it fills in what they asked for. Stops the program where lanes contradict each other.
void meet(const char* operation, unsigned mask, void* request, void (*resolve)(void* const* requests, unsigned lanes),
          Site site);
template <class Request>
void meet(const char* operation, unsigned mask, Request& request, void (*resolve)(Request* const*, unsigned),
          Site site) {
  // All pointers look alike on the machines that the emulator runs on, and so do functions that take them.
  meet(operation, mask, static_cast<void*>(&request), reinterpret_cast<void (*)(void* const*, unsigned)>(resolve),
       site);
}
void synchronize_warp(unsigned mask, Site site);

// Whether the atomic written there is to be a load and a store (mutation.h).
bool atomic_is_dropped(const char* operation, Site site);
// The load of such an atomic, at the worst time. Of two threads of a block, the second loads before the first stores:
// the block's other threads run first, until they wait. Of two blocks likewise, as if they ran in turns: the second one
// gets what the first one got.
void load_in_turns(const void* from, void* to, std::size_t bytes);

// Prints to stderr what the running thread did wrong, and aborts.
[[noreturn]] void stop(Site site, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Where a test wants to know what the library under it did.
struct Counters {
  long launches, blocks, switches;
};
Counters& counters();

}  // namespace simt
