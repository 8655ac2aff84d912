// R-Net's and O-Net's parameters as refine.cu reads them: of each layer weights, biases and slopes, one layer after the
// other in the order of the network.
#include <cstring>

#include "refine_fp16.h"

namespace mtcnn_fast::cuda {
namespace {

class RefinePacker {
 public:
  RefinePacker(const NamedTensors& tensors, const char* network) : tensors_(tensors), network_(network) {}

  // [outputs / maps][plane][row][column][map of the plane][maps], in the order in which a thread goes through them.
  void conv(const Conv& c, const std::string& name, const std::string& slope) {
    const auto weight = get(name + ".weight");
    const int plane = plane_maps(c);
    for (int o = 0; o < c.outputs; o += c.maps)
      for (int p = 0; p < c.inputs; p += plane)
        for (int y = 0; y < c.kernel; ++y)
          for (int x = 0; x < c.kernel; ++x)
            for (int i = 0; i < plane; ++i)
              for (int m = 0; m < c.maps; ++m)
                values_.push_back(
                    weight[static_cast<std::size_t>((((o + m) * c.inputs + p + i) * c.kernel + y) * c.kernel + x)]);
    append(name + ".bias");
    append(slope + ".weight");
  }

  // [input][output]. Inputs come as (row, column, map) of side x side; in the files they are (map, row, column).
  void product(const Product& p, const std::string& name, const std::string& slope, int side) {
    const auto weight = get(name + ".weight");
    const int places = side * side, maps = p.inputs / places;
    for (int place = 0; place < places; ++place)
      for (int map = 0; map < maps; ++map)
        for (int o = 0; o < p.outputs; ++o)
          values_.push_back(weight[static_cast<std::size_t>((o * maps + map) * places + place)]);
    append(name + ".bias");
    append(slope + ".weight");
  }

  // [output][input]. The softmax of two is a sigmoid of their difference, so that the first output is the difference of
  // the logits.
  void heads(const std::vector<std::string>& names) {
    difference("face.weight");
    for (const std::string& name : names) append(name + ".weight");
    difference("face.bias");
    for (const std::string& name : names) append(name + ".bias");
  }

  std::vector<unsigned char> bytes() const {
    std::vector<unsigned char> result(values_.size() * sizeof(float));
    std::memcpy(result.data(), values_.data(), result.size());
    return result;
  }

 private:
  std::span<const float> get(const std::string& name) const { return tensors_.at(network_ + "." + name); }
  void append(const std::string& name) {
    const auto tensor = get(name);
    values_.insert(values_.end(), tensor.begin(), tensor.end());
  }
  void difference(const std::string& name) {
    const auto tensor = get(name);
    const std::size_t half = tensor.size() / 2;
    for (std::size_t i = 0; i < half; ++i) values_.push_back(tensor[half + i] - tensor[i]);
  }

  const NamedTensors& tensors_;
  std::string network_;
  std::vector<float> values_;
};

// As refine_fp16.cu reads them: of each layer B's fragments in the order of the lanes that load them, padded with
// zeros.
class Fp16Packer {
 public:
  Fp16Packer(const NamedTensors& tensors, const char* network) : tensors_(tensors), network_(network) {}

