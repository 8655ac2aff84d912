// The CUDA backend without Python: what the card can do at most, what each step of the cascade adds, and whole calls by
// where the images lie. Prints one JSON object a line, as it goes, which bench/gpu.py reads.
//
//     bench_cuda [--brief] [--rounds N] [--min-face-sizes 20,40] [--batches 1,8,32] FRAME.ppm ...
//
// A step's time is the difference of two graphs, of the steps up to it and of those before: so it counts what the step
// adds, the gaps between kernels included, and no event stands between kernels that follow each other in a real call.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../cuda/engine.h"
#include "conventions.h"
#include "cuda/engine_options.h"
#include "cuda/plan.h"
#include "cuda_peaks.h"
#include "cuda_small.h"
#include "weights.h"

namespace mtcnn_fast::cuda {
namespace {

struct Arguments {
  bool brief = false;  // as little work as shows that it runs, on the emulator
  int rounds = 15;
  std::vector<int> min_face_sizes = {20, 40}, batches = {1, 8, 32};
  std::vector<std::string> frames;
};

std::vector<int> integers(const std::string& text) {
  std::vector<int> all;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) all.push_back(std::stoi(part));
  return all;
}

Arguments parse(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string name = values[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= count) throw std::invalid_argument(name + " wants a value");
      return values[++i];
    };
    if (name == "--brief")
      arguments.brief = true;
    else if (name == "--rounds")
      arguments.rounds = std::stoi(value());
    else if (name == "--min-face-sizes")
      arguments.min_face_sizes = integers(value());
    else if (name == "--batches")
      arguments.batches = integers(value());
    else if (name.rfind("--", 0) == 0)
      throw std::invalid_argument("unknown option " + name);
    else
      arguments.frames.push_back(name);
  }
  if (arguments.frames.empty() || arguments.batches.empty() || arguments.min_face_sizes.empty() || arguments.rounds < 1)
    throw std::invalid_argument("wanted [--brief] [--rounds N] [--min-face-sizes A,B] [--batches A,B] FRAME.ppm ...");
  return arguments;
}

struct Frame {
  std::string name;
  int width, height;
  std::vector<std::uint8_t> pixels;
};

Frame read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string format;
  int greatest = 0;
  Frame frame = {};
  frame.name = std::filesystem::path(path).stem().string();
  if (!(file >> format >> frame.width >> frame.height >> greatest) || format != "P6" || greatest != 255)
    throw std::invalid_argument(path + " is not a binary PPM file of 8 bits a channel");
  file.get();
  frame.pixels.resize(std::size_t{3} * frame.width * frame.height);
  if (!file.read(reinterpret_cast<char*>(frame.pixels.data()), static_cast<std::streamsize>(frame.pixels.size())))
    throw std::invalid_argument(path + " ends early");
  return frame;
}

// A frame as many times as the largest batch has images, each in memory of its own, in every kind of memory.
class Copies {
 public:
  static constexpr const char* kMemories[] = {"device", "pinned", "pageable"};

  Copies(const Frame& frame, int count) : frame_(frame), pageable_(frame.pixels.size() * count) {
    const std::size_t bytes = frame.pixels.size();
    device_.reserve(pageable_.size());
    pinned_.reserve(pageable_.size());
    for (int i = 0; i < count; ++i) {
      std::memcpy(pageable_.data() + i * bytes, frame.pixels.data(), bytes);
      std::memcpy(pinned_.as<std::uint8_t>() + i * bytes, frame.pixels.data(), bytes);
    }
    MTCNN_FAST_CHECK(cudaMemcpy(device_.as<void>(), pageable_.data(), pageable_.size(), cudaMemcpyHostToDevice));
  }

  std::vector<PlannedImage> images(const std::string& memory, int count, const CudaPlan& plan) const {
    const bool on_device = memory == "device";
    const std::uint8_t* const first = on_device            ? device_.as<std::uint8_t>()
                                      : memory == "pinned" ? pinned_.as<std::uint8_t>()
                                                           : pageable_.data();
    std::vector<PlannedImage> all;
    for (int i = 0; i < count; ++i)
      all.push_back({.data = first + i * frame_.pixels.size(),
                     .stride = std::int64_t{3} * frame_.width,
                     .pixel = 3,
                     .channel = 1,
                     .height = frame_.height,
                     .width = frame_.width,
                     .on_device = on_device,
                     .across = plan.across,
                     .levels = plan.levels.data(),
                     .level_count = static_cast<int>(plan.levels.size())});
    return all;
  }

 private:
  const Frame& frame_;
  DeviceBuffer device_;
  HostBuffer pinned_;
  std::vector<std::uint8_t> pageable_;
};

// A detector with the defaults of the package, in one precision.
class Settings {
 public:
  explicit Settings(bool fast)
      : engine_(Options{.precision = fast ? "fast" : "fp32"}, kProfiles[0], embedded_weights()) {}
  const EngineOptions& engine() const { return engine_.options; }
  const char* precision() const { return engine_.options.fp16 ? "fast" : "fp32"; }

