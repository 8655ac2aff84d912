// What the backend's host does with contexts, streams and memory: against the caller's, as late as CUDA allows.
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

#include "bare_engine.h"
#include "networks.h"
#include "variable.h"

using namespace mtcnn_fast;

namespace {

const cuda::Interface& interface() { return BareEngine::interface(); }

constexpr std::size_t kFloats = 30;

// A stream and memory of the caller's.
struct Caller {
  cudaStream_t stream = nullptr;
  void *device = nullptr, *pinned = nullptr;

  explicit Caller(std::size_t bytes, unsigned flags = cudaStreamNonBlocking) {
    CHECK(cudaStreamCreateWithFlags(&stream, flags) == cudaSuccess);
    CHECK(cudaMalloc(&device, bytes) == cudaSuccess);
    CHECK(cudaHostAlloc(&pinned, bytes, cudaHostAllocDefault) == cudaSuccess);
  }
  ~Caller() {
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
    CHECK(cudaFree(device) == cudaSuccess && cudaFreeHost(pinned) == cudaSuccess);
  }
  // Queues them; by schedule "reverse" they are on the device when something waits for the stream, and not before.
  void upload(const Picture& picture) {
    std::memcpy(pinned, picture.pixels.data(), picture.pixels.size());
    CHECK(cudaMemcpyAsync(device, pinned, picture.pixels.size(), cudaMemcpyHostToDevice, stream) == cudaSuccess);
  }
  // Queues a copy of an array of upload()'s to pinned memory, behind so many others.
  void read(const float* array, cudaStream_t on, int behind = 0) {
    CHECK(cudaMemcpyAsync(floats() + behind * kFloats, array, kFloats * sizeof(float), cudaMemcpyDeviceToHost, on) ==
          cudaSuccess);
  }
  float* floats() const { return static_cast<float*>(pinned); }
};

float* upload(const BareEngine& engine, float first) {
  std::vector<float> values(kFloats);
  std::iota(values.begin(), values.end(), first);
  float* device = nullptr;
  cuda::Message message = {};
  CHECK(interface().upload(engine.get(), values.data(), values.size(), &device, &message) == cuda::Status::ok);
  return device;
}
bool counts_from(const float* values, float first) {
  for (std::size_t i = 0; i < kFloats; ++i)
    if (values[i] != first + static_cast<float>(i)) return false;
  return true;
}

bool has_context(int device) {
  unsigned flags = 0;
  int active = 0;
  CHECK(cuDevicePrimaryCtxGetState(device, &flags, &active) == CUDA_SUCCESS);
  return active;
}

}  // namespace

// Their readers need not wait for any stream.
TEST(host, uploads_have_arrived) {
  const BareEngine engine(lenient());
  const Variable variable("SIMT_SCHEDULE", "reverse");
  float* const results = upload(engine, 5);
  CHECK(counts_from(results, 5));
  interface().release(engine.get(), results);
}

TEST(host, weights_have_arrived) {
  // One crop: no memory grows, which would be a wait for everything.
  const std::vector<float> crop(std::size_t{3} * crop_side(Stage::rnet) * crop_side(Stage::rnet), 0.5f);
  const auto refined = [&](const BareEngine& engine) {
    std::vector<float> heads(kHeadOutputs);
    cuda::Message message = {};
    CHECK(interface().refine(engine.get(), Stage::rnet, crop.data(), 1, heads.data(), &message) == cuda::Status::ok);
    heads.resize(5);  // of R-Net's
    return heads;
  };
  const std::vector<float> expected = refined(BareEngine(lenient()));
  const Variable variable("SIMT_SCHEDULE", "reverse");
  CHECK(refined(BareEngine(lenient())) == expected);
}

TEST(host, results_do_not_wait_for_the_callers_work) {
  const BareEngine engine(lenient());
  const Variable variable("SIMT_SCHEDULE", "reverse");
  Caller caller(kFloats * sizeof(float));
  float* const results = upload(engine, 1);
  std::memset(caller.pinned, 0, kFloats * sizeof(float));
  caller.read(results, cudaStreamLegacy);
  float* const others = upload(engine, 100);
  CHECK(caller.floats()[0] == 0);
  interface().release(engine.get(), others);
  CHECK(caller.floats()[0] == 0);
  CHECK(cudaStreamSynchronize(cudaStreamLegacy) == cudaSuccess);
  CHECK(counts_from(caller.floats(), 1));
  interface().release(engine.get(), results);
}

