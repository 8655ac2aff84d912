// R-Net and O-Net in bf16 on tiles, layer by layer as in refine.h: pixels interleaved, channels as columns of a tile, and
// all positions of a map, rows and what lies between them, as the rows of one product.
#pragma once

#include "kernels.h"
#include "simd.h"
#include "tiles.h"

namespace mtcnn_fast {
namespace {

// Max-pooling of one row of windows, kPool x kPool, stride 2, ceil mode.
template <int kChannels, int kPool>
inline void pool_to_bf16(const float* const* rows, int row_count, int width, int outputs, Bf16* out) {
  for (int c = 0; c < kChannels; c += kLanes) {
    const auto column = [&](int x) {
      F32 most = load(rows[0] + x * kChannels + c);
      for (int r = 1; r < row_count; ++r) most = max(most, load(rows[r] + x * kChannels + c));
      return most;
    };
    F32 next = column(0);
    for (int x = 0; x < outputs; ++x) {
      F32 most = next;
      if (2 * x + 1 < width) most = max(most, column(2 * x + 1));
      if (2 * x + 2 < width) next = column(2 * x + 2);
      if (kPool == 3) most = max(most, next);
      store_bf16(out + x * kChannels + c, most);
    }
  }
}

// Convolution of a kSide x kSide map of kStride inputs a pixel, PReLU, max-pooling. Rows are computed kChunk at a time,
// in the first-level cache.
template <int kSide, int kStride, class T, int kOut, int kPool, int kChunk>
struct TileConvPool {
  static constexpr int conv_side = kSide - T::runs + 1;
  static constexpr int side = (conv_side - kPool + 1) / 2 + 1;
  static constexpr int chunk_floats = (kChunk * kSide + kTileSide) * kOut;
  static constexpr int ring = (kChunk < conv_side ? 2 : 1) * chunk_floats;

  static void run(const Bf16* in, const TileLayer& layer, Bf16* out, float* scratch) {
    int ready = 0;
    for (int y = 0; y < side; ++y) {
      const int end = 2 * y + kPool < conv_side ? 2 * y + kPool : conv_side;
      for (; ready < end; ready += kChunk) {
        float* const chunk = scratch + ready / kChunk % 2 * chunk_floats;
        const int rows = conv_side - ready < kChunk ? conv_side - ready : kChunk;
        tile_layer<T, kOut, true>(in + ready * kSide * kStride, kStride, kSide * kStride, rows * kSide, layer,
                                  [&](int p, int c, F32 x) { store(chunk + p * kOut + c, x); });
      }
      const float* window[kPool];
      int count = 0;
      for (int r = 2 * y; r < end; ++r)
        window[count++] = scratch + r / kChunk % 2 * chunk_floats + r % kChunk * kSide * kOut;
      pool_to_bf16<kOut, kPool>(window, count, conv_side, side, out + y * side * kOut);
    }
  }
};

// 2x2 convolution with PReLU of one kSide x kSide map; the outputs lie close together, as the dense layer reads them.
template <int kSide, int kIn, int kOut>
inline void tile_conv2x2(const Bf16* in, const TileLayer& layer, Bf16* out) {
  constexpr int kOutSide = kSide - 1;
  tile_layer<TileTaps<2, 2 * kIn / kTileDepth>, kOut, true>(
      in, kIn, kSide * kIn, (kOutSide - 1) * kSide + kOutSide, layer, [&](int p, int c, F32 x) {
        const int row = p / kSide, column = p % kSide;
        if (row < kOutSide && column < kOutSide) store_bf16(out + (row * kOutSide + column) * kOut + c, x);
      });
}

struct RnetTiles {
  static constexpr int crop_side = kRnetSide;
  using Conv1 = TileConvPool<kRnetSide, 3, TileTaps<3, 1>, 32, 3, 2>;
  using Conv2 = TileConvPool<Conv1::side, 32, TileTaps<3, 3>, 48, 3, Conv1::side>;
  static constexpr int features = (Conv2::side - 1) * (Conv2::side - 1) * 64, hidden = 128;
  static constexpr int ring = Conv1::ring > Conv2::ring ? Conv1::ring : Conv2::ring;
  static constexpr int maps1 = Conv1::side * Conv1::side * 32, maps2 = Conv2::side * Conv2::side * 48, maps3 = 0;

