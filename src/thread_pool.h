// Loops over independent tasks on several threads. Why not OpenMP: libgomp hangs a child forked after a parallel
// region, and several OpenMP runtimes in one process are undefined behaviour.
#pragma once

#include <memory>
#include <type_traits>

namespace mtcnn_fast {

namespace detail {
void parallel_for(int tasks, int threads, void (*task)(void* context, int index, int thread), void* context);
}

// Calls task(0) .. task(tasks - 1), each once, on at most `threads` threads, the caller's among them; returns when all
// have ended, and then throws the first exception that one of them threw. A task that takes a second argument is told
// which of those threads it runs on, 0 .. threads - 1, and may use what is set aside for that one. The threads are
// shared by the whole process and sleep between loops. A call from inside a task, or while another thread is in here,
// runs in its caller alone, so that programs with their own threads are not oversubscribed. Works in a forked child.
template <class F>
void parallel_for(int tasks, int threads, F&& task) {
  using Task = std::remove_reference_t<F>;
  detail::parallel_for(
      tasks, threads,
      [](void* context, int index, int thread) {
        if constexpr (std::is_invocable_v<Task&, int, int>)
          (*static_cast<Task*>(context))(index, thread);
        else
          (*static_cast<Task*>(context))(index);
      },
      const_cast<void*>(static_cast<const void*>(std::addressof(task))));
}

// Processors that this process may run on (its affinity mask), at least 1.
int available_processors();

}  // namespace mtcnn_fast