// A reader has given the array back, and its work has not been done yet.
TEST(host, results_that_are_given_back_may_still_be_read) {
  const BareEngine engine(lenient());
  const Variable variable("SIMT_SCHEDULE", "reverse");
  constexpr int kCalls = 2500;  // more than are waited for together
  Caller caller(kCalls * kFloats * sizeof(float));
  for (int i = 0; i < kCalls; ++i) {
    float* const results = upload(engine, static_cast<float>(i));
    caller.read(results, caller.stream, i);
    interface().release(engine.get(), results);
  }
  CHECK(cudaStreamSynchronize(caller.stream) == cudaSuccess);
  bool right = true;
  for (int i = 0; i < kCalls; ++i) right &= counts_from(caller.floats() + i * kFloats, static_cast<float>(i));
  CHECK(right);
}

TEST(host, results_reuse_their_memory) {
  const std::size_t before = simt::usage().device_bytes;
  {
    const BareEngine engine(lenient());
    const auto use = [&](int calls) {
      for (int i = 0; i < calls; ++i) interface().release(engine.get(), upload(engine, 0));
      return simt::usage();
    };
    const simt::Usage first = use(2000), second = use(5000);
    CHECK(second.allocations == first.allocations && second.device_bytes == first.device_bytes);
    CHECK(second.synchronisations - first.synchronisations < 5000 + 20);
    // Many at a time are not kept for ever.
    std::vector<float*> many;
    for (int i = 0; i < 10000; ++i) many.push_back(upload(engine, 0));
    for (float* const each : many) interface().release(engine.get(), each);
    use(3000);
    CHECK(simt::usage().device_bytes < first.device_bytes + (3 << 20));
  }
  CHECK(simt::usage().device_bytes == before);
}

TEST(host, no_context_on_another_gpu) {
  const Picture picture(24, 20, 11);
  const Variable variable("SIMT_DEVICE_COUNT", "3");
  for (int device = 0; device < 3; ++device) {
    CHECK(cudaSetDevice(device) == cudaSuccess);
    CHECK(cudaDeviceReset() == cudaSuccess);
  }
  int owner = 0;
  cuda::Message message = {};
  std::thread([&] {
    CHECK(interface().device_of(&owner, &owner, &message) == cuda::Status::ok && owner == -1);
    for (int device = 0; device < 3; ++device) CHECK(!has_context(device));
    const BareEngine engine(lenient(), 0, 2);
    CHECK(!engine.detect(picture).empty());
    float* const results = upload(engine, 0);
    CHECK(interface().device_of(results, &owner, &message) == cuda::Status::ok && owner == 2);
    std::thread([&] {  // which has never used a GPU
      CHECK(interface().device_of(results, &owner, &message) == cuda::Status::ok && owner == 2);
      CHECK(interface().order_streams(engine.get(), nullptr, nullptr, &message) == cuda::Status::ok);
      interface().release(engine.get(), results);
    })
        .join();
    int current = -1;
    CHECK(cudaGetDevice(&current) == cudaSuccess && current == 0);
  }).join();
  CHECK(has_context(2));
  CHECK(!has_context(0) && !has_context(1));
  // The caller's own device stays the current one.
  CHECK(cudaSetDevice(1) == cudaSuccess);
  {
    const BareEngine engine(lenient(), 0, 2);
    CHECK(!engine.detect(picture).empty());
    int current = -1;
    CHECK(cudaGetDevice(&current) == cudaSuccess && current == 1);
  }
  CHECK(!has_context(0));
  CHECK(cudaSetDevice(0) == cudaSuccess);
}

TEST(host, images_that_a_stream_has_yet_to_write) {
  const Picture old(24, 20, 11), fresh(24, 20, 12);
  const BareEngine engine(lenient());
  const auto expected = engine.detect(fresh);
  CHECK(!same(expected, engine.detect(old)));
  for (const char* schedule : {"index", "reverse", "random:2"}) {
    check::context = schedule;
    const Variable variable("SIMT_SCHEDULE", schedule);
    Caller caller(fresh.pixels.size()), other(fresh.pixels.size()), blocking(fresh.pixels.size(), cudaStreamDefault);
    for (Caller* const each : {&caller, &other, &blocking}) {
      each->upload(old);
      CHECK(cudaStreamSynchronize(each->stream) == cudaSuccess);
    }
    caller.upload(fresh);
    CHECK(same(engine.detect(fresh, caller.device, caller.stream), expected));
    // On another stream than the one that is given.
    other.upload(fresh);
    cuda::Message message = {};
    CHECK(interface().order_streams(engine.get(), other.stream, caller.stream, &message) == cuda::Status::ok);
    CHECK(same(engine.detect(fresh, other.device, caller.stream), expected));
    // The legacy default stream waits for those that are not non-blocking.
    blocking.upload(fresh);
    CHECK(same(engine.detect(fresh, blocking.device, nullptr), expected));
  }
}

