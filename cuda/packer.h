// The base of every packer of a network's parameters: the tensors by name, and the packed bytes.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../src/networks.h"
#include "kernels.h"

namespace mtcnn_fast::cuda {

class Packer {
 public:
  Packer(const NamedTensors& tensors, const char* network) : tensors_(tensors), network_(network) {}

  // The output layers as one, [output][input], the face's logit first; then their biases.
  void heads(const std::vector<std::string>& names) {
    append(logit_row(get("face.weight")));
    for (const std::string& name : names) append(get(name + ".weight"));
    append(logit_row(get("face.bias")));
    for (const std::string& name : names) append(get(name + ".bias"));
  }

  std::vector<unsigned char> take() { return std::move(bytes_); }

 protected:
  std::span<const float> get(const std::string& name) const { return tensors_.at(network_ + "." + name); }

  void append(std::span<const float> values) {
    for (const float value : values) append_value(value);
  }
  template <class T>
  void append_value(T value) {
    bytes_.resize(bytes_.size() + sizeof value);
    std::memcpy(bytes_.data() + bytes_.size() - sizeof value, &value, sizeof value);
  }

 private:
  const NamedTensors& tensors_;
  std::string network_;
  std::vector<unsigned char> bytes_;
};

}  // namespace mtcnn_fast::cuda
