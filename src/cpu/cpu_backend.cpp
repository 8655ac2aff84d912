// The cascade on the CPU: image -> pyramid -> P-Net -> candidates -> NMS -> crops -> R-Net -> NMS -> crops -> O-Net ->
// NMS -> detections.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "../backend.h"
#include "../candidates.h"
#include "../conventions.h"
#include "../networks.h"
#include "../pyramid.h"
#include "../thread_pool.h"
#include "../weights.h"
#include "crop_tables.h"
#include "dispatch.h"
#include "source.h"
#include "workspace.h"

namespace mtcnn_fast {
namespace {

// (x - 127.5) / 128: exact in one multiply-add, since a power of two commutes with rounding.
constexpr float kScale = 1.0f / 128, kBias = -127.5f / 128;

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const Options& options, const Conventions& conventions, int threads)
      : options_(options),
        conventions_(conventions),
        geometry_(conventions),
        kernels_(choose_kernels()),
        networks_(options.weights ? *options.weights : embedded_weights(), kernels_),
        rnet_crops_(conventions.resampling, kRnetSide),
        onet_crops_(conventions.resampling, kOnetSide) {
    options_.weights.reset();
    device = "cpu";
    isa = kernels_.name;
    precision = "fp32";
    num_threads = threads;
  }

  std::vector<std::vector<Detection>> detect(std::span<const ImageView> images,
                                             std::span<Inspection> inspections) const override {
    std::vector<std::vector<Detection>> faces(images.size());
    const auto one = [&](int i) { faces[i] = detect(images[i], inspections.empty() ? nullptr : &inspections[i]); };
    const int count = static_cast<int>(images.size());
    // Whole images scale best; where there are fewer than threads, each image is split instead.
    if (count >= num_threads)
      parallel_for(count, num_threads, one);
    else
      for (int i = 0; i < count; ++i) one(i);
    return faces;
  }

  void resize(const ImageView& image, int height, int width, float* out) const override {
    const SourceImage source(image);
    const auto workspace = workspaces_.borrow();
    const Filter filter = resize_filter(conventions_.resampling, image.height, image.width, height, width);
    workspace->x.make(image.width, width, filter);
    workspace->y.make(image.height, height, filter);
    const Resample resample = resampling(source.source, workspace->x, workspace->y,
                                         level_rounding(image.height, image.width, height, width), 1, 0);
    kernels_.resample(resample, 0, height, out, workspace->floats(kernels_.resample_scratch(resample)));
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
    kernels_.pnet(networks_.pnet, band, workspace->floats(kernels_.pnet_scratch(band)));
  }

  void rnet(const float* crops, std::int64_t n, float* probabilities, float* offsets) const override {
    refine_ready(kRnetSide, crops, n, probabilities, offsets, nullptr);
  }
  void onet(const float* crops, std::int64_t n, float* probabilities, float* offsets, float* landmarks) const override {
    refine_ready(kOnetSide, crops, n, probabilities, offsets, landmarks);
  }

  std::vector<LevelSize> levels(int height, int width) const override {
    return pyramid_levels(height, width, options_, conventions_);
  }

 private:
  // The order of these members is the order of a picture's way through the cascade.
  std::vector<Detection> detect(const ImageView& image, Inspection* inspection) const {
    Inspection unwatched;
    Inspection& seen = inspection ? *inspection : unwatched;
    Stopwatch total;
    const SourceImage source(image);
    std::vector<BoxD> boxes = propose(source.source, image.height, image.width, seen);
    std::vector<Candidate> candidates = refine(source.source, image, kRnetSide, boxes, seen.rnet, seen.rnet_ms);
    boxes = after_rnet(candidates, seen);
    candidates = refine(source.source, image, kOnetSide, boxes, seen.onet, seen.onet_ms);
    std::vector<Detection> faces = after_onet(candidates, seen);
    seen.total_ms = total.lap();
    return faces;
  }

