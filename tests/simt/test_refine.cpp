// R-Net and O-Net on the emulator, against the networks in double precision.
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>

#include "../native/check.h"
#include "../native/reference.h"
#include "geometry.h"
#include "kernels.h"
#include "weights.h"

using namespace mtcnn_fast;
using cuda::Arithmetic;

namespace {

using Crop = std::vector<float>;  // [side][side][3]
using Heads = std::vector<std::vector<float>>;

std::size_t outputs_of(Stage stage) { return stage == Stage::rnet ? 5 : 15; }

// Noise from -1 to 1 with a slope across it, so that maps differ in more than their noise.
Crop make_crop(std::mt19937& random, Stage stage) {
  const int side = crop_side(stage);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const float across = uniform(random), down = uniform(random);
  Crop crop;
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x)
      for (int c = 0; c < 3; ++c) {
        const float slope = across * (2.0f * static_cast<float>(x) / static_cast<float>(side) - 1) +
                            down * (2.0f * static_cast<float>(y) / static_cast<float>(side) - 1);
        // As fp16 holds it, so that both arithmetics see the same crop.
        crop.push_back(__half2float(__float2half((uniform(random) + slope) / 3)));
      }
  return crop;
}

std::vector<double> expected(const Tensors& tensors, Stage stage, const Crop& crop) {
  reference::Map map(crop_side(stage), crop_side(stage), 3);
  map.values.assign(crop.begin(), crop.end());
  const reference::Outputs outputs =
      stage == Stage::rnet ? reference::rnet(tensors, map) : reference::onet(tensors, map);
  std::vector<double> all = outputs.probability;
  all.insert(all.end(), outputs.offsets.begin(), outputs.offsets.end());
  all.insert(all.end(), outputs.landmarks.begin(), outputs.landmarks.end());
  return all;
}

// What kernels see as device memory: exactly as large as asked for, and NaN until it is written.
class Memory {
 public:
  explicit Memory(std::size_t bytes) : bytes_(bytes), data_(new (std::align_val_t{256}) unsigned char[bytes]) {
    std::memset(data_.get(), 0xff, bytes);
  }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(unsigned char* p) const { ::operator delete[](p, std::align_val_t{256}); }
  };
  std::size_t bytes_;
  std::unique_ptr<unsigned char[], Free> data_;
};

class Refiner {
 public:
  Refiner(const Tensors& tensors, Stage stage, Arithmetic arithmetic) : stage_(stage), arithmetic_(arithmetic) {
    cuda::NamedTensors named;
    for (const auto& [name, tensor] : tensors) named[name] = tensor.data;
    weights_ = cuda::pack_refine(named, stage, arithmetic);
    screen_weights_ = cuda::pack_refine(named, stage, Arithmetic::fp16);
  }

  // What R-Net's screen left, and the windows of each image. Every other window is the second image's.
  struct Left {
    float least;  // what the screen lets pass
    std::vector<int> windows = {}, of_images = {};
  };

