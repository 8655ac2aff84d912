// R-Net's and O-Net's parameters as their kernels read them: of each layer weights, biases and slopes, one layer after
// the other in the order of the network.
#include "packer.h"
#include "refine_fp16.h"

namespace mtcnn_fast::cuda {
namespace {

// As refine.cu reads them.
class Fp32Packer : public Packer {
 public:
  using Packer::Packer;

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
                append_value(
                    weight[static_cast<std::size_t>((((o + m) * c.inputs + p + i) * c.kernel + y) * c.kernel + x)]);
    append(get(name + ".bias"));
    append(get(slope + ".weight"));
  }

  // [input][output]. Inputs come as (row, column, map) of side x side; in the files they are (map, row, column).
  void product(const Product& p, const std::string& name, const std::string& slope, int side) {
    const auto weight = get(name + ".weight");
    const int places = side * side, maps = p.inputs / places;
    for (int place = 0; place < places; ++place)
      for (int map = 0; map < maps; ++map)
        for (int o = 0; o < p.outputs; ++o)
          append_value(weight[static_cast<std::size_t>((o * maps + map) * places + place)]);
    append(get(name + ".bias"));
    append(get(slope + ".weight"));
  }
};

// As refine_fp16.cu reads them: of each layer B's fragments in the order of the lanes that load them, padded with
// zeros.
class Fp16Packer : public Packer {
 public:
  using Packer::Packer;

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
    biases_and_slopes(name, slope, c.outputs);
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
    biases_and_slopes(name, slope, c.outputs);
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
            append_value(__float2half(weight[index((output * maps + map) * places + place)]));
          }
    biases_and_slopes(name, slope, p.outputs);
  }

 private:
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }

  // B's fragment as in mma.h, of the weights that weight(row, column) gives.
  template <class Weight>
  void fragment(const Weight& weight) {
    for (int lane = 0; lane < kWarp; ++lane)
      for (int i = 0; i < 4; ++i) append_value(__float2half(weight(lane % 4 * 2 + i % 2 + i / 2 * 8, lane / 4)));
  }
  void biases_and_slopes(const std::string& name, const std::string& slope, int outputs) {
    for (const std::string& tensor : {name + ".bias", slope + ".weight"}) {
      append(get(tensor));
      for (std::size_t i = get(tensor).size(); i < index(outputs); ++i) append_value(0.0f);
    }
  }
};

template <class Layers, class NetworkPacker>
std::vector<unsigned char> pack(const NamedTensors& tensors) {
  constexpr bool kRnet = Layers::Net::kStage == Stage::rnet;
  NetworkPacker packer(tensors, kRnet ? "rnet" : "onet");
  packer.conv(Layers::Conv1::kShape, "conv1", "prelu1");
  packer.conv(Layers::Conv2::kShape, "conv2", "prelu2");
  if constexpr (kRnet) {
    packer.product(Layers::Conv3::kShape, "conv3", "prelu3", 2);
    packer.product(Layers::Dense::kShape, "fc", "prelu4", 3);
    packer.heads({"box"});
  } else {
    packer.conv(Layers::Conv3::kShape, "conv3", "prelu3");
    packer.product(Layers::Conv4::kShape, "conv4", "prelu4", 2);
    packer.product(Layers::Dense::kShape, "fc", "prelu5", 3);
    packer.heads({"box", "landmarks"});
  }
  return packer.take();
}

template <class Layers, class Element>
ActivationBytes bytes_of() {
  const auto elements = [](std::size_t count) { return sizeof(Element) * count; };
  const auto outputs = [](const auto& product) { return static_cast<std::size_t>(product.rows * product.outputs); };
  constexpr std::size_t kSide = crop_side(Layers::Net::kStage);
  ActivationBytes bytes = {};
  bytes.crops = elements(3 * kSide * kSide);
  bytes.maps = elements(map_values(Layers::Conv1::kShape) + map_values(Layers::Conv2::kShape));
  if constexpr (Layers::Net::kStage == Stage::rnet) {
    bytes.features = elements(outputs(Layers::Conv3::kShape));
  } else {
    bytes.maps3 = elements(map_values(Layers::Conv3::kShape));
    bytes.features = elements(outputs(Layers::Conv4::kShape));
  }
  bytes.hidden = sizeof(float) * outputs(Layers::Dense::kShape);
  return bytes;
}

}  // namespace

std::vector<unsigned char> pack_refine(const NamedTensors& tensors, Stage stage, Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::fp16)
    return stage == Stage::rnet ? pack<RnetFp16, Fp16Packer>(tensors) : pack<OnetFp16, Fp16Packer>(tensors);
  return stage == Stage::rnet ? pack<Rnet, Fp32Packer>(tensors) : pack<Onet, Fp32Packer>(tensors);
}

ActivationBytes activation_bytes(Stage stage, Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::fp16)
    return stage == Stage::rnet ? bytes_of<RnetFp16, __half>() : bytes_of<OnetFp16, __half>();
  return stage == Stage::rnet ? bytes_of<Rnet, float>() : bytes_of<Onet, float>();
}

}  // namespace mtcnn_fast::cuda