// What reads an image and is no whole detection.
TEST(host, looks_and_resizes_wait_for_the_callers_stream) {
  const Picture old(24, 20, 11), fresh(24, 20, 12);
  const BareEngine engine(lenient());
  const BoxD boxes[] = {{3, 4, 14, 15}, {1, 1, 20, 20}};
  const std::int32_t of[] = {0, 0};
  const auto read = [&](const void* pixels, bool on_device, void* stream) {
    cuda::PlannedImage image = {};
    image.data = static_cast<const std::uint8_t*>(pixels);
    image.stride = 3 * fresh.width, image.pixel = 3, image.channel = 1;
    image.height = fresh.height, image.width = fresh.width, image.on_device = on_device;
    std::vector<float> values(2 * kHeadOutputs + 3 * 4 * 5);
    cuda::Message message = {};
    CHECK(interface().resize(engine.get(), &image, stream, 4, 5, values.data() + 2 * kHeadOutputs, &message) ==
          cuda::Status::ok);
    CHECK(interface().look(engine.get(), &image, 1, stream, Stage::onet, boxes, of, 2, values.data(), &message) ==
          cuda::Status::ok);
    return values;
  };
  const auto expected = read(fresh.pixels.data(), false, nullptr);
  for (const char* schedule : {"index", "reverse"}) {
    check::context = schedule;
    const Variable variable("SIMT_SCHEDULE", schedule);
    Caller caller(fresh.pixels.size());
    caller.upload(old);
    CHECK(read(caller.device, true, caller.stream) != expected);
    caller.upload(fresh);
    CHECK(read(caller.device, true, caller.stream) == expected);
  }
}

TEST(host, results_are_waited_for) {
  const Picture first(24, 20, 11), second(24, 20, 12);
  const BareEngine engine(lenient());
  const auto expected = engine.detect(first), others = engine.detect(second);
  CHECK(!same(expected, others));
  const Variable variable("SIMT_SCHEDULE", "reverse");
  const BareEngine late(lenient());  // in memory that holds large numbers at first
  CHECK(same(late.detect(first), expected));
  CHECK(same(late.detect(second), others));
}

TEST(host, calls_make_no_events) {
  const Picture picture(24, 20, 11);
  const BareEngine engine(lenient());
  Caller caller(picture.pixels.size());
  caller.upload(picture);
  engine.detect(picture, caller.device, caller.stream);
  const long before = simt::usage().events;
  cuda::Message message = {};
  CHECK(interface().order_streams(engine.get(), nullptr, caller.stream, &message) == cuda::Status::ok);
  engine.detect(picture, caller.device, caller.stream);
  CHECK(simt::usage().events == before);
}

// Each kernel begins before the one in front of it has run, where a card has that, and finds what a call before left.
TEST(host, kernels_begin_early_and_wait) {
  const Picture first(24, 20, 11), second(20, 22, 12);
  const auto check_with = [&](const Options& options) {
    check::context = options.profile + ", " + options.precision;
    const BareEngine plain(options);
    const auto expected = plain.detect(first), others = plain.detect(second);
    CHECK(!expected.empty() && !same(expected, others));
    const Variable variable("SIMT_SCHEDULE", "reverse");
    const BareEngine early(options);
    const simt::Usage before = simt::usage();
    CHECK(same(early.detect(first), expected));
    CHECK(same(early.detect(second), others));
    const simt::Usage after = simt::usage();
    // All but the first of each call.
    CHECK(after.kernels - before.kernels == after.programmatic - before.programmatic + after.graphs - before.graphs);
  };
  Options options = lenient();
  for (const std::string& profile : profiles()) {
    options.profile = profile;
    check_with(options);
  }
  options.precision = "fast";
  check_with(options);
}

TEST(host, older_cards_have_no_programmatic_kernels) {
  const Picture picture(24, 20, 11);
  const auto expected = BareEngine(lenient()).detect(picture);
  const Variable capability("SIMT_CAPABILITY", "89"), schedule("SIMT_SCHEDULE", "reverse");
  const long before = simt::usage().programmatic;
  CHECK(same(BareEngine(lenient()).detect(picture), expected));
  CHECK(simt::usage().programmatic == before);
}

