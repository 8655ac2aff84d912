// R-Net and O-Net over a batch of crops. Pixels are interleaved (row, column, channel) and channels are lanes: 28
// (stored as 32), 48, 64 and 128 channels fill them, and the small maps waste nothing at their borders. Convolutions go
// through Winograd tiles (winograd.h); from the second on, they and the dense layers are one register tile
// (register_tile.h): a few items (Winograd tiles, or crops of the batch) by one to three vectors of channels. Layers
// with few items per crop take those of the whole batch, so that weights are read less often.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/register_tile.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/winograd.h"

namespace mtcnn_fast {
namespace {

template <int kIn, int kOut, bool kPrelu>
inline void dense(const float* in, int n, const Layer& layer, float* out) {
  layer_items<kIn, kIn, kOut, kPrelu>(in, layer, n, out);
}

constexpr int max_of(int a, int b) { return a > b ? a : b; }

// The convolutions of R-Net and O-Net, and the sizes of maps and of their scratch in floats.
struct Rnet {
  using Conv1 = WinogradRowsPool<kRnetSide, 32, 3>;
  using Conv2 = WinogradPool<WinogradConv<Conv1::side, 28, 32, 48, 3, kRnetConv2WinogradTile>, 48, 3, 2>;
  using Conv3 = WinogradConv<Conv2::side, 48, 48, 64, 2, kRnetConv3WinogradTile>;
  static constexpr int maps = Conv1::side * Conv1::side * 32;
  static constexpr int conv2_out = Conv2::side * Conv2::side * 48;
  static constexpr int features = Conv3::side * Conv3::side * 64;
  static constexpr int hidden = 128;
  static constexpr int scratch = max_of(max_of(Conv1::scratch, Conv2::scratch), Conv3::scratch);
};
struct Onet {
  using Conv1 = WinogradRowsPool<kOnetSide, 32, 3>;
  using Conv2 = WinogradPool<WinogradConv<Conv1::side, 32, 32, 64, 3, kOnetConv2WinogradTile>, 64, 3, 1>;
  using Conv3 = WinogradPool<WinogradConv<Conv2::side, 64, 64, 64, 3, kOnetConv3WinogradTile>, 64, 2, 3>;
  using Conv4 = WinogradConv<Conv3::side, 64, 64, 128, 2, kOnetConv4WinogradTile>;
  static constexpr int maps1 = Conv1::side * Conv1::side * 32;
  static constexpr int maps2 = Conv2::side * Conv2::side * 64;
  static constexpr int conv3_out = Conv3::side * Conv3::side * 64;
  static constexpr int features = Conv4::side * Conv4::side * 128;
  static constexpr int hidden = 256;
  static constexpr int scratch = max_of(max_of(Conv1::scratch, Conv2::scratch), max_of(Conv3::scratch, Conv4::scratch));
};
static_assert(Rnet::Conv1::side == 11 && Rnet::Conv2::side == 4 && Rnet::features == 576);
static_assert(Onet::Conv1::side == 23 && Onet::Conv2::side == 10 && Onet::Conv3::side == 4 && Onet::features == 1152);

std::size_t refine_scratch() {
  return Onet::scratch + Onet::maps1 + Onet::Conv3::most_maps * Onet::maps2 +
         static_cast<std::size_t>(kMaxRefineBatch) * (Onet::conv3_out + Onet::features + Onet::hidden);
}

void rnet(const RefineWeights& weights, const float* crops, int n, float* out, float* scratch) {
  float* const layer = scratch;
  float* const maps = layer + Rnet::scratch;
  float* const conv2 = maps + Rnet::Conv2::most_maps * Rnet::maps;
  float* const features = conv2 + n * Rnet::conv2_out;
  float* const hidden = features + n * Rnet::features;
  for (int first = 0, here; first < n; first += here) {
    here = n - first < Rnet::Conv2::most_maps ? n - first : Rnet::Conv2::most_maps;
    for (int i = 0; i < here; ++i)
      Rnet::Conv1::run(crops + static_cast<std::ptrdiff_t>(first + i) * kRnetSide * kRnetSide * 3, weights.conv1,
                       maps + i * Rnet::maps, layer);
    Rnet::Conv2::run(maps, here, weights.conv2, conv2 + first * Rnet::conv2_out, layer);
  }
  Rnet::Conv3::run(conv2, n, weights.conv3, features, layer);
  dense<Rnet::features, Rnet::hidden, true>(features, n, weights.fc, hidden);
  dense<Rnet::hidden, kHeadOutputs, false>(hidden, n, weights.heads, out);
}

void onet(const RefineWeights& weights, const float* crops, int n, float* out, float* scratch) {
  float* const layer = scratch;
  float* const maps1 = layer + Onet::scratch;
  float* const maps2 = maps1 + Onet::maps1;
  float* const conv3 = maps2 + Onet::Conv3::most_maps * Onet::maps2;
  float* const features = conv3 + n * Onet::conv3_out;
  float* const hidden = features + n * Onet::features;
  for (int first = 0, here; first < n; first += here) {
    here = n - first < Onet::Conv3::most_maps ? n - first : Onet::Conv3::most_maps;
    for (int i = 0; i < here; ++i) {
      Onet::Conv1::run(crops + static_cast<std::ptrdiff_t>(first + i) * kOnetSide * kOnetSide * 3, weights.conv1, maps1,
                       layer);
      Onet::Conv2::run(maps1, 1, weights.conv2, maps2 + i * Onet::maps2, layer);
    }
    Onet::Conv3::run(maps2, here, weights.conv3, conv3 + first * Onet::conv3_out, layer);
  }
  Onet::Conv4::run(conv3, n, weights.conv4, features, layer);
  dense<Onet::features, Onet::hidden, true>(features, n, weights.fc, hidden);
  dense<Onet::hidden, kHeadOutputs, false>(hidden, n, weights.heads, out);
}

}  // namespace
}  // namespace mtcnn_fast
