// A detector by the backend's interface alone, in the program itself: so that tests share its emulated streams and
// memory.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "../native/common.h"
#include "cuda/engine_options.h"
#include "cuda/plan.h"
#include "weights.h"

extern "C" const mtcnn_fast::cuda::Interface* mtcnn_fast_cuda_interface();

namespace mtcnn_fast {

class BareEngine {
 public:
  // first_capacity: how short its lists are at first, 0 for the backend's own choice.
  explicit BareEngine(const Options& options, int first_capacity = 0, int device = 0)
      : options_(options), conventions_(kProfiles[0]) {
    for (const Conventions& profile : kProfiles)
      if (profile.name == options.profile) conventions_ = profile;
    CudaEngineOptions engine(options, conventions_, embedded_weights());
    engine.options.first_capacity = first_capacity;
    engine.options.device = device;
    cuda::Message message = {};
    CHECK(interface().create(&engine.options, &engine_, &message) == cuda::Status::ok);
  }
  ~BareEngine() { interface().destroy(engine_); }
  BareEngine(const BareEngine&) = delete;
  BareEngine& operator=(const BareEngine&) = delete;

  static const cuda::Interface& interface() { return *mtcnn_fast_cuda_interface(); }
  cuda::Engine* get() const { return engine_; }

  CudaPlan plan(const Picture& picture) const {
    return CudaPlan(picture.height, picture.width, options_, conventions_);
  }

  std::vector<Detection> detect(const Picture& picture) const { return detect(picture, plan(picture)); }
  std::vector<Detection> detect(const Picture& picture, const CudaPlan& plan) const {
    std::vector<Detection> faces;
    CHECK(try_detect(picture, plan, picture.pixels.data(), false, nullptr, faces).empty());
    return faces;
  }
  // With the picture's pixels in the device's memory, written there by what is queued on the stream.
  std::vector<Detection> detect(const Picture& picture, const void* pixels, void* stream) const {
    std::vector<Detection> faces;
    CHECK(try_detect(picture, plan(picture), pixels, true, stream, faces).empty());
    return faces;
  }
  // How many cells of each level passed P-Net, and how many its screen left.
  std::vector<cuda::LevelReport> levels(const Picture& picture) const {
    std::vector<Detection> faces;
    std::vector<cuda::LevelReport> levels(plan(picture).levels.size());
    CHECK(try_detect(picture, plan(picture), picture.pixels.data(), false, nullptr, faces, &levels).empty());
    return levels;
  }
  // What the error says, if there is one. `levels`: as many as the plan has, to be filled in.
  std::string try_detect(const Picture& picture, const CudaPlan& plan, const void* pixels, bool on_device, void* stream,
                         std::vector<Detection>& faces, std::vector<cuda::LevelReport>* levels = nullptr) const {
    const cuda::PlannedImage image = {.data = static_cast<const std::uint8_t*>(pixels),
                                      .stride = 3 * picture.width,
                                      .pixel = 3,
                                      .channel = 1,
                                      .height = picture.height,
                                      .width = picture.width,
                                      .on_device = on_device,
                                      .across = plan.across,
                                      .levels = plan.levels.data(),
                                      .level_count = static_cast<int>(plan.levels.size())};
    struct Results {
      std::vector<Detection>& faces;
      std::vector<cuda::LevelReport>* levels;
    } results{faces, levels};
    const auto emit = [](void* context, int, const Detection* found, int count, const cuda::Report& report) {
      const Results& results = *static_cast<Results*>(context);
      results.faces.assign(found, found + count);
      if (results.levels) std::copy_n(report.levels, results.levels->size(), results.levels->begin());
    };
    cuda::Message message = {};
    const cuda::Status status = interface().detect(engine_, &image, 1, stream, false, emit, &results, &message);
    return status == cuda::Status::ok ? "" : message.text;
  }

 private:
  Options options_;
  Conventions conventions_;
  cuda::Engine* engine_ = nullptr;
};

}  // namespace mtcnn_fast
