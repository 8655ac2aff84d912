#include "networks.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace mtcnn_fast {
namespace {

// Every layer with parameters. Shapes are those of the weight: convolutions (out, in, height, width), dense layers
// (out, in), PReLU (channels); the first two have a bias (out) besides.
struct LayerSpec {
  const char* name;
  int rank;
  std::int64_t shape[4];
};
constexpr LayerSpec kLayers[] = {
    {"pnet.conv1", 4, {10, 3, 3, 3}},   {"pnet.prelu1", 1, {10}},          {"pnet.conv2", 4, {16, 10, 3, 3}},
    {"pnet.prelu2", 1, {16}},           {"pnet.conv3", 4, {32, 16, 3, 3}}, {"pnet.prelu3", 1, {32}},
    {"pnet.face", 4, {2, 32, 1, 1}},    {"pnet.box", 4, {4, 32, 1, 1}},    {"rnet.conv1", 4, {28, 3, 3, 3}},
    {"rnet.prelu1", 1, {28}},           {"rnet.conv2", 4, {48, 28, 3, 3}}, {"rnet.prelu2", 1, {48}},
    {"rnet.conv3", 4, {64, 48, 2, 2}},  {"rnet.prelu3", 1, {64}},          {"rnet.fc", 2, {128, 576}},
    {"rnet.prelu4", 1, {128}},          {"rnet.face", 2, {2, 128}},        {"rnet.box", 2, {4, 128}},
    {"onet.conv1", 4, {32, 3, 3, 3}},   {"onet.prelu1", 1, {32}},          {"onet.conv2", 4, {64, 32, 3, 3}},
    {"onet.prelu2", 1, {64}},           {"onet.conv3", 4, {64, 64, 3, 3}}, {"onet.prelu3", 1, {64}},
    {"onet.conv4", 4, {128, 64, 2, 2}}, {"onet.prelu4", 1, {128}},         {"onet.fc", 2, {256, 1152}},
    {"onet.prelu5", 1, {256}},          {"onet.face", 2, {2, 256}},        {"onet.box", 2, {4, 256}},
    {"onet.landmarks", 2, {10, 256}},
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::ostringstream text;
  text << '(';
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i ? ", " : "") << shape[i];
  text << (shape.size() == 1 ? ",)" : ")");
  return text.str();
}

void check_tensor(const Tensors& tensors, const std::string& name, const std::vector<std::int64_t>& wanted) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw std::invalid_argument("weights: tensor '" + name + "' is missing");
  const Tensor& tensor = found->second;
  if (tensor.shape != wanted)
    throw std::invalid_argument("weights: tensor '" + name + "' has shape " + shape_text(tensor.shape) + ", wanted " +
                                shape_text(wanted));
  std::size_t values = 1;
  for (const std::int64_t n : wanted) values *= static_cast<std::size_t>(n);
  if (tensor.data.size() != values)
    throw std::invalid_argument("weights: tensor '" + name + "' of shape " + shape_text(wanted) + " holds " +
                                std::to_string(tensor.data.size()) + " values");
  if (!std::all_of(tensor.data.begin(), tensor.data.end(), [](float x) { return std::isfinite(x); }))
    throw std::invalid_argument("weights: tensor '" + name + "' has a value that is not finite");
}

}  // namespace

void check_tensors(const Tensors& tensors) {
  std::size_t known = 0;
  const auto check = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
    check_tensor(tensors, name, shape);
    ++known;
  };
  for (const LayerSpec& layer : kLayers) {
    const std::string name = layer.name;
    check(name + ".weight", {layer.shape, layer.shape + layer.rank});
    if (layer.rank > 1) check(name + ".bias", {layer.shape[0]});
  }
  if (tensors.size() == known) return;
  for (const auto& entry : tensors) {
    const std::string& name = entry.first;  // not a structured binding: Clang 14 captures none
    const std::string layer = name.substr(0, name.rfind('.'));
    const bool of_layer = std::any_of(std::begin(kLayers), std::end(kLayers), [&](const LayerSpec& spec) {
      return layer == spec.name && (name == layer + ".weight" || (spec.rank > 1 && name == layer + ".bias"));
    });
    if (!of_layer) throw std::invalid_argument("weights: unknown tensor '" + name + "'");
  }
}

}  // namespace mtcnn_fast
