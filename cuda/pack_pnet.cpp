// P-Net's parameters as its kernels read them.
#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>

#include "../src/networks.h"
#include "pnet_fp16.h"

namespace mtcnn_fast::cuda {
namespace {

// As pnet.cu reads them.
PnetWeights pack_fp32(const NamedTensors& tensors) {
  PnetWeights packed = {};
  const auto get = [&](const char* name) { return tensors.at(std::string("pnet.") + name); };
  const auto convolution = [&](const char* name, auto& out) {
    const std::span<const float> weight = get(name);
    constexpr std::size_t kTaps = std::extent_v<std::remove_reference_t<decltype(out)>>;
    for (std::size_t o = 0; o < weight.size() / kTaps; ++o)
      for (std::size_t t = 0; t < kTaps; ++t) out[t][o] = weight[o * kTaps + t];
  };
  const auto copy = [&](const char* name, float* out) { std::ranges::copy(get(name), out); };
  PnetLayers& layers = packed.layers;
  convolution("conv1.weight", layers.conv1);
  copy("conv1.bias", layers.bias1);
  copy("prelu1.weight", layers.slope1);
  convolution("conv2.weight", layers.conv2);
  copy("conv2.bias", layers.bias2);
  copy("prelu2.weight", layers.slope2);
  convolution("conv3.weight", layers.conv3);
  copy("conv3.bias", layers.bias3);
  copy("prelu3.weight", layers.slope3);
  std::ranges::copy(logit_row(get("face.weight")), layers.face);
  layers.face_bias[0] = logit_row(get("face.bias")).front();
  convolution("box.weight", packed.box);
  copy("box.bias", packed.box_bias);
  return packed;
}

float round_to_half(float x) { return __half2float(__float2half_rn(x)); }

unsigned pack_pair(float low, float high) {
  return static_cast<unsigned>(__half_as_ushort(__float2half_rn(low))) |
         static_cast<unsigned>(__half_as_ushort(__float2half_rn(high))) << 16;
}

// B's fragments of 16 rows and of 8 columns, then of the next 8, for each lane. weight(row, column).
template <class F>
void pack_blocks(uint4 (&out)[kWarp], const F& weight) {
  for (int lane = 0; lane < kWarp; ++lane) {
    const int column = lane / 4, row = lane % 4 * 2;
    const auto pair = [&](int r, int c) { return pack_pair(weight(r, c), weight(r + 1, c)); };
    out[lane] = {pair(row, column), pair(row + 8, column), pair(row, column + 8), pair(row + 8, column + 8)};
  }
}

// As pnet_fp16.cu reads them.
PnetWeightsFp16 pack_fp16(const PnetWeights& weights) {
  PnetWeightsFp16 packed = {};
  packed.layers = weights;
  PnetLayers& layers = packed.layers.layers;
  const auto round_all = [](auto& rows) {
    for (auto& row : rows)
      for (float& x : row) x = round_to_half(x);
  };
  round_all(layers.conv1);
  round_all(layers.conv2);
  round_all(layers.conv3);
  round_all(packed.layers.box);
  for (float& x : layers.face) x = round_to_half(x);

  PnetFragments& f = packed.fragments;
  for (int odd = 0; odd < 2; ++odd)
    for (int k = 0; k < 2; ++k)
      pack_blocks(f.conv1[odd][k], [&](int row, int map) {
        const int value = 16 * k + row, ky = value / 10, in_row = value % 10 - odd;
        if (map >= kMaps1 || ky > 2 || in_row < 0 || in_row > 8) return 0.0F;
        return layers.conv1[in_row % 3 * 9 + ky * 3 + in_row / 3][map];
      });
  for (int t = 0; t < 9; ++t) {
    pack_blocks(f.conv2[t], [&](int in, int map) { return in < kMaps1 ? layers.conv2[in * 9 + t][map] : 0.0F; });
    for (int b = 0; b < 2; ++b)
      pack_blocks(f.conv3[t][b], [&](int in, int map) { return layers.conv3[in * 9 + t][16 * b + map]; });
  }
  // The two blocks are of inputs here, not of outputs.
  pack_blocks(f.heads.weights, [&](int row, int column) {
    const int in = row + column / 8 * 16, head = column % 8;
    return head < 4 ? packed.layers.box[in][head] : head == kLogitColumn ? layers.face[in] : 0.0F;
  });
  std::ranges::copy_n(layers.bias1, kMaps1, f.bias1);
  std::ranges::copy_n(layers.slope1, kMaps1, f.slope1);
  std::ranges::copy(layers.bias2, f.bias2);
  std::ranges::copy(layers.slope2, f.slope2);
  std::ranges::copy(layers.bias3, f.heads.bias3);
  std::ranges::copy(layers.slope3, f.heads.slope3);
  std::ranges::copy(weights.box_bias, f.heads.bias);
  f.heads.bias[kLogitColumn] = layers.face_bias[0];
  return packed;
}

template <class Weights>
std::vector<unsigned char> bytes_of(const Weights& packed) {
  std::vector<unsigned char> bytes(sizeof packed);
  std::memcpy(bytes.data(), &packed, sizeof packed);
  return bytes;
}

}  // namespace

std::vector<unsigned char> pack_pnet(const NamedTensors& tensors, Arithmetic arithmetic) {
  const PnetWeights packed = pack_fp32(tensors);
  return arithmetic == Arithmetic::fp16 ? bytes_of(pack_fp16(packed)) : bytes_of(packed);
}

}  // namespace mtcnn_fast::cuda
