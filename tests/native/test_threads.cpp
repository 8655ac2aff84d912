// The thread pool, and detectors in programs that have threads and children of their own.
#if defined(__linux__)
#include <sched.h>
#endif
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "common.h"
#include "thread_pool.h"

using mtcnn_fast::Detector;
using mtcnn_fast::parallel_for;

namespace {

// Every task runs once, whatever the counts: loops of changing length follow each other without a pause, so that
// workers, more than there are processors, come late to one and early to the next.
bool loops_run_every_task_once(int loops) {
  std::vector<std::atomic<int>> runs(64);
  for (int loop = 0; loop < loops; ++loop) {
    const int tasks = loop * 7 % 41;
    for (auto& count : runs) count = 0;
    parallel_for(tasks, 8, [&](int index) { ++runs.at(index); });
    for (int i = 0; i < int(runs.size()); ++i)
      if (runs[i] != (i < tasks)) return false;
  }
  return true;
}

// The child says with its exit status whether it is well; one that hangs is killed by its alarm.
bool holds_in_a_child(const std::function<bool()>& test) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(test() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST(threads, every_task_runs_once) { CHECK(loops_run_every_task_once(200000)); }

// A worker that is kept off its waker's processor to be woken gets its processors back before it works.
TEST(threads, workers_keep_their_processors) {
#if defined(__linux__)
  const auto processors = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
  };
  const int all = processors();
  std::atomic<int> fewer{0};
  for (int loop = 0; loop < 400; ++loop) {
    if (loop % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    parallel_for(16, 4, [&](int) {
      if (processors() != all) ++fewer;
    });
  }
  CHECK(fewer == 0);
#endif
}

TEST(threads, nested_loops_run_in_their_caller) {
  std::atomic<int> count = 0, strangers = 0;
  parallel_for(8, 4, [&](int) {
    const std::thread::id caller = std::this_thread::get_id();
    parallel_for(50, 4, [&](int) {
      ++count;
      if (std::this_thread::get_id() != caller) ++strangers;
    });
  });
  CHECK(count == 400);
  CHECK(strangers == 0);
}

TEST(threads, loops_of_several_threads_at_once) {
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { failures += !loops_run_every_task_once(2000); });
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
}

TEST(threads, an_exception_reaches_the_caller_and_leaves_the_pool_whole) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> ran = 0;
    CHECK_THROWS(std::runtime_error, "task 5", parallel_for(40, 4, [&](int index) {
                   ++ran;
                   if (index == 5) throw std::runtime_error("task 5");
                 }));
    CHECK(ran == 40);
  }
  CHECK(loops_run_every_task_once(100));
}

TEST(threads, one_detector_in_many_threads) {
  const Picture picture(44, 40, 13);
  for_each_isa([&] {
    const Detector detector(lenient());
    const auto expected = detector.detect(picture.view());
    std::atomic<int> failures = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        for (int call = 0; call < 5; ++call) failures += !same(detector.detect(picture.view()), expected);
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(failures == 0);
  });
}

TEST(threads, a_forked_child_has_a_pool_of_its_own) {
  CHECK(loops_run_every_task_once(10));
  CHECK(holds_in_a_child([] { return loops_run_every_task_once(100); }));
  // Forked while another thread is in a loop: its lock must not stay locked in the child for ever.
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) loops_run_every_task_once(1);
  });
  for (int round = 0; round < 10; ++round)
    CHECK(holds_in_a_child([] {
      return loops_run_every_task_once(50) && holds_in_a_child([] { return loops_run_every_task_once(50); });
    }));
  stop = true;
  other.join();
}

TEST(threads, detectors_work_in_a_forked_child) {
  const Picture picture(60, 50, 14);
  mtcnn_fast::Options options = lenient();
  options.num_threads = 4;
  const Detector detector(options);
  const auto expected = detector.detect(picture.view());
  CHECK(holds_in_a_child([&] {
    return same(detector.detect(picture.view()), expected) && same(Detector(options).detect(picture.view()), expected);
  }));
  CHECK(same(detector.detect(picture.view()), expected));
}
