// The functions behind cuda_interface.h: they turn exceptions into a status and a message that says what to do.
#include "../src/cuda_interface.h"

#include <algorithm>
#include <cstdio>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include "engine.h"

namespace mtcnn_fast::cuda {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// What an error means to the user, where that is more than its name.
std::string explain(const Error& error) {
  const std::string needed = "CUDA " + version_text(CUDART_VERSION);
  switch (error.code) {
    case cudaErrorInsufficientDriver: {
      int version = 0;
      cudaDriverGetVersion(&version);
      if (version == 0) return "there is no NVIDIA driver; one for " + needed + " or later is needed";
      return "the NVIDIA driver is for CUDA " + version_text(version) + ", and one for " + needed +
             " or later is needed: update the driver";
    }
    case cudaErrorNoDevice:
      return "the NVIDIA driver finds no GPU (see nvidia-smi; CUDA_VISIBLE_DEVICES may hide it)";
    case cudaErrorInitializationError:
      return "CUDA cannot be initialized in this process. In a child that was forked after its parent used CUDA it "
             "never can: start children by spawn, such as multiprocessing.get_context(\"spawn\")";
    case cudaErrorNoKernelImageForDevice:
      return "this build has no kernels for this GPU; build it with -C cmake.define.CMAKE_CUDA_ARCHITECTURES=native";
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorStreamCaptureImplicit:
    case cudaErrorCapturedEvent:
      return std::string(kCapturedStream) + " (" + error.what + " failed: " + cudaGetErrorString(error.code) + ")";
    default:
      return std::string(error.what) + " failed: " + cudaGetErrorString(error.code);
  }
}

Status fail(Message* message, Status status, const std::string& text) {
  std::snprintf(message->text, sizeof message->text, "%s", text.c_str());
  return status;
}

template <class F>
Status guarded(Message* message, const F& f) noexcept {
  try {
    f();
    return Status::ok;
  } catch (const Error& error) {
    cudaGetLastError();  // not to be found by the next call
    const bool memory = error.code == cudaErrorMemoryAllocation;
    return fail(message, memory ? Status::no_memory : Status::unavailable, explain(error));
  } catch (const std::bad_alloc&) {
    return fail(message, Status::no_memory, "out of memory");
  } catch (const std::invalid_argument& error) {
    return fail(message, Status::invalid, error.what());
  } catch (const std::exception& error) {
    return fail(message, Status::unavailable, error.what());
  }
}

Status device_count(int* count, Message* message) {
  *count = 0;
  return guarded(message, [&] { MTCNN_FAST_CHECK(cudaGetDeviceCount(count)); });
}

Status create(const EngineOptions* options, Engine** engine, Message* message) {
  return guarded(message, [&] {
    int count = 0;
    MTCNN_FAST_CHECK(cudaGetDeviceCount(&count));
    if (options->device >= count)
      throw std::runtime_error("there " + (count == 1 ? std::string("is 1 GPU, cuda:0")
                                                      : "are " + std::to_string(count) +
                                                            " GPUs, cuda:0 to cuda:" + std::to_string(count - 1)));
    *engine = new Engine(*options);
  });
}

void destroy(Engine* engine) { delete engine; }

void describe(const Engine* engine, Message* message) {
  std::snprintf(message->text, sizeof message->text, "%s", engine->name());
}

Status detect(Engine* engine, const PlannedImage* images, int count, void* stream, bool timed, Emit emit, void* context,
              Message* message) {
  return guarded(message, [&] {
    engine->detect({images, static_cast<std::size_t>(count)}, static_cast<cudaStream_t>(stream), timed, emit, context);
  });
}

Status look(Engine* engine, const PlannedImage* images, int count, void* stream, Stage stage, const BoxD* boxes,
            const std::int32_t* of, std::int64_t n, float* heads, Message* message) {
  return guarded(message, [&] {
    engine->look({images, static_cast<std::size_t>(count)}, static_cast<cudaStream_t>(stream), stage,
                 {boxes, static_cast<std::size_t>(n)}, of, heads);
  });
}

Status resize(Engine* engine, const PlannedImage* image, void* stream, int height, int width, float* out,
              Message* message) {
  return guarded(message, [&] { engine->resize(*image, static_cast<cudaStream_t>(stream), height, width, out); });
}

Status pnet(Engine* engine, const float* level, int height, int width, float* logits, float* offsets,
            Message* message) {
  return guarded(message, [&] {
    engine->with_workspace([&](Workspace& workspace) { workspace.pnet(level, height, width, logits, offsets); });
  });
}

Status refine(Engine* engine, Stage stage, const float* crops, std::int64_t n, float* heads, Message* message) {
  constexpr std::int64_t kTogether = Workspace::kCropsTogether;
  const std::int64_t side = crop_side(stage);
  return guarded(message, [&] {
    engine->with_workspace([&](Workspace& workspace) {
      for (std::int64_t first = 0; first < n; first += kTogether)
        workspace.refine(stage, crops + first * side * side * 3, static_cast<int>(std::min(kTogether, n - first)),
                         heads + first * kHeadOutputs);
    });
  });
}

Status suppress(Engine* engine, const BoxD* boxes, const float* scores, int n, double threshold, Overlap kind,
                double extra, std::int32_t* kept, std::int32_t* count, Message* message) {
  return guarded(message, [&] {
    engine->with_workspace(
        [&](Workspace& workspace) { workspace.suppress(boxes, scores, n, threshold, kind, extra, kept, count); });
  });
}

Status upload(Engine* engine, const float* values, std::size_t count, float** device, Message* message) {
  return guarded(message, [&] { *device = engine->upload(values, count); });
}

void release(Engine* engine, float* device) { engine->release(device); }

Status order_streams(Engine* engine, void* first, void* stream, Message* message) {
  return guarded(message,
                 [&] { engine->order_streams(static_cast<cudaStream_t>(first), static_cast<cudaStream_t>(stream)); });
}

Status device_of(const void* pointer, int* device, Message* message) {
  return guarded(message, [&] {
    *device = -1;
    // On a thread without a context, asking would make one on the first GPU. Any device knows the memory of all.
    const std::optional<int> known = device_in_use();
    if (!known) return;
    const DeviceGuard guard(*known);
    cudaPointerAttributes attributes = {};
    MTCNN_FAST_CHECK(cudaPointerGetAttributes(&attributes, pointer));
    const bool on_device = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
    *device = on_device ? attributes.device : -1;
  });
}

constexpr Interface kInterface = {
    .version = kInterfaceVersion,
    .device_count = device_count,
    .create = create,
    .destroy = destroy,
    .describe = describe,
    .detect = detect,
    .look = look,
    .resize = resize,
    .pnet = pnet,
    .refine = refine,
    .suppress = suppress,
    .upload = upload,
    .release = release,
    .order_streams = order_streams,
    .device_of = device_of,
};

}  // namespace
}  // namespace mtcnn_fast::cuda

// The one symbol that the shared object exports.
extern "C" __attribute__((visibility("default"))) const mtcnn_fast::cuda::Interface* mtcnn_fast_cuda_interface() {
  return &mtcnn_fast::cuda::kInterface;
}
