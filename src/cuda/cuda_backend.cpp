// The backend of CUDA devices, by the interface of its shared object (cuda_interface.h).
#include <algorithm>
#include <exception>
#include <new>
#include <stdexcept>

#include "backend.h"
#include "cuda/engine_options.h"
#include "cuda/library.h"
#include "cuda/plan.h"
#include "geometry.h"
#include "networks.h"
#include "pyramid.h"
#include "weights.h"

namespace mtcnn_fast {
namespace {

void check(cuda::Status status, const cuda::Message& message) {
  switch (status) {
    case cuda::Status::ok:
      return;
    case cuda::Status::invalid:
      throw std::invalid_argument(message.text);
    case cuda::Status::unavailable:
      throw std::runtime_error(std::string("CUDA: ") + message.text);
    case cuda::Status::no_memory:
      throw std::runtime_error(std::string("CUDA: out of memory: ") + message.text);
  }
}

// Pixels by the distances between them, RGB from the first channel on.
cuda::PlannedImage describe(const ImageView& view, const CudaPlan& plan) {
  cuda::PlannedImage image = {};
  image.pixel = view.pixel_stride ? view.pixel_stride : channels(view.format);
  image.stride = view.stride ? view.stride : image.pixel * view.width;
  image.channel = view.format == PixelFormat::gray ? 0 : view.channel_stride;
  image.data = view.data;
  if (view.format == PixelFormat::bgr || view.format == PixelFormat::bgra) {
    image.data += 2 * image.channel;
    image.channel = -image.channel;
  }
  image.height = view.height, image.width = view.width;
  image.on_device = view.memory == Memory::device;
  image.across = plan.across;
  image.levels = plan.levels.data(), image.level_count = static_cast<int>(plan.levels.size());
  return image;
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(const cuda::Interface& interface, int index, const Options& options, const Conventions& conventions,
              int threads)
      : Backend(conventions), interface_(interface), options_(options), plans_(options_, conventions), index_(index) {
    const Tensors& tensors = options.weights ? *options.weights : embedded_weights();
    check_tensors(tensors);
    CudaEngineOptions engine(options, conventions, tensors);
    engine.options.device = index;
    cuda::Message message = {};
    check(interface.create(&engine.options, &engine_, &message), message);
    interface.describe(engine_, &message);
    device_name = message.text;
    options_.weights.reset();
    device = "cuda:" + std::to_string(index);
    isa = cpu_isa();
    precision = engine.options.fp16 ? "fp16" : "fp32";
    screens_pnet_ = engine.options.pnet_screen.used;
    screens_rnet_ = engine.options.rnet_screen.used;
    num_threads = threads;
  }
  ~CudaBackend() override { interface_.destroy(engine_); }
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  void check_image(const ImageView& image) const override {
    if (image.memory == Memory::device) check_device(image);
    check_pyramid(image.height, image.width, options_);
  }

  void detect(std::span<const ImageView> images, std::span<const Part> parts, std::span<std::vector<Detection>> faces,
              std::span<Inspection> inspections, void* stream) const override {
    std::vector<std::shared_ptr<const CudaPlan>> plans;
    std::vector<cuda::PlannedImage> planned;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const ImageView& image = images[i];
      plans.push_back(plans_.get(image.height, image.width));
      if (!parts.empty()) plans.back() = std::make_shared<const CudaPlan>(*plans.back(), parts[i]);
      planned.push_back(describe(image, *plans.back()));
      // An image without a level is not looked at: one pixel stands for it, and no more is copied.
      if (plans.back()->levels.empty()) planned.back().height = planned.back().width = 1;
    }
    struct Context {
      const CudaBackend& backend;
      std::span<std::vector<Detection>> faces;
      std::span<Inspection> inspections;
      const std::vector<std::shared_ptr<const CudaPlan>>& plans;
      std::exception_ptr error;
    } context{*this, faces, inspections, plans, nullptr};
    const auto emit = [](void* pointer, int image, const Detection* found, int count, const cuda::Report& report) {
      Context& c = *static_cast<Context*>(pointer);
      try {
        c.faces[image].assign(found, found + count);
        if (!c.inspections.empty()) c.inspections[image] = c.backend.inspection(*c.plans[image], report, count);
      } catch (...) {
        c.error = std::current_exception();
      }
    };
    cuda::Message message = {};
    check(interface_.detect(engine_, planned.data(), static_cast<int>(planned.size()), stream, !inspections.empty(),
                            emit, &context, &message),
          message);
    if (context.error) std::rethrow_exception(context.error);
  }

  std::vector<Window> windows(const ImageView&, Stage) const override {
    throw std::runtime_error("the detector runs on a GPU, which keeps its windows to itself; use device='cpu'");
  }

  void look(std::span<const ImageView> images, std::span<const Place> places, Stage stage, float* heads,
            void* stream) const override {
    std::vector<cuda::PlannedImage> planned;
    for (const ImageView& image : images) planned.push_back(describe(image, {}));
    std::vector<BoxD> boxes;
    std::vector<std::int32_t> of;
    std::vector<bool> looked_at(images.size());
    for (const Place& place : places) {
      boxes.push_back(place.window);
      of.push_back(place.image);
      looked_at[place.image] = true;
    }
    // Of an image without a place one pixel is copied.
    for (std::size_t i = 0; i < images.size(); ++i)
      if (!looked_at[i]) planned[i].height = planned[i].width = 1;
    cuda::Message message = {};
    check(interface_.look(engine_, planned.data(), static_cast<int>(planned.size()), stream, stage, boxes.data(),
                          of.data(), std::ssize(boxes), heads, &message),
          message);
  }