  static void convolve(const RefineTiles& weights, const Bf16* crop, Bf16* maps, float* scratch, Bf16* out) {
    Bf16* const second = maps + maps1 + kTileSlack;
    Conv1::run(crop, weights.conv1, maps, scratch);
    Conv2::run(maps, weights.conv2, second, scratch);
    tile_conv2x2<Conv2::side, 48, 64>(second, weights.conv3, out);
  }
};

struct OnetTiles {
  static constexpr int crop_side = kOnetSide;
  using Conv1 = TileConvPool<kOnetSide, 3, TileTaps<3, 1>, 32, 3, 2>;
  using Conv2 = TileConvPool<Conv1::side, 32, TileTaps<3, 3>, 64, 3, 2>;
  using Conv3 = TileConvPool<Conv2::side, 64, TileTaps<3, 6>, 64, 2, Conv2::side>;
  static constexpr int features = (Conv3::side - 1) * (Conv3::side - 1) * 128, hidden = 256;
  static constexpr int ring12 = Conv1::ring > Conv2::ring ? Conv1::ring : Conv2::ring;
  static constexpr int ring = ring12 > Conv3::ring ? ring12 : Conv3::ring;
  static constexpr int maps1 = Conv1::side * Conv1::side * 32, maps2 = Conv2::side * Conv2::side * 64,
                       maps3 = Conv3::side * Conv3::side * 64;

  static void convolve(const RefineTiles& weights, const Bf16* crop, Bf16* maps, float* scratch, Bf16* out) {
    Bf16* const second = maps + maps1 + kTileSlack;
    Bf16* const third = second + maps2 + kTileSlack;
    Conv1::run(crop, weights.conv1, maps, scratch);
    Conv2::run(maps, weights.conv2, second, scratch);
    Conv3::run(second, weights.conv3, third, scratch);
    tile_conv2x2<Conv3::side, 64, 128>(third, weights.conv4, out);
  }
};

// Where everything lies in the scratch, in floats.
template <class Net>
struct TileRefinePlan {
  static constexpr int crop = Net::crop_side * Net::crop_side * 3;
  static constexpr int batch = (kMaxRefineBatch + kTileSide - 1) / kTileSide * kTileSide;
  static constexpr std::size_t crop_at = Net::ring;
  static constexpr std::size_t maps_at = crop_at + round_up((crop + kTileSlack) / 2, 16);
  static constexpr std::size_t features_at =
      maps_at + round_up((Net::maps1 + Net::maps2 + Net::maps3 + 3 * kTileSlack) / 2, 16);
  static constexpr std::size_t hidden_at = features_at + batch * Net::features / 2;
  static constexpr std::size_t total = hidden_at + batch * Net::hidden / 2;
};

template <class Net>
inline void refine_bf16(const RefineTiles& weights, const float* crops, int n, float* out, float* scratch) {
  using Plan = TileRefinePlan<Net>;
  auto* const crop = reinterpret_cast<Bf16*>(scratch + Plan::crop_at);
  auto* const maps = reinterpret_cast<Bf16*>(scratch + Plan::maps_at);
  auto* const features = reinterpret_cast<Bf16*>(scratch + Plan::features_at);
  auto* const hidden = reinterpret_cast<Bf16*>(scratch + Plan::hidden_at);
  const TileRegisters tiles;
  std::memset(crop + Plan::crop, 0, kTileSlack * sizeof(Bf16));
  for (int i = 0; i < n; ++i, crops += Plan::crop) {
    for (int k = 0; k < Plan::crop; k += kLanes) store_bf16(crop + k, load(crops + k));
    Net::convolve(weights, crop, maps, scratch, features + i * Net::features);
  }
  tile_layer<TileTaps<1, Net::features / kTileDepth>, Net::hidden, true>(
      features, Net::features, 0, n, weights.fc,
      [&](int i, int c, F32 x) { store_bf16(hidden + i * Net::hidden + c, x); });
  tile_layer<TileTaps<1, Net::hidden / kTileDepth>, kHeadOutputs, false>(
      hidden, Net::hidden, 0, n, weights.heads, [&](int i, int c, F32 x) {
        if (i < n) store(out + i * kHeadOutputs + c, x);
      });
}

void rnet_bf16(const RefineTiles& weights, const float* crops, int n, float* out, float* scratch) {
  refine_bf16<RnetTiles>(weights, crops, n, out, scratch);
}
void onet_bf16(const RefineTiles& weights, const float* crops, int n, float* out, float* scratch) {
  refine_bf16<OnetTiles>(weights, crops, n, out, scratch);
}
std::size_t refine_bf16_scratch() {
  return TileRefinePlan<OnetTiles>::total > TileRefinePlan<RnetTiles>::total ? TileRefinePlan<OnetTiles>::total
                                                                             : TileRefinePlan<RnetTiles>::total;
}

}  // namespace
}  // namespace mtcnn_fast
