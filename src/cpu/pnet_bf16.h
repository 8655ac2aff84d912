// P-Net over a band of a pyramid level in bf16 on tiles, in the steps of pnet.h. Pixels are interleaved. Rows of all maps
// follow one another at one pitch, so that a product runs over them as one long row; what lies between two rows is
// computed too, and not read.
//
// conv1 has 3 inputs and 10 outputs a pixel, which would leave tiles three quarters empty. A row of its product is
// therefore 8 pixels: the inputs are the 10 pixels that these look at, the columns their outputs, the weights banded.
// The even and the odd pixels of both rows of a pooling window are four tiles, whose largest elements are the pooled map.
#pragma once

#include "kernels.h"
#include "pnet.h"
#include "pnet_confirm.h"
#include "simd.h"
#include "tiles.h"

namespace mtcnn_fast {
namespace {

constexpr int kConv1Channels = 10 * kConv1Pixels / 2;  // outputs of a row of the product that have one parity
constexpr int kConv1Tiles = (kConv1Channels + kTileSide - 1) / kTileSide;

struct TilePnetPlan {
  static constexpr int kPositions = 2048;  // pooled pixels a step: the maps stay in the second-level cache
  static constexpr int kOverlap = 10;      // rows of the level that the last cell row shares with the next

  int pitch;  // pixels of the bf16 rows; the maps after pooling have half of it
  int pooled_width, cells, rows;
  std::ptrdiff_t input_stride;  // of the float planes
  // In floats from the scratch's beginning; even_at and odd_at are the level's even and odd rows in bf16.
  std::size_t row_at, input_at, even_at, odd_at, pooled_at, conv2_at, features_at, confirm_at, total;

  explicit TilePnetPlan(const PnetBand& band) {
    pitch = static_cast<int>(round_up(band.width, kConv1Pixels));
    pooled_width = (band.width - 1) / 2;
    cells = pooled_width - 4;
    rows = kPositions / (pitch / 2) + 2;
    if (rows > band.end_row - band.first_row) rows = band.end_row - band.first_row;
    input_stride = PnetPlan::plane(static_cast<std::size_t>(2 * rows + kOverlap) * band.width);
    const auto bf16 = [](std::size_t count) { return round_up((count + kTileSlack) / 2, 16); };
    const std::size_t pooled = static_cast<std::size_t>(rows + 4) * (pitch / 2);
    row_at = 0;
    input_at = row_at + (band.resample ? resample_scratch(*band.resample) : 0);
    even_at = input_at + 3 * input_stride;
    odd_at = even_at + bf16(static_cast<std::size_t>(rows + 5) * pitch * 3);
    pooled_at = odd_at + bf16(static_cast<std::size_t>(rows + 5) * pitch * 3);
    conv2_at = pooled_at + bf16((pooled + 64) * 10);
    features_at = conv2_at + bf16((pooled + 64) * 16);
    confirm_at = features_at + 3 * kTileSide * kTileDepth / 2;
    total = confirm_at + ConfirmPlan::total;
  }
};

// Three planes' rows as one of interleaved bf16, zero from `width` to `pitch`. Reads up to a vector beyond the row.
inline void interleave_row(const float* red, std::ptrdiff_t plane, int width, int pitch, Bf16* out) {
  alignas(64) static constexpr std::uint16_t kFirst[32] = {0,  16, 32, 1,  17, 33, 2,  18, 34, 3,  19,
                                                           35, 4,  20, 36, 5,  21, 37, 6,  22, 38, 7,
                                                           23, 39, 8,  24, 40, 9,  25, 41, 10, 26};
  alignas(64) static constexpr std::uint16_t kSecond[16] = {42, 11, 27, 43, 12, 28, 44, 13,
                                                            29, 45, 14, 30, 46, 15, 31, 47};
  const __m512i first = _mm512_load_si512(kFirst);
  const __m512i second = _mm512_castsi256_si512(_mm256_load_si256(reinterpret_cast<const __m256i*>(kSecond)));
  for (int x = 0; x < width; x += kLanes) {
    const auto red_green = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(load(red + plane + x), load(red + x)));
    const auto blue = _mm512_castsi256_si512(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(load(red + 2 * plane + x))));
    _mm512_storeu_si512(out + 3 * x, _mm512_permutex2var_epi16(red_green, first, blue));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 3 * x + 32),
                        _mm512_castsi512_si256(_mm512_permutex2var_epi16(red_green, second, blue)));
  }
  std::memset(out + 3 * width, 0, sizeof(Bf16) * 3 * (pitch - width));
}

