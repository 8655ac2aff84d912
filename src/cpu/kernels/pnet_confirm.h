// Single cells of P-Net in float32, from the level's planes: sixteen cells are the lanes of one computation, whose
// every lane does what pnet.h does for a pixel, operation by operation. The result is that of the whole map, to the
// bit.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/pnet.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

static_assert(kLanes == 16);
constexpr int kCellSide = 12;  // pixels of the level that a cell looks at

constexpr int kPatch = 3 * kCellSide * kCellSide;

struct ConfirmPlan {
  static constexpr int conv1_side = kCellSide - 2, pooled_side = conv1_side / 2, conv2_side = pooled_side - 2;
  static constexpr int patches_at = 0, lanes_at = patches_at + kPatch * kLanes, conv1_at = lanes_at + kPatch * kLanes,
                       pooled_at = conv1_at + 10 * conv1_side * conv1_side * kLanes,
                       conv2_at = pooled_at + 10 * pooled_side * pooled_side * kLanes,
                       features_at = conv2_at + 16 * conv2_side * conv2_side * kLanes,
                       total = features_at + 32 * kLanes;
};

// The pixels of a cell, [plane][row][column], from planes in which they begin at `corner`.
inline void copy_patch(Plane input, int width, std::ptrdiff_t corner, float* patch) {
  for (int c = 0; c < 3; ++c) {
    const float* from = input.data + c * input.stride + corner;
    for (int row = 0; row < kCellSide; ++row, from += width, patch += kCellSide)
      std::memcpy(patch, from, sizeof(float) * kCellSide);
  }
}

// Sixteen patches, one after the other, as [plane][row][column][patch].
inline void transpose_patches(const float* patches, float* lanes) {
  for (int at = 0; at < kPatch; at += 4, patches += 4, lanes += 4 * kLanes) {
    __m512 rows[4];  // four pixels of patches i, 4 + i, 8 + i, 12 + i
    for (int i = 0; i < 4; ++i) {
      rows[i] = _mm512_castps128_ps512(_mm_loadu_ps(patches + i * kPatch));
      rows[i] = _mm512_insertf32x4(rows[i], _mm_loadu_ps(patches + (4 + i) * kPatch), 1);
      rows[i] = _mm512_insertf32x4(rows[i], _mm_loadu_ps(patches + (8 + i) * kPatch), 2);
      rows[i] = _mm512_insertf32x4(rows[i], _mm_loadu_ps(patches + (12 + i) * kPatch), 3);
    }
    const auto low = [](__m512 a, __m512 b) { return _mm512_castps_pd(_mm512_unpacklo_ps(a, b)); };
    const auto high = [](__m512 a, __m512 b) { return _mm512_castps_pd(_mm512_unpackhi_ps(a, b)); };
    const __m512d a = low(rows[0], rows[1]), b = low(rows[2], rows[3]), c = high(rows[0], rows[1]),
                  d = high(rows[2], rows[3]);
    store(lanes, _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)));
    store(lanes + kLanes, _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    store(lanes + 2 * kLanes, _mm512_castpd_ps(_mm512_unpacklo_pd(c, d)));
    store(lanes + 3 * kLanes, _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
  }
}

// kOut channels of a side x side map whose pixels are kLanes floats, from one of in_side x in_side.
template <int kIn, int kOut, int kInSide>
inline void conv3x3_cells(const float* in, const Layer& layer, float* out) {
  constexpr int kSide = kInSide - 2, kMost = register_tile_pixels<planar_block(kOut, kRegisters)>();
  constexpr int kPlane = kSide * kSide * kLanes;
  for (int y = 0; y < kSide; ++y) {
    const float* const from = in + y * kInSide * kLanes;
    float* const to = out + y * kSide * kLanes;
    constexpr int kWhole = kSide / kMost * kMost;
    for (int x = 0; x < kWhole; x += kMost)
      conv3x3_block<kIn, kOut, kMost, kLanes>(from + x * kLanes, kInSide * kInSide * kLanes, kInSide * kLanes, layer,
                                              to + x * kLanes, kPlane);
    if constexpr (kWhole < kSide)
      conv3x3_block<kIn, kOut, kSide - kWhole, kLanes>(from + kWhole * kLanes, kInSide * kInSide * kLanes,
                                                       kInSide * kLanes, layer, to + kWhole * kLanes, kPlane);
  }
}

// Ceil mode: where the level ends within a cell's last pixels, its last windows are pooled over what there is. The even
// row or column of conv1 stands for the odd one, so that neither changes the largest.
inline void cut_conv1(float* conv1, int lane, bool last_column, bool last_row) {
  constexpr int kSide = ConfirmPlan::conv1_side;
  for (int c = 0; c < 10; ++c) {
    float* const map = conv1 + c * kSide * kSide * kLanes + lane;
    for (int i = 0; i < kSide && last_column; ++i)
      map[(i * kSide + kSide - 1) * kLanes] = map[(i * kSide + kSide - 2) * kLanes];
    for (int i = 0; i < kSide && last_row; ++i)
      map[((kSide - 1) * kSide + i) * kLanes] = map[((kSide - 2) * kSide + i) * kLanes];
  }
}

// Sets the logit and the offsets of `count` <= kLanes cells of a level of height x width, whose patches stand at
// scratch + ConfirmPlan::patches_at. What stands there beyond `count` patches does not matter.
inline void confirm_cells(const PnetWeights& weights, int height, int width, Cell* cells, int count, float* scratch) {
  using Plan = ConfirmPlan;
  float* const lanes = scratch + Plan::lanes_at;
  float* const conv1 = scratch + Plan::conv1_at;
  float* const pooled = scratch + Plan::pooled_at;
  float* const conv2 = scratch + Plan::conv2_at;
  float* const features = scratch + Plan::features_at;
  transpose_patches(scratch + Plan::patches_at, lanes);
  conv3x3_cells<3, 10, kCellSide>(lanes, weights.conv1, conv1);
  for (int i = 0; i < count; ++i) {
    const bool last_column = 2 * cells[i].column + kCellSide > width, last_row = 2 * cells[i].row + kCellSide > height;
    if (last_column || last_row) cut_conv1(conv1, i, last_column, last_row);
  }
  for (int c = 0; c < 10; ++c)
    for (int y = 0; y < Plan::pooled_side; ++y)
      for (int x = 0; x < Plan::pooled_side; ++x) {
        const float* const first = conv1 + ((c * Plan::conv1_side + 2 * y) * Plan::conv1_side + 2 * x) * kLanes;
        const float* const second = first + Plan::conv1_side * kLanes;
        store(pooled + ((c * Plan::pooled_side + y) * Plan::pooled_side + x) * kLanes,
              max(max(load(first), load(second)), max(load(first + kLanes), load(second + kLanes))));
      }
  conv3x3_cells<10, 16, Plan::pooled_side>(pooled, weights.conv2, conv2);
  conv3x3_cells<16, 32, Plan::conv2_side>(conv2, weights.conv3, features);
  float heads[5][kLanes];
  for (int k = 0; k < 5; ++k) {
    F32 sum = splat(k == 0 ? weights.face[32] : weights.box[32 * 4 + k - 1]);
    for (int c = 0; c < 32; ++c)
      sum = fma(splat(k == 0 ? weights.face[c] : weights.box[c * 4 + k - 1]), load(features + c * kLanes), sum);
    store(heads[k], sum);
  }
  for (int i = 0; i < count; ++i) {
    cells[i].logit = heads[0][i];
    for (int k = 0; k < 4; ++k) cells[i].offsets[k] = heads[1 + k][i];
  }
}

}  // namespace
}  // namespace mtcnn_fast
