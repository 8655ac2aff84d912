// The base of every packer of a network: the tensors by name, and memory for the packed values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "cpu/packed_networks.h"
#include "networks.h"

namespace mtcnn_fast {

class Packer {
 public:
  Packer(PackedNetworks& out, const Tensors& tensors, const char* network)
      : out_(out), tensors_(tensors), network_(network) {}

 protected:
  struct Rows {  // [output][tap], outputs padded
    std::size_t outputs, taps;
    std::vector<float> data;
    Rows(std::size_t o, std::size_t t) : outputs(o), taps(t), data(o * t) {}
    float& at(std::size_t o, std::size_t t) { return data[o * taps + t]; }
  };

  // The output layers' weights and biases, one below the other.
  std::pair<Rows, Tensor> head_rows(const std::vector<std::string>& names) const {
    const auto [weight, bias] = face();
    Rows rows(kHeadOutputs, weight.size());
    Tensor biases;
    std::copy(weight.begin(), weight.end(), &rows.at(0, 0));
    biases.data.push_back(bias);
    for (const std::string& name : names) {
      const Tensor& w = get(name + ".weight");
      std::copy(w.data.begin(), w.data.end(), &rows.at(biases.data.size(), 0));
      const Tensor& b = get(name + ".bias");
      biases.data.insert(biases.data.end(), b.data.begin(), b.data.end());
    }
    return {std::move(rows), std::move(biases)};
  }

  const Tensor& get(const std::string& name) const { return tensors_.at(network_ + "." + name); }

  // Weights of the face's logit, then its bias.
  std::pair<std::vector<float>, float> face() const {
    return {logit_row(get("face.weight").data), logit_row(get("face.bias").data).front()};
  }

  const float* copy(const Tensor& tensor, std::size_t floats) {
    float* copied = allocate(floats);
    std::copy(tensor.data.begin(), tensor.data.end(), copied);
    return copied;
  }

  float* allocate(std::size_t floats) { return out_.allocate(floats); }

  static std::size_t padded(std::size_t channels) { return (channels + kChannelPad - 1) / kChannelPad * kChannelPad; }

 private:
  PackedNetworks& out_;
  const Tensors& tensors_;
  std::string network_;
};

}  // namespace mtcnn_fast