// conv1, PReLU and pooling of `rows` pooled rows. even and odd: row 0 of the pooled rows' even and odd input rows. If
// `single`, the level ends after the first row of the pooling windows.
inline void tile_conv1_and_pool(const TileLayer& layer, const Bf16* even, const Bf16* odd, int pitch, int columns,
                                int rows, bool single, Bf16* pooled) {
  const int groups = pitch / kConv1Pixels;  // a row
  const int count = rows * groups;
  const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(pitch) * 3;
  constexpr int kStride = 3 * kConv1Pixels, kTile = kTileSide * kTileDepth;
  alignas(64) float sums[4][kTileSums];  // [row][parity]
  for (int first = 0; first < count; first += kTileSide) {
    const Bf16* weights = layer.tiles;
    for (int n = 0; n < kConv1Tiles; ++n, weights += 6 * kTile) {
      // Registers: 0 and 1 are the first row's sums, even and odd; 2 and 3 the second's; 4 is a row of the level.
      const auto load_row = [&](const Bf16* from) { tile_load<4>(from + first * kStride, 2 * kStride); };
      const auto load_weights = [&](int ky) {
        tile_load<5>(weights + 2 * ky * kTile, 64);
        tile_load<6>(weights + (2 * ky + 1) * kTile, 64);
      };
      const auto multiply_first = [] { tile_multiply<0, 4, 5>(), tile_multiply<1, 4, 6>(); };
      const auto multiply_second = [] { tile_multiply<2, 4, 5>(), tile_multiply<3, 4, 6>(); };
      for_constants<4>([]<int kSums>() { tile_zero<kSums>(); });
      load_weights(0);
      load_row(even);
      multiply_first();
      load_row(odd);
      multiply_second();
      load_weights(1);
      multiply_first();
      load_row(even + row);
      multiply_second();
      load_weights(2);
      multiply_first();
      load_row(odd + row);
      multiply_second();
      for_constants<4>([&]<int kSums>() { tile_store<kSums>(sums[kSums]); });

      if (columns % 2) {
        // Ceil mode: the last column of conv1 is pooled alone.
        const int last = columns / 2;
        for (int y = first / groups; y * groups + last / 4 < first + kTileSide && y < rows; ++y) {
          const int m = y * groups + last / 4 - first;
          if (m < 0) continue;
          for (int c = 10 * (last % 4); c < 10 * (last % 4) + 10; ++c)
            if (c / kTileSide == n)
              for (int r = 0; r < 2; ++r)
                sums[2 * r + 1][m * kTileSide + c % kTileSide] = sums[2 * r][m * kTileSide + c % kTileSide];
        }
      }
      const F32 bias = load(layer.bias + n * kTileSide), slope = load(layer.slope + n * kTileSide);
      const float* const second = single ? sums[0] : sums[2];
      for (int m = 0; m < kTileSide; ++m) {
        const F32 a = load(sums[0] + m * kTileSide), b = load(sums[1] + m * kTileSide);
        const F32 c = load(second + m * kTileSide), d = load(second + kTileSums + m * kTileSide);
        // The largest of four PReLUs is that of the largest or, where the slope is negative, of the least sum.
        const F32 most = max(max(a, b), max(c, d)) + bias;
        const F32 least = _mm512_min_ps(_mm512_min_ps(a, b), _mm512_min_ps(c, d)) + bias;
        const auto rounded = _mm512_cvtneps_pbh(max(prelu(most, slope), prelu(least, slope)));
        // Of the last tile's columns, only those of the fourth pixel are real.
        std::memcpy(pooled + (first + m) * kConv1Channels + n * kTileSide, &rounded,
                    sizeof(Bf16) * (n + 1 < kConv1Tiles ? kTileSide : kConv1Channels % kTileSide));
      }
    }
  }
}