  // One level's tables, and the cells of its bands that passed P-Net.
  struct Level {
    LevelSize size;
    WindowTable x, y;
    Resample resample;
    std::vector<Candidate> kept;
  };
  struct Band {
    int level, first_row, end_row;
    std::vector<Cell> cells;
  };

  // P-Net over the pyramid, NMS in and across levels, regression: the windows that R-Net will look at.
  std::vector<BoxD> propose(const Source& source, int height, int width, Inspection& seen) const {
    Stopwatch watch;
    std::vector<Level> pyramid;
    for (const LevelSize& size : levels(height, width))
      pyramid.push_back({.size = size, .x{}, .y{}, .resample{}, .kept{}});
    std::vector<Band> bands = split(pyramid);
    parallel_for(static_cast<int>(pyramid.size()), num_threads, [&](int k) {
      Level& level = pyramid[k];
      const Filter filter = resize_filter(conventions_.resampling, height, width, level.size.height, level.size.width);
      level.x.make(width, level.size.width, filter);
      level.y.make(height, level.size.height, filter);
      level.resample = resampling(source, level.x, level.y,
                                  level_rounding(height, width, level.size.height, level.size.width), kScale, kBias);
    });
    const float threshold = least_float_not_below(logit_of(options_.thresholds[0]));
    parallel_for(static_cast<int>(bands.size()), num_threads, [&](int b) {
      bands[b].cells = cells_above(threshold, pyramid[bands[b].level], bands[b].first_row, bands[b].end_row);
    });
    seen.pnet_ms = watch.lap();

    std::vector<std::int64_t> found(pyramid.size());
    parallel_for(static_cast<int>(pyramid.size()), num_threads, [&](int k) {
      std::vector<Candidate> candidates;
      for (const Band& band : bands) {
        if (band.level != k) continue;
        for (const Cell& cell : band.cells) {
          candidates.push_back({geometry_.cell(cell.row, cell.column, pyramid[k].size.scale), cell.logit, {}, {}});
          std::copy(cell.offsets, cell.offsets + 4, candidates.back().offsets);
        }
      }
      found[k] = static_cast<std::int64_t>(candidates.size());
      if (conventions_.mirrors_lone_cell && candidates.size() == 1) {
        const Cell mirrored = mirrored_lone_cell(pyramid[k], bands, k);
        std::copy(mirrored.offsets, mirrored.offsets + 4, candidates.front().offsets);
      }
      pyramid[k].kept = geometry_.suppress(candidates, options_.nms_thresholds[0], Geometry::Stage::pnet);
    });
    std::vector<Candidate> all;
    for (std::size_t k = 0; k < pyramid.size(); ++k) {
      const Level& level = pyramid[k];
      all.insert(all.end(), level.kept.begin(), level.kept.end());
      seen.cells += found[k];
      seen.levels.push_back({level.size.scale, level.size.height, level.size.width,
                             static_cast<std::int64_t>(pnet_cells(level.size.height)) * pnet_cells(level.size.width),
                             found[k], static_cast<std::int64_t>(level.kept.size())});
    }
    std::vector<BoxD> boxes;
    for (const Candidate& c : geometry_.suppress(all, options_.nms_thresholds[1], Geometry::Stage::pnet))
      boxes.push_back(geometry_.next_window(c, 0));
    seen.nms_ms += watch.lap();
    return boxes;
  }

  // The cells in those rows of a level's map whose logit is at least `threshold`, by row and column.
  std::vector<Cell> cells_above(float threshold, const Level& level, int first_row, int end_row) const {
    std::vector<Cell> cells;
    const PnetBand band{.resample = &level.resample,
                        .level = nullptr,
                        .height = level.size.height,
                        .width = level.size.width,
                        .first_row = first_row,
                        .end_row = end_row,
                        .threshold = threshold,
                        .emit =
                            [](void* context, const Cell* found, int count) {
                              auto& list = *static_cast<std::vector<Cell>*>(context);
                              list.insert(list.end(), found, found + count);
                            },
                        .context = &cells};
    const auto workspace = workspaces_.borrow();
    kernels_.pnet(networks_.pnet, band, workspace->floats(kernels_.pnet_scratch(band)));
    return cells;
  }

