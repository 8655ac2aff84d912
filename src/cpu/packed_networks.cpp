#include "cpu/packed_networks.h"

#include <algorithm>
#include <new>
#include <span>
#include <string>

#include "cpu/packer.h"
#include "networks.h"

namespace mtcnn_fast {
namespace {

// G in Lavin and Gray's names: a kernel's weights along one axis as a polynomial's coefficients, its values at the
// finite points, divided as Lagrange's interpolation asks, and at infinity.
std::vector<std::vector<double>> winograd_weights(std::span<const double> points, std::size_t kernel) {
  std::vector<std::vector<double>> rows;
  for (const double point : points) {
    double factor = 1;
    for (const double other : points)
      if (other != point) factor /= point - other;
    rows.emplace_back();
    for (std::size_t k = 0; k < kernel; ++k, factor *= point) rows.back().push_back(factor);
  }
  rows.emplace_back(kernel).back() = 1;
  return rows;
}

// For Winograd tiles of that side.
std::vector<std::vector<double>> winograd_tile_weights(std::size_t tile, std::size_t kernel) {
  switch (tile + kernel - 1) {
    case 4:
      return winograd_weights(kWinogradPoints4, kernel);
    case 5:
      return winograd_weights(kWinogradPoints5, kernel);
    default:
      return winograd_weights(kWinogradPoints6, kernel);
  }
}

// The layouts of the float32 kernels.
class FloatPacker : Packer {
 public:
  FloatPacker(PackedNetworks& out, const Tensors& tensors, const char* network, const Kernels& kernels)
      : Packer(out, tensors, network), kernels_(kernels) {}

  // A layer for lanes that are pixels: [out / block][in][kh][kw][block].
  Layer planar(const std::string& name, const std::string& slope) {
    const Tensor& weight = get(name + ".weight");
    const auto outputs = static_cast<std::size_t>(weight.shape[0]), taps = weight.data.size() / outputs;
    Rows rows(outputs, taps);
    rows.data = weight.data;
    return planar_layer(rows, name, slope);
  }

  // The same by Winograd tiles: [out / block][point][in][block].
  Layer planar_winograd(const std::string& name, const std::string& slope) {
    const Convolution conv(get(name + ".weight"));
    const Rows rows =
        in_points(conv, winograd_tile_weights(2, conv.kernel), winograd_tile_weights(4, conv.kernel), conv.outputs);
    return planar_layer(rows, name, slope);
  }

  // With points along columns only: [out / block][point][in][kw][block].
  Layer planar_winograd_columns(const std::string& name, const std::string& slope) {
    const Convolution conv(get(name + ".weight"));
    const auto g = winograd_weights(kWinogradPixelPoints, conv.kernel);
    Rows rows(conv.outputs, g.size() * conv.inputs * conv.kernel);
    for (std::size_t o = 0; o < conv.outputs; ++o)
      for (std::size_t i = 0; i < conv.inputs; ++i)
        for (std::size_t p = 0; p < g.size(); ++p)
          for (std::size_t x = 0; x < conv.kernel; ++x) {
            double value = 0;
            for (std::size_t y = 0; y < conv.kernel; ++y) value += g[p][y] * conv.at(o, i, y, x);
            rows.at(o, (p * conv.inputs + i) * conv.kernel + x) = static_cast<float>(value);
          }
    return planar_layer(rows, name, slope);
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
    const auto g = winograd_tile_weights(tile, conv.kernel);
    Rows rows = in_points(conv, g, g, padded(conv.outputs));
    return layer(rows, name, slope);
  }

  // The same with points along rows only: [out / tile][point][kh][in][tile].
  Layer winograd_rows(const std::string& name, const std::string& slope) {
    const Convolution conv(get(name + ".weight"));
    const auto g = winograd_weights(kWinogradPixelPoints, conv.kernel);
    Rows rows(padded(conv.outputs), g.size() * conv.kernel * conv.inputs);
    for (std::size_t o = 0; o < conv.outputs; ++o)
      for (std::size_t i = 0; i < conv.inputs; ++i)
        for (std::size_t p = 0; p < g.size(); ++p)
          for (std::size_t y = 0; y < conv.kernel; ++y) {
            double value = 0;
            for (std::size_t x = 0; x < conv.kernel; ++x) value += g[p][x] * conv.at(o, i, y, x);
            rows.at(o, (p * conv.kernel + y) * conv.inputs + i) = static_cast<float>(value);
          }
    return layer(rows, name, slope);
  }