// The error says so, and the capture goes on.
TEST(host, captured_streams_are_refused) {
  const Picture picture(24, 20, 11);
  const BareEngine engine(lenient());
  for (const unsigned flags : {cudaStreamNonBlocking, cudaStreamDefault}) {
    Caller caller(picture.pixels.size(), flags);
    CHECK(cudaStreamBeginCapture(caller.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    std::vector<cudaStream_t> refused = {caller.stream};
    // It would wait for a stream that can be captured.
    if (flags == cudaStreamDefault) refused.push_back(cudaStreamLegacy);
    std::vector<Detection> faces;
    cuda::Message message = {};
    for (const cudaStream_t stream : refused) {
      const std::string said = engine.try_detect(picture, engine.plan(picture), caller.device, true, stream, faces);
      CHECK(said.find("a stream is being captured into a CUDA graph") == 0);
      CHECK(interface().order_streams(engine.get(), stream, caller.stream, &message) == cuda::Status::invalid);
      CHECK(message.text == said);
    }
    CHECK(cudaGetLastError() == cudaSuccess);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(caller.stream, &graph) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  }
}

// Images of the host's, and what allocates and waits beside a capture, of this thread or another.
TEST(host, other_work_does_not_disturb_a_capture) {
  const Picture picture(24, 20, 11), large(30, 28, 11);
  const std::size_t before = simt::usage().device_bytes;
  {
    Caller caller(kFloats * sizeof(float));
    CHECK(cudaStreamBeginCapture(caller.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    const auto work = [&] {
      const BareEngine engine(lenient());
      CHECK(!engine.detect(picture).empty() && !engine.detect(large).empty());
      interface().release(engine.get(), upload(engine, 0));
    };
    work();
    std::thread(work).join();
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(caller.stream, &graph) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    // Other calls of the thread's are forbidden as before.
    CHECK(cudaStreamBeginCapture(caller.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    void* memory = nullptr;
    CHECK(cudaMalloc(&memory, 1) == cudaErrorStreamCaptureUnsupported);
    CHECK(cudaStreamEndCapture(caller.stream, &graph) == cudaErrorStreamCaptureInvalidated);
    cudaGetLastError();
  }
  CHECK(simt::usage().device_bytes == before);
}

TEST(host, workspaces_keep_a_share_of_the_memory) {
  const Picture picture(36, 32, 10);
  const std::size_t before = simt::usage().device_bytes;
  std::size_t whole = 0;
  {
    const Variable variable("SIMT_MEMORY", std::to_string(std::size_t{1} << 40));
    const BareEngine engine(lenient());
    engine.detect(picture);
    const simt::Usage kept = simt::usage();
    engine.detect(picture);
    CHECK(simt::usage().allocations == kept.allocations);
    whole = kept.device_bytes - before;
  }
  {
    const Variable variable("SIMT_MEMORY", std::to_string(before + 2 * whole));
    const BareEngine engine(lenient());
    engine.detect(picture);
    const std::size_t weights = simt::usage().device_bytes - before;
    engine.detect(picture);
    CHECK(simt::usage().device_bytes - before == weights && weights < whole / 4);
  }
  CHECK(simt::usage().device_bytes == before);
}

TEST(host, a_description_is_uploaded_when_it_changes) {
  const Picture picture(24, 20, 11), other(24, 20, 12);
  const BareEngine engine(lenient());
  const auto expected = engine.detect(picture), others = engine.detect(other);
  CHECK(!same(expected, others));
  Caller caller(picture.pixels.size()), second(other.pixels.size());
  caller.upload(picture), second.upload(other);
  CHECK(same(engine.detect(picture, caller.device, caller.stream), expected));
  const std::size_t before = simt::usage().uploaded_bytes;
  CHECK(same(engine.detect(picture, caller.device, caller.stream), expected));
  CHECK(simt::usage().uploaded_bytes == before);
  // An image of the same size elsewhere.
  CHECK(same(engine.detect(other, second.device, second.stream), others));
}

// More levels than before, in memory that has room for them: no address changes, only how much is copied.
TEST(host, a_description_that_grows_within_its_memory) {
  const Picture large(60, 50, 10), small(30, 28, 12);
  Options finer = lenient();
  finer.scale_factor = 0.87;
  const BareEngine engine(lenient()), fresh(finer);
  const CudaPlan first = engine.plan(large), second = fresh.plan(small);
  CHECK(second.levels.size() > first.levels.size());
  CHECK(!engine.detect(large).empty());
  const long allocations = simt::usage().allocations;
  const auto found = engine.detect(small, second);
  CHECK(simt::usage().allocations == allocations);
  CHECK(!found.empty() && same(found, fresh.detect(small)));
}