  // The heads for the crops, `counted` of which the counter tells of. `left`: with a screen, which fills it in.
  Heads operator()(const std::vector<const Crop*>& crops, int counted = -1, int processors = 3,
                   Left* left = nullptr) const {
    const std::size_t n = crops.size();
    const cuda::ActivationBytes bytes = cuda::activation_bytes(stage_, arithmetic_);
    Memory images(n * bytes.crops), maps(n * bytes.maps), maps3(n * bytes.maps3), features(n * bytes.features),
        hidden(n * bytes.hidden), heads(n * kHeadOutputs * sizeof(float)), weights(weights_.size());
    std::memcpy(weights.as<void>(), weights_.data(), weights_.size());
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t k = 0; k < crops[i]->size(); ++k) {
        const std::size_t to = i * crops[i]->size() + k;
        if (arithmetic_ == Arithmetic::fp16)
          images.as<__half>()[to] = __float2half((*crops[i])[k]);
        else
          images.as<float>()[to] = (*crops[i])[k];
      }
    cuda::Counts counts{};
    counts.windows[stage_] = counted < 0 ? static_cast<int>(n) : counted;
    cuda::Work work{};
    work.counts = &counts;
    work.windows[stage_] = {nullptr, nullptr, heads.as<float>(), static_cast<int>(n)};
    work.activations[stage_] = {images.as<void>(), maps.as<void>(), maps3.as<void>(), features.as<void>(),
                                hidden.as<void>()};
    cudaStream_t stream = nullptr;
    MTCNN_FAST_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    const cuda::Queue queue = {stream, processors, 227 * 1024};
    std::vector<int> of(n), list(n, -1);
    std::vector<cuda::ImageCounts> image_counts(2);
    if (left) {
      for (std::size_t i = 0; i < n; ++i) of[i] = static_cast<int>(i % 2);
      work.settings.rnet_screen_logit = left->least;
      work.windows[stage_].images = of.data();
      work.image_counts = image_counts.data(), work.windows_left = list.data();
      cuda::screen_windows(queue, work, screen_weights_.data());
      cuda::confirm_windows(queue, work, weights.as<void>());
    } else {
      cuda::refine(queue, work, stage_, arithmetic_, weights.as<void>());
    }
    MTCNN_FAST_CHECK(cudaStreamSynchronize(stream));
    if (left) {
      left->windows.assign(list.begin(), list.begin() + counts.windows_left);
      std::sort(left->windows.begin(), left->windows.end());
      left->of_images = {image_counts[0].windows_left, image_counts[1].windows_left};
    }
    MTCNN_FAST_CHECK(cudaStreamDestroy(stream));
    Heads result;
    for (std::size_t i = 0; i < n; ++i)
      result.emplace_back(heads.as<float>() + i * kHeadOutputs, heads.as<float>() + (i + 1) * kHeadOutputs);
    return result;
  }

 private:
  Stage stage_;
  Arithmetic arithmetic_;
  std::vector<unsigned char> weights_, screen_weights_;
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Case {
  Stage stage;
  Arithmetic arithmetic;
};
constexpr Case kCases[] = {{Stage::rnet, Arithmetic::fp32},
                           {Stage::onet, Arithmetic::fp32},
                           {Stage::rnet, Arithmetic::fp16},
                           {Stage::onet, Arithmetic::fp16}};

std::string name(const Case& c) {
  return std::string(c.stage == Stage::rnet ? "R-Net" : "O-Net") +
         (c.arithmetic == Arithmetic::fp32 ? ", fp32" : ", fp16");
}

// The first few of as many windows as asked for are all different; then they repeat.
constexpr std::size_t kDifferent = 3;
std::vector<const Crop*> repeated(const std::vector<Crop>& crops, std::size_t n) {
  std::vector<const Crop*> all;
  for (std::size_t i = 0; i < n; ++i) all.push_back(&crops[i % crops.size()]);
  return all;
}

std::vector<Crop> make_crops(std::mt19937& random, Stage stage) {
  std::vector<Crop> crops;
  for (std::size_t i = 0; i < kDifferent; ++i) crops.push_back(make_crop(random, stage));
  return crops;
}

void check_heads(const Case& c, const std::vector<float>& heads, const std::vector<double>& wanted, double tolerance) {
  std::vector<float> values(heads.begin(), heads.begin() + static_cast<std::ptrdiff_t>(outputs_of(c.stage)));
  values[0] = probability(values[0]);
  CHECK_NEAR(values, wanted, tolerance);
  for (std::size_t i = outputs_of(c.stage); i < kHeadOutputs; ++i) CHECK(heads[i] == 0);
}

}  // namespace

TEST(refine, agrees_with_reference) {
  std::mt19937 random(1);
  const Tensors tensors[] = {embedded_weights(), reference::random_weights(random)};
  for (const Case& c : kCases)
    for (const Tensors& networks : tensors) {
      const bool trained = &networks == &tensors[0];
      check::context = name(c) + (trained ? "" : ", random weights");
      const std::vector<Crop> crops = make_crops(random, c.stage);
      const Heads heads = Refiner(networks, c.stage, c.arithmetic)(repeated(crops, kDifferent));
      for (std::size_t i = 0; i < kDifferent; ++i)
        check_heads(c, heads[i], expected(networks, c.stage, crops[i]), c.arithmetic == Arithmetic::fp32 ? 2e-6 : 2e-3);
    }
}