  void conv(const FirstConvFp16& c, const std::string& name, const std::string& slope) {
    const auto weight = get(name + ".weight");
    for (int odd = 0; odd < 2; ++odd)
      for (int tile = 0; tile < c.outputs / kColumns; ++tile)
        for (int k = 0; k < 2; ++k)
          fragment([&](int row, int column) {
            const int value = k * kDepth + row, y = value / 10, within = value % 10 - odd;
            const int map = tile * kColumns + column;
            if (y > 2 || within < 0 || within > 8 || map >= c.maps) return 0.0f;
            return weight[index((map * 3 + within % 3) * 9 + y * 3 + within / 3)];
          });
    rest(name, slope, c.outputs);
  }
  void conv(const ConvFp16& c, const std::string& name, const std::string& slope) {
    const auto weight = get(name + ".weight");
    const int blocks = c.inputs / kDepth;
    for (int tile = 0; tile < c.outputs / kColumns; ++tile)
      for (int place = 0; place < c.kernel * c.kernel; ++place)
        for (int block = 0; block < blocks; ++block)
          fragment([&](int row, int column) {
            const int input = block * kDepth + row, map = tile * kColumns + column;
            return input < c.maps ? weight[index((map * c.maps + input) * c.kernel * c.kernel + place)] : 0.0f;
          });
    rest(name, slope, c.outputs);
  }
  // See product_fp16_kernel(): of 32 inputs, a lane's eight are four pairs, two for each of two products. In the files,
  // inputs are (map, row, column) of side x side.
  void product(const ProductFp16& p, const std::string& name, const std::string& slope, int side) {
    const auto weight = get(name + ".weight");
    const int places = side * side, maps = p.inputs / places;
    for (int tile = 0; tile < p.outputs / kColumns; ++tile)
      for (int step = 0; step < p.inputs / kStep; ++step)
        for (int lane = 0; lane < kWarp; ++lane)
          for (int i = 0; i < 8; ++i) {
            const int input = step * kStep + lane % 4 * 8 + i, map = input % maps, place = input / maps;
            const int output = tile * kColumns + lane / 4;
            append(weight[index((output * maps + map) * places + place)]);
          }
    rest(name, slope, p.outputs);
  }
  void heads(const std::vector<std::string>& names) {
    difference("face.weight");
    for (const std::string& name : names) append_tensor(name + ".weight");
    difference("face.bias");
    for (const std::string& name : names) append_tensor(name + ".bias");
  }
  std::vector<unsigned char> take() { return std::move(bytes_); }

 private:
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }
  std::span<const float> get(const std::string& name) const { return tensors_.at(network_ + "." + name); }

  // B's fragment as in mma.h, of what weight(row, column) tells.
  template <class Weight>
  void fragment(const Weight& weight) {
    for (int lane = 0; lane < kWarp; ++lane)
      for (int i = 0; i < 4; ++i) append(weight(lane % 4 * 2 + i % 2 + i / 2 * 8, lane / 4));
  }
  void rest(const std::string& name, const std::string& slope, int outputs) {
    for (const std::string& tensor : {name + ".bias", slope + ".weight"}) {
      append_tensor(tensor);
      for (std::size_t i = get(tensor).size(); i < index(outputs); ++i) append_float(0);
    }
  }
  void append_tensor(const std::string& name) {
    for (const float value : get(name)) append_float(value);
  }
  void difference(const std::string& name) {
    const auto tensor = get(name);
    const std::size_t half = tensor.size() / 2;
    for (std::size_t i = 0; i < half; ++i) append_float(tensor[half + i] - tensor[i]);
  }
  void append(float value) {
    const __half rounded = __float2half(value);
    append_bytes(&rounded, sizeof(rounded));
  }
  void append_float(float value) { append_bytes(&value, sizeof(value)); }
  void append_bytes(const void* value, std::size_t n) {
    bytes_.resize(bytes_.size() + n);
    std::memcpy(bytes_.data() + bytes_.size() - n, value, n);
  }

