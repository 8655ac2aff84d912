// R-Net and O-Net in bf16 on AMX tiles, layer by layer as in refine.h: pixels interleaved, channels as columns of a
// tile, and all positions of a map, rows and what lies between them, as the rows of one product.
#pragma once

#include "cpu/kernels/amx_tiles.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

// PReLU and max-pooling of one row of windows of sums, kPool x kPool, stride 2, ceil mode.
template <int kChannels, int kPool>
inline void pool_to_bf16(const float* const* rows, int row_count, int width, int outputs, const LayerBf16& layer,
                         Bf16* out) {
  for (int c = 0; c < kChannels; c += kLanes) {
    const F32 bias = load(layer.bias + c), slope = load(layer.slope + c);
    const auto column = [&](int x) {
      const F32 first = load(rows[0] + x * kChannels + c);
      Extremes extremes{first, first};
      for (int r = 1; r < row_count; ++r) extremes.include(load(rows[r] + x * kChannels + c));
      return extremes;
    };
    Extremes next = column(0);
    for (int x = 0; x < outputs; ++x) {
      Extremes window = next;
      if (2 * x + 1 < width) window.include(column(2 * x + 1));
      if (2 * x + 2 < width) next = column(2 * x + 2);
      if (kPool == 3) window.include(next);
      store_bf16(out + x * kChannels + c, window.pooled(bias, slope));
    }
  }
}

// The 3x3 patches of a row of positions of an RGB picture, 27 numbers and 5 zeros each.
inline void picture_patches(const Bf16* picture, int side, Bf16* patches) {
  alignas(64) static constexpr std::uint16_t kOrder[32] = {
      0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 18, 19, 20, 21, 22, 23, 24, 32, 33, 34, 35, 36, 37, 38, 39, 40, 0, 0, 0, 0, 0};
  const __m512i order = _mm512_load_si512(kOrder);
  const auto row = [&](int x, int y) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(picture + 3 * (y * side + x)));
  };
  for (int x = 0; x < side - 2; ++x, patches += kAmxTileDepth) {
    const __m512i above = _mm512_inserti64x4(_mm512_castsi256_si512(row(x, 0)), row(x, 1), 1);
    const __m512i below = _mm512_castsi256_si512(row(x, 2));
    _mm512_store_si512(patches, _mm512_maskz_permutex2var_epi16((1u << 27) - 1, above, order, below));
  }
}

// Convolution of a kSide x kSide map of kStride inputs a pixel, PReLU, max-pooling. Rows are computed kChunk at a time,
// in the first-level cache. A picture (kStride 3) is taken apart into patches, which fill a step.
template <int kSide, int kStride, int kOut, int kPool, int kChunk>
struct ConvPoolBf16 {
  static constexpr bool picture = kStride == 3;
  static constexpr int conv_side = kSide - 2;
  static constexpr int side = (conv_side - kPool + 1) / 2 + 1;
  static constexpr int patches = picture ? kChunk * kSide * kAmxTileDepth / 2 : 0;  // floats
  static constexpr int chunk_floats = (kChunk * kSide + 2 * kAmxTileSide) * kOut;
  static constexpr int ring = patches + (kChunk < conv_side ? 2 : 1) * chunk_floats;

  static void run(const Bf16* in, const LayerBf16& layer, Bf16* out, float* scratch) {
    auto* const patch = reinterpret_cast<Bf16*>(scratch);
    float* const chunks = scratch + patches;
    int ready = 0;
    for (int y = 0; y < side; ++y) {
      const int end = 2 * y + kPool < conv_side ? 2 * y + kPool : conv_side;
      for (; ready < end; ready += kChunk) {
        float* const chunk = chunks + ready / kChunk % 2 * chunk_floats;
        const int rows = conv_side - ready < kChunk ? conv_side - ready : kChunk;
        const Bf16* const from = in + ready * kSide * kStride;
        if constexpr (picture) {
          for (int r = 0; r < rows; ++r)
            picture_patches(from + r * kSide * kStride, kSide, patch + r * kSide * kAmxTileDepth);
          amx_sums<AmxTaps<1, 1>, kOut>(patch, kAmxTileDepth, 0, rows * kSide, layer, chunk);
        } else {
          amx_sums<AmxTaps<3, 3 * kStride / kAmxTileDepth>, kOut>(from, kStride, kSide * kStride, rows * kSide, layer,
                                                                  chunk);
        }
      }
      const float* window[kPool];
      int count = 0;
      for (int r = 2 * y; r < end; ++r)
        window[count++] = chunks + r / kChunk % 2 * chunk_floats + r % kChunk * kSide * kOut;
      pool_to_bf16<kOut, kPool>(window, count, conv_side, side, layer, out + y * side * kOut);
    }
  }
};

// 2x2 convolution with PReLU of one kSide x kSide map; the outputs lie close together, as the dense layer reads them.
template <int kSide, int kIn, int kOut>
inline void conv2x2_bf16(const Bf16* in, const LayerBf16& layer, Bf16* out) {
  constexpr int kOutSide = kSide - 1;
  amx_layer<AmxTaps<2, 2 * kIn / kAmxTileDepth>, kOut, true>(
      in, kIn, kSide * kIn, (kOutSide - 1) * kSide + kOutSide, layer, [&](int p, int c, F32 x) {
        const int row = p / kSide, column = p % kSide;
        if (row < kOutSide && column < kOutSide) store_bf16(out + (row * kOutSide + column) * kOut + c, x);
      });
}

