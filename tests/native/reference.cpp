#include "reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "weights.h"

namespace reference {
namespace {

using mtcnn_fast::Tensor;
using mtcnn_fast::Tensors;

Map conv(const Tensors& tensors, const std::string& name, const Map& in) {
  const Tensor& weight = tensors.at(name + ".weight");
  const Tensor& bias = tensors.at(name + ".bias");
  const int kernel = weight.shape.size() == 4 ? int(weight.shape[2]) : 1;
  Map out(in.height - kernel + 1, in.width - kernel + 1, int(weight.shape[0]));
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x)
      for (int o = 0; o < out.channels; ++o) {
        double sum = bias.data[o];
        for (int i = 0; i < in.channels; ++i)
          for (int ky = 0; ky < kernel; ++ky)
            for (int kx = 0; kx < kernel; ++kx)
              sum += weight.data[((std::size_t(o) * in.channels + i) * kernel + ky) * kernel + kx] *
                     in.at(y + ky, x + kx, i);
        out.at(y, x, o) = sum;
      }
  return out;
}

Map prelu(const Tensors& tensors, const std::string& name, Map map) {
  const Tensor& slope = tensors.at(name + ".weight");
  for (std::size_t i = 0; i < map.values.size(); ++i)
    if (map.values[i] < 0) map.values[i] *= slope.data[i % map.channels];
  return map;
}

// Ceil mode: a window that the border cuts looks only at what is there.
Map maxpool(const Map& in, int kernel) {
  const auto outputs = [&](int side) { return (side - kernel + 1) / 2 + 1; };
  Map out(outputs(in.height), outputs(in.width), in.channels);
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x)
      for (int c = 0; c < out.channels; ++c) {
        double best = -std::numeric_limits<double>::infinity();
        for (int sy = 2 * y; sy < std::min(2 * y + kernel, in.height); ++sy)
          for (int sx = 2 * x; sx < std::min(2 * x + kernel, in.width); ++sx) best = std::max(best, in.at(sy, sx, c));
        out.at(y, x, c) = best;
      }
  return out;
}

// A dense layer sees its input as (channel, row, column).
Map flatten(const Map& in) {
  Map out(1, 1, in.height * in.width * in.channels);
  auto next = out.values.begin();
  for (int c = 0; c < in.channels; ++c)
    for (int y = 0; y < in.height; ++y)
      for (int x = 0; x < in.width; ++x) *next++ = in.at(y, x, c);
  return out;
}

std::vector<double> face_probability(const Map& logits) {
  std::vector<double> result;
  for (std::size_t i = 0; i < logits.values.size(); i += 2)
    result.push_back(1 / (1 + std::exp(logits.values[i] - logits.values[i + 1])));
  return result;
}

Map block(const Tensors& tensors, const std::string& net, int layer, const Map& in) {
  const std::string number = std::to_string(layer);
  return prelu(tensors, net + ".prelu" + number, conv(tensors, net + ".conv" + number, in));
}

}  // namespace

Outputs pnet(const Tensors& tensors, const Map& level) {
  Map map = maxpool(block(tensors, "pnet", 1, level), 2);
  map = block(tensors, "pnet", 3, block(tensors, "pnet", 2, map));
  return {face_probability(conv(tensors, "pnet.face", map)), conv(tensors, "pnet.box", map).values, {}};
}

Outputs rnet(const Tensors& tensors, const Map& crop) {
  Map map = maxpool(block(tensors, "rnet", 1, crop), 3);
  map = maxpool(block(tensors, "rnet", 2, map), 3);
  map = block(tensors, "rnet", 3, map);
  map = prelu(tensors, "rnet.prelu4", conv(tensors, "rnet.fc", flatten(map)));
  return {face_probability(conv(tensors, "rnet.face", map)), conv(tensors, "rnet.box", map).values, {}};
}

Outputs onet(const Tensors& tensors, const Map& crop) {
  Map map = maxpool(block(tensors, "onet", 1, crop), 3);
  map = maxpool(block(tensors, "onet", 2, map), 3);
  map = maxpool(block(tensors, "onet", 3, map), 2);
  map = block(tensors, "onet", 4, map);
  map = prelu(tensors, "onet.prelu5", conv(tensors, "onet.fc", flatten(map)));
  return {face_probability(conv(tensors, "onet.face", map)), conv(tensors, "onet.box", map).values,
          conv(tensors, "onet.landmarks", map).values};
}

namespace {

// Weight of source pixel `i` in output pixel `o`.
double area_weight(int i, int o, double ratio) {
  return std::max(0.0, std::min(i + 1.0, (o + 1) * ratio) - std::max(double(i), o * ratio)) / ratio;
}
double bilinear_weight(int i, int o, double ratio, int source) {
  const double centre = std::clamp((o + 0.5) * ratio - 0.5, 0.0, source - 1.0);
  return std::max(0.0, 1 - std::abs(centre - i));
}

}  // namespace

Map resize(const Map& image, int height, int width) {
  const double ratio_y = double(image.height) / height, ratio_x = double(image.width) / width;
  const bool area = ratio_y >= 1 && ratio_x >= 1;
  const auto weight = [&](int i, int o, double ratio, int source) {
    return area ? area_weight(i, o, ratio) : bilinear_weight(i, o, ratio, source);
  };
  Map rows(height, image.width, image.channels), out(height, width, image.channels);
  for (int y = 0; y < height; ++y)
    for (int sy = 0; sy < image.height; ++sy) {
      const double w = weight(sy, y, ratio_y, image.height);
      for (int x = 0; x < image.width && w; ++x)
        for (int c = 0; c < image.channels; ++c) rows.at(y, x, c) += w * image.at(sy, x, c);
    }
  for (int x = 0; x < width; ++x)
    for (int sx = 0; sx < image.width; ++sx) {
      const double w = weight(sx, x, ratio_x, image.width);
      for (int y = 0; y < height && w; ++y)
        for (int c = 0; c < image.channels; ++c) out.at(y, x, c) += w * rows.at(y, sx, c);
    }
  return out;
}

Tensors random_weights(std::mt19937& random) {
  Tensors tensors = mtcnn_fast::embedded_weights();
  std::normal_distribution<float> normal;
  for (auto& [name, tensor] : tensors) {
    const bool weight = name.ends_with(".weight") && tensor.shape.size() > 1;
    const double inputs = double(tensor.data.size()) / tensor.shape[0];
    const double spread = weight ? std::sqrt(1 / inputs) : name.ends_with(".bias") ? 0.1 : 0.7;
    for (float& value : tensor.data) value = float(spread * normal(random));
  }
  return tensors;
}

}  // namespace reference
