// P-Net over a band of a pyramid level in bf16 on AMX tiles, in the steps of pnet.h. Pixels are interleaved. Rows of
// all maps follow one another at one pitch, so that a product runs over them as one long row; what lies between two
// rows is computed too, and not read.
//
// Few channels would leave tiles empty, and pixels that are no fraction of a cache line are slow to load. A row of
// conv1's product is therefore 8 pixels: its inputs are the 10 pixels of RGB that these look at, its columns their
// outputs, of each pixel filled up to 16 channels; the weights are banded. The even and the odd pixels of both rows
// of a pooling window are four tiles, whose largest elements are the pooled map. A row of conv2's and conv3's products
// is 2 pixels.
#pragma once

#include "cpu/kernels/amx_tiles.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/pnet.h"
#include "cpu/kernels/pnet_confirm.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

constexpr int kPnetStride = 16;  // channels of a pixel of the pooled and conv2 maps
constexpr int kPooledPixels = kConv1Pixels / 2;

struct PnetBf16Plan {
  static constexpr int kBlock = 6 * kAmxTileSide;  // positions of conv3 at a time
  static constexpr int kPositions = 2048;          // pooled pixels a step: the maps stay in the second-level cache
  static constexpr int kOverlap = 10;              // rows of the level that the last cell row shares with the next

  int groups;  // of kConv1Pixels pixels in a row of the level
  int pitch;   // pixels of the maps after pooling
  int pooled_width, cells, rows;
  std::ptrdiff_t input_stride;  // of the float planes
  // In floats from the scratch's beginning; even_at and odd_at are the level's even and odd rows in bf16.
  std::size_t rows_at, input_at, even_at, odd_at, pooled_at, conv2_at, features_at, confirm_at, total;

  explicit PnetBf16Plan(const PnetBand& band) {
    groups = (band.width + kConv1Pixels - 1) / kConv1Pixels;
    pitch = groups * kPooledPixels;
    pooled_width = (band.width - 1) / 2;
    cells = pooled_width - 4;
    rows = kPositions / pitch + 2;
    if (rows > band.end_row - band.first_row) rows = band.end_row - band.first_row;
    input_stride = PnetPlan::plane(static_cast<std::size_t>(2 * rows + kOverlap) * band.width);
    const auto bf16 = [](std::size_t count) { return round_up(count / 2, 16); };
    // conv1 fills up a tile of rows of the product, conv2 and conv3 up to three.
    const std::size_t level = (static_cast<std::size_t>(rows + 5) * groups + kAmxTileSide) * kAmxTileDepth;
    const std::size_t map = (static_cast<std::size_t>(rows + 4) * pitch + 6 * kAmxTileSide) * kPnetStride;
    rows_at = 0;
    input_at = rows_at + (band.resample ? resample_scratch(*band.resample) : 0);
    even_at = input_at + 3 * input_stride;
    odd_at = even_at + bf16(level);
    pooled_at = odd_at + bf16(level);
    conv2_at = pooled_at + bf16(map);
    features_at = conv2_at + bf16(map);
    confirm_at = features_at + bf16(kBlock * kAmxTileDepth);
    total = confirm_at + ConfirmPlan::total;
  }
};

// A row of three planes as rows of conv1's product: 10 pixels of interleaved bf16 and two zeros, 8 pixels apart. Pixels
// beyond the row are zero.
inline void interleave_row(const float* red, std::ptrdiff_t plane, int width, Bf16* out) {
  alignas(64) static constexpr std::uint16_t kOrder[32] = {0,  16, 32, 1,  17, 33, 2,  18, 34, 3,  19,
                                                           35, 4,  20, 36, 5,  21, 37, 6,  22, 38, 7,
                                                           23, 39, 8,  24, 40, 9,  25, 41, 0,  0};
  const __m512i order = _mm512_load_si512(kOrder);
  for (int x = 0; x < width; x += kConv1Pixels, out += kAmxTileDepth) {
    const auto there = static_cast<__mmask16>(width - x < kLanes ? (1u << (width - x)) - 1 : 0xffff);
    const F32 r = _mm512_maskz_loadu_ps(there, red + x), g = _mm512_maskz_loadu_ps(there, red + plane + x),
              b = _mm512_maskz_loadu_ps(there, red + 2 * plane + x);
    const auto red_green = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(g, r));
    const auto blue = _mm512_castsi256_si512(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(b)));
    _mm512_store_si512(out, _mm512_maskz_permutex2var_epi16((1u << 30) - 1, red_green, order, blue));
  }
}