  void resize(const ImageView& image, int height, int width, float* out, void* stream) const override {
    const CudaPlan none = {};
    const cuda::PlannedImage planned = describe(image, none);
    cuda::Message message = {};
    check(interface_.resize(engine_, &planned, stream, height, width, out, &message), message);
  }

  void pnet(const float* level, int height, int width, float* probabilities, float* offsets) const override {
    const std::ptrdiff_t cells = static_cast<std::ptrdiff_t>(pnet_cells(height)) * pnet_cells(width);
    if (cells == 0) return;
    cuda::Message message = {};
    check(interface_.pnet(engine_, level, height, width, probabilities, offsets, &message), message);
    std::transform(probabilities, probabilities + cells, probabilities, probability);
  }

  void rnet(const float* crops, std::int64_t n, float* probabilities, float* offsets) const override {
    refine(Stage::rnet, crops, n, probabilities, offsets, nullptr);
  }
  void onet(const float* crops, std::int64_t n, float* probabilities, float* offsets, float* landmarks) const override {
    refine(Stage::onet, crops, n, probabilities, offsets, landmarks);
  }

  std::vector<std::int64_t> suppress(std::span<const BoxD> boxes, std::span<const float> scores, double threshold,
                                     Overlap kind) const override {
    std::vector<std::int32_t> kept(boxes.size());
    std::int32_t count = 0;
    cuda::Message message = {};
    if (!boxes.empty())
      check(interface_.suppress(engine_, boxes.data(), scores.data(), static_cast<int>(boxes.size()), threshold, kind,
                                0, kept.data(), &count, &message),
            message);
    return {kept.begin(), kept.begin() + count};
  }

  std::vector<PyramidLevel> levels(int height, int width) const override {
    return pyramid_levels(height, width, options_, conventions);
  }

  std::shared_ptr<float> upload(std::span<const float> values) const override {
    float* device_values = nullptr;
    cuda::Message message = {};
    check(interface_.upload(engine_, values.data(), values.size(), &device_values, &message), message);
    return {device_values, [self = shared_from_this(), this](float* p) { interface_.release(engine_, p); }};
  }

  void order_streams(void* first, void* stream) const override {
    cuda::Message message = {};
    check(interface_.order_streams(engine_, first, stream, &message), message);
  }

 private:
  Inspection inspection(const CudaPlan& plan, const cuda::Report& report, int faces) const {
    Inspection seen;
    for (std::size_t k = 0; k < plan.levels.size(); ++k) {
      const cuda::PlannedLevel& level = plan.levels[k];
      const std::int64_t cells = std::int64_t{level.end_row - level.first_row} * pnet_cells(level.width);
      seen.levels.push_back(
          {level.scale, level.height, level.width, cells, report.levels[k].found, report.levels[k].kept});
      seen.candidates += report.levels[k].found;
      seen.confirmed_windows += screens_pnet_ ? report.levels[k].cells_left : cells;
    }
    seen.rnet = report.rnet, seen.onet = report.onet, seen.faces = faces;
    seen.confirmed_rnet = screens_rnet_ ? report.rnet_left : seen.rnet;
    seen.confirmed_onet = seen.onet;
    if (precision != "fp32") seen.confirmed_windows = seen.confirmed_rnet = seen.confirmed_onet = 0;
    seen.pnet_ms = report.pnet_ms, seen.nms_ms = report.nms_ms, seen.rnet_ms = report.rnet_ms;
    seen.onet_ms = report.onet_ms, seen.total_ms = report.total_ms;
    return seen;
  }

  void check_device(const ImageView& image) const {
    const int owner = cuda_device_of(image.data);
    if (owner == index_) return;
    throw std::invalid_argument("the image is " +
                                (owner < 0 ? "in memory that is no GPU's" : "on cuda:" + std::to_string(owner)) +
                                ", and the detector on " + device);
  }

  void refine(Stage stage, const float* crops, std::int64_t n, float* probabilities, float* offsets,
              float* landmarks) const {
    std::vector<float> heads(static_cast<std::size_t>(n * kHeadOutputs));
    cuda::Message message = {};
    check(interface_.refine(engine_, stage, crops, n, heads.data(), &message), message);
    for (std::int64_t i = 0; i < n; ++i) {
      const float* head = heads.data() + i * kHeadOutputs;
      probabilities[i] = probability(head[0]);
      std::copy(head + 1, head + 5, offsets + 4 * i);
      if (landmarks) std::copy(head + 5, head + 15, landmarks + 10 * i);
    }
  }

  const cuda::Interface& interface_;
  Options options_;
  mutable CudaPlans plans_;
  int index_;
  bool screens_pnet_ = false, screens_rnet_ = false;
  cuda::Engine* engine_ = nullptr;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(int index, const Options& options, const Conventions& conventions,
                                           int threads) {
  std::string reason;
  if (cuda_device_count(reason) == 0) throw std::runtime_error(reason);
  return std::make_unique<CudaBackend>(*cuda_library(reason), index, options, conventions, threads);
}

}  // namespace mtcnn_fast