struct RnetBf16 {
  static constexpr int crop_side = kRnetSide;
  using Conv1 = ConvPoolBf16<kRnetSide, 3, 32, 3, 2>;
  using Conv2 = ConvPoolBf16<Conv1::side, 32, 48, 3, Conv1::side>;
  static constexpr int features = (Conv2::side - 1) * (Conv2::side - 1) * 64, hidden = 128;
  static constexpr int ring = Conv1::ring > Conv2::ring ? Conv1::ring : Conv2::ring;
  static constexpr int maps1 = Conv1::side * Conv1::side * 32, maps2 = Conv2::side * Conv2::side * 48, maps3 = 0;

  static void convolve(const RefineWeightsBf16& weights, const Bf16* crop, Bf16* maps, float* scratch, Bf16* out) {
    Bf16* const second = maps + round_up(maps1 + kAmxTileSlack, 32);
    Conv1::run(crop, weights.conv1, maps, scratch);
    Conv2::run(maps, weights.conv2, second, scratch);
    conv2x2_bf16<Conv2::side, 48, 64>(second, weights.conv3, out);
  }
};

struct OnetBf16 {
  static constexpr int crop_side = kOnetSide;
  using Conv1 = ConvPoolBf16<kOnetSide, 3, 32, 3, 2>;
  using Conv2 = ConvPoolBf16<Conv1::side, 32, 64, 3, 2>;
  using Conv3 = ConvPoolBf16<Conv2::side, 64, 64, 2, Conv2::side>;
  static constexpr int features = (Conv3::side - 1) * (Conv3::side - 1) * 128, hidden = 256;
  static constexpr int ring12 = Conv1::ring > Conv2::ring ? Conv1::ring : Conv2::ring;
  static constexpr int ring = ring12 > Conv3::ring ? ring12 : Conv3::ring;
  static constexpr int maps1 = Conv1::side * Conv1::side * 32, maps2 = Conv2::side * Conv2::side * 64,
                       maps3 = Conv3::side * Conv3::side * 64;

  static void convolve(const RefineWeightsBf16& weights, const Bf16* crop, Bf16* maps, float* scratch, Bf16* out) {
    Bf16* const second = maps + round_up(maps1 + kAmxTileSlack, 32);
    Bf16* const third = second + round_up(maps2 + kAmxTileSlack, 32);
    Conv1::run(crop, weights.conv1, maps, scratch);
    Conv2::run(maps, weights.conv2, second, scratch);
    Conv3::run(second, weights.conv3, third, scratch);
    conv2x2_bf16<Conv3::side, 64, 128>(third, weights.conv4, out);
  }
};

// Where everything lies in the scratch, in floats.
template <class Net>
struct RefineBf16Plan {
  static constexpr int crop = Net::crop_side * Net::crop_side * 3;
  static constexpr int batch = (kMaxRefineBatch + kAmxTileSide - 1) / kAmxTileSide * kAmxTileSide;
  static constexpr std::size_t crop_at = Net::ring;
  static constexpr std::size_t maps_at = crop_at + round_up((crop + kAmxTileSlack) / 2, 16);
  static constexpr std::size_t features_at =
      maps_at + round_up((Net::maps1 + Net::maps2 + Net::maps3 + 3 * (kAmxTileSlack + 32)) / 2, 16);
  static constexpr std::size_t hidden_at = features_at + batch * Net::features / 2;
  static constexpr std::size_t total = hidden_at + batch * Net::hidden / 2;
};

template <class Net>
inline void refine_bf16(const RefineWeightsBf16& weights, const float* crops, int n, float* out, float* scratch) {
  using Plan = RefineBf16Plan<Net>;
  auto* const crop = reinterpret_cast<Bf16*>(scratch + Plan::crop_at);
  auto* const maps = reinterpret_cast<Bf16*>(scratch + Plan::maps_at);
  auto* const features = reinterpret_cast<Bf16*>(scratch + Plan::features_at);
  auto* const hidden = reinterpret_cast<Bf16*>(scratch + Plan::hidden_at);
  configure_amx_tiles();
  std::memset(crop + Plan::crop, 0, kAmxTileSlack * sizeof(Bf16));
  for (int i = 0; i < n; ++i, crops += Plan::crop) {
    for (int k = 0; k < Plan::crop; k += kLanes) store_bf16(crop + k, load(crops + k));
    Net::convolve(weights, crop, maps, scratch, features + i * Net::features);
  }
  amx_layer<AmxTaps<1, Net::features / kAmxTileDepth>, Net::hidden, true>(
      features, Net::features, 0, n, weights.fc,
      [&](int i, int c, F32 x) { store_bf16(hidden + i * Net::hidden + c, x); });
  amx_layer<AmxTaps<1, Net::hidden / kAmxTileDepth>, kHeadOutputs, false>(hidden, Net::hidden, 0, n, weights.heads,
                                                                          [&](int i, int c, F32 x) {
                                                                            if (i < n)
                                                                              store(out + i * kHeadOutputs + c, x);
                                                                          });
  release_amx_tiles();
}

void rnet_bf16(const RefineWeightsBf16& weights, const float* crops, int n, float* out, float* scratch) {
  refine_bf16<RnetBf16>(weights, crops, n, out, scratch);
}
void onet_bf16(const RefineWeightsBf16& weights, const float* crops, int n, float* out, float* scratch) {
  refine_bf16<OnetBf16>(weights, crops, n, out, scratch);
}
std::size_t refine_bf16_scratch() {
  return RefineBf16Plan<OnetBf16>::total > RefineBf16Plan<RnetBf16>::total ? RefineBf16Plan<OnetBf16>::total
                                                                           : RefineBf16Plan<RnetBf16>::total;
}

}  // namespace
}  // namespace mtcnn_fast
