#include "networks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>

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

// To the nearest, halves to even.
std::uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// G in Lavin and Gray's names: a kernel's weights along one axis as a polynomial's coefficients, its values at the
// points of tiles of that side, divided as Lagrange's interpolation asks, and at infinity.
std::vector<std::vector<double>> winograd_weights(std::size_t tile, std::size_t kernel) {
  std::vector<std::vector<double>> rows;
  const std::size_t finite = tile + kernel - 2;
  for (std::size_t i = 0; i < finite; ++i) {
    const double point = kWinogradPoints[i];
    double factor = 1;
    for (std::size_t j = 0; j < finite; ++j)
      if (j != i) factor /= point - kWinogradPoints[j];
    rows.emplace_back();
    for (std::size_t k = 0; k < kernel; ++k, factor *= point) rows.back().push_back(factor);
  }
  rows.emplace_back(kernel).back() = 1;
  return rows;
}

std::size_t padded(std::size_t channels) { return (channels + kChannelPad - 1) / kChannelPad * kChannelPad; }

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

// Rearranges one network's tensors.
class Packer {
 public:
  Packer(PackedNetworks& out, const Tensors& tensors, std::string network, const Kernels& kernels)
      : out_(out), tensors_(tensors), network_(std::move(network)), kernels_(kernels) {}

  // A layer for lanes that are pixels: [out / block][in][kh][kw][block].
  Layer planar(const std::string& name, const std::string& slope) {
    const Tensor& weight = get(name + ".weight");
    const auto outputs = static_cast<std::size_t>(weight.shape[0]), taps = weight.data.size() / outputs;
    const auto block = static_cast<std::size_t>(planar_block(static_cast<int>(outputs), kernels_.registers));
    float* packed = out_.allocate(weight.data.size());
    for (std::size_t o = 0; o < outputs; ++o)
      for (std::size_t t = 0; t < taps; ++t)
        packed[(o / block * taps + t) * block + o % block] = weight.data[o * taps + t];
    return {packed, copy(get(name + ".bias"), outputs), copy(get(slope + ".weight"), outputs)};
  }

  // A dense layer for lanes that are channels: [out / tile][in][tile]. Its input, flattened as (channel, row, column),
  // is a map of side x side.
  Layer dense(const std::string& name, const std::string& slope, std::size_t side) {
    const Tensor& weight = get(name + ".weight");
    const auto outputs = static_cast<std::size_t>(weight.shape[0]), taps = weight.data.size() / outputs;
    const std::size_t pixels = side * side, inputs = taps / pixels;
    Rows rows(padded(outputs), taps);
    for (std::size_t o = 0; o < outputs; ++o)
      for (std::size_t i = 0; i < inputs; ++i)
        for (std::size_t p = 0; p < pixels; ++p) rows.at(o, p * inputs + i) = weight.data[o * taps + i * pixels + p];
    return layer(rows, name, slope);
  }

  // A convolution for Winograd tiles of that side: [out / tile][point][in][tile]. Evaluated in double and rounded once.
  Layer winograd(const std::string& name, const std::string& slope, std::size_t tile) {
    const Convolution conv(get(name + ".weight"));
    const auto g = winograd_weights(tile, conv.kernel);
    const std::size_t edge = g.size();
    Rows rows(padded(conv.outputs), edge * edge * conv.inputs);
    for (std::size_t o = 0; o < conv.outputs; ++o)
      for (std::size_t i = 0; i < conv.inputs; ++i)
        for (std::size_t p = 0; p < edge * edge; ++p) {
          double value = 0;
          for (std::size_t y = 0; y < conv.kernel; ++y)
            for (std::size_t x = 0; x < conv.kernel; ++x)
              value += g[p / edge][y] * g[p % edge][x] * conv.at(o, i, y, x);
          rows.at(o, p * conv.inputs + i) = static_cast<float>(value);
        }
    return layer(rows, name, slope);
  }

  // The same with points along rows only: [out / tile][kh][in][point][tile].
  Layer winograd_rows(const std::string& name, const std::string& slope, std::size_t tile) {
    const Convolution conv(get(name + ".weight"));
    const auto g = winograd_weights(tile, conv.kernel);
    const std::size_t edge = g.size();
    Rows rows(padded(conv.outputs), conv.kernel * conv.inputs * edge);
    for (std::size_t o = 0; o < conv.outputs; ++o)
      for (std::size_t i = 0; i < conv.inputs; ++i)
        for (std::size_t y = 0; y < conv.kernel; ++y)
          for (std::size_t p = 0; p < edge; ++p) {
            double value = 0;
            for (std::size_t x = 0; x < conv.kernel; ++x) value += g[p][x] * conv.at(o, i, y, x);
            rows.at(o, (y * conv.inputs + i) * edge + p) = static_cast<float>(value);
          }
    return layer(rows, name, slope);
  }

