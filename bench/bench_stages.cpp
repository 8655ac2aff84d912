// Every stage on every instruction set that this machine has, with its rate and its share of a peak that is measured in
// the same run: of the core's multiply-adds, or of reading memory. Inputs are random, of the sizes that a 1920x1080
// frame gives.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/candidates.h"
#include "cpu/crop_tables.h"
#include "cpu/dispatch.h"
#include "cpu/nms.h"
#include "cpu/packed_networks.h"
#include "cpu/window_table.h"
#include "weights.h"

namespace mtcnn_fast {

#define MTCNN_FAST_DECLARE_LOOP(isa) double multiply_add_loop_##isa(long rounds);
MTCNN_FAST_FOR_EACH_ISA(MTCNN_FAST_DECLARE_LOOP)
#undef MTCNN_FAST_DECLARE_LOOP

namespace {

constexpr int kHeight = 1080, kWidth = 1920;

double measure_peak(double (*loop)(long)) {
  double best = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    const double operations = loop(1000000);
    best = std::max(best, operations / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// Operations a second of one core with those kernels' vectors.
double peak(const Kernels& kernels) {
  static std::map<std::string_view, double> measured;
#define MTCNN_FAST_MEASURE(isa)                                    \
  if (kernels.name == std::string_view(#isa) && !measured[#isa]) { \
    measured[#isa] = measure_peak(multiply_add_loop_##isa);        \
  }
  MTCNN_FAST_FOR_EACH_ISA(MTCNN_FAST_MEASURE)
#undef MTCNN_FAST_MEASURE
  return measured[kernels.name];
}

void report_operations(benchmark::State& state, const Kernels& kernels, double operations) {
  const double total = operations * static_cast<double>(state.iterations());
  state.counters["FLOP/s"] = benchmark::Counter(total, benchmark::Counter::kIsRate);
  state.counters["of_peak"] = benchmark::Counter(total / peak(kernels), benchmark::Counter::kIsRate);
}

struct Free {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Floats = std::unique_ptr<float[], Free>;

Floats random_floats(std::size_t count) {
  Floats floats(static_cast<float*>(::operator new[](count * sizeof(float), std::align_val_t{64})));
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::generate_n(floats.get(), count, [&] { return uniform(generator); });
  return floats;
}

const std::vector<std::uint8_t>& frame() {
  static const std::vector<std::uint8_t> pixels = [] {
    std::vector<std::uint8_t> random(std::size_t{3} * kHeight * kWidth);
    std::mt19937 generator(2);
    for (std::uint8_t& pixel : random) pixel = static_cast<std::uint8_t>(generator());
    return random;
  }();
  return pixels;
}

// Bytes a second at which one core reads as much memory as a frame takes, by the C library's search for what is not
// there.
double read_peak() {
  static const double best = [] {
    const std::vector<std::uint8_t> bytes(frame().size(), 2);
    double highest = 0;
    for (int attempt = 0; attempt < 20; ++attempt) {
      const auto start = std::chrono::steady_clock::now();
      benchmark::DoNotOptimize(std::memchr(bytes.data(), 1, bytes.size()));
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      highest = std::max(highest, static_cast<double>(bytes.size()) / seconds.count());
    }
    return highest;
  }();
  return best;
}

// What is read of the frame; windows that overlap read it more than once.
void report_bytes(benchmark::State& state, std::size_t bytes) {
  const double total = static_cast<double>(bytes) * static_cast<double>(state.iterations());
  state.counters["B/s"] = benchmark::Counter(total, benchmark::Counter::kIsRate);
  state.counters["of_read_peak"] = benchmark::Counter(total / read_peak(), benchmark::Counter::kIsRate);
}

Source source() { return {frame().data(), frame().data() + frame().size(), std::ptrdiff_t{3} * kWidth, 3, false}; }

// The frame to height x width.
struct Resize {
  WindowTable x, y;
  Resample resample;
  Resize(int height, int width) {
    const Filter filter = resize_filter(Resampling::area_or_bilinear, kHeight, kWidth, height, width);
    x.make(kWidth, width, filter);
    y.make(kHeight, height, filter);
    resample = {source(), x.columns(), y.rows(), width, 0, kWidth, Rounding::none, 1.0f / 128, -127.5f / 128};
  }
};

void bench_level_resize(benchmark::State& state, const Kernels& kernels) {
  const int height = static_cast<int>(state.range(0)), width = height * kWidth / kHeight;
  const Resize resize(height, width);
  const Floats scratch = random_floats(kernels.resample_scratch(resize.resample));
  constexpr int kRows = 24;  // at a time, to the same place, as P-Net asks for them
  const Floats out = random_floats(std::size_t{3} * kRows * width);
  for (auto _ : state)
    for (int y = 0; y < height; y += kRows)
      kernels.resample(resize.resample, y, std::min(y + kRows, height), out.get(), scratch.get());
  report_bytes(state, frame().size());
}

void bench_crop(benchmark::State& state, const Kernels& kernels) {
  const int side = static_cast<int>(state.range(0)), to = static_cast<int>(state.range(1));
  const Floats out = random_floats(3 * kOnetSide * kOnetSide);
  const Floats scratch = random_floats(crop_scratch(kWidth, 3));
  const CropTables tables(Resampling::area_or_bilinear, to);
  WindowTable x, y;
  for (auto _ : state) {
    const double left = (kWidth - side) / 2 + 1, top = (kHeight - side) / 2 + 1;
    const BoxD window{left, top, left + side - 1, top + side - 1};
    const Resample crop = tables.resampling(source(), kHeight, kWidth, window, x, y);
    kernels.resample(crop, 0, to, out.get(), scratch.get());
  }
  report_bytes(state, std::size_t{3} * side * side);
}

void bench_pnet(benchmark::State& state, const Kernels& kernels, const PackedNetworks& networks, bool from_image,
                bool bf16) {
  const int height = static_cast<int>(state.range(0)), width = height * kWidth / kHeight;
  const Floats level = random_floats(std::size_t{3} * height * width);
  const Resize resize(height, width);
  const int rows = pnet_cells(height);
  const PnetBand band{.resample = from_image ? &resize.resample : nullptr,
                      .level = level.get(),
                      .height = height,
                      .width = width,
                      .first_row = 0,
                      .end_row = rows,
                      .threshold = std::numeric_limits<float>::infinity(),
                      .emit = [](void*, const Cell*, int) {},
                      .context = nullptr};
  const Floats scratch = random_floats((bf16 ? kernels.pnet_bf16_scratch : kernels.pnet_scratch)(band));
  for (auto _ : state) {
    if (bf16)
      kernels.pnet_bf16(networks.pnet_bf16, band, scratch.get());
    else
      kernels.pnet(networks.pnet, band, scratch.get());
  }
  const double pooled = ((height - 1) / 2 - 2.0) * ((width - 1) / 2 - 2);
  const double cells = static_cast<double>(rows) * pnet_cells(width);
  report_operations(state, kernels,
                    2 * ((height - 2.0) * (width - 2) * 270 + pooled * 1440 + cells * (16 * 9 * 32 + 32)));
}

void bench_refine(benchmark::State& state, const Kernels& kernels, const PackedNetworks& networks, bool onet,
                  bool bf16) {
  const int n = static_cast<int>(state.range(0)), side = onet ? kOnetSide : kRnetSide;
  const Floats crops = random_floats(std::size_t{3} * n * side * side);
  const Floats scratch = random_floats((bf16 ? kernels.refine_bf16_scratch : kernels.refine_scratch)());
  float out[kMaxRefineBatch * kHeadOutputs];
  for (auto _ : state) {
    if (bf16)
      (onet ? kernels.onet_bf16 : kernels.rnet_bf16)(onet ? networks.onet_bf16 : networks.rnet_bf16, crops.get(), n,
                                                     out, scratch.get());
    else if (onet)
      kernels.onet(networks.onet, crops.get(), n, out, scratch.get());
    else
      kernels.rnet(networks.rnet, crops.get(), n, out, scratch.get());
  }
  report_operations(state, kernels, 2 * n * (onet ? 12.910e6 : 1.531e6));
}

// From the cells of one level that passed, about `faces` faces, to the windows that R-Net looks at.
void bench_candidates(benchmark::State& state) {
  struct Passed {
    int row, column;
    float logit;
  };
  std::vector<Passed> cells;
  std::mt19937 generator(4);
  for (int face = 0; face < state.range(0); ++face) {
    const int row = static_cast<int>(generator() % 300), column = static_cast<int>(generator() % 550);
    for (int i = 0; i < 25; ++i)
      cells.push_back({row + i / 5, column + i % 5, static_cast<float>(generator() % 1000) / 100});
  }
  const Geometry geometry(kProfiles[0]);
  Suppression work;
  std::vector<Candidate> candidates;
  for (auto _ : state) {
    candidates.clear();
    for (const Passed& cell : cells)
      candidates.push_back({geometry.cell(cell.row, cell.column, 0.6), cell.logit, {}, {}});
    suppress(geometry, candidates, 0.5, Stage::pnet, work);
    for (const Candidate& candidate : candidates)
      benchmark::DoNotOptimize(geometry.next_window(candidate.box, candidate.offsets, 0));
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(cells.size()));
}

void bench_nms(benchmark::State& state) {
  std::vector<BoxD> boxes(static_cast<std::size_t>(state.range(0)));
  std::vector<float> scores(boxes.size());
  std::mt19937 generator(3);
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    const double x = generator() % 1900, y = generator() % 1060, side = 12 << generator() % 5;
    boxes[i] = {x, y, x + side, y + side};
    scores[i] = static_cast<float>(generator());
  }
  for (auto _ : state) benchmark::DoNotOptimize(nms(boxes, scores, 0.5, Overlap::iou, 1));
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * state.range(0));
}

void bench_cascade(benchmark::State& state, const std::string& isa) {
#if defined(_WIN32)
  _putenv_s("MTCNN_FAST_ISA", isa.c_str());
#else
  setenv("MTCNN_FAST_ISA", isa.c_str(), 1);
#endif
  const Detector detector({.min_face_size = 20, .num_threads = static_cast<int>(state.range(0))});
  const ImageView image{.data = frame().data(), .width = kWidth, .height = kHeight};
  for (auto _ : state) benchmark::DoNotOptimize(detector.detect(image));
  const Inspection seen = detector.inspect(image);
  state.counters["rnet"] = static_cast<double>(seen.rnet);
  state.counters["onet"] = static_cast<double>(seen.onet);
}

void register_all() {
  for (const Kernels* kernels : available_kernels()) {
    const std::string isa = kernels->name;
    const auto networks = std::make_shared<PackedNetworks>(embedded_weights(), *kernels);
    const auto add = [&](const std::string& stage, auto run) {
      return benchmark::RegisterBenchmark((stage + "/" + isa).c_str(), run);
    };
    add("level_resize", [kernels](auto& s) { bench_level_resize(s, *kernels); })
        ->Arg(648)
        ->Arg(460)
        ->Arg(326)
        ->Arg(231)
        ->Arg(164)
        ->Arg(116)
        ->Arg(59)
        ->Arg(15);
    for (const bool bf16 : {false, true}) {
      if (bf16 && !kernels->pnet_bf16) continue;
      const std::string suffix = bf16 ? "_bf16" : "";
      for (const bool from_image : {false, true})
        add((from_image ? "pnet_from_image" : "pnet") + suffix,
            [=](auto& s) { bench_pnet(s, *kernels, *networks, from_image, bf16); })
            ->Arg(648)
            ->Arg(231)
            ->Arg(59);
      for (const bool onet : {false, true})
        add((onet ? "onet" : "rnet") + suffix, [=](auto& s) { bench_refine(s, *kernels, *networks, onet, bf16); })
            ->Arg(1)
            ->Arg(24);
    }
    add("crop", [kernels](auto& s) {
      bench_crop(s, *kernels);
    })->ArgsProduct({{16, 20, 32, 45, 60, 100, 300}, {kRnetSide, kOnetSide}});
    add("cascade_1080p_noise", [isa](auto& s) { bench_cascade(s, isa); })->Arg(1)->Arg(2)->UseRealTime();
  }
  benchmark::RegisterBenchmark("candidates", bench_candidates)->Arg(4)->Arg(40)->Arg(400);
  benchmark::RegisterBenchmark("nms", bench_nms)->Arg(100)->Arg(1000)->Arg(10000);
}

}  // namespace
}  // namespace mtcnn_fast

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  mtcnn_fast::register_all();
  benchmark::RunSpecifiedBenchmarks();
}
