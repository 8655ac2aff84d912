// The networks in the layout of the bf16 kernels: AMX tiles of pairs of weights, as kernels.h says.
#include <bit>
#include <cstdint>

#include "cpu/packer.h"

namespace mtcnn_fast {
namespace {

// To the nearest, halves to even.
std::uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

class Bf16Packer : Packer {
 public:
  using Packer::Packer;

  // A layer in bf16: kernel rows, or all of a layer's map, are runs of `pixels` pixels of `stride` inputs, filled up to
  // whole steps.
  LayerBf16 layer(const std::string& name, const std::string& slope, std::size_t side, std::size_t pixels,
                  std::size_t stride) {
    const Tensor& weight = get(name + ".weight");
    const auto outputs = static_cast<std::size_t>(weight.shape[0]), taps = side * side,
               inputs = weight.data.size() / outputs / taps;
    const std::size_t steps = (pixels * stride + kDepth - 1) / kDepth;
    const std::uint16_t* packed = pack_amx_tiles(
        padded(outputs) / kTile, taps / pixels, steps, [&](std::size_t run, std::size_t at, std::size_t output) {
          const std::size_t pixel = at / stride, input = at % stride;
          if (pixel >= pixels || input >= inputs || output >= outputs) return 0.0f;
          return weight.data[(output * inputs + input) * taps + run * pixels + pixel];
        });
    return {packed, copy(get(name + ".bias"), padded(outputs)), copy(get(slope + ".weight"), padded(outputs))};
  }

  // A 3x3 layer of P-Net's whose columns are those of several adjacent pixels, `width` of each.
  LayerBf16 banded_layer(const std::string& name, const std::string& slope, std::size_t stride, std::size_t width,
                         std::size_t pixels) {
    const Tensor& weight = get(name + ".weight");
    const auto outputs = static_cast<std::size_t>(weight.shape[0]), inputs = weight.data.size() / outputs / 9;
    const std::uint16_t* packed = pack_amx_tiles(
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

  LayerBf16 heads(const std::vector<std::string>& names) {
    auto [rows, biases] = head_rows(names);
    const std::uint16_t* packed =
        pack_amx_tiles(1, 1, rows.taps / kDepth,
                       [&rows = rows](std::size_t, std::size_t at, std::size_t column) { return rows.at(column, at); });
    return {packed, copy(biases, kHeadOutputs), copy(Tensor{}, kHeadOutputs)};
  }

 private:
  static constexpr std::size_t kTile = 16, kDepth = 32;

  // [column / kTile][run][step] AMX tiles of weight(run, input in the run, column).
  template <class Weight>
  const std::uint16_t* pack_amx_tiles(std::size_t tiles, std::size_t runs, std::size_t steps, const Weight& weight) {
    auto* const packed = reinterpret_cast<std::uint16_t*>(allocate(tiles * runs * steps * kDepth * kTile / 2));
    std::uint16_t* tile = packed;
    for (std::size_t n = 0; n < tiles; ++n)
      for (std::size_t run = 0; run < runs; ++run)
        for (std::size_t step = 0; step < steps; ++step, tile += kDepth * kTile)
          for (std::size_t k = 0; k < kDepth; ++k)
            for (std::size_t column = 0; column < kTile; ++column)
              tile[(k / 2 * kTile + column) * 2 + k % 2] = to_bf16(weight(run, step * kDepth + k, n * kTile + column));
    return packed;
  }
};

}  // namespace

void PackedNetworks::pack_bf16(const Tensors& tensors) {
  Bf16Packer p(*this, tensors, "pnet"), r(*this, tensors, "rnet"), o(*this, tensors, "onet");
  pnet_bf16 = {p.banded_layer("conv1", "prelu1", 3, 16, kConv1Pixels), p.banded_layer("conv2", "prelu2", 16, 16, 2),
               p.banded_layer("conv3", "prelu3", 16, 32, 2), p.heads({"box"})};
  rnet_bf16 = {r.layer("conv1", "prelu1", 3, 9, 3),  r.layer("conv2", "prelu2", 3, 3, 32),
               r.layer("conv3", "prelu3", 2, 2, 48), {},
               r.layer("fc", "prelu4", 3, 9, 64),    r.heads({"box"})};
  onet_bf16 = {o.layer("conv1", "prelu1", 3, 9, 3),  o.layer("conv2", "prelu2", 3, 3, 32),
               o.layer("conv3", "prelu3", 3, 3, 64), o.layer("conv4", "prelu4", 2, 2, 64),
               o.layer("fc", "prelu5", 3, 9, 128),   o.heads({"box", "landmarks"})};
}

}  // namespace mtcnn_fast