  // The output layers of R-Net or O-Net as one: logit difference, offsets, landmarks.
  Layer heads(const std::vector<std::string>& names) {
    auto [rows, biases] = head_rows(names);
    // The heads have no activation; their slope only has to be readable.
    return {tiles(rows), copy(biases, kHeadOutputs), copy(Tensor{}, kHeadOutputs)};
  }

  // A layer in bf16: kernel rows, or all of a layer's map, are runs of `pixels` pixels of `stride` inputs, filled up to
  // whole steps.
  TileLayer tile_layer(const std::string& name, const std::string& slope, std::size_t side, std::size_t pixels,
                       std::size_t stride) {
    const Tensor& weight = get(name + ".weight");
    const auto outputs = static_cast<std::size_t>(weight.shape[0]), taps = side * side,
               inputs = weight.data.size() / outputs / taps;
    const std::size_t steps = (pixels * stride + kDepth - 1) / kDepth;
    const std::uint16_t* packed = pack_tiles(
        padded(outputs) / kTile, taps / pixels, steps, [&](std::size_t run, std::size_t at, std::size_t output) {
          const std::size_t pixel = at / stride, input = at % stride;
          if (pixel >= pixels || input >= inputs || output >= outputs) return 0.0f;
          return weight.data[(output * inputs + input) * taps + run * pixels + pixel];
        });
    return {packed, copy(get(name + ".bias"), padded(outputs)), copy(get(slope + ".weight"), padded(outputs))};
  }

  // A 3x3 layer of P-Net's whose columns are those of several adjacent pixels, `width` of each.
  TileLayer banded_tiles(const std::string& name, const std::string& slope, std::size_t stride, std::size_t width,
                         std::size_t pixels) {
    const Tensor& weight = get(name + ".weight");
    const auto outputs = static_cast<std::size_t>(weight.shape[0]), inputs = weight.data.size() / outputs / 9;
    const std::uint16_t* packed = pack_tiles(
        pixels * width / kTile, 3, ((pixels + 2) * stride + kDepth - 1) / kDepth,
        [&](std::size_t run, std::size_t at, std::size_t column) {
          const std::size_t pixel = at / stride, input = at % stride, place = column / width, output = column % width;
          if (pixel < place || pixel > place + 2 || input >= inputs || output >= outputs) return 0.0f;
          return weight.data[((output * inputs + input) * 3 + run) * 3 + pixel - place];
        });
    const auto repeated = [&](const Tensor& once) {
      Tensor tensor;
      for (std::size_t pixel = 1; pixel <= pixels; ++pixel) {
        tensor.data.insert(tensor.data.end(), once.data.begin(), once.data.end());
        tensor.data.resize(pixel * width);
      }
      return copy(tensor, pixels * width);
    };
    return {packed, repeated(get(name + ".bias")), repeated(get(slope + ".weight"))};
  }

  TileLayer head_tiles(const std::vector<std::string>& names) {
    auto [rows, biases] = head_rows(names);
    const std::uint16_t* packed =
        pack_tiles(1, 1, rows.taps / kDepth,
                   [&rows = rows](std::size_t, std::size_t at, std::size_t column) { return rows.at(column, at); });
    return {packed, copy(biases, kHeadOutputs), copy(Tensor{}, kHeadOutputs)};
  }

  const float* planar_face() {
    auto [weight, bias] = face();
    weight.push_back(bias);
    return copy({{}, weight}, weight.size());
  }
  const float* planar_box() {
    const Tensor& weight = get("box.weight");
    const auto inputs = weight.data.size() / 4;
    Tensor packed{{}, std::vector<float>(weight.data.size())};
    for (std::size_t k = 0; k < 4; ++k)
      for (std::size_t i = 0; i < inputs; ++i) packed.data[i * 4 + k] = weight.data[k * inputs + i];
    const Tensor& bias = get("box.bias");
    packed.data.insert(packed.data.end(), bias.data.begin(), bias.data.end());
    return copy(packed, packed.data.size());
  }

 private:
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

  static constexpr std::size_t kTile = 16, kDepth = 32;

  // [column tile][run][step] tiles of weight(run, input in the run, column).
  template <class Weight>
  const std::uint16_t* pack_tiles(std::size_t tiles, std::size_t runs, std::size_t steps, const Weight& weight) {
    auto* const packed = reinterpret_cast<std::uint16_t*>(out_.allocate(tiles * runs * steps * kDepth * kTile / 2));
    std::uint16_t* tile = packed;
    for (std::size_t n = 0; n < tiles; ++n)
      for (std::size_t run = 0; run < runs; ++run)
        for (std::size_t step = 0; step < steps; ++step, tile += kDepth * kTile)
          for (std::size_t k = 0; k < kDepth; ++k)
            for (std::size_t column = 0; column < kTile; ++column)
              tile[(k / 2 * kTile + column) * 2 + k % 2] = to_bf16(weight(run, step * kDepth + k, n * kTile + column));
    return packed;
  }