  // The cell that mirrors the only one of level k that passed.
  Cell mirrored_lone_cell(const Level& level, const std::vector<Band>& bands, int k) const {
    for (const Band& band : bands) {
      if (band.level != k || band.cells.empty()) continue;
      const Cell& cell = band.cells.front();
      const std::vector<Cell> row = cells_above(-std::numeric_limits<float>::infinity(), level, cell.row, cell.row + 1);
      return row[row.size() - 1 - static_cast<std::size_t>(cell.column)];
    }
    return {};
  }

  // Bands of about equal work, several a thread, largest levels first; a whole level each for one thread, because every
  // band computes a few rows of its neighbour's once more.
  std::vector<Band> split(const std::vector<Level>& pyramid) const {
    constexpr int kBandsPerThread = 6, kLeastRows = 16;
    double pixels = 0;
    for (const Level& level : pyramid) pixels += static_cast<double>(level.size.height) * level.size.width;
    std::vector<Band> bands;
    for (int k = 0; k < static_cast<int>(pyramid.size()); ++k) {
      const LevelSize& size = pyramid[k].size;
      const int rows = pnet_cells(size.height);
      const double share = static_cast<double>(size.height) * size.width / pixels;
      const int wanted = num_threads > 1 ? static_cast<int>(std::ceil(share * kBandsPerThread * num_threads)) : 1;
      const int count = std::clamp(rows / kLeastRows, 1, wanted);
      for (int b = 0; b < count; ++b)
        bands.push_back({k,
                         static_cast<int>(std::int64_t{rows} * b / count),
                         static_cast<int>(std::int64_t{rows} * (b + 1) / count),
                         {}});
    }
    return bands;
  }

  // Crops of the image through R-Net or O-Net. Windows without a pixel are dropped.
  std::vector<Candidate> refine(const Source& source, const ImageView& image, int side, const std::vector<BoxD>& boxes,
                                std::int64_t& count, double& milliseconds) const {
    Stopwatch watch;
    std::vector<Candidate> candidates;
    for (const BoxD& box : boxes)
      if (geometry_.has_pixels(box, image.height, image.width)) candidates.push_back({box, 0, {}, {}});
    const int n = static_cast<int>(candidates.size());
    const int batch = std::clamp((n + num_threads - 1) / num_threads, 1, kMaxRefineBatch);
    const std::size_t crop_floats = static_cast<std::size_t>(side) * side * 3;
    parallel_for((n + batch - 1) / batch, num_threads, [&](int b) {
      Candidate* const first = candidates.data() + static_cast<std::ptrdiff_t>(b) * batch;
      const int here = std::min(batch, n - b * batch);
      const auto workspace = workspaces_.borrow();
      float* const crops = workspace->floats(crop_floats * kMaxRefineBatch + kernels_.refine_scratch() +
                                             crop_scratch(image.width, source.channels));
      float* const scratch = crops + crop_floats * kMaxRefineBatch;
      for (int i = 0; i < here; ++i) {
        const Resample resample = crop_resampling(source, image, first[i].box, side, workspace->x, workspace->y);
        kernels_.resample(resample, 0, side, crops + i * crop_floats, scratch + kernels_.refine_scratch());
      }
      float heads[kMaxRefineBatch * kHeadOutputs];
      run_network(side, crops, here, heads, scratch);
      for (int i = 0; i < here; ++i) {
        const float* head = heads + i * kHeadOutputs;
        first[i].logit = head[0];
        std::copy(head + 1, head + 5, first[i].offsets);
        std::copy(head + 5, head + 15, first[i].landmarks);
      }
    });
    count = n;
    milliseconds = watch.lap();
    return candidates;
  }

