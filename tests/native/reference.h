// The networks and the resize as plain loops in double precision: what every instruction set is held against.
#pragma once

#include <random>
#include <string>
#include <vector>

#include <mtcnn_fast/types.h>

namespace reference {

struct Map {  // (height, width, channels), row-major
  int height = 0, width = 0, channels = 0;
  std::vector<double> values;
  Map(int height, int width, int channels)
      : height(height), width(width), channels(channels), values(std::size_t(height) * width * channels) {}
  double& at(int y, int x, int c) { return values[(std::size_t(y) * width + x) * channels + c]; }
  double at(int y, int x, int c) const { return values[(std::size_t(y) * width + x) * channels + c]; }
};

struct Outputs {
  std::vector<double> probability, offsets, landmarks;
};
Outputs pnet(const mtcnn_fast::Tensors&, const Map& level);
Outputs rnet(const mtcnn_fast::Tensors&, const Map& crop);
Outputs onet(const mtcnn_fast::Tensors&, const Map& crop);

Map resize(const Map& image, int height, int width);

// Networks of the embedded ones' shapes with random numbers: slopes of both signs and above 1, no two alike.
mtcnn_fast::Tensors random_weights(std::mt19937& random);

}  // namespace reference