// Emits cells, 16 at a time where they are confirmed.
template <bool kConfirm>
class CellSink {
 public:
  CellSink(const PnetBand& band, const PnetWeights* weights, Plane input, float* scratch)
      : band_(band), weights_(weights), input_(input), scratch_(scratch) {}

  // The planes begin with cell row `row` from now on.
  void begin(int row) { first_row_ = row; }
  void add(const Cell& cell) {
    cells_[count_++] = cell;
    if (count_ == kLanes) flush();
  }
  void flush() {
    if (count_ == 0) return;
    int passed = count_;
    if constexpr (kConfirm) {
      confirm_cells(*weights_, input_, band_.height, band_.width, first_row_, cells_, count_, scratch_);
      passed = 0;
      for (int i = 0; i < count_; ++i)
        if (cells_[i].logit >= band_.threshold) cells_[passed++] = cells_[i];
    }
    if (passed) band_.emit(band_.context, cells_, passed);
    screened_ += count_;
    count_ = 0;
  }
  int screened() const { return screened_; }

 private:
  const PnetBand& band_;
  const PnetWeights* weights_;
  Plane input_;
  float* scratch_;
  int first_row_ = 0, count_ = 0, screened_ = 0;
  Cell cells_[kLanes];
};

// Positions 0 .. length - 1 of conv3, whose pitch is `pitch`, and the heads; what reaches `least` goes to the sink.
template <class Sink>
inline void tile_conv3_and_heads(const PnetTiles& weights, const Bf16* conv2, int pitch, int cells, int row, int length,
                                 float least, Bf16* features, Sink& sink) {
  constexpr int kBlock = 3 * kTileSide;
  for (int first = 0; first < length; first += kBlock) {
    tile_layer<TileTaps<3, 2>, 32, true>(conv2 + static_cast<std::ptrdiff_t>(first) * 16, 16, 16 * pitch, kBlock,
                                         weights.conv3,
                                         [&](int p, int c, F32 x) { store_bf16(features + p * kTileDepth + c, x); });
    alignas(64) float heads[kBlock * kTileSide];
    multiply_tiles<TileTaps<1, 1>, 3, 1>(features, kTileDepth, 0, weights.heads.tiles, heads);
    const __m512i column = _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(kTileSide));
    const F32 bias = splat(weights.heads.bias[0]), limit = splat(least);
    for (int m = 0; m < kBlock; m += kTileSide) {
      const float* const tile = heads + m * kTileSide;
      unsigned passed = _mm512_cmp_ps_mask(_mm512_i32gather_ps(column, tile, 4) + bias, limit, _CMP_GE_OQ);
      for (; passed; passed &= passed - 1) {
        const int i = __builtin_ctz(passed), position = first + m + i;
        const int y = position / pitch, x = position % pitch;
        if (position >= length || x >= cells) continue;
        Cell cell{row + y, x, 0, {}};
        const float* const head = tile + i * kTileSide;
        cell.logit = head[0] + weights.heads.bias[0];
        for (int k = 0; k < 4; ++k) cell.offsets[k] = head[1 + k] + weights.heads.bias[1 + k];
        sink.add(cell);
      }
    }
  }
}