 private:
  CudaEngineOptions engine_;
};

// What the first image of a call had.
struct Seen {
  int cells = 0, rnet = 0, onet = 0, faces = 0;
  int levels;

  static void emit(void* context, int image, const Detection*, int count, const Report& report) {
    if (image > 0) return;
    Seen& seen = *static_cast<Seen*>(context);
    seen.cells = 0;
    for (int k = 0; k < seen.levels; ++k) seen.cells += report.levels[k].found;
    seen.rnet = report.rnet, seen.onet = report.onet, seen.faces = count;
  }
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void print_work(const Frame& frame, int min_face_size, const Settings& settings, const CudaPlan& plan,
                const Seen& seen) {
  std::cout << "\"frame\": \"" << frame.name << "\", \"width\": " << frame.width << ", \"height\": " << frame.height
            << ", \"min_face_size\": " << min_face_size << ", \"precision\": \"" << settings.precision()
            << "\", \"candidates\": {\"cells\": " << seen.cells << ", \"rnet\": " << seen.rnet
            << ", \"onet\": " << seen.onet << ", \"faces\": " << seen.faces << "}, \"levels\": [";
  for (std::size_t k = 0; k < plan.levels.size(); ++k)
    std::cout << (k ? ", [" : "[") << plan.levels[k].height << ", " << plan.levels[k].width << "]";
  std::cout << "]";
}

// Microseconds that each step adds, and of the whole; the images are no more than one run takes.
void measure_steps(const Frame& frame, int min_face_size, const Settings& settings, const CudaPlan& plan,
                   std::span<const PlannedImage> images, const Arguments& arguments) {
  const Model model(settings.engine());
  Workspace workspace(model);
  Seen seen = {.levels = static_cast<int>(plan.levels.size())};
  workspace.start(images, nullptr, false);
  workspace.finish(0, Seen::emit, &seen);

  const int repeats = arguments.brief ? 1 : std::max(2, 20 / static_cast<int>(images.size()));
  const auto steps = Workspace::steps();
  const Queue queue = workspace.queue();
  std::vector<Graph> graphs(steps.size());
  for (std::size_t count = 1; count <= steps.size(); ++count)
    graphs[count - 1].record(queue.stream, [&] {
      for (int i = 0; i < repeats; ++i)
        for (const Workspace::Step& step : steps.first(count)) step.queue(queue, workspace.work(), model);
    });
  const Event begin(cudaEventDefault), end(cudaEventDefault);
  std::vector<std::vector<double>> microseconds(steps.size());
  for (int round = 0; round <= arguments.rounds; ++round)
    for (std::size_t k = 0; k < steps.size(); ++k) {
      MTCNN_FAST_CHECK(cudaEventRecord(begin, queue.stream));
      graphs[k].launch(queue.stream);
      MTCNN_FAST_CHECK(cudaEventRecord(end, queue.stream));
      MTCNN_FAST_CHECK(cudaEventSynchronize(end));
      float ms = 0;
      MTCNN_FAST_CHECK(cudaEventElapsedTime(&ms, begin, end));
      if (round > 0) microseconds[k].push_back(ms * 1e3 / repeats);
    }

  std::cout << "{\"kind\": \"cascade\", ";
  print_work(frame, min_face_size, settings, plan, seen);
  std::cout << ", \"images\": " << images.size() << ", \"steps\": [";
  double before = 0;
  for (std::size_t k = 0; k < steps.size(); ++k) {
    const double up_to = median(microseconds[k]);
    std::cout << (k ? ", " : "") << "{\"name\": \"" << steps[k].name << "\", \"microseconds\": " << up_to - before
              << "}";
    before = up_to;
  }
  std::cout << "], \"microseconds\": " << before << "}" << std::endl;
}

// Milliseconds of whole calls, by the host's clock, each kind of call in turn.
void measure_calls(const Frame& frame, int min_face_size, std::span<const Settings> settings, const CudaPlan& plan,
                   const Copies& copies, const Arguments& arguments) {
  struct Call {
    const Settings* settings;
    Engine* engine;
    std::string memory;
    std::vector<PlannedImage> images;
    Seen seen;
    std::vector<double> milliseconds;
  };
  std::vector<std::unique_ptr<Engine>> engines;
  std::vector<Call> calls;
  for (const Settings& each : settings) {
    engines.push_back(std::make_unique<Engine>(each.engine()));
    for (const int batch : arguments.batches)
      for (const char* memory : Copies::kMemories)
        calls.push_back({.settings = &each,
                         .engine = engines.back().get(),
                         .memory = memory,
                         .images = copies.images(memory, batch, plan),
                         .seen = {.levels = static_cast<int>(plan.levels.size())},
                         .milliseconds = {}});
  }
  for (int round = 0; round <= arguments.rounds; ++round)
    for (Call& call : calls) {
      // A stream of calls is what is measured: the first after another's turn is not counted.
      const int timed = arguments.brief || call.images.size() > 1 ? 1 : 5;
      for (int i = arguments.brief ? 1 : 0; i <= timed; ++i) {
        const auto start = std::chrono::steady_clock::now();
        call.engine->detect(call.images, nullptr, false, Seen::emit, &call.seen);
        const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
        if (round > 0 && i > 0) call.milliseconds.push_back(elapsed.count());
      }
    }
  for (const Call& call : calls) {
    std::cout << "{\"kind\": \"call\", ";
    print_work(frame, min_face_size, *call.settings, plan, call.seen);
    std::cout << ", \"memory\": \"" << call.memory << "\", \"batch\": " << call.images.size()
              << ", \"milliseconds\": " << median(call.milliseconds) << "}" << std::endl;
  }
}

void print_device() {
  cudaDeviceProp properties = {};
  MTCNN_FAST_CHECK(cudaGetDeviceProperties(&properties, 0));
  int driver = 0, runtime = 0;
  MTCNN_FAST_CHECK(cudaDriverGetVersion(&driver));
  MTCNN_FAST_CHECK(cudaRuntimeGetVersion(&runtime));
  std::cout << "{\"kind\": \"device\", \"name\": \"" << properties.name << "\", \"compute\": \"" << properties.major
            << '.' << properties.minor << "\", \"multiprocessors\": " << properties.multiProcessorCount
            << ", \"memory_mb\": " << properties.totalGlobalMem / (1 << 20) << ", \"cuda_of_driver\": " << driver
            << ", \"cuda_of_runtime\": " << runtime << "}" << std::endl;
}

// One that fails takes nothing else along, unless its error stays.
void measure_small(bool brief) {
  int processors = 0;
  MTCNN_FAST_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
  const Stream stream;
  for (const SmallMeasurement& each : small_measurements()) {
    try {
      const double value = each.measure({stream, processors, 0}, brief);
      if (std::isfinite(value))
        std::cout << "{\"kind\": \"small\", \"name\": \"" << each.name << "\", \"value\": " << value << ", \"unit\": \""
                  << each.unit << "\"}" << std::endl;
    } catch (const Error& error) {
      std::cout << "{\"kind\": \"problem\", \"text\": \"" << each.name << ": " << cudaGetErrorString(error.code)
                << "\"}" << std::endl;
      cudaGetLastError();
    }
  }
}

void run(const Arguments& arguments) {
  print_device();
  const Peaks peaks = measure_peaks(0, arguments.brief);
  std::cout << "{\"kind\": \"peaks\", \"ffma_flops\": " << peaks.ffma_flops
            << ", \"tensor_flops\": " << peaks.tensor_flops << ", \"copy_bytes\": " << peaks.copy_bytes
            << ", \"upload_pinned\": " << peaks.upload_pinned << ", \"upload_pageable\": " << peaks.upload_pageable
            << "}" << std::endl;
  measure_small(arguments.brief);
  const Settings settings[] = {Settings(false), Settings(true)};
  const int largest = *std::max_element(arguments.batches.begin(), arguments.batches.end());

  const auto for_each_workload = [&](const auto& measure) {
    for (const std::string& path : arguments.frames) {
      const Frame frame = read_ppm(path);
      const Copies copies(frame, largest);
      for (const int min_face_size : arguments.min_face_sizes) {
        Options options;
        options.min_face_size = min_face_size;
        measure(frame, min_face_size, CudaPlan(frame.height, frame.width, options, kProfiles[0]), copies);
      }
    }
  };
  for_each_workload([&](const Frame& frame, int min_face_size, const CudaPlan& plan, const Copies& copies) {
    measure_calls(frame, min_face_size, settings, plan, copies, arguments);
  });
  for_each_workload([&](const Frame& frame, int min_face_size, const CudaPlan& plan, const Copies& copies) {
    // One run takes so many images at most: that of a larger batch would be the same again.
    std::set<std::size_t> sizes;
    for (const int batch : arguments.batches)
      sizes.insert(Workspace::images_together(copies.images("device", batch, plan)));
    for (const std::size_t images : sizes)
      for (const Settings& each : settings)
        measure_steps(frame, min_face_size, each, plan, copies.images("device", static_cast<int>(images), plan),
                      arguments);
  });
}

}  // namespace
}  // namespace mtcnn_fast::cuda

int main(int count, char** values) {
  try {
    mtcnn_fast::cuda::run(mtcnn_fast::cuda::parse(count, values));
    return 0;
  } catch (const mtcnn_fast::cuda::Error& error) {
    std::cerr << error.what << " failed: " << cudaGetErrorString(error.code) << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
  }
  return 1;
}
