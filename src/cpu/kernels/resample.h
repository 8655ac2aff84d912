// Separable resizing by window tables, 8-bit pixels in, normalised floats out: rows are weighted into one row of floats
// first, which stays in the first-level cache, then that row's pixels into outputs. Every output is the same sequence
// of operations wherever it lies and whoever asks for it.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/resample_pixels.h"
#if defined(__AVX2__)
#include "cpu/kernels/resample_planes.h"
#endif
#include "cpu/kernels/simd.h"
#include "cpu/kernels/weighted_rows.h"

namespace mtcnn_fast {
namespace {

// Output row y as sums of four floats per pixel, with OpenCV's float32 operations in OpenCV's order (resize.cpp,
// ResizeArea): columns before rows, products rounded before they are added. That order decides ties of the rounding.
template <int kChannels>
inline void sum_as_opencv(const Resample& r, int y, float* row, float* sums) {
  const Taps rows = r.y.taps[y];
  constexpr float kOne = 1;
  for (int t = 0; t < rows.count; ++t) {
    weigh_rows(r, rows.first + t, 1, &kOne, row);
    const F32x4 row_weight = splat<F32x4>(r.y.weights[rows.offset + t]);
    for (int x = 0; x < r.width; ++x) {
      const float* weights = r.x.weights + x;
      const float* pixel = row + static_cast<std::ptrdiff_t>(r.x.first[x] - r.source_first) * kChannels;
      F32x4 sum = {};
      for (int k = 0; k < r.x.most_taps; ++k)
        sum += load<F32x4>(pixel + k * kChannels) * splat<F32x4>(weights[k * r.x.pitch]);
      sum *= row_weight;
      store(sums + 4 * x, t == 0 ? sum : load<F32x4>(sums + 4 * x) + sum);
    }
  }
}

inline F32x4 rounded(Rounding rounding, F32x4 x) {
  // Means of four pixels are multiples of 1/4: an eighth more sends ties up and nothing else over.
  if (rounding == Rounding::opencv_halving) x += splat<F32x4>(0.125f);
  // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, halves to even.
  const F32x4 magic = splat<F32x4>(12582912.0f);
  return (x + magic) - magic;
}

// Output rows y .. y + n - 1; out(k) is the writer of the k-th, see PlanarRow.
template <int kChannels, class Out>
inline void resample_rows(const Resample& r, const WeightedRows& rows, int y, int n, const Out& out) {
#if defined(__AVX2__)
  if (rows.vectors > 0) {
    for (int first = 0; first < n; first += rows.count) {
      const int here = n - first < rows.count ? n - first : rows.count;
      for (int k = 0; k < here; ++k)
        weigh_rows_to_planes<kChannels>(r, y + first + k, rows.data + 3 * k * rows.plane, rows.plane);
      weigh_planes(r, rows, here, [&](int k) { return out(first + k); });
    }
    return;
  }
#endif
  for (int k = 0; k < n; ++k) {
    if (r.rounding == Rounding::none) {
      const Taps taps = r.y.taps[y + k];
      weigh_rows(r, taps.first, taps.count, r.y.weights + taps.offset, rows.data);
      weigh_pixels<kChannels>(r, rows.data, out(k));
    } else {
      float* const sums = rows.data - 4 * r.width;
      sum_as_opencv<kChannels>(r, y + k, rows.data, sums);
      for (int x = 0; x < r.width; ++x) out(k).pixel(x, scaled(r, rounded(r.rounding, load<F32x4>(sums + 4 * x))));
    }
  }
}

// Writes a row into planes: the first, second and third channel of the source go to planes of their own.
struct PlanarRow {
  float *first, *second, *third;

  template <class V>
  void planes(int x, V a, V b, V c) const {
    store(first + x, a), store(second + x, b), store(third + x, c);
  }
  void four_pixels(int x, const F32x4 (&p)[4]) const {
    planes(x, F32x4{p[0][0], p[1][0], p[2][0], p[3][0]}, F32x4{p[0][1], p[1][1], p[2][1], p[3][1]},
           F32x4{p[0][2], p[1][2], p[2][2], p[3][2]});
  }
  void pixel(int x, F32x4 p) const { first[x] = p[0], second[x] = p[1], third[x] = p[2]; }
};

// Writes a row of three floats per pixel, RGB.
struct InterleavedRow {
  float* out;
  bool bgr;

#if defined(__AVX2__)
  void planes(int x, F32 a, F32 b, F32 c) const { store_interleaved(out + 3 * x, bgr ? c : a, b, bgr ? a : c); }
#endif
  void four_pixels(int x, const F32x4 (&p)[4]) const {
    // What a pixel's fourth lane overwrites, the next pixel writes.
    for (int k = 0; k < 3; ++k) store(out + 3 * (x + k), bgr ? F32x4{p[k][2], p[k][1], p[k][0], 0} : p[k]);
    pixel(x + 3, p[3]);
  }
  void pixel(int x, F32x4 p) const {
    const int red = bgr ? 2 : 0;
    out[3 * x + red] = p[0], out[3 * x + 1] = p[1], out[3 * x + 2 - red] = p[2];
  }
};

// Rows y .. y + n - 1 into red, green and blue planes that lie `plane` floats apart, row after row; `rows` from
// prepare_rows.
inline void resample_planar_rows(const Resample& r, const WeightedRows& rows, int y, int n, float* red,
                                 std::ptrdiff_t plane) {
  float* const green = red + plane;
  float* const blue = green + plane;
  const auto out = [&](int k) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(k) * r.width;
    return r.source.bgr ? PlanarRow{blue + at, green + at, red + at} : PlanarRow{red + at, green + at, blue + at};
  };
  if (r.source.channels == 3)
    resample_rows<3>(r, rows, y, n, out);
  else
    resample_rows<4>(r, rows, y, n, out);
}

void resample(const Resample& r, int first_row, int end_row, float* out, float* scratch) {
  const WeightedRows rows = prepare_rows(r, scratch);
  const auto row = [&](int k) {
    return InterleavedRow{out + static_cast<std::ptrdiff_t>(k) * r.width * 3, r.source.bgr};
  };
  if (r.source.channels == 3)
    resample_rows<3>(r, rows, first_row, end_row - first_row, row);
  else
    resample_rows<4>(r, rows, first_row, end_row - first_row, row);
}

}  // namespace
}  // namespace mtcnn_fast
