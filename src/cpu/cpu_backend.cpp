// The backend of the CPU: the cascade (cascade.h) and its stages one at a time.
#include <algorithm>
#include <limits>
#include <stdexcept>

#include "backend.h"
#include "cpu/cascade.h"
#include "cpu/dispatch.h"
#include "cpu/nms.h"
#include "cpu/workspace.h"
#include "pyramid.h"
#include "weights.h"

namespace mtcnn_fast {
namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(const Options& options, const Conventions& conventions, const Kernels& kernels, int threads)
      : Backend(conventions),
        model_{.options = options,
               .conventions = conventions,
               .geometry = Geometry(conventions),
               .kernels = kernels,
               .networks{options.weights ? *options.weights : embedded_weights(), kernels},
               .precision = choose_precision(options, kernels),
               .crops{{{conventions.resampling, crop_side(Stage::rnet)},
                       {conventions.resampling, crop_side(Stage::onet)}}},
               .threads = threads},
        workspaces_(threads) {
    model_.options.weights.reset();
    device = "cpu";
    isa = kernels.name;
    bf16_ = model_.precision_of(Stage::pnet).arithmetic == Arithmetic::bf16;
    precision = bf16_ ? "bf16" : "fp32";
    num_threads = threads;
  }

  void check_image(const ImageView& image) const override {
    if (image.memory == Memory::device)
      throw std::invalid_argument(
          "the image is in a GPU's memory, and the detector runs on the CPU; use device='cuda'");
    check_pyramid(image.height, image.width, model_.options);
  }

  void detect(std::span<const ImageView> images, std::span<const Part> parts, std::span<std::vector<Detection>> faces,
              std::span<Inspection> inspections, void*) const override {
    const auto workspace = workspaces_.borrow();
    const auto subspan = [](auto list, auto... range) { return list.empty() ? list : list.subspan(range...); };
    for (std::size_t first = 0, count; first < images.size(); first += count) {
      count = images_together(model_, images.subspan(first), subspan(parts, first));
      Cascade(model_, *workspace, images.subspan(first, count), subspan(parts, first, count))
          .run(faces.subspan(first, count), subspan(inspections, first, count));
    }
  }

  std::vector<Window> windows(const ImageView& image, Stage next) const override {
    const auto workspace = workspaces_.borrow();
    return Cascade(model_, *workspace, std::span(&image, 1)).windows(next);
  }

  void look(std::span<const ImageView> images, std::span<const Place> places, Stage stage, float* heads,
            void*) const override {
    const auto workspace = workspaces_.borrow();
    Cascade(model_, *workspace, images).look(stage, places, heads);
  }

  void resize(const ImageView& image, int height, int width, float* out, void*) const override {
    SourceImage source;
    source.read(image);
    const auto workspace = workspaces_.borrow();
    ThreadWork& work = workspace->threads.front();
    const Resample resample =
        work.resize.whole(source.source, image.height, image.width, height, width, model_.conventions, 1, 0);
    model_.kernels.resample(resample, 0, height, out, work.floats.get(model_.kernels.resample_scratch(resample)));
  }

  void pnet(const float* level, int height, int width, float* probability_map, float* offsets) const override {
    struct Maps {
      float *probability, *offsets;
      int width;
    } maps{probability_map, offsets, pnet_cells(width)};
    const std::ptrdiff_t cells = static_cast<std::ptrdiff_t>(pnet_cells(height)) * maps.width;
    if (cells == 0) return;
    // A level that holds NaN has cells that pass no threshold, not even -inf.
    std::fill_n(probability_map, cells, std::numeric_limits<float>::quiet_NaN());
    std::fill_n(offsets, 4 * cells, std::numeric_limits<float>::quiet_NaN());
    const auto emit = [](void* context, const Cell* found, int count) {
      const Maps& m = *static_cast<Maps*>(context);
      for (const Cell* cell = found; cell != found + count; ++cell) {
        const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(cell->row) * m.width + cell->column;
        m.probability[at] = probability(cell->logit);
        std::copy(cell->offsets, cell->offsets + 4, m.offsets + 4 * at);
      }
    };
    const PnetBand band{.resample = nullptr,
                        .level = level,
                        .height = height,
                        .width = width,
                        .first_row = 0,
                        .end_row = pnet_cells(height),
                        .threshold = -std::numeric_limits<float>::infinity(),
                        .emit = emit,
                        .context = &maps};
    const auto workspace = workspaces_.borrow();
    const Kernels& kernels = model_.kernels;
    float* const scratch =
        workspace->threads.front().floats.get((bf16_ ? kernels.pnet_bf16_scratch : kernels.pnet_scratch)(band));
    if (bf16_)
      kernels.pnet_bf16(model_.networks.pnet_bf16, band, scratch);
    else
      kernels.pnet(model_.networks.pnet, band, scratch);
  }

  void rnet(const float* crops, std::int64_t n, float* probabilities, float* offsets) const override {
    refine_ready(Stage::rnet, crops, n, probabilities, offsets, nullptr);
  }
  void onet(const float* crops, std::int64_t n, float* probabilities, float* offsets, float* landmarks) const override {
    refine_ready(Stage::onet, crops, n, probabilities, offsets, landmarks);
  }

  std::vector<std::int64_t> suppress(std::span<const BoxD> boxes, std::span<const float> scores, double threshold,
                                     Overlap kind) const override {
    return nms(boxes, scores, threshold, kind, 0);
  }

  std::shared_ptr<float> upload(std::span<const float>) const override {
    throw std::runtime_error("the detector runs on the CPU: it has no device memory");
  }
  void order_streams(void*, void*) const override {
    throw std::runtime_error("the detector runs on the CPU: it has no streams");
  }

  std::vector<PyramidLevel> levels(int height, int width) const override {
    return pyramid_levels(height, width, model_.options, model_.conventions);
  }

 private:
  // Crops that the caller has cut, for the stage functions.
  void refine_ready(Stage stage, const float* crops, std::int64_t n, float* probabilities, float* offsets,
                    float* landmarks) const {
    const std::int64_t side = crop_side(stage), floats = side * side * 3;
    for (std::int64_t first = 0; first < n; first += kMaxRefineBatch) {
      const int here = static_cast<int>(std::min<std::int64_t>(kMaxRefineBatch, n - first));
      float heads[kMaxRefineBatch * kHeadOutputs];
      const auto workspace = workspaces_.borrow();
      float* const scratch = workspace->threads.front().floats.get(refine_scratch(model_));
      run_network(model_, stage, bf16_, crops + first * floats, here, heads, scratch);
      for (int i = 0; i < here; ++i) {
        const float* head = heads + i * kHeadOutputs;
        probabilities[first + i] = probability(head[0]);
        std::copy(head + 1, head + 5, offsets + 4 * (first + i));
        if (landmarks) std::copy(head + 5, head + 15, landmarks + 10 * (first + i));
      }
    }
  }

  Model model_;
  bool bf16_ = false;
  mutable Workspaces workspaces_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const Options& options, const Conventions& conventions, int threads) {
  return std::make_unique<CpuBackend>(options, conventions, choose_kernels(), threads);
}

}  // namespace mtcnn_fast
