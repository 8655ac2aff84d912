// The C interface between the library (src/cuda) and its CUDA backend (cuda/), which is a shared object of its own,
// opened on first use: the library itself needs neither the CUDA runtime nor a driver. Both are always built together;
// `version` catches an old file that was left behind. No exception crosses it.
#pragma once

#include <cstddef>
#include <cstdint>

#include <mtcnn_fast/types.h>

#include "boxes.h"
#include "conventions.h"
#include "stage.h"

namespace mtcnn_fast::cuda {

constexpr int kInterfaceVersion = 4;
constexpr const char* kInterfaceSymbol = "mtcnn_fast_cuda_interface";

enum class Status {
  ok,
  invalid,      // a wrong argument
  unavailable,  // no driver, no device, a forked child, an error of CUDA
  no_memory,
};
struct Message {
  char text[512];
};

// A parameter, by its name in docs/weights.md.
struct NamedTensor {
  const char* name;
  const float* data;
  std::size_t size;
};

// A first pass in fp16 before float32. What is below is dropped.
struct Screen {
  bool used;
  float least_logit;
};

struct EngineOptions {
  int device;
  bool fp16;  // tensor cores: inputs in fp16
  Screen pnet_screen, rnet_screen;
  Conventions conventions;
  float cell_logit;               // P-Net's cells pass from this on
  PerRefineStage<double> logits;  // candidates pass above these
  double nms[4];                  // greatest overlap left: per level, across levels, after R-Net, after O-Net
  const NamedTensor* tensors;
  std::size_t tensor_count;
  int first_capacity;  // of every list at first, as tests of the overflow ask for; 0: by the images' sizes
};

struct PlannedLevel {
  double scale;
  int height, width;
  int first_row, end_row;  // of P-Net's cells, those to look at
  // Cells that are further apart than that, in rows or columns, overlap by no more than nms[0].
  int reach;
};

// An image and its pyramid. Channel c (RGB) of pixel x in row y is data[y * stride + x * pixel + c * channel], in the
// host's memory or, `on_device`, in the device's.
struct PlannedImage {
  const std::uint8_t* data;
  std::int64_t stride, pixel, channel;
  int height, width;
  bool on_device;
  bool across;  // whether suppression across levels can drop anything
  const PlannedLevel* levels;
  int level_count;
};

// What was counted in one image, for Inspection.
struct LevelReport {
  int found, kept;
  int cells_left;  // by P-Net's screen
};
struct Report {
  const LevelReport* levels;  // as many as the image has
  int rnet, onet;
  int rnet_left;                                      // by R-Net's screen
  float pnet_ms, nms_ms, rnet_ms, onet_ms, total_ms;  // of all images of the call; only where `timed` was asked for
};

// Receives the faces of one image, best first. Must not throw.
using Emit = void (*)(void* context, int image, const Detection* faces, int count, const Report& report);

class Engine;

struct Interface {
  int version;

  // How many devices there are; with none, Status::unavailable, and why.
  Status (*device_count)(int* count, Message* message);

  Status (*create)(const EngineOptions* options, Engine** engine, Message* message);
  void (*destroy)(Engine* engine);
  // The name of an engine's device.
  void (*describe)(const Engine* engine, Message* message);

  // Takes any number of images of any sizes through the cascade. Work begins when `stream` (a cudaStream_t, or null for
  // the legacy default stream) has done what is queued on it, if any image is on the device; it is done on return.
  Status (*detect)(Engine* engine, const PlannedImage* images, int count, void* stream, bool timed, Emit emit,
                   void* context, Message* message);

  // As Backend::look: window i, boxes[i], is of images[of[i]], whose levels do not count. Arrays are in the host's
  // memory. `stream` as in detect().
  Status (*look)(Engine* engine, const PlannedImage* images, int count, void* stream, Stage stage, const BoxD* boxes,
                 const std::int32_t* of, std::int64_t n, float* heads, Message* message);

  // Stage functions; see Backend. Arrays are in the host's memory.
  Status (*resize)(Engine* engine, const PlannedImage* image, void* stream, int height, int width, float* out,
                   Message* message);
  Status (*pnet)(Engine* engine, const float* level, int height, int width, float* logits, float* offsets,
                 Message* message);
  // heads: (n, kHeadOutputs).
  Status (*refine)(Engine* engine, Stage stage, const float* crops, std::int64_t n, float* heads, Message* message);
  // kept: room for n indices.
  Status (*suppress)(Engine* engine, const BoxD* boxes, const float* scores, int n, double threshold, Overlap kind,
                     double extra, std::int32_t* kept, std::int32_t* count, Message* message);

  // Copies floats into device memory that release() gives back; for results that stay on the device.
  Status (*upload)(Engine* engine, const float* values, std::size_t count, float** device, Message* message);
  void (*release)(Engine* engine, float* device);
  // What is queued on `stream` from now on waits for what is queued on `first`.
  Status (*order_streams)(Engine* engine, void* first, void* stream, Message* message);
  // The stream's or memory's device: what an image's pointer belongs to. -1 for memory of the host.
  Status (*device_of)(const void* pointer, int* device, Message* message);
};

}  // namespace mtcnn_fast::cuda
