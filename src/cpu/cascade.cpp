#include "cpu/cascade.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "thread_pool.h"

namespace mtcnn_fast {
namespace {

// Work in multiply-adds, as in level_work(): of R-Net and O-Net a crop, copying a pixel of the image, suppressing a
// candidate.
constexpr double kRnetWork = 1.531e6, kOnetWork = 12.910e6, kCopyingWork = 80, kSuppressionWork = 10e3;
// A thread is woken for no less than about 0.1 ms of work. Measured: waking costs the caller a microsecond, and the
// woken thread needs some tens to come; with half as much, an image of 64x64 is slower on two threads than on one.
constexpr double kLeastWork = 8e6;

double network_work(Stage stage) { return stage == Stage::rnet ? kRnetWork : kOnetWork; }

}  // namespace

double Cascade::Stopwatch::lap() {
  const auto now = std::chrono::steady_clock::now();
  const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
  last_ = now;
  return ms;
}

void run_network(const Model& model, Stage stage, bool bf16, const float* crops, int n, float* heads, float* scratch) {
  const Kernels& kernels = model.kernels;
  const PackedNetworks& networks = model.networks;
  const bool rnet = stage == Stage::rnet;
  if (bf16)
    (rnet ? kernels.rnet_bf16 : kernels.onet_bf16)(rnet ? networks.rnet_bf16 : networks.onet_bf16, crops, n, heads,
                                                   scratch);
  else
    (rnet ? kernels.rnet : kernels.onet)(rnet ? networks.rnet : networks.onet, crops, n, heads, scratch);
}

std::size_t refine_scratch(const Model& model) {
  const Kernels& kernels = model.kernels;
  return std::max(kernels.refine_scratch(), kernels.refine_bf16_scratch ? kernels.refine_bf16_scratch() : 0);
}

std::size_t images_together(const Model& model, std::span<const ImageView> images, std::span<const Part> parts) {
  constexpr std::size_t kMost = 64;
  constexpr double kEnough = 256e6;  // a thread: beside 3 ms the steps' ends do not count
  // At a scale factor of 0.709 the levels together are twice the first, and about ten.
  const double scale = 12 / model.options.min_face_size, per_pixel = 2 * kPnetWork * scale * scale + 10 * kReadingWork;
  const auto threads = static_cast<std::size_t>(model.threads);
  double work = 0;
  std::size_t count = 0;
  while (count < std::min(images.size(), kMost) && (count < threads || work < kEnough * model.threads)) {
    work += per_pixel * images[count].height * images[count].width / (parts.empty() ? 1 : parts[count].count);
    ++count;
  }
  return count;
}

Cascade::Cascade(const Model& model, Workspace& workspace, std::span<const ImageView> images,
                 std::span<const Part> parts)
    : model_(model), work_(workspace), views_(images), parts_(parts) {}

void Cascade::run(std::span<std::vector<Detection>> faces, std::span<Inspection> inspections) {
  seen_ = inspections;
  double Inspection::*const times[] = {&Inspection::pnet_ms, &Inspection::nms_ms,  &Inspection::rnet_ms,
                                       &Inspection::nms_ms,  &Inspection::onet_ms, &Inspection::nms_ms};
  auto time = std::begin(times);
  Stopwatch watch, total;
  const auto lap = [&] {
    const double ms = watch.lap();
    for (Inspection& seen : seen_) seen.*(*time) += ms;
    ++time;
  };
  begin();
  split();
  pnet();
  lap();
  after_pnet();
  lap();
  refine(Stage::rnet);
  lap();
  after_rnet();
  lap();
  refine(Stage::onet);
  lap();
  after_onet(faces);
  lap();
  const double ms = total.lap();
  for (Inspection& seen : seen_) seen.total_ms = ms;
}

std::vector<Backend::Window> Cascade::windows(Stage next) {
  begin();
  split();
  pnet();
  after_pnet();
  if (next == Stage::onet) {
    refine(Stage::rnet);
    after_rnet();
  }
  const ImageWork& image = work_.images[0];
  std::vector<Backend::Window> found;
  for (std::size_t i = 0; i < image.boxes.size(); ++i) {
    if (!model_.geometry.has_pixels(image.boxes[i], image.height, image.width)) continue;
    const BoxD window = model_.geometry.crop_window(image.boxes[i], image.height, image.width);
    found.push_back({{static_cast<float>(window.x1 - 1), static_cast<float>(window.y1 - 1),
                      static_cast<float>(window.x2), static_cast<float>(window.y2)},
                     probability(image.candidates[i].logit)});
  }
  return found;
}

void Cascade::look(Stage stage, std::span<const Backend::Place> places, float* heads) {
  work_.images.clear();
  double copied = 0;
  for (const ImageView& view : views_) {
    ImageWork& image = work_.images.add();
    image.height = view.height, image.width = view.width;
    image.candidates.clear();
    if (SourceImage::is_copied(view)) copied += static_cast<double>(view.height) * view.width;
  }
  for (const Backend::Place& place : places) work_.images[place.image].candidates.push_back({place.window, 0, {}, {}});
  parallel_for(static_cast<int>(views_.size()), threads_for(kCopyingWork * copied), [&](int i) {
    if (!work_.images[i].candidates.empty()) work_.images[i].source.read(views_[i]);
  });
  // A screen would drop answers.
  const Arithmetic arithmetic = model_.precision_of(stage).arithmetic;
  run_candidates(stage, arithmetic == Arithmetic::screened ? Arithmetic::fp32 : arithmetic);
  for (const ImageWork& image : work_.images)
    for (const Candidate& candidate : image.candidates) {
      heads[0] = candidate.logit;
      std::copy(candidate.offsets, candidate.offsets + 4, heads + 1);
      std::copy(candidate.landmarks, candidate.landmarks + 10, heads + 5);
      heads[15] = 0;
      heads += kHeadOutputs;
    }
}

void Cascade::begin() {
  work_.images.clear();
  double pixels = 0;
  for (const ImageView& view : views_) {
    work_.images.add();
    pixels += static_cast<double>(view.height) * view.width;
  }
  parallel_for(static_cast<int>(views_.size()), threads_for(kCopyingWork * pixels), [&](int i) {
    ImageWork& image = work_.images[i];
    image.height = views_[i].height, image.width = views_[i].width;
    image.plan.make(image.height, image.width, parts_.empty() ? Part{} : parts_[i], model_.options, model_.conventions);
    // An image of which no row is looked at is not copied: a few bytes can stand for one of any size.
    const auto& levels = image.plan.levels;
    if (std::all_of(levels.begin(), levels.end(), [](const auto& level) { return level.rows.count() == 0; })) return;
    image.source.read(views_[i]);
    image.plan.read_from(image.source.source);
  });
}

// Bands of about equal work, several a thread (the pyramid's small levels even out what remains); a whole level each
// for one thread, because every band computes a few rows of its neighbour's once more.
void Cascade::split() {
  constexpr int kBandsPerThread = 4, kLeastRows = 16;
  const auto work_of = [](const ImageWork& image, const PyramidPlan::Level& level) {
    return level_work(level.size, image.height, image.width) * level.rows.count() / pnet_cells(level.size.height);
  };
  double total = 0;
  for (const ImageWork& image : work_.images)
    for (const PyramidPlan::Level& level : image.plan.levels) total += work_of(image, level);
  const int threads = threads_for(total);
  work_.bands.clear();
  work_.levels.clear();
  for (int i = 0; i < static_cast<int>(work_.images.size()); ++i) {
    const auto& levels = work_.images[i].plan.levels;
    for (int k = 0; k < static_cast<int>(levels.size()); ++k) {
      const CellRows part = levels[k].rows;
      const int rows = part.count();
      if (rows == 0) continue;
      const double work = work_of(work_.images[i], levels[k]);
      const int wanted = threads > 1 ? static_cast<int>(std::ceil(work / total * kBandsPerThread * threads)) : 1;
      const int count = std::clamp(rows / kLeastRows, 1, wanted), first = static_cast<int>(work_.bands.size());
      for (int b = 0; b < count; ++b) {
        Band& band = work_.bands.add();
        band.image = i, band.level = k;
        // Bands that begin at even rows share no row of Winograd tiles.
        const auto edge = [&](int n) {
          return n == count ? part.end : part.first + (static_cast<int>(std::int64_t{rows} * n / count) & ~1);
        };
        band.first_row = edge(b);
        band.end_row = edge(b + 1);
        band.work = work / count;
        band.cells.clear();
      }
      work_.levels.push_back({i, k, first, first + count});
    }
  }
  work_.order.resize(work_.bands.size());
  std::iota(work_.order.begin(), work_.order.end(), 0);
  std::sort(work_.order.begin(), work_.order.end(), [this](int a, int b) {
    return work_.bands[a].work != work_.bands[b].work ? work_.bands[a].work > work_.bands[b].work : a < b;
  });
}

// The cells of P-Net's maps whose logit reaches the threshold.
void Cascade::pnet() {
  const float threshold = least_float_not_below(logit_of(model_.options.thresholds[0]));
  std::size_t scratch = 0;
  double total = 0;
  for (const Band& band : work_.bands) {
    scratch = std::max(scratch, pnet_scratch(describe(band, threshold)));
    total += band.work;
  }
  const int threads = threads_for(total);
  for (int t = 0; t < threads; ++t) work_.threads[t].floats.get(scratch);
  parallel_for(static_cast<int>(work_.bands.size()), threads, [&](int i, int thread) {
    Band& band = work_.bands[work_.order[i]];
    PnetBand task = describe(band, threshold);
    task.context = &band.cells;
    task.emit = [](void* context, const Cell* found, int count) {
      auto& list = *static_cast<std::vector<Cell>*>(context);
      list.insert(list.end(), found, found + count);
    };
    float* const memory = work_.threads[thread].floats.get(scratch);
    const Precision& precision = model_.precision_of(Stage::pnet);
    const PackedNetworks& networks = model_.networks;
    band.confirmed = 0;
    switch (precision.arithmetic) {
      case Arithmetic::fp32:
        model_.kernels.pnet(networks.pnet, task, memory);
        std::sort(band.cells.begin(), band.cells.end(),
                  [](const Cell& a, const Cell& b) { return a.row != b.row ? a.row < b.row : a.column < b.column; });
        band.confirmed = std::int64_t{band.end_row - band.first_row} * pnet_cells(task.width);
        break;
      case Arithmetic::screened:
        band.confirmed =
            model_.kernels.pnet_screened(networks.pnet_bf16, networks.pnet, task, precision.least_logit, memory);
        break;
      case Arithmetic::bf16:
        model_.kernels.pnet_bf16(networks.pnet_bf16, task, memory);
        break;
    }
  });
  if (seen_.empty()) return;
  for (const Band& band : work_.bands) seen_[band.image].confirmed_windows += band.confirmed;
}

std::size_t Cascade::pnet_scratch(const PnetBand& band) const {
  return (model_.precision_of(Stage::pnet).arithmetic == Arithmetic::fp32 ? model_.kernels.pnet_scratch
                                                                          : model_.kernels.pnet_bf16_scratch)(band);
}

PnetBand Cascade::describe(const Band& band, float threshold) const {
  const PyramidPlan::Level& level = work_.images[band.image].plan.levels[band.level];
  return {.resample = &level.resample,
          .level = nullptr,
          .height = level.size.height,
          .width = level.size.width,
          .first_row = band.first_row,
          .end_row = band.end_row,
          .threshold = threshold,
          .emit = nullptr,
          .context = nullptr};
}

// NMS in and across levels, regression: the windows that R-Net will look at.
void Cascade::after_pnet() {
  std::size_t cells = 0, most = 0;
  for (const LevelBands& bands : work_.levels) {
    std::size_t here = 0;
    for (int b = bands.first; b < bands.end; ++b) here += work_.bands[b].cells.size();
    make_room(work_.images[bands.image].plan.levels[bands.level].candidates, here);
    cells += here;
    most = std::max(most, here);
  }
  const int threads = threads_for(kSuppressionWork * static_cast<double>(cells));
  for (int t = 0; t < threads; ++t) work_.threads[t].suppression.reserve(most);
  parallel_for(static_cast<int>(work_.levels.size()), threads,
               [&](int i, int thread) { collect(work_.levels[i], work_.threads[thread]); });

  for (std::size_t i = 0; i < work_.images.size(); ++i) {
    ImageWork& image = work_.images[i];
    image.candidates.clear();
    for (const PyramidPlan::Level& level : image.plan.levels)
      image.candidates.insert(image.candidates.end(), level.candidates.begin(), level.candidates.end());
  }
  for_each_image([&](int i, ThreadWork& work) {
    ImageWork& image = work_.images[i];
    suppress(model_.geometry, image.candidates, model_.options.nms_thresholds[1], Stage::pnet, work.suppression);
    image.boxes.clear();
    for (const Candidate& c : image.candidates) image.boxes.push_back(model_.geometry.next_window(c.box, c.offsets, 0));
  });
}

// The candidates of one level, in order of row and column, and what NMS leaves of them.
void Cascade::collect(const LevelBands& bands, ThreadWork& work) {
  PyramidPlan::Level& level = work_.images[bands.image].plan.levels[bands.level];
  for (int b = bands.first; b < bands.end; ++b)
    for (const Cell& cell : work_.bands[b].cells) {
      level.candidates.push_back({model_.geometry.cell(cell.row, cell.column, level.size.scale), cell.logit, {}, {}});
      std::copy(cell.offsets, cell.offsets + 4, level.candidates.back().offsets);
    }
  const auto found = static_cast<std::int64_t>(level.candidates.size());
  const bool whole = level.rows.count() == pnet_cells(level.size.height);
  if (model_.conventions.mirrors_lone_cell && whole && found == 1) mirror_lone_cell(bands, work);
  suppress(model_.geometry, level.candidates, model_.options.nms_thresholds[0], Stage::pnet, work.suppression);
  level.seen.windows = std::int64_t{level.rows.count()} * pnet_cells(level.size.width);
  level.seen.candidates = found;
  level.seen.after_nms = std::ssize(level.candidates);
}

// Gives the only candidate of a level the offsets of the cell that mirrors it.
void Cascade::mirror_lone_cell(const LevelBands& bands, ThreadWork& work) {
  PyramidPlan::Level& level = work_.images[bands.image].plan.levels[bands.level];
  for (int b = bands.first; b < bands.end; ++b) {
    if (work_.bands[b].cells.empty()) continue;
    const Cell& lone = work_.bands[b].cells.front();
    struct Mirror {
      int column;
      float* offsets;
    } mirror{pnet_cells(level.size.width) - 1 - lone.column, level.candidates.front().offsets};
    PnetBand row = describe(work_.bands[b], -std::numeric_limits<float>::infinity());
    row.first_row = lone.row, row.end_row = lone.row + 1;
    row.context = &mirror;
    row.emit = [](void* context, const Cell* found, int count) {
      const Mirror& m = *static_cast<Mirror*>(context);
      for (const Cell* cell = found; cell != found + count; ++cell)
        if (cell->column == m.column) std::copy(cell->offsets, cell->offsets + 4, m.offsets);
    };
    model_.kernels.pnet(model_.networks.pnet, row, work.floats.get(model_.kernels.pnet_scratch(row)));
  }
}

// The windows of the images through R-Net or O-Net. Those without a pixel are dropped.
void Cascade::refine(Stage stage) {
  for (std::size_t i = 0; i < work_.images.size(); ++i) {
    ImageWork& image = work_.images[i];
    image.candidates.clear();
    for (const BoxD& box : image.boxes)
      if (model_.geometry.has_pixels(box, image.height, image.width)) image.candidates.push_back({box, 0, {}, {}});
    if (!seen_.empty()) (stage == Stage::rnet ? seen_[i].rnet : seen_[i].onet) = std::ssize(image.candidates);
  }
  run_candidates(stage, model_.precision_of(stage).arithmetic);
  if (seen_.empty()) return;
  for (const Crop& crop : work_.crops)
    (stage == Stage::rnet ? seen_[crop.image].confirmed_rnet : seen_[crop.image].confirmed_onet) += crop.confirmed;
}

// Asks a network about the candidates of the images.
void Cascade::run_candidates(Stage stage, Arithmetic arithmetic) {
  const int side = crop_side(stage);
  work_.crops.clear();
  int largest = 0;
  std::size_t row = 0;
  for (int i = 0; i < static_cast<int>(work_.images.size()); ++i) {
    ImageWork& image = work_.images[i];
    for (Candidate& candidate : image.candidates) {
      const BoxD window = model_.geometry.crop_window(candidate.box, image.height, image.width);
      largest = std::max({largest, static_cast<int>(window.x2 - window.x1), static_cast<int>(window.y2 - window.y1)});
      work_.crops.push_back({i, &candidate, window, false});
    }
    if (!image.candidates.empty()) row = std::max(row, crop_scratch(image.width, image.source.source.channels));
  }
  // Windows about one face overlap: cut one after the other, they find its pixels in the cache.
  const auto place = [](const Crop& crop) {
    constexpr int kStrip = 64;
    return std::tuple(crop.image, static_cast<int>(crop.window.y1) / kStrip, crop.window.x1, crop.candidate);
  };
  std::sort(work_.crops.begin(), work_.crops.end(), [&](const Crop& a, const Crop& b) { return place(a) < place(b); });
  // Batches of equal size, as many for each thread. Smaller ones than the largest even out what disturbs a thread; from
  // 8 crops on, reading the weights for each batch does not count.
  const int n = static_cast<int>(work_.crops.size());
  const int threads = std::min(threads_for(network_work(stage) * n), std::max(n, 1));
  const int least = (n + kMaxRefineBatch - 1) / kMaxRefineBatch;
  const int wanted = threads > 1 ? std::max(least, std::min(4 * threads, n / 8)) : least;
  const int batches = (wanted + threads - 1) / threads * threads;
  const std::size_t crops = static_cast<std::size_t>(side) * side * 3 * kMaxRefineBatch;
  for (int t = 0; t < threads; ++t) {
    work_.threads[t].floats.get(2 * crops + refine_scratch(model_) + row);
    work_.threads[t].resize.x.reserve(largest + 1, side);
    work_.threads[t].resize.y.reserve(largest + 1, side);
  }
  parallel_for(batches, threads, [&](int b, int thread) {
    const auto first = std::int64_t{n} * b / batches, end = std::int64_t{n} * (b + 1) / batches;
    refine_crops(stage, arithmetic, std::span(work_.crops).subspan(first, end - first), work_.threads[thread]);
  });
}

// Crops through a network, a batch at a time. What the screen leaves is gathered to whole batches.
void Cascade::refine_crops(Stage stage, Arithmetic arithmetic, std::span<Crop> crops, ThreadWork& work) {
  const int side = crop_side(stage);
  const float least_logit = model_.precision_of(stage).least_logit;
  const CropTables& tables = model_.crops[stage];
  const std::size_t floats = static_cast<std::size_t>(side) * side * 3;
  float* const pixels = work.floats.get(0);
  float* const kept_pixels = pixels + floats * kMaxRefineBatch;
  float* const scratch = kept_pixels + floats * kMaxRefineBatch;
  float* const row = scratch + refine_scratch(model_);
  float heads[kMaxRefineBatch * kHeadOutputs];
  Crop* kept[kMaxRefineBatch];
  int kept_count = 0;
  const auto confirm = [&](const float* from) {
    run_network(model_, stage, false, from, kept_count, heads, scratch);
    for (int i = 0; i < kept_count; ++i) {
      kept[i]->candidate->take(heads + i * kHeadOutputs);
      kept[i]->confirmed = true;
    }
    kept_count = 0;
  };
  for (; !crops.empty(); crops = crops.subspan(std::min<std::size_t>(kMaxRefineBatch, crops.size()))) {
    const int n = static_cast<int>(std::min<std::size_t>(kMaxRefineBatch, crops.size()));
    for (int i = 0; i < n; ++i) {
      const ImageWork& image = work_.images[crops[i].image];
      const Resample resample = tables.resampling(image.source.source, image.height, image.width, crops[i].window,
                                                  work.resize.x, work.resize.y);
      model_.kernels.resample(resample, 0, side, pixels + i * floats, row);
    }
    if (arithmetic == Arithmetic::fp32) {
      for (; kept_count < n; ++kept_count) kept[kept_count] = &crops[kept_count];
      confirm(pixels);
      continue;
    }
    run_network(model_, stage, true, pixels, n, heads, scratch);
    for (int i = 0; i < n; ++i) crops[i].candidate->take(heads + i * kHeadOutputs);
    if (arithmetic == Arithmetic::bf16) continue;
    for (int i = 0; i < n; ++i) {
      Candidate& candidate = *crops[i].candidate;
      if (candidate.logit < least_logit) {
        candidate.logit = -std::numeric_limits<float>::infinity();
        continue;
      }
      std::copy_n(pixels + i * floats, floats, kept_pixels + kept_count * floats);
      kept[kept_count++] = &crops[i];
      if (kept_count == kMaxRefineBatch) confirm(kept_pixels);
    }
  }
  if (kept_count > 0) confirm(kept_pixels);
}

void Cascade::after_rnet() {
  for_each_image([&](int i, ThreadWork& work) {
    ImageWork& image = work_.images[i];
    keep_above(image.candidates, model_.options.thresholds[1]);
    suppress(model_.geometry, image.candidates, model_.options.nms_thresholds[2], Stage::rnet, work.suppression);
    image.boxes.clear();
    for (const Candidate& c : image.candidates) image.boxes.push_back(model_.geometry.next_window(c.box, c.offsets, 1));
  });
}

void Cascade::after_onet(std::span<std::vector<Detection>> faces) {
  for_each_image([&](int i, ThreadWork& work) {
    ImageWork& image = work_.images[i];
    keep_above(image.candidates, model_.options.thresholds[2]);
    for (Candidate& c : image.candidates) model_.geometry.finish(c);
    suppress(model_.geometry, image.candidates, model_.options.nms_thresholds[3], Stage::onet, work.suppression);
    faces[i].reserve(image.candidates.size());
    for (const Candidate& c : image.candidates) faces[i].push_back(model_.geometry.detection(c));
  });
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    seen_[i].faces = std::ssize(faces[i]);
    for (const PyramidPlan::Level& level : work_.images[i].plan.levels) {
      seen_[i].levels.push_back(level.seen);
      seen_[i].candidates += level.seen.candidates;
    }
  }
}

int Cascade::threads_for(double work) const {
  return static_cast<int>(std::clamp(work / kLeastWork, 1.0, static_cast<double>(model_.threads)));
}

// f(image, what the thread works in), with room for the suppression of the image's candidates.
template <class F>
void Cascade::for_each_image(const F& f) {
  std::size_t all = 0, most = 0;
  for (const ImageWork& image : work_.images) {
    all += image.candidates.size();
    most = std::max(most, image.candidates.size());
  }
  const int threads = threads_for(kSuppressionWork * static_cast<double>(all));
  for (int t = 0; t < threads; ++t) work_.threads[t].suppression.reserve(most);
  parallel_for(static_cast<int>(work_.images.size()), threads, [&](int i, int t) { f(i, work_.threads[t]); });
}

}  // namespace mtcnn_fast
