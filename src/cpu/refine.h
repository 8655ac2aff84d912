// R-Net and O-Net over a batch of crops. Pixels are interleaved (row, column, channel) and channels are lanes: 28
// (stored as 32), 48, 64 and 128 channels fill them, and the small maps waste nothing at their borders. All layers,
// dense ones too, are one register tile: a few items (pixels of a row, or the crops of the batch) by one to three
// vectors of channels. Layers with few outputs a crop take the crops of the batch as items, so that weights are read
// once a batch.
#pragma once

#include "kernels.h"
#include "resample.h"
#include "simd.h"
#include "tiles.h"
#include "winograd.h"

namespace mtcnn_fast {
namespace {

// 2x2 convolution with PReLU of n kSide x kSide maps, the maps as items.
template <int kSide, int kIn, int kOut>
inline void conv2x2_batch(const float* in, int n, const Layer& layer, float* out) {
  constexpr int kOutSide = kSide - 1;
  for (int y = 0; y < kOutSide; ++y)
    for (int x = 0; x < kOutSide; ++x)
      layer_items<2 * kIn, kSide * kSide * kIn, kOut, true>(in + (y * kSide + x) * kIn, kSide * kIn, 2, layer, n,
                                                            out + (y * kOutSide + x) * kOut,
                                                            kOutSide * kOutSide * kOut);
}

template <int kIn, int kOut, bool kPrelu>
inline void dense(const float* in, int n, const Layer& layer, float* out) {
  layer_items<kIn, kIn, kOut, kPrelu>(in, 0, 1, layer, n, out, kOut);
}

// Of R-Net and O-Net, the layers that need room, and that room in floats.
struct Rnet {
  using Conv1 = WinogradRowsPool<kRnetSide, 32, 3>;
  using Conv2 = WinogradPool<Conv1::side, 28, 32, 48, 3, kRnetConv2Tile>;
  static constexpr int conv2_out = Conv2::side * Conv2::side * 48;
  static constexpr int features = (Conv2::side - 1) * (Conv2::side - 1) * 64;
  static constexpr int hidden = 128;
  static constexpr int ring = Conv1::ring > Conv2::ring ? Conv1::ring : Conv2::ring;
  static constexpr int maps = Conv1::side * Conv1::side * 32;
};
struct Onet {
  using Conv1 = WinogradRowsPool<kOnetSide, 32, 3>;
  using Conv2 = WinogradPool<Conv1::side, 32, 32, 64, 3, kOnetConv2Tile>;
  using Conv3 = WinogradPool<Conv2::side, 64, 64, 64, 2, kOnetConv3Tile>;
  static constexpr int conv3_out = Conv3::side * Conv3::side * 64;
  static constexpr int features = (Conv3::side - 1) * (Conv3::side - 1) * 128;
  static constexpr int hidden = 256;
  static constexpr int ring12 = Conv1::ring > Conv2::ring ? Conv1::ring : Conv2::ring;
  static constexpr int ring = ring12 > Conv3::ring ? ring12 : Conv3::ring;
  static constexpr int maps1 = Conv1::side * Conv1::side * 32;
  static constexpr int maps2 = Conv2::side * Conv2::side * 64;
};
static_assert(Rnet::Conv1::side == 11 && Rnet::Conv2::side == 4 && Rnet::features == 576);
static_assert(Onet::Conv1::side == 23 && Onet::Conv2::side == 10 && Onet::Conv3::side == 4 && Onet::features == 1152);

std::size_t refine_scratch() {
  return Onet::ring + Onet::maps1 + Onet::maps2 +
         static_cast<std::size_t>(kMaxRefineBatch) * (Onet::conv3_out + Onet::features + Onet::hidden);
}

void rnet(const RefineWeights& weights, const float* crops, int n, float* out, float* scratch) {
  float* const ring = scratch;
  float* const maps = ring + Rnet::ring;
  float* const conv2 = maps + Rnet::maps;
  float* const features = conv2 + n * Rnet::conv2_out;
  float* const hidden = features + n * Rnet::features;
  for (int i = 0; i < n; ++i) {
    Rnet::Conv1::run(crops + static_cast<std::ptrdiff_t>(i) * kRnetSide * kRnetSide * 3, weights.conv1, maps, ring);
    Rnet::Conv2::run(maps, weights.conv2, conv2 + i * Rnet::conv2_out, ring);
  }
  conv2x2_batch<Rnet::Conv2::side, 48, 64>(conv2, n, weights.conv3, features);
  dense<Rnet::features, Rnet::hidden, true>(features, n, weights.fc, hidden);
  dense<Rnet::hidden, kHeadOutputs, false>(hidden, n, weights.heads, out);
}

void onet(const RefineWeights& weights, const float* crops, int n, float* out, float* scratch) {
  float* const ring = scratch;
  float* const maps1 = ring + Onet::ring;
  float* const maps2 = maps1 + Onet::maps1;
  float* const conv3 = maps2 + Onet::maps2;
  float* const features = conv3 + n * Onet::conv3_out;
  float* const hidden = features + n * Onet::features;
  for (int i = 0; i < n; ++i) {
    Onet::Conv1::run(crops + static_cast<std::ptrdiff_t>(i) * kOnetSide * kOnetSide * 3, weights.conv1, maps1, ring);
    Onet::Conv2::run(maps1, weights.conv2, maps2, ring);
    Onet::Conv3::run(maps2, weights.conv3, conv3 + i * Onet::conv3_out, ring);
  }
  conv2x2_batch<Onet::Conv3::side, 64, 128>(conv3, n, weights.conv4, features);
  dense<Onet::features, Onet::hidden, true>(features, n, weights.fc, hidden);
  dense<Onet::hidden, kHeadOutputs, false>(hidden, n, weights.heads, out);
}

}  // namespace
}  // namespace mtcnn_fast
