// Detectors by instruction set, and pictures made of random numbers.
#pragma once

#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <mtcnn_fast/detector.h>

#include "check.h"
#include "conventions.h"

// Calls `test` once per instruction set that was built and that this machine has, with MTCNN_FAST_ISA set to it.
inline void for_each_isa(const std::function<void()>& test) {
  for (const std::string& isa : mtcnn_fast::available_isas()) {
    setenv("MTCNN_FAST_ISA", isa.c_str(), 1);
    check::context = isa;
    test();
  }
  unsetenv("MTCNN_FAST_ISA");
}

inline std::vector<std::string> profiles() {
  std::vector<std::string> names;
  for (const mtcnn_fast::Conventions& conventions : mtcnn_fast::kProfiles) names.emplace_back(conventions.name);
  return names;
}

// A packed RGB picture. Blobs of several sizes under a little noise: pure noise makes P-Net see nothing.
struct Picture {
  int width, height;
  std::vector<std::uint8_t> pixels;

  Picture(int width, int height, unsigned seed)
      : width(width), height(height), pixels(std::size_t{3} * width * height) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform;
    std::vector<double> canvas(pixels.size(), 128);
    for (int blob = 0; blob < 24; ++blob) {
      const double x = uniform(random) * width, y = uniform(random) * height, radius = 2 + uniform(random) * 12;
      const double colour[3] = {uniform(random) * 200 - 100, uniform(random) * 200 - 100, uniform(random) * 200 - 100};
      for (int row = 0; row < height; ++row)
        for (int column = 0; column < width; ++column) {
          const double squared = ((column - x) * (column - x) + (row - y) * (row - y)) / (radius * radius);
          if (squared > 16) continue;
          const double weight = std::exp(-squared);
          for (int c = 0; c < 3; ++c) canvas[(std::size_t(row) * width + column) * 3 + c] += colour[c] * weight;
        }
    }
    for (std::size_t i = 0; i < pixels.size(); ++i)
      pixels[i] = std::uint8_t(std::clamp(canvas[i] + uniform(random) * 20 - 10, 0.0, 255.0));
  }

  mtcnn_fast::ImageView view() const { return {.data = pixels.data(), .width = width, .height = height}; }
};

// Thresholds at which a picture of blobs has hundreds of candidates, of which every stage drops some.
inline mtcnn_fast::Options lenient() { return {.min_face_size = 12, .thresholds = {0.01, 0.01, 0.003}}; }

inline bool same(const std::vector<mtcnn_fast::Detection>& a, const std::vector<mtcnn_fast::Detection>& b) {
  const auto key = [](const mtcnn_fast::Detection& d) {
    std::vector<float> values{d.box.x1, d.box.y1, d.box.x2, d.box.y2, d.score};
    for (const mtcnn_fast::Point& point : d.landmarks) values.insert(values.end(), {point.x, point.y});
    return values;
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](auto& x, auto& y) { return key(x) == key(y); });
}