// Sums of conv1, of one tile of product rows, for one pooled pixel of each.
struct Conv1Sums {
  alignas(64) float row[2][2][kAmxTileSums];  // [row of the window][parity of the column]
};

// Ceil mode: an odd last column of conv1 is pooled alone. Of the tile that begins with product row `first`, the sums of
// that column's pixels stand in for those of the next.
inline void cut_columns(Conv1Sums& sums, int first, int rows, int groups, int last) {
  for (int y = first / groups; y < rows && y * groups + last / kPooledPixels < first + kAmxTileSide; ++y) {
    const int m = y * groups + last / kPooledPixels - first;
    if (m < 0) continue;
    for (int r = 0; r < 2; ++r)
      std::memcpy(sums.row[r][1] + m * kAmxTileSide, sums.row[r][0] + m * kAmxTileSide, sizeof(float) * kAmxTileSide);
  }
}

// conv1, PReLU and pooling of `rows` pooled rows. even and odd: row 0 of the pooled rows' even and odd input rows. If
// `single`, the level ends after the first row of the pooling windows.
inline void conv1_and_pool_bf16(const LayerBf16& layer, const Bf16* even, const Bf16* odd, int groups, int columns,
                                int rows, bool single, Bf16* pooled) {
  const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(groups) * kAmxTileDepth;
  const F32 bias = load(layer.bias), slope = load(layer.slope);
  Conv1Sums sums;
  // Of one parity, both rows of the window: tiles kFirst and kFirst + 1.
  const auto multiply = [&]<int kFirst>(const Bf16* from, const Bf16* weights) {
    constexpr int kInput = kFirst == 0 ? 4 : 5;
    const auto load_row = [](const Bf16* in) { amx_tile_load<kInput>(in, 2 * kAmxTileDepth); };
    const auto load_weights = [&]<int kWeights>(int ky) {
      amx_tile_load<kWeights>(weights + ky * kAmxTileSide * kAmxTileDepth, 2 * kAmxTileDepth);
    };
    const std::ptrdiff_t to_odd = odd - even;
    amx_tile_zero<kFirst>();
    amx_tile_zero<kFirst + 1>();
    load_weights.template operator()<6>(0);
    load_row(from);
    amx_tile_multiply<kFirst, kInput, 6>();
    load_row(from + to_odd);
    amx_tile_multiply<kFirst + 1, kInput, 6>();
    load_weights.template operator()<7>(1);
    amx_tile_multiply<kFirst, kInput, 7>();
    load_row(from + row);
    amx_tile_multiply<kFirst + 1, kInput, 7>();
    load_weights.template operator()<6>(2);
    amx_tile_multiply<kFirst, kInput, 6>();
    load_row(from + to_odd + row);
    amx_tile_multiply<kFirst + 1, kInput, 6>();
  };
  const auto pool = [&](int first, int pixel) {
    if (columns % 2 && columns / 2 % kPooledPixels == pixel) cut_columns(sums, first, rows, groups, columns / 2);
    const auto& second = sums.row[single ? 0 : 1];
    Bf16* out = pooled + (static_cast<std::ptrdiff_t>(first) * kPooledPixels + pixel) * kPnetStride;
    for (int m = 0; m < kAmxTileSums; m += kAmxTileSide, out += kPooledPixels * kPnetStride) {
      const F32 first = load(sums.row[0][0] + m);
      Extremes window{first, first};
      window.include(load(sums.row[0][1] + m));
      window.include(load(second[0] + m));
      window.include(load(second[1] + m));
      store_bf16(out, window.pooled(bias, slope));
    }
  };
  const auto store_parity = [&]<int kFirst>() {
    amx_tile_store<kFirst>(sums.row[0][kFirst / 2]);
    amx_tile_store<kFirst + 1>(sums.row[1][kFirst / 2]);
  };
  constexpr int kWeights = 3 * kAmxTileSide * kAmxTileDepth;  // of one pooled pixel and parity
  for (int first = 0; first < rows * groups; first += kAmxTileSide) {
    const Bf16* const from = even + static_cast<std::ptrdiff_t>(first) * kAmxTileDepth;
    for (int pixel = 0; pixel < kPooledPixels; ++pixel) {
      // As in amx_layer, the products of one parity run while those of the other are stored and pooled.
      multiply.template operator()<0>(from, layer.amx_tiles + 2 * pixel * kWeights);
      if (pixel > 0) {
        store_parity.template operator()<2>();
        pool(first, pixel - 1);
      }
      multiply.template operator()<2>(from, layer.amx_tiles + (2 * pixel + 1) * kWeights);
      store_parity.template operator()<0>();
    }
    store_parity.template operator()<2>();
    pool(first, kPooledPixels - 1);
  }
}