// However many windows there are, each one's outputs are the same to the bit, and so are they in whatever order blocks
// and threads run.
TEST(refine, each_window_is_alone) {
  std::mt19937 random(2);
  for (const Case& c : kCases) {
    const std::vector<Crop> crops = make_crops(random, c.stage);
    const Refiner refiner(embedded_weights(), c.stage, c.arithmetic);
    Heads alone;
    for (const Crop& crop : crops) alone.push_back(refiner({&crop})[0]);
    for (const char* schedule : {"index", "reverse", "random:5"}) {
      setenv("SIMT_SCHEDULE", schedule, 1);
      const bool index = std::string(schedule) == "index";
      for (const std::size_t n : index ? std::vector<std::size_t>{0, 7, 33} : std::vector<std::size_t>{8}) {
        check::context = name(c) + ", " + schedule + ", " + std::to_string(n);
        const Heads heads = refiner(repeated(crops, n), -1, n > 7 ? 5 : 1);
        for (std::size_t i = 0; i < n; ++i) CHECK(same(heads[i], alone[i % kDifferent]));
      }
    }
    unsetenv("SIMT_SCHEDULE");
  }
}

TEST(refine, capacity_and_count) {
  std::mt19937 random(3);
  for (const Case& c : kCases) {
    check::context = name(c);
    const std::vector<Crop> crops = make_crops(random, c.stage);
    const Refiner refiner(embedded_weights(), c.stage, c.arithmetic);
    const Heads all = refiner(repeated(crops, 3)), counted_more = refiner(repeated(crops, 3), 1000),
                counted_less = refiner(repeated(crops, 3), 2);
    for (std::size_t i = 0; i < 3; ++i) CHECK(same(counted_more[i], all[i]));
    for (std::size_t i = 0; i < 2; ++i) CHECK(same(counted_less[i], all[i]));
    for (const float value : counted_less[2]) CHECK(std::isnan(value));
  }
}

// A window of NaN has heads of NaN, and spoils none of the others.
TEST(refine, nan) {
  std::mt19937 random(4);
  for (const Case& c : kCases) {
    check::context = name(c);
    std::vector<Crop> crops = make_crops(random, c.stage);
    const Refiner refiner(embedded_weights(), c.stage, c.arithmetic);
    const Heads clean = refiner(repeated(crops, kDifferent));
    crops[1].assign(crops[1].size(), std::numeric_limits<float>::quiet_NaN());
    const Heads heads = refiner(repeated(crops, kDifferent));
    for (std::size_t i = 0; i < outputs_of(c.stage); ++i) CHECK(std::isnan(heads[1][i]));
    CHECK(same(heads[0], clean[0]));
    CHECK(same(heads[2], clean[2]));
  }
}

// What the screen leaves has the same heads as without it, and the others a logit that passes no threshold.
TEST(refine, the_screen_changes_nothing) {
  std::mt19937 random(5);
  std::vector<Crop> crops;
  for (int i = 0; i < 12; ++i) crops.push_back(make_crop(random, Stage::rnet));
  const std::vector<const Crop*> all = repeated(crops, crops.size());
  const Refiner refiner(embedded_weights(), Stage::rnet, Arithmetic::fp32);
  const Heads exact = refiner(all), low = Refiner(embedded_weights(), Stage::rnet, Arithmetic::fp16)(all);
  std::size_t lowered = 0;  // the window that fp16 lowers most
  for (std::size_t i = 0; i < exact.size(); ++i)
    if (exact[i][0] - low[i][0] > exact[lowered][0] - low[lowered][0]) lowered = i;
  const float edge = exact[lowered][0];
  CHECK(low[lowered][0] < edge);
  for (const float least : {-std::numeric_limits<float>::infinity(), edge - 0.12f, edge}) {
    Refiner::Left left = {least};
    const Heads heads = refiner(all, -1, 3, &left);
    CHECK(left.of_images[0] + left.of_images[1] == static_cast<int>(left.windows.size()));
    for (int i = 0; i < static_cast<int>(exact.size()); ++i) {
      const bool passes = low[i][0] >= least;
      CHECK(std::binary_search(left.windows.begin(), left.windows.end(), i) == passes);
      CHECK(passes ? same(heads[i], exact[i]) : heads[i][0] == -std::numeric_limits<float>::infinity());
      // With its margin no window is lost that reaches the threshold; without it, the window that fp16 lowers is.
      if (exact[i][0] >= edge && least < edge) CHECK(passes);
      if (i == static_cast<int>(lowered) && least == edge) CHECK(!passes);
    }
  }
}