  // The output layers of R-Net or O-Net as one: logit difference, offsets, landmarks.
  Layer heads(const std::vector<std::string>& names) {
    auto [rows, biases] = head_rows(names);
    // The heads have no activation; their slope only has to be readable.
    return {register_tiles(rows), copy(biases, kHeadOutputs), copy(Tensor{}, kHeadOutputs)};
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

  // A convolution's weights at the points along both axes: [output][point][in].
  static Rows in_points(const Convolution& conv, const std::vector<std::vector<double>>& along_columns,
                        const std::vector<std::vector<double>>& along_rows, std::size_t outputs) {
    const std::size_t points = along_columns.size() * along_rows.size();
    Rows rows(outputs, points * conv.inputs);
    for (std::size_t o = 0; o < conv.outputs; ++o)
      for (std::size_t i = 0; i < conv.inputs; ++i)
        for (std::size_t p = 0; p < points; ++p) {
          const auto &down = along_columns[p / along_rows.size()], &across = along_rows[p % along_rows.size()];
          double value = 0;
          for (std::size_t y = 0; y < conv.kernel; ++y)
            for (std::size_t x = 0; x < conv.kernel; ++x) value += down[y] * across[x] * conv.at(o, i, y, x);
          rows.at(o, p * conv.inputs + i) = static_cast<float>(value);
        }
    return rows;
  }

  Layer planar_layer(const Rows& rows, const std::string& name, const std::string& slope) {
    const auto block = static_cast<std::size_t>(planar_block(static_cast<int>(rows.outputs), kernels_.registers));
    return {blocks(rows, block), copy(get(name + ".bias"), rows.outputs), copy(get(slope + ".weight"), rows.outputs)};
  }

  Layer layer(Rows& rows, const std::string& name, const std::string& slope) {
    return {register_tiles(rows), copy(get(name + ".bias"), rows.outputs), copy(get(slope + ".weight"), rows.outputs)};
  }

  const float* register_tiles(Rows& rows) {
    const auto lanes = static_cast<std::size_t>(kernels_.lanes);
    return blocks(rows,
                  lanes * static_cast<std::size_t>(register_tile_vectors(static_cast<int>(rows.outputs / lanes))));
  }

  // [out / block][tap][block]
  const float* blocks(const Rows& rows, std::size_t block) {
    float* packed = allocate(rows.data.size());
    for (std::size_t o = 0; o < rows.outputs; ++o)
      for (std::size_t t = 0; t < rows.taps; ++t)
        packed[(o / block * rows.taps + t) * block + o % block] = rows.data[o * rows.taps + t];
    return packed;
  }

  const Kernels& kernels_;
};

}  // namespace

PackedNetworks::PackedNetworks(const Tensors& tensors, const Kernels& kernels) {
  check_tensors(tensors);
  FloatPacker p(*this, tensors, "pnet", kernels);
  if (kernels.pnet_by_winograd)
    pnet = {p.planar_winograd_columns("conv1", "prelu1"), p.planar_winograd("conv2", "prelu2"),
            p.planar_winograd("conv3", "prelu3"), p.planar_face(), p.planar_box()};
  else
    pnet = {p.planar("conv1", "prelu1"), p.planar("conv2", "prelu2"), p.planar("conv3", "prelu3"), p.planar_face(),
            p.planar_box()};
  FloatPacker r(*this, tensors, "rnet", kernels);
  rnet = {r.winograd_rows("conv1", "prelu1"),
          r.winograd("conv2", "prelu2", kRnetConv2WinogradTile),
          r.winograd("conv3", "prelu3", kRnetConv3WinogradTile),
          {},
          r.dense("fc", "prelu4", 3),
          r.heads({"box"})};
  FloatPacker o(*this, tensors, "onet", kernels);
  onet = {o.winograd_rows("conv1", "prelu1"),
          o.winograd("conv2", "prelu2", kOnetConv2WinogradTile),
          o.winograd("conv3", "prelu3", kOnetConv3WinogradTile),
          o.winograd("conv4", "prelu4", kOnetConv4WinogradTile),
          o.dense("fc", "prelu5", 3),
          o.heads({"box", "landmarks"})};
  if (kernels.pnet_bf16) pack_bf16(tensors);
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