// Emits cells, 16 at a time. Their pixels are put aside for that, because the planes move on.
template <bool kConfirm>
class CellSink {
 public:
  CellSink(const PnetBand& band, const PnetWeights* weights, Plane input, float* scratch)
      : band_(band), weights_(weights), input_(input), scratch_(scratch) {}

  // The planes begin with cell row `row` from now on.
  void begin(int row) { first_row_ = row; }
  void add(const Cell& cell) {
    if constexpr (kConfirm)
      copy_patch(input_, band_.width,
                 static_cast<std::ptrdiff_t>(2 * (cell.row - first_row_)) * band_.width + 2 * cell.column,
                 scratch_ + ConfirmPlan::patches_at + count_ * kPatch);
    cells_[count_++] = cell;
    if (count_ == kLanes) flush();
  }
  void flush() {
    if (count_ == 0) return;
    int passed = count_;
    if constexpr (kConfirm) {
      confirm_cells(*weights_, band_.height, band_.width, cells_, count_, scratch_);
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
inline void conv3_and_heads_bf16(const PnetWeightsBf16& weights, const Bf16* conv2, int pitch, int cells, int row,
                                 int length, float least, Bf16* features, Sink& sink) {
  constexpr int kBlock = PnetBf16Plan::kBlock, kOut = 32;
  const __m512i column = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                            _mm512_set1_epi32(kAmxTileSide));
  const F32 limit = splat(least);
  alignas(64) float heads[kBlock * kAmxTileSide];
  for (int first = 0; first < length; first += kBlock) {
    amx_layer<AmxTaps<3, 2>, 2 * kOut, true>(conv2 + static_cast<std::ptrdiff_t>(first) * kPnetStride, 2 * kPnetStride,
                                             pitch * kPnetStride, kBlock / 2, weights.conv3,
                                             [&](int p, int c, F32 x) { store_bf16(features + p * 2 * kOut + c, x); });
    amx_layer<AmxTaps<1, 1>, kAmxTileSide, false>(features, kOut, 0, kBlock, weights.heads,
                                                  [&](int p, int, F32 x) { store(heads + p * kAmxTileSide, x); });
    for (int m = 0; m < kBlock; m += kAmxTileSide) {
      const float* const tile = heads + m * kAmxTileSide;
      unsigned passed = _mm512_cmp_ps_mask(_mm512_i32gather_ps(column, tile, 4), limit, _CMP_GE_OQ);
      for (; passed; passed &= passed - 1) {
        const int i = __builtin_ctz(passed), position = first + m + i;
        const int y = position / pitch, x = position % pitch;
        if (position >= length || x >= cells) continue;
        const float* const head = tile + i * kAmxTileSide;
        sink.add({row + y, x, head[0], {head[1], head[2], head[3], head[4]}});
      }
    }
  }
}

template <bool kConfirm>
inline int pnet_in_bf16(const PnetWeightsBf16& rounded, const PnetWeights* weights, const PnetBand& band, float least,
                        float* scratch) {
  const PnetBf16Plan plan(band);
  const Plane input{scratch + plan.input_at, plan.input_stride};
  const auto at = [&](std::size_t floats) { return reinterpret_cast<Bf16*>(scratch + floats); };
  Bf16 *const even = at(plan.even_at), *const odd = at(plan.odd_at), *const pooled = at(plan.pooled_at),
              *const conv2 = at(plan.conv2_at), *const features = at(plan.features_at);
  const std::ptrdiff_t level_row = static_cast<std::ptrdiff_t>(plan.groups) * kAmxTileDepth;
  const std::ptrdiff_t map_row = static_cast<std::ptrdiff_t>(plan.pitch) * kPnetStride;
  const int columns = band.width - 2;
  const WeightedRows source_rows =
      band.resample ? prepare_rows(*band.resample, scratch + plan.rows_at) : WeightedRows{};
  CellSink<kConfirm> sink(band, weights, input, scratch + plan.confirm_at);
  configure_amx_tiles();

  // As in pnet(), but the planes keep the rows that the next step's cells look at.
  int kept_input = 0, kept = 0;
  for (PnetStep step(band, plan.rows); step.row < band.end_row; step.advance()) {
    const int new_pooled = step.new_pooled, end_input = step.input + step.new_input;
    read_rows(band, source_rows, step.input, step.new_input, input, kept_input);
    // Row 2 * step.pooled of the level is the first even row; one row of each parity is kept.
    for (int i = 0; i < step.new_input; ++i) {
      const int y = step.input + i;
      interleave_row(input.data + static_cast<std::ptrdiff_t>(kept_input + i) * band.width, input.stride, band.width,
                     (y % 2 ? odd : even) + (y / 2 - step.pooled) * level_row);
    }
    const bool single = 2 * (step.pooled + new_pooled) > band.height - 2;
    Bf16* const into = pooled + kept * map_row;
    if (new_pooled > single)
      conv1_and_pool_bf16(rounded.conv1, even, odd, plan.groups, columns, new_pooled - single, false, into);
    if (single) {
      const std::ptrdiff_t last = new_pooled - 1;
      conv1_and_pool_bf16(rounded.conv1, even + last * level_row, odd + last * level_row, plan.groups, columns, 1, true,
                          into + last * map_row);
    }
    // A row of a product may reach two pixels beyond the map; these meet weights of zero, but must be finite.
    std::memset(into + new_pooled * map_row, 0, sizeof(Bf16) * 4 * kPnetStride);

    const int new_conv2 = kept + new_pooled - 2, kept_conv2 = kept;
    Bf16* const conv2_into = conv2 + kept_conv2 * map_row;
    amx_layer<AmxTaps<3, 2>, 2 * kPnetStride, true>(
        pooled, 2 * kPnetStride, map_row, new_conv2 * plan.pitch / 2, rounded.conv2,
        [&](std::ptrdiff_t p, int c, F32 x) { store_bf16(conv2_into + p * 2 * kPnetStride + c, x); });
    sink.begin(step.row);
    conv3_and_heads_bf16(rounded, conv2, plan.pitch, plan.cells, step.row, (step.n - 1) * plan.pitch + plan.cells,
                         least, features, sink);

    if (!step.last()) {
      carry_rows(input.data, 3, input.stride, band.width, kept_input + step.new_input - PnetBf16Plan::kOverlap,
                 PnetBf16Plan::kOverlap);
      const auto keep_last = [](Bf16* rows, std::ptrdiff_t count, int keep, std::ptrdiff_t width) {
        std::memmove(rows, rows + (count - keep) * width, sizeof(Bf16) * keep * width);
      };
      keep_last(even, (end_input + 1) / 2 - step.pooled, 1, level_row);
      keep_last(odd, end_input / 2 - step.pooled, 1, level_row);
      keep_last(pooled, kept + new_pooled, 2, map_row);
      keep_last(conv2, kept_conv2 + new_conv2, 2, map_row);
    }
    kept_input = PnetBf16Plan::kOverlap;
    kept = 2;
  }
  release_amx_tiles();
  sink.flush();
  return sink.screened();
}

std::size_t pnet_bf16_scratch(const PnetBand& band) { return PnetBf16Plan(band).total; }

void pnet_bf16(const PnetWeightsBf16& rounded, const PnetBand& band, float* scratch) {
  pnet_in_bf16<false>(rounded, nullptr, band, band.threshold, scratch);
}
int pnet_screened(const PnetWeightsBf16& rounded, const PnetWeights& weights, const PnetBand& band, float least,
                  float* scratch) {
  return pnet_in_bf16<true>(rounded, &weights, band, least, scratch);
}

}  // namespace
}  // namespace mtcnn_fast
