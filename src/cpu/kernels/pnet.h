// P-Net over a band of a pyramid level, fused: resize -> conv1, PReLU, pool -> conv2, PReLU -> conv3, PReLU, logit, in
// steps of a few rows, so that nothing between the image and the candidates leaves the second-level cache.
//
// Its convolutions are direct, for the instruction set whose screen confirms single windows to the same bits
// (pnet_confirm.h); the others take pnet_tiled.h. Planes are kept by channel and pixels are lanes. A convolution runs
// over the rows of a step as one long row of pitch `pitch`: the taps of a pixel lie at the same offsets for every lane,
// so vectors cross from row to row, small levels waste no lanes at row ends, and the last two (of conv3: four)
// positions of a row hold values that nobody reads. Every output is the same sequence of operations wherever it lies:
// bands, steps and lanes do not show in the result.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/resample.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

struct Plane {
  float* data;
  std::ptrdiff_t stride;  // floats from one channel to the next
};

// One register tile of a 3x3 convolution with PReLU: kBlock output channels of kVectors vectors of pixels, a pixel and
// its right neighbour kTap floats apart. Not inlined: among other code, gcc 12 runs out of registers for the sums
// (conv3: 154 instead of 178 GFLOP/s with AVX-512).
template <int kIn, int kBlock, int kVectors, int kTap>
__attribute__((noinline)) void conv3x3_register_tile(const float* in, std::ptrdiff_t in_stride, std::ptrdiff_t pitch,
                                                     const float* weight, const float* bias, const float* slope,
                                                     float* out, std::ptrdiff_t out_stride) {
  F32 sum[kBlock][kVectors];
#pragma GCC unroll 8
  for (int c = 0; c < kBlock; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[c][v] = splat(bias[c]);
  for (int i = 0; i < kIn; ++i, in += in_stride) {
#pragma GCC unroll 1
    for (int ky = 0; ky < 3; ++ky) {
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx, weight += kBlock) {
        F32 pixels[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) pixels[v] = load(in + ky * pitch + kx * kTap + v * kLanes);
#pragma GCC unroll 8
        for (int c = 0; c < kBlock; ++c) {
          const F32 w = splat(weight[c]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) sum[c][v] = fma(w, pixels[v], sum[c][v]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kBlock; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(out + c * out_stride + v * kLanes, prelu(sum[c][v], splat(slope[c])));
}

// Calls f.template operator()<vectors>(position) until `length` positions are covered; the last vector may go beyond.
template <int kVectors, class F>
inline void for_each_block(int length, const F& f) {
  int p = 0;
  for (; p + kVectors * kLanes <= length; p += kVectors * kLanes) f.template operator()<kVectors>(p);
  if constexpr (kVectors > 1) {
    const int left = (length - p + kLanes - 1) / kLanes;
    if (kVectors > 2 && left == 2)
      f.template operator()<2>(p);
    else
      for (; p < length; p += kLanes) f.template operator()<1>(p);
  } else if (p < length) {
    f.template operator()<1>(p);
  }
}

template <int kBlock>
constexpr int register_tile_pixels() {
  // Sums, one vector of pixels each and one weight must fit the registers.
  for (int v = 4; v > 1; --v)
    if (kBlock * v + v + 1 <= kRegisters && v <= 3 + (kBlock == 5)) return v;
  return 1;
}

// All kOut channels of kVectors vectors of pixels.
template <int kIn, int kOut, int kVectors, int kTap = 1>
inline void conv3x3_block(const float* in, std::ptrdiff_t in_stride, std::ptrdiff_t pitch, const Layer& layer,
                          float* out, std::ptrdiff_t out_stride) {
  constexpr int kBlock = planar_block(kOut, kRegisters);
  for (int c = 0; c < kOut; c += kBlock)
    conv3x3_register_tile<kIn, kBlock, kVectors, kTap>(in, in_stride, pitch, layer.weight + c * kIn * 9, layer.bias + c,
                                                       layer.slope + c, out + c * out_stride, out_stride);
}

// Output positions 0 .. length - 1 of a 3x3 convolution with PReLU.
template <int kIn, int kOut>
inline void conv3x3(const float* in, std::ptrdiff_t in_stride, std::ptrdiff_t pitch, const Layer& layer, float* out,
                    std::ptrdiff_t out_stride, int length) {
  for_each_block<register_tile_pixels<planar_block(kOut, kRegisters)>()>(length, [&]<int kVectors>(int p) {
    conv3x3_block<kIn, kOut, kVectors>(in + p, in_stride, pitch, layer, out + p, out_stride);
  });
}

// The sizes of everything in a band, and where it lies in the scratch.
struct PnetPlan {
  static constexpr int kConv1Positions = 640;  // of 10 channels, in the first-level cache

  int pooled_width, cells;  // pitch of the pooled and conv2 planes; cells in a row
  int rows;                 // cell rows a step
  std::ptrdiff_t input_stride, conv1_stride, pooled_stride, conv2_stride;
  std::size_t rows_at, input_at, conv1_at, pooled_at, conv2_at, total;

  // Room for so many floats and what vectors write beyond; an odd number of cache lines, because planes that lie a
  // power of two apart share the same few lines of the cache (measured: 3 %).
  static std::ptrdiff_t plane(std::size_t floats) { return round_up(floats + kSlack, 32) + 16; }

  explicit PnetPlan(const PnetBand& band) {
    pooled_width = (band.width - 1) / 2;
    cells = pooled_width - 4;
    // A step amortises the two rows that it moves; it is kept short enough for the second-level cache.
    rows = 768 / pooled_width + 2;
    if (rows > band.end_row - band.first_row) rows = band.end_row - band.first_row;
    // The first step computes four more pooled rows than cells, each from two rows, and two more input rows.
    input_stride = plane(static_cast<std::size_t>(2 * rows + 10) * band.width);
    conv1_stride = plane(kConv1Positions + kSlack);
    pooled_stride = plane(static_cast<std::size_t>(rows + 4) * pooled_width);
    conv2_stride = plane(static_cast<std::size_t>(rows + 2) * pooled_width);
    rows_at = 0;
    input_at = rows_at + (band.resample ? resample_scratch(*band.resample) : 0);
    conv1_at = input_at + 3 * input_stride;
    pooled_at = conv1_at + 10 * conv1_stride;
    conv2_at = pooled_at + 10 * pooled_stride;
    total = conv2_at + 16 * conv2_stride;
  }
};

// The steps of a band, one after the other: `n` cell rows from `row` on, and the rows of pooled pixels and of the level
// that these need and no step before has made. n cell rows look at n + 4 pooled rows, each of which is made of two rows
// of conv1, and so of four of the level.
struct PnetStep {
  const PnetBand& band;
  int most;  // cell rows a step
  int row = band.first_row, n = 0;
  int pooled = band.first_row, new_pooled = 0;
  int input = 2 * band.first_row, new_input = 0;

  PnetStep(const PnetBand& b, int rows) : band(b), most(rows) { measure(); }
  bool last() const { return row + n == band.end_row; }
  void advance() {
    row += n, pooled += new_pooled, input += new_input;
    measure();
  }

 private:
  void measure() {
    n = band.end_row - row < most ? band.end_row - row : most;
    const int end_pooled = row + n + 4, end_input = 2 * end_pooled + 2;
    new_pooled = end_pooled - pooled;
    new_input = (end_input < band.height ? end_input : band.height) - input;
  }
};

// Rows y .. y + n - 1 of the level into the input planes, from row `at` on.
inline void read_rows(const PnetBand& band, const WeightedRows& rows, int y, int n, Plane input, int at) {
  float* const out = input.data + static_cast<std::ptrdiff_t>(at) * band.width;
  if (band.resample) {
    resample_planar_rows(*band.resample, rows, y, n, out, input.stride);
  } else {
    const float* pixel = band.level + static_cast<std::ptrdiff_t>(y) * band.width * 3;
    for (int x = 0; x < n * band.width; ++x)
      for (int c = 0; c < 3; ++c) out[c * input.stride + x] = pixel[3 * x + c];
  }
}

// Max-pooling 2x2 of one row pair; where the level's height is odd, the last pair has one row, `second` == `first`.
inline void pool2x2_row(const float* first, const float* second, float* out, int outputs) {
  for (int x = 0; x < outputs; x += kLanes) {
    const F32 low = max(load(first + 2 * x), load(second + 2 * x));
    const F32 high = max(load(first + 2 * x + kLanes), load(second + 2 * x + kLanes));
    store(out + x, max(even(low, high), odd(low, high)));
  }
}

// Pooled rows y .. y + n - 1 from the input planes, whose row 0 is input row 2y of the level.
inline void conv1_and_pool(const PnetWeights& weights, const PnetBand& band, const PnetPlan& plan, int y, int n,
                           Plane input, float* conv1, float* pooled) {
  const int width = band.width, columns = width - 2, rows = band.height - 2;
  // Narrow levels: several row pairs as one long row; wide ones: pieces of one row pair.
  const bool narrow = 2 * width <= PnetPlan::kConv1Positions;
  const int pairs = narrow ? PnetPlan::kConv1Positions / (2 * width) : 1;
  const int piece = narrow ? columns : PnetPlan::kConv1Positions / 2;
  const std::ptrdiff_t pitch = narrow ? width : piece + kSlack;
  for (int r = 0; r < n; r += pairs) {
    const int here = n - r < pairs ? n - r : pairs;
    // The last pair of a level with an odd number of conv1 rows is a single row.
    const int conv_rows = rows - 2 * (y + r) < 2 * here ? rows - 2 * (y + r) : 2 * here;
    for (int x = 0; x < columns; x += piece) {
      const int wide = columns - x < piece ? columns - x : piece;
      const float* from = input.data + static_cast<std::ptrdiff_t>(2 * r) * width + x;
      if (narrow) {
        conv3x3<3, 10>(from, input.stride, width, weights.conv1, conv1, plan.conv1_stride,
                       (conv_rows - 1) * width + wide);
      } else {
        for (int k = 0; k < conv_rows; ++k)
          conv3x3<3, 10>(from + static_cast<std::ptrdiff_t>(k) * width, input.stride, width, weights.conv1,
                         conv1 + k * pitch, plan.conv1_stride, wide);
      }
      for (int c = 0; c < 10; ++c) {
        for (int k = 0; k < here; ++k) {
          float* first = conv1 + c * plan.conv1_stride + 2 * k * pitch;
          float* second = 2 * k + 1 < conv_rows ? first + pitch : first;
          // Ceil mode: an odd last column is pooled alone.
          if (wide % 2) first[wide] = first[wide - 1], second[wide] = second[wide - 1];
          float* out = pooled + c * plan.pooled_stride + static_cast<std::ptrdiff_t>(r + k) * plan.pooled_width + x / 2;
          pool2x2_row(first, second, out, (wide + 1) / 2);
        }
      }
    }
  }
}

// conv3 with its PReLU, the face logit, and the offsets of the blocks in which a cell passes.
inline void conv3_and_heads(const PnetWeights& weights, const PnetBand& band, const PnetPlan& plan, int row, int n,
                            const float* conv2) {
  constexpr int kIn = 16, kOut = 32;
  const std::ptrdiff_t pitch = plan.pooled_width;
  const int length = (n - 1) * plan.pooled_width + plan.cells;
  for_each_block<register_tile_pixels<planar_block(kOut, kRegisters)>()>(length, [&]<int kVectors>(int p) {
    constexpr int kCells = kVectors * kLanes;
    float features[kOut * kCells];
    conv3x3_block<kIn, kOut, kVectors>(conv2 + p, plan.conv2_stride, pitch, weights.conv3, features, kCells);
    F32 logit[kVectors];
    for (int v = 0; v < kVectors; ++v) logit[v] = splat(weights.face[kOut]);
    for (int c = 0; c < kOut; ++c)
      for (int v = 0; v < kVectors; ++v)
        logit[v] = fma(splat(weights.face[c]), load(features + c * kCells + v * kLanes), logit[v]);
    float logits[kCells];
    for (int v = 0; v < kVectors; ++v) store(logits + v * kLanes, logit[v]);

    Cell passed[kCells];
    int lanes[kCells];
    int count = 0;
    for (int i = 0, y = p / plan.pooled_width, x = p % plan.pooled_width; i < kCells && y < n; ++i) {
      if (logits[i] >= band.threshold && x < plan.cells) {
        lanes[count] = i;
        passed[count++] = {row + y, x, logits[i], {}};
      }
      if (++x == plan.pooled_width) x = 0, ++y;
    }
    if (count == 0) return;
    for (int k = 0; k < 4; ++k) {
      F32 offset[kVectors];
      for (int v = 0; v < kVectors; ++v) offset[v] = splat(weights.box[kOut * 4 + k]);
      for (int c = 0; c < kOut; ++c)
        for (int v = 0; v < kVectors; ++v)
          offset[v] = fma(splat(weights.box[c * 4 + k]), load(features + c * kCells + v * kLanes), offset[v]);
      float offsets[kCells];
      for (int v = 0; v < kVectors; ++v) store(offsets + v * kLanes, offset[v]);
      for (int i = 0; i < count; ++i) passed[i].offsets[k] = offsets[lanes[i]];
    }
    band.emit(band.context, passed, count);
  });
}

// The last `keep` rows of each plane to its front.
inline void carry_rows(float* planes, int channels, std::ptrdiff_t stride, int width, int from_row, int keep) {
  for (int c = 0; c < channels; ++c)
    std::memmove(planes + c * stride, planes + c * stride + static_cast<std::ptrdiff_t>(from_row) * width,
                 sizeof(float) * keep * width);
}

std::size_t pnet_scratch(const PnetBand& band) { return PnetPlan(band).total; }

void pnet(const PnetWeights& weights, const PnetBand& band, float* scratch) {
  const PnetPlan plan(band);
  const Plane input{scratch + plan.input_at, plan.input_stride};
  float* const conv1 = scratch + plan.conv1_at;
  float* const pooled = scratch + plan.pooled_at;
  float* const conv2 = scratch + plan.conv2_at;
  const WeightedRows rows = band.resample ? prepare_rows(*band.resample, scratch + plan.rows_at) : WeightedRows{};
  const int width = plan.pooled_width;
  // Each step keeps the last two rows of input, pooled and conv2 planes from the one before; the first has none.
  int kept_input = 0, kept = 0;
  for (PnetStep step(band, plan.rows); step.row < band.end_row; step.advance()) {
    read_rows(band, rows, step.input, step.new_input, input, kept_input);
    conv1_and_pool(weights, band, plan, step.pooled, step.new_pooled, input, conv1, pooled + kept * width);

    const int new_conv2 = kept + step.new_pooled - 2;
    const int kept_conv2 = kept;
    conv3x3<10, 16>(pooled, plan.pooled_stride, width, weights.conv2, conv2 + kept_conv2 * width, plan.conv2_stride,
                    new_conv2 * width - 2);
    conv3_and_heads(weights, band, plan, step.row, step.n, conv2);

    if (!step.last()) {
      carry_rows(input.data, 3, input.stride, band.width, kept_input + step.new_input - 2, 2);
      carry_rows(pooled, 10, plan.pooled_stride, width, kept + step.new_pooled - 2, 2);
      carry_rows(conv2, 16, plan.conv2_stride, width, kept_conv2 + new_conv2 - 2, 2);
    }
    kept_input = kept = 2;
  }
}

}  // namespace
}  // namespace mtcnn_fast