template <bool kConfirm>
inline int pnet_on_tiles(const PnetTiles& tiles, const PnetWeights* weights, const PnetBand& band, float margin,
                         float* scratch) {
  const TilePnetPlan plan(band);
  const Plane input{scratch + plan.input_at, plan.input_stride};
  auto* const even = reinterpret_cast<Bf16*>(scratch + plan.even_at);
  auto* const odd = reinterpret_cast<Bf16*>(scratch + plan.odd_at);
  auto* const pooled = reinterpret_cast<Bf16*>(scratch + plan.pooled_at);
  auto* const conv2 = reinterpret_cast<Bf16*>(scratch + plan.conv2_at);
  auto* const features = reinterpret_cast<Bf16*>(scratch + plan.features_at);
  const std::ptrdiff_t pixels = static_cast<std::ptrdiff_t>(plan.pitch) * 3;
  const int half = plan.pitch / 2, columns = band.width - 2;
  CellSink<kConfirm> sink(band, weights, input, scratch + plan.confirm_at);
  const TileRegisters registers;

  // As in pnet(), but the planes keep the rows that the next step's cells look at.
  int kept_input = 0, kept = 0;
  int next_input = 2 * band.first_row, next_pooled = band.first_row;
  for (int row = band.first_row; row < band.end_row; row += plan.rows) {
    const int n = band.end_row - row < plan.rows ? band.end_row - row : plan.rows;
    const int new_pooled = row + n + 4 - next_pooled;
    const int end_input = 2 * (row + n + 4) + 2 < band.height ? 2 * (row + n + 4) + 2 : band.height;
    const int new_input = end_input - next_input;
    read_rows(band, next_input, new_input, input, kept_input, scratch + plan.row_at);
    // Row 2 * next_pooled of the level is the first even row; one row of each parity is kept.
    for (int i = 0; i < new_input; ++i) {
      const int y = next_input + i;
      interleave_row(input.data + static_cast<std::ptrdiff_t>(kept_input + i) * band.width, input.stride, band.width,
                     plan.pitch, (y % 2 ? odd : even) + (y / 2 - next_pooled) * pixels);
    }
    const int even_rows = (end_input + 1) / 2 - next_pooled, odd_rows = end_input / 2 - next_pooled;
    std::memset(even + even_rows * pixels, 0, sizeof(Bf16) * kTileDepth);
    std::memset(odd + odd_rows * pixels, 0, sizeof(Bf16) * kTileDepth);
    const bool single = 2 * (next_pooled + new_pooled) > band.height - 2;
    Bf16* const into = pooled + static_cast<std::ptrdiff_t>(kept) * half * 10;
    if (new_pooled > single)
      tile_conv1_and_pool(tiles.conv1, even, odd, plan.pitch, columns, new_pooled - single, false, into);
    if (single) {
      const std::ptrdiff_t last = new_pooled - 1;
      tile_conv1_and_pool(tiles.conv1, even + last * pixels, odd + last * pixels, plan.pitch, columns, 1, true,
                          into + last * half * 10);
    }
    std::memset(into + static_cast<std::ptrdiff_t>(new_pooled) * half * 10, 0, sizeof(Bf16) * 2 * kTileDepth);

    const int new_conv2 = kept + new_pooled - 2, kept_conv2 = kept;
    Bf16* const conv2_into = conv2 + static_cast<std::ptrdiff_t>(kept_conv2) * half * 16;
    tile_layer<TileTaps<3, 1>, 16, true>(pooled, 10, 10 * half, new_conv2 * half, tiles.conv2,
                                         [&](int p, int, F32 x) { store_bf16(conv2_into + p * 16, x); });
    sink.begin(row);
    tile_conv3_and_heads(tiles, conv2, half, plan.cells, row, (n - 1) * half + plan.cells, band.threshold - margin,
                         features, sink);
    sink.flush();

    next_input = end_input;
    next_pooled = row + n + 4;
    if (row + n < band.end_row) {
      carry_rows(input.data, 3, input.stride, band.width, kept_input + new_input - TilePnetPlan::kOverlap,
                 TilePnetPlan::kOverlap);
      const auto keep_last = [](Bf16* rows, std::ptrdiff_t count, int keep, std::ptrdiff_t width) {
        std::memmove(rows, rows + (count - keep) * width, sizeof(Bf16) * keep * width);
      };
      keep_last(even, even_rows, 1, pixels);
      keep_last(odd, odd_rows, 1, pixels);
      keep_last(pooled, kept + new_pooled, 2, 10 * half);
      keep_last(conv2, kept_conv2 + new_conv2, 2, 16 * half);
    }
    kept_input = TilePnetPlan::kOverlap;
    kept = 2;
  }
  return sink.screened();
}

std::size_t pnet_bf16_scratch(const PnetBand& band) { return TilePnetPlan(band).total; }

void pnet_bf16(const PnetTiles& tiles, const PnetBand& band, float* scratch) {
  pnet_on_tiles<false>(tiles, nullptr, band, 0, scratch);
}
int pnet_screened(const PnetTiles& tiles, const PnetWeights& weights, const PnetBand& band, float margin,
                  float* scratch) {
  return pnet_on_tiles<true>(tiles, &weights, band, margin, scratch);
}

}  // namespace
}  // namespace mtcnn_fast
