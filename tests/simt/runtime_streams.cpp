// Streams, events, captures and graphs.
#include <algorithm>
#include <utility>

#include "runtime.h"

struct CUevent_st {
  unsigned flags;
  int device;
  std::shared_ptr<simt::runtime::Mark> mark;        // of the last record
  std::shared_ptr<simt::runtime::Capture> capture;  // or that record was captured
};
struct CUgraph_st {
  std::vector<simt::runtime::Work> work;
};
struct CUgraphExec_st {
  std::vector<simt::runtime::Work> work;
};

namespace simt::runtime {
namespace {

thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

bool captures(const Capture& capture, cudaStream_t stream) { return stream->capture.get() == &capture; }

// The legacy stream waits for all others but the nonblocking ones, which cannot be captured.
Capture* legacy_is_blocked() {
  for (const cudaStream_t stream : state().streams)
    if (stream->capture && !(stream->flags & cudaStreamNonBlocking)) return stream->capture.get();
  return nullptr;
}
cudaError_t check_legacy() {
  Capture* const capture = legacy_is_blocked();
  if (!capture) return cudaSuccess;
  capture->invalid = true;
  return cudaErrorStreamCaptureImplicit;
}

// Waits for a stream or an event, or asks for it: not while it captures.
cudaError_t check_waitable(const CUstream_st& stream) {
  if (stream.capture) {
    stream.capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return &stream == &state().legacy ? check_legacy() : cudaSuccess;
}

Grid& grid_of(Queued& queued) {
  if (!queued.grid) {
    const Kernel& kernel = *queued.work.kernel;
    queued.grid =
        std::make_unique<Grid>(kernel.grid, kernel.block, kernel.shared_memory, kernel.programmatic, kernel.thread);
  }
  return *queued.grid;
}
// The kernels behind a kernel begin first, where they may: as early as CUDA allows, for each begins when the one in
// front of it has.
void run_one(CUstream_st& stream) {
  Queued first = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (!first.work.kernel) return first.work.run();
  Grid& grid = grid_of(first);
  for (Queued& next : stream.queue) {
    if (!next.work.kernel || !next.work.kernel->programmatic) break;
    if (!next.grid) grid_of(next).begin();
  }
  ++state().usage.kernels;
  state().usage.programmatic += first.work.kernel->programmatic;
  grid.finish();
}
void run_until(const Mark& mark) {
  while (!mark.reached) run_one(*mark.stream);
}
// CUDA does not wait when a stream is destroyed: what was queued is done some time.
void bury() {
  std::erase_if(state().streams, [](cudaStream_t stream) {
    const bool done = stream->destroyed && stream->queue.empty();
    if (done) delete stream;
    return done;
  });
}

bool runs_at_once() {
  const simt::Schedule schedule = simt::schedule();
  if (schedule.order != simt::Schedule::Order::random) return schedule.order == simt::Schedule::Order::index;
  return (state().generator() ^ schedule.seed) % 2 == 0;
}

}  // namespace

cudaStream_t find(cudaStream_t stream) {
  if (!stream || stream == cudaStreamLegacy || stream == cudaStreamPerThread) return &state().legacy;
  return state().streams.count(stream) && !stream->destroyed ? stream : nullptr;
}

bool is_on(int device, const CUstream_st& stream) { return &stream == &state().legacy || stream.device == device; }

void run_all(CUstream_st& stream) {
  while (!stream.queue.empty()) run_one(stream);
}
void run_everything() {
  for (const cudaStream_t stream : state().streams) run_all(*stream);
  bury();
}

cudaError_t enqueue(CUstream_st& stream, Work work) {
  if (stream.capture) {
    if (stream.capture->invalid) return cudaErrorStreamCaptureInvalidated;
    stream.capture->work.push_back(std::move(work));
    return cudaSuccess;
  }
  if (&stream == &state().legacy) {
    if (const cudaError_t error = check_legacy(); error != cudaSuccess) return error;
    for (const cudaStream_t other : state().streams)
      if (!(other->flags & cudaStreamNonBlocking)) run_all(*other);
  } else if (!(stream.flags & cudaStreamNonBlocking)) {
    run_all(state().legacy);
  }
  stream.queue.push_back({std::move(work)});
  if (runs_at_once()) run_all(stream);
  return cudaSuccess;
}
cudaError_t enqueue(cudaStream_t stream, Work work) {
  CUstream_st* const found = find(stream);
  return found ? enqueue(*found, std::move(work)) : cudaErrorInvalidResourceHandle;
}

cudaError_t check_no_capture() {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  const bool own_only = thread_mode == cudaStreamCaptureModeThreadLocal;
  for (const cudaStream_t stream : state().streams) {
    Capture* const capture = stream->capture.get();
    if (!capture || capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if ((own_only || capture->mode == cudaStreamCaptureModeThreadLocal) &&
        capture->thread != std::this_thread::get_id())
      continue;
    capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

cudaError_t end_wait() {
  ++state().usage.synchronisations;
  return cudaSuccess;
}

}  // namespace simt::runtime

using namespace simt::runtime;

// --- Streams and events ----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return in_context([&] {
    if (flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *stream = new CUstream_st{
        .flags = flags, .device = simt::contexts::device(), .destroyed = false, .queue = {}, .capture = {}};
    state().streams.insert(*stream);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return in_context([&] {
    if (!stream || !find(stream) || find(stream) == &state().legacy) return cudaErrorInvalidResourceHandle;
    stream->destroyed = true;
    bury();
    return cudaSuccess;
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    if (const cudaError_t error = check_waitable(*found); error != cudaSuccess) return error;
    if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
    if (found == &state().legacy)
      for (const cudaStream_t other : state().streams)
        if (!(other->flags & cudaStreamNonBlocking)) run_all(*other);
    run_all(*found);
    return end_wait();
  });
}
// A host that asks again and again gets on.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    if (const cudaError_t error = check_waitable(*found); error != cudaSuccess) return error;
    if (!found->queue.empty()) run_one(*found);
    return found->queue.empty() ? cudaSuccess : cudaErrorNotReady;
  });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found || !state().events.count(event)) return cudaErrorInvalidResourceHandle;
    if (event->capture) {
      // The stream takes part in the capture from here on.
      if (found->capture && found->capture != event->capture) return cudaErrorStreamCaptureIsolation;
      found->capture = event->capture;
      return cudaSuccess;
    }
    if (!event->mark) return cudaSuccess;
    if (found->capture) {
      found->capture->invalid = true;
      return cudaErrorStreamCaptureIsolation;
    }
    return enqueue(*found, {[mark = event->mark] { run_until(*mark); }});
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return in_context([&] {
    *event = new CUevent_st{.flags = flags, .device = simt::contexts::device(), .mark = {}, .capture = {}};
    state().events.insert(*event);
    ++state().usage.events;
    return cudaSuccess;
  });
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return in_context([&] {
    if (state().events.erase(event) == 0) return cudaErrorInvalidResourceHandle;
    delete event;
    return cudaSuccess;
  });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found || !state().events.count(event) || !is_on(event->device, *found)) return cudaErrorInvalidResourceHandle;
    event->capture = found->capture;
    event->mark = nullptr;
    if (event->capture) return cudaSuccess;
    event->mark = std::make_shared<Mark>(Mark{.stream = found});
    return enqueue(*found, {[mark = event->mark] {
      mark->time = std::chrono::steady_clock::now();
      mark->reached = true;
    }});
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return in_context([&] {
    if (!state().events.count(event)) return cudaErrorInvalidResourceHandle;
    if (event->capture) return cudaErrorCapturedEvent;
    if (const cudaError_t error = check_no_capture(); error != cudaSuccess) return error;
    if (event->mark) run_until(*event->mark);
    return end_wait();
  });
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return in_context([&] {
    if (!state().events.count(event)) return cudaErrorInvalidResourceHandle;
    if (event->capture) return cudaErrorCapturedEvent;
    if (!event->mark) return cudaSuccess;
    if (!event->mark->reached) run_one(*event->mark->stream);
    return event->mark->reached ? cudaSuccess : cudaErrorNotReady;
  });
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  return in_context([&] {
    for (const cudaEvent_t event : {from, to}) {
      if (!state().events.count(event) || (event->flags & cudaEventDisableTiming) || (!event->mark && !event->capture))
        return cudaErrorInvalidResourceHandle;
      if (event->capture) return cudaErrorCapturedEvent;
    }
    if (!from->mark->reached || !to->mark->reached) return cudaErrorNotReady;
    *ms = std::chrono::duration<float, std::milli>(to->mark->time - from->mark->time).count();
    return cudaSuccess;
  });
}

