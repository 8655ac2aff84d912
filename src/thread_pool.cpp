#include "thread_pool.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace mtcnn_fast {
namespace {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// About a microsecond or two: bridges the gap between two loops of one image, too short for other programs to notice.
constexpr int kSpins = 200;

// Waits until `value` is no longer `old`: spins shortly, then sleeps.
void wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

// A sleeping worker, kept off the processor of who wakes it. In a virtual machine, Linux takes a processor that has
// been idle for longer than a moment for one that the host has put aside, and wakes a thread on its waker's, where it
// waits for a time slice. (Measured: 3.6 ms after a pause of 0.1 s, on the waker's processor in 119 of 120 cases, where
// 33 microseconds are enough; two threads were then no faster than one, until the next pause.)
class Place {
 public:
#if defined(__linux__)
  // By the worker, before it sleeps and when it has woken.
  void sleep() {
    const std::lock_guard lock(guard_);
    asleep_ = true;
    processor_ = sched_getcpu();
    since_ = std::chrono::steady_clock::now();
  }
  void woken() {
    const std::lock_guard lock(guard_);
    asleep_ = false;
    if (kept_off_) sched_setaffinity(0, sizeof allowed_, &allowed_);
    kept_off_ = false;
  }
  void belongs_to(std::thread& worker) { handle_ = worker.native_handle(); }
  // By the caller, before it wakes the worker.
  void keep_off_caller() {
    constexpr std::chrono::microseconds kMoment(100);
    const int processor = sched_getcpu();
    const std::unique_lock lock(guard_, std::try_to_lock);
    if (processor < 0 || !lock.owns_lock() || !asleep_ || kept_off_) return;
    if (processor != processor_ && std::chrono::steady_clock::now() - since_ < kMoment) return;
    if (pthread_getaffinity_np(handle_, sizeof allowed_, &allowed_) != 0) return;
    cpu_set_t others = allowed_;
    CPU_CLR(processor, &others);
    kept_off_ = CPU_COUNT(&others) > 0 && pthread_setaffinity_np(handle_, sizeof others, &others) == 0;
  }

 private:
  std::mutex guard_;
  pthread_t handle_{};
  cpu_set_t allowed_{};
  std::chrono::steady_clock::time_point since_;
  int processor_ = -1;
  bool asleep_ = false, kept_off_ = false;
#else
  void sleep() {}
  void woken() {}
  void belongs_to(std::thread&) {}
  void keep_off_caller() {}
#endif
};

class ThreadPool {
 public:
  // False if another loop is running; nothing was done then.
  bool run(int tasks, int threads, void (*task)(void*, int, int), void* context) {
    const std::unique_lock lock(owner_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    start_workers(threads - 1);
    task_.store(task, std::memory_order_relaxed);
    context_.store(context, std::memory_order_relaxed);
    tasks_.store(tasks, std::memory_order_relaxed);
    helpers_.store(threads - 1, std::memory_order_relaxed);
    unfinished_.store(static_cast<std::uint32_t>(tasks), std::memory_order_relaxed);
    const std::uint32_t loop = loop_.load(std::memory_order_relaxed) + 1;
    for (Place& place : places_) place.keep_off_caller();
    ticket_.store(static_cast<std::uint64_t>(loop) << 32 | static_cast<std::uint32_t>(tasks),
                  std::memory_order_release);
    loop_.store(loop, std::memory_order_release);
    loop_.notify_all();
    work(loop, 0);
    // Finished tasks count, not workers that reported: one that the system has put aside would cost a time slice.
    for (std::uint32_t left; (left = unfinished_.load(std::memory_order_acquire)) != 0;)
      wait_for_change(unfinished_, left);
    std::exception_ptr error;
    std::swap(error, error_);
    if (error) std::rethrow_exception(error);
    return true;
  }

 private:
  void start_workers(int wanted) {
    while (static_cast<int>(places_.size()) < wanted) {
      const auto index = static_cast<int>(places_.size());
      Place& place = places_.emplace_back();
      try {
        std::thread worker([this, index, &place, loop = loop_.load()] { serve(index, place, loop); });
        place.belongs_to(worker);
        worker.detach();
      } catch (const std::system_error&) {
        places_.pop_back();
        return;  // the system has no thread left: those that there are do the work
      }
    }
  }

  void serve(int index, Place& place, std::uint32_t seen) {
    for (;;) {
      place.sleep();
      wait_for_change(loop_, seen);
      place.woken();
      seen = loop_.load(std::memory_order_acquire);
      if (index < helpers_.load(std::memory_order_relaxed)) work(seen, index + 1);
    }
  }

  // Takes tasks of that loop until there is none left. The ticket holds all that a claim depends on, the loop's number
  // and its unclaimed tasks: a worker that comes late finds another number or no task, whatever the next loop has
  // stored by then. What the claimed task needs besides stays as it is until the task has ended.
  void work(std::uint32_t loop, int thread) {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while (ticket >> 32 == loop) {
      const auto unclaimed = static_cast<std::uint32_t>(ticket);
      if (unclaimed == 0) return;
      if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel)) continue;
      --ticket;
      const int index = tasks_.load(std::memory_order_relaxed) - static_cast<int>(unclaimed);
      try {
        task_.load(std::memory_order_relaxed)(context_.load(std::memory_order_relaxed), index, thread);
      } catch (...) {
        const std::lock_guard lock(error_guard_);
        if (!error_) error_ = std::current_exception();
      }
      if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_all();
    }
  }

  std::mutex owner_;
  std::deque<Place> places_;  // of the workers
  std::atomic<void (*)(void*, int, int)> task_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<int> tasks_{0}, helpers_{0};
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<std::uint32_t> loop_{0}, unfinished_{0};
  std::mutex error_guard_;
  std::exception_ptr error_;
};

// Never destroyed: its threads may outlive main(). A forked child has none of them and makes a pool of its own.
std::atomic<ThreadPool*> the_pool{nullptr};

ThreadPool& pool() {
  ThreadPool* existing = the_pool.load(std::memory_order_acquire);
  if (existing) return *existing;
#if !defined(_WIN32)
  static std::once_flag registered;
  std::call_once(registered,
                 [] { pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr, std::memory_order_release); }); });
#endif
  auto* made = new ThreadPool;
  if (the_pool.compare_exchange_strong(existing, made)) return *made;
  delete made;
  return *existing;
}

thread_local bool inside_task = false;

}  // namespace

void detail::parallel_for(int tasks, int threads, void (*task)(void*, int, int), void* context) {
  struct Call {
    void (*task)(void*, int, int);
    void* context;
  } call{task, context};
  if (threads > tasks) threads = tasks;
  if (threads > 1 && !inside_task) {
    const auto marked = [](void* c, int index, int thread) {
      inside_task = true;
      struct Reset {
        ~Reset() { inside_task = false; }
      } reset;
      static_cast<Call*>(c)->task(static_cast<Call*>(c)->context, index, thread);
    };
    if (pool().run(tasks, threads, marked, &call)) return;
  }
  for (int i = 0; i < tasks; ++i) task(context, i, 0);
}

int available_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count ? static_cast<int>(count) : 1;
}

}  // namespace mtcnn_fast