  std::vector<BoxD> after_rnet(std::vector<Candidate>& candidates, Inspection& seen) const {
    Stopwatch watch;
    keep_above(candidates, options_.thresholds[1]);
    std::vector<BoxD> boxes;
    for (const Candidate& c : geometry_.suppress(candidates, options_.nms_thresholds[2], Geometry::Stage::rnet))
      boxes.push_back(geometry_.next_window(c, 1));
    seen.nms_ms += watch.lap();
    return boxes;
  }

  std::vector<Detection> after_onet(std::vector<Candidate>& candidates, Inspection& seen) const {
    Stopwatch watch;
    keep_above(candidates, options_.thresholds[2]);
    for (Candidate& c : candidates) geometry_.finish(c);
    std::vector<Detection> faces;
    for (const Candidate& c : geometry_.suppress(candidates, options_.nms_thresholds[3], Geometry::Stage::onet))
      faces.push_back(geometry_.detection(c));
    seen.faces = static_cast<std::int64_t>(faces.size());
    seen.nms_ms += watch.lap();
    return faces;
  }

  Resample crop_resampling(const Source& source, const ImageView& image, const BoxD& box, int side, WindowTable& x,
                           WindowTable& y) const {
    const BoxD window = geometry_.crop_window(box, image.height, image.width);
    const int left = static_cast<int>(window.x1) - 1, top = static_cast<int>(window.y1) - 1;
    const int width = static_cast<int>(window.x2) - left, height = static_cast<int>(window.y2) - top;
    return (side == kRnetSide ? rnet_crops_ : onet_crops_)
        .resampling(source, image.height, image.width, top, left, height, width, kScale, kBias, x, y);
  }

  Rounding level_rounding(int height, int width, int level_height, int level_width) const {
    if (!conventions_.rounds_levels) return Rounding::none;
    return height == 2 * level_height && width == 2 * level_width ? Rounding::opencv_halving : Rounding::opencv;
  }

  static Resample resampling(const Source& source, WindowTable& x, const WindowTable& y, Rounding rounding, float scale,
                             float bias) {
    return {.source = source,
            .x = x.columns(),
            .y = y.rows(),
            .width = static_cast<int>(x.windows.size()),
            .source_first = x.first(),
            .source_end = x.end(),
            .rounding = rounding,
            .scale = scale,
            .bias = bias};
  }

  void run_network(int side, const float* crops, int n, float* heads, float* scratch) const {
    if (side == kRnetSide)
      kernels_.rnet(networks_.rnet, crops, n, heads, scratch);
    else
      kernels_.onet(networks_.onet, crops, n, heads, scratch);
  }

  // Crops that the caller has cut, for the stage functions.
  void refine_ready(int side, const float* crops, std::int64_t n, float* probabilities, float* offsets,
                    float* landmarks) const {
    const std::int64_t floats = std::int64_t{side} * side * 3;
    for (std::int64_t first = 0; first < n; first += kMaxRefineBatch) {
      const int here = static_cast<int>(std::min<std::int64_t>(kMaxRefineBatch, n - first));
      float heads[kMaxRefineBatch * kHeadOutputs];
      const auto workspace = workspaces_.borrow();
      float* const scratch = workspace->floats(kernels_.refine_scratch());
      run_network(side, crops + first * floats, here, heads, scratch);
      for (int i = 0; i < here; ++i) {
        const float* head = heads + i * kHeadOutputs;
        probabilities[first + i] = probability(head[0]);
        std::copy(head + 1, head + 5, offsets + 4 * (first + i));
        if (landmarks) std::copy(head + 5, head + 15, landmarks + 10 * (first + i));
      }
    }
  }

  Options options_;
  const Conventions& conventions_;
  const Geometry geometry_;
  const Kernels& kernels_;
  PackedNetworks networks_;
  CropTables rnet_crops_, onet_crops_;
  mutable Workspaces workspaces_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const Options& options, const Conventions& conventions, int threads) {
  return std::make_unique<CpuBackend>(options, conventions, threads);
}

}  // namespace mtcnn_fast