// --- Graphs ----------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    if (found == &state().legacy) return cudaErrorStreamCaptureUnsupported;
    if (found->capture) return cudaErrorInvalidValue;
    found->capture = std::make_shared<Capture>(
        Capture{.origin = found, .mode = mode, .thread = std::this_thread::get_id(), .invalid = false, .work = {}});
    return cudaSuccess;
  });
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    *graph = nullptr;
    const std::shared_ptr<Capture> capture = found->capture;
    if (!capture || capture->origin != found) return cudaErrorStreamCaptureUnmatched;
    for (const cudaStream_t other : state().streams)
      if (captures(*capture, other)) other->capture = nullptr;
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    *graph = new CUgraph_st{std::move(capture->work)};
    return cudaSuccess;
  });
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return in_context([&] {
    CUstream_st* const found = find(stream);
    if (!found) return cudaErrorInvalidResourceHandle;
    if (found == &state().legacy && legacy_is_blocked()) return cudaErrorStreamCaptureImplicit;
    *status = !found->capture           ? cudaStreamCaptureStatusNone
              : found->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  return in_context([&] {
    if (!graph) return cudaErrorInvalidValue;
    *executable = new CUgraphExec_st{graph->work};
    return cudaSuccess;
  });
}
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  return in_context([&] { return executable && find(stream) ? cudaSuccess : cudaErrorInvalidValue; });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return in_context([&] {
    if (!executable) return cudaErrorInvalidValue;
    ++state().usage.graphs;
    for (const Work& work : executable->work)
      if (const cudaError_t error = enqueue(stream, work); error != cudaSuccess) return error;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return in_context([&] {
    delete graph;
    return graph ? cudaSuccess : cudaErrorInvalidValue;
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return in_context([&] {
    delete executable;
    return executable ? cudaSuccess : cudaErrorInvalidValue;
  });
}
