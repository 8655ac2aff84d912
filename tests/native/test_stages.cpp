// Every stage of every instruction set against plain loops in double precision (reference.cpp).
#include "backend.h"
#include "common.h"
#include "reference.h"
#include "weights.h"

using mtcnn_fast::Backend;
using mtcnn_fast::Detector;
using mtcnn_fast::Options;
using mtcnn_fast::pnet_cells;
using reference::Map;

namespace {

// Sums of up to 1,152 products in float32, in any order, stay this near to the exact sum; outputs grow with the input.
constexpr double kTolerance = 1e-4;

Map random_map(int height, int width, std::mt19937& random) {
  Map map(height, width, 3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (double& value : map.values) value = uniform(random);
  return map;
}

std::vector<float> floats(const Map& map) { return {map.values.begin(), map.values.end()}; }

// The embedded networks, then networks of random numbers, which take branches that the trained ones do not.
void for_each_network(const std::function<void(const mtcnn_fast::Tensors&)>& test) {
  std::mt19937 random(5);
  for_each_isa([&] {
    test(mtcnn_fast::embedded_weights());
    check::context += ", random weights";
    test(reference::random_weights(random));
  });
}

}  // namespace

TEST(stages, resize) {
  struct Case {
    int height, width, to_height, to_width;
  };
  const Case cases[] = {{48, 64, 24, 32},  {47, 61, 13, 17}, {24, 24, 24, 24}, {12, 100, 12, 31},
                        {30, 200, 29, 14}, {13, 17, 24, 24}, {9, 80, 24, 24},  {80, 9, 24, 24},
                        {1, 1, 12, 12},    {100, 1, 7, 1},   {1, 64, 1, 63},   {5, 5, 48, 48}};
  for_each_isa([&] {
    const Detector detector;
    std::mt19937 random(1);
    for (const Case& c : cases) {
      Map image(c.height, c.width, 3);
      std::vector<std::uint8_t> pixels;
      for (double& value : image.values) pixels.push_back(std::uint8_t(value = double(random() % 256)));
      std::vector<float> out(std::size_t{3} * c.to_height * c.to_width);
      detector.backend().resize({.data = pixels.data(), .width = c.width, .height = c.height}, c.to_height, c.to_width,
                                out.data(), nullptr);
      CHECK_NEAR(out, reference::resize(image, c.to_height, c.to_width).values, 1e-4);
    }
  });
}

TEST(stages, pnet) {
  struct Size {
    int height, width;
  };
  // The smallest level; sides that ceil-mode pooling cuts and does not cut; rows of less and more than every vector.
  const Size sizes[] = {{12, 12}, {12, 13}, {13, 12}, {13, 40},  {40, 13},  {14, 14}, {15, 29},
                        {16, 46}, {31, 33}, {64, 67}, {12, 300}, {300, 12}, {75, 76}};
  for_each_network([&](const mtcnn_fast::Tensors& weights) {
    const Detector detector(Options{.weights = weights});
    std::mt19937 random(2);
    for (const Size& size : sizes) {
      const Map level = random_map(size.height, size.width, random);
      const auto expected = reference::pnet(weights, level);
      const int rows = pnet_cells(size.height), columns = pnet_cells(size.width);
      CHECK(std::size_t(rows) * columns == expected.probability.size());
      std::vector<float> probability(expected.probability.size()), offsets(expected.offsets.size());
      detector.backend().pnet(floats(level).data(), size.height, size.width, probability.data(), offsets.data());
      CHECK_NEAR(probability, expected.probability, kTolerance);
      CHECK_NEAR(offsets, expected.offsets, kTolerance);
    }
  });
}

TEST(stages, pnet_has_no_cells_below_12) {
  CHECK(pnet_cells(0) == 0);
  CHECK(pnet_cells(11) == 0);
  CHECK(pnet_cells(12) == 1);
  CHECK(pnet_cells(13) == 2);
}

// Batches of one, of odd numbers and of more than a kernel takes at once.
TEST(stages, rnet) {
  for_each_network([&](const mtcnn_fast::Tensors& weights) {
    const Detector detector(Options{.weights = weights});
    std::mt19937 random(3);
    for (const int n : {1, 2, 3, 7, 31}) {
      std::vector<float> crops;
      reference::Outputs expected;
      for (int i = 0; i < n; ++i) {
        const Map crop = random_map(24, 24, random);
        crops.insert(crops.end(), crop.values.begin(), crop.values.end());
        const auto one = reference::rnet(weights, crop);
        expected.probability.push_back(one.probability[0]);
        expected.offsets.insert(expected.offsets.end(), one.offsets.begin(), one.offsets.end());
      }
      std::vector<float> probability(n), offsets(4 * n);
      detector.backend().rnet(crops.data(), n, probability.data(), offsets.data());
      CHECK_NEAR(probability, expected.probability, kTolerance);
      CHECK_NEAR(offsets, expected.offsets, kTolerance);
    }
    detector.backend().rnet(nullptr, 0, nullptr, nullptr);
  });
}

TEST(stages, onet) {
  for_each_network([&](const mtcnn_fast::Tensors& weights) {
    const Detector detector(Options{.weights = weights});
    std::mt19937 random(4);
    for (const int n : {1, 3, 26}) {
      // The reference takes 10 ms a crop: the larger batch repeats two of them.
      const Map crop[2] = {random_map(48, 48, random), random_map(48, 48, random)};
      const reference::Outputs outputs[2] = {reference::onet(weights, crop[0]), reference::onet(weights, crop[1])};
      std::vector<float> crops;
      reference::Outputs expected;
      for (int i = 0; i < n; ++i) {
        const auto& one = outputs[i % 2];
        crops.insert(crops.end(), crop[i % 2].values.begin(), crop[i % 2].values.end());
        expected.probability.push_back(one.probability[0]);
        expected.offsets.insert(expected.offsets.end(), one.offsets.begin(), one.offsets.end());
        expected.landmarks.insert(expected.landmarks.end(), one.landmarks.begin(), one.landmarks.end());
      }
      std::vector<float> probability(n), offsets(4 * n), landmarks(10 * n);
      detector.backend().onet(crops.data(), n, probability.data(), offsets.data(), landmarks.data());
      CHECK_NEAR(probability, expected.probability, kTolerance);
      CHECK_NEAR(offsets, expected.offsets, kTolerance);
      CHECK_NEAR(landmarks, expected.landmarks, kTolerance);
    }
    detector.backend().onet(nullptr, 0, nullptr, nullptr, nullptr);
  });
}