  const NamedTensors& tensors_;
  std::string network_;
  std::vector<unsigned char> bytes_;
};

std::vector<unsigned char> pack_fp16(const NamedTensors& tensors, Stage stage) {
  Fp16Packer packer(tensors, stage == Stage::rnet ? "rnet" : "onet");
  if (stage == Stage::rnet) {
    packer.conv(RnetFp16::Conv1::kShape, "conv1", "prelu1");
    packer.conv(RnetFp16::Conv2::kShape, "conv2", "prelu2");
    packer.product(RnetFp16::Conv3::kShape, "conv3", "prelu3", 2);
    packer.product(RnetFp16::Dense::kShape, "fc", "prelu4", 3);
    packer.heads({"box"});
  } else {
    packer.conv(OnetFp16::Conv1::kShape, "conv1", "prelu1");
    packer.conv(OnetFp16::Conv2::kShape, "conv2", "prelu2");
    packer.conv(OnetFp16::Conv3::kShape, "conv3", "prelu3");
    packer.product(OnetFp16::Conv4::kShape, "conv4", "prelu4", 2);
    packer.product(OnetFp16::Dense::kShape, "fc", "prelu5", 3);
    packer.heads({"box", "landmarks"});
  }
  return packer.take();
}

ActivationBytes activation_bytes_fp16(Stage stage) {
  const auto halves = [](int values) { return sizeof(__half) * static_cast<std::size_t>(values); };
  const auto of = [&](const FirstConvFp16& first, const ConvFp16& second, int maps3, const ProductFp16& conv,
                      const ProductFp16& dense) {
    return ActivationBytes{halves(3 * first.side * first.side), halves(pool_values(first) + pool_values(second)),
                           halves(maps3), halves(conv.rows * conv.outputs),
                           sizeof(float) * static_cast<std::size_t>(dense.outputs)};
  };
  return stage == Stage::rnet
             ? of(RnetFp16::Conv1::kShape, RnetFp16::Conv2::kShape, 0, RnetFp16::Conv3::kShape, RnetFp16::Dense::kShape)
             : of(OnetFp16::Conv1::kShape, OnetFp16::Conv2::kShape, pool_values(OnetFp16::Conv3::kShape),
                  OnetFp16::Conv4::kShape, OnetFp16::Dense::kShape);
}

}  // namespace

std::vector<unsigned char> pack_refine(const NamedTensors& tensors, Stage stage, Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::fp16) return pack_fp16(tensors, stage);
  RefinePacker packer(tensors, stage == Stage::rnet ? "rnet" : "onet");
  if (stage == Stage::rnet) {
    packer.conv(Rnet::Conv1::kShape, "conv1", "prelu1");
    packer.conv(Rnet::Conv2::kShape, "conv2", "prelu2");
    packer.product(Rnet::Conv3::kShape, "conv3", "prelu3", 2);
    packer.product(Rnet::Dense::kShape, "fc", "prelu4", 3);
    packer.heads({"box"});
  } else {
    packer.conv(Onet::Conv1::kShape, "conv1", "prelu1");
    packer.conv(Onet::Conv2::kShape, "conv2", "prelu2");
    packer.conv(Onet::Conv3::kShape, "conv3", "prelu3");
    packer.product(Onet::Conv4::kShape, "conv4", "prelu4", 2);
    packer.product(Onet::Dense::kShape, "fc", "prelu5", 3);
    packer.heads({"box", "landmarks"});
  }
  return packer.bytes();
}

ActivationBytes activation_bytes(Stage stage, Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::fp16) return activation_bytes_fp16(stage);
  constexpr std::size_t value = sizeof(float);
  const auto bytes = [](const Conv& first, const Conv& second, std::size_t maps3, const Product& conv,
                        const Product& dense) {
    return ActivationBytes{value * 3 * static_cast<std::size_t>(first.side * first.side),
                           value * (map_values(first) + map_values(second)), value * maps3,
                           value * static_cast<std::size_t>(conv.rows * conv.outputs),
                           value * static_cast<std::size_t>(dense.outputs)};
  };
  return stage == Stage::rnet
             ? bytes(Rnet::Conv1::kShape, Rnet::Conv2::kShape, 0, Rnet::Conv3::kShape, Rnet::Dense::kShape)
             : bytes(Onet::Conv1::kShape, Onet::Conv2::kShape, map_values(Onet::Conv3::kShape), Onet::Conv4::kShape,
                     Onet::Dense::kShape);
}

}  // namespace mtcnn_fast::cuda