  struct Convolution {
    const Tensor& weight;
    std::size_t outputs, inputs, kernel;
    explicit Convolution(const Tensor& w)
        : weight(w),
          outputs(static_cast<std::size_t>(w.shape[0])),
          inputs(static_cast<std::size_t>(w.shape[1])),
          kernel(static_cast<std::size_t>(w.shape[2])) {}
    double at(std::size_t o, std::size_t i, std::size_t y, std::size_t x) const {
      return weight.data[((o * inputs + i) * kernel + y) * kernel + x];
    }
  };

  Layer layer(Rows& rows, const std::string& name, const std::string& slope) {
    return {tiles(rows), copy(get(name + ".bias"), rows.outputs), copy(get(slope + ".weight"), rows.outputs)};
  }

  const Tensor& get(const std::string& name) const { return tensors_.at(network_ + "." + name); }

  // Weights and bias of logit(face) - logit(not a face): the softmax of two is a sigmoid of their difference.
  std::pair<std::vector<float>, float> face() const {
    const Tensor& weight = get("face.weight");
    const Tensor& bias = get("face.bias");
    const std::size_t inputs = weight.data.size() / 2;
    std::vector<float> difference(inputs);
    for (std::size_t i = 0; i < inputs; ++i) difference[i] = weight.data[inputs + i] - weight.data[i];
    return {difference, bias.data[1] - bias.data[0]};
  }

  const float* tiles(Rows& rows) {
    const auto lanes = static_cast<std::size_t>(kernels_.lanes);
    const std::size_t tile = lanes * static_cast<std::size_t>(tile_vectors(static_cast<int>(rows.outputs / lanes)));
    float* packed = out_.allocate(rows.data.size());
    for (std::size_t o = 0; o < rows.outputs; ++o)
      for (std::size_t t = 0; t < rows.taps; ++t) packed[(o / tile * rows.taps + t) * tile + o % tile] = rows.at(o, t);
    return packed;
  }

  const float* copy(const Tensor& tensor, std::size_t floats) {
    float* copied = out_.allocate(floats);
    std::copy(tensor.data.begin(), tensor.data.end(), copied);
    return copied;
  }

  PackedNetworks& out_;
  const Tensors& tensors_;
  std::string network_;
  const Kernels& kernels_;
};

PackedNetworks::PackedNetworks(const Tensors& tensors, const Kernels& kernels) {
  check_tensors(tensors);
  Packer p(*this, tensors, "pnet", kernels);
  pnet = {p.planar("conv1", "prelu1"), p.planar("conv2", "prelu2"), p.planar("conv3", "prelu3"), p.planar_face(),
          p.planar_box()};
  Packer r(*this, tensors, "rnet", kernels);
  rnet = {r.winograd_rows("conv1", "prelu1", kConv1Tile),
          r.winograd("conv2", "prelu2", kRnetConv2Tile),
          r.winograd("conv3", "prelu3", kRnetConv3Tile),
          {},
          r.dense("fc", "prelu4", 3),
          r.heads({"box"})};
  Packer o(*this, tensors, "onet", kernels);
  onet = {o.winograd_rows("conv1", "prelu1", kConv1Tile),
          o.winograd("conv2", "prelu2", kOnetConv2Tile),
          o.winograd("conv3", "prelu3", kOnetConv3Tile),
          o.winograd("conv4", "prelu4", kOnetConv4Tile),
          o.dense("fc", "prelu5", 3),
          o.heads({"box", "landmarks"})};
  if (!kernels.pnet_bf16) return;
  pnet_tiles = {p.banded_tiles("conv1", "prelu1", 3, 16, kConv1Pixels), p.banded_tiles("conv2", "prelu2", 16, 16, 2),
                p.banded_tiles("conv3", "prelu3", 16, 32, 2), p.head_tiles({"box"})};
  rnet_tiles = {r.tile_layer("conv1", "prelu1", 3, 9, 3),  r.tile_layer("conv2", "prelu2", 3, 3, 32),
                r.tile_layer("conv3", "prelu3", 2, 2, 48), {},
                r.tile_layer("fc", "prelu4", 3, 9, 64),    r.head_tiles({"box"})};
  onet_tiles = {o.tile_layer("conv1", "prelu1", 3, 9, 3),  o.tile_layer("conv2", "prelu2", 3, 3, 32),
                o.tile_layer("conv3", "prelu3", 3, 3, 64), o.tile_layer("conv4", "prelu4", 2, 2, 64),
                o.tile_layer("fc", "prelu5", 3, 9, 128),   o.head_tiles({"box", "landmarks"})};
}

void PackedNetworks::Free::operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }

// Zeroed, for the padding, and aligned to a cache line, so that no weight vector straddles two.
float* PackedNetworks::allocate(std::size_t floats) {
  auto* memory = static_cast<float*>(::operator new[](floats * sizeof(float), std::align_val_t{64}));
  storage.emplace_back(memory);
  std::fill_n(memory, floats, 0.0f);
  return memory;
}

}  // namespace mtcnn_fast
