// Separable resizing by window tables, 8-bit pixels in, normalised floats out: columns of pixels are weighted into one
// float row first, which stays in the first-level cache, then the row's pixels into outputs.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace mtcnn_fast {
namespace {

// Vectors that the tail of a row may be read or written beyond its end.
constexpr int kSlack = 64;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// kLanes bytes from p on as floats, those from `end` on as zeros.
inline F32 load_u8_before(const std::uint8_t* p, const std::uint8_t* end) {
  if (end - p >= kLanes) return load_u8(p);
  std::uint8_t bytes[kLanes] = {};
  if (end > p) std::memcpy(bytes, p, end - p);
  return load_u8(bytes);
}

// row[i] = sum over the window's source rows of weight * pixel byte i, for bytes of the columns source_first ..
// source_end. What lies beyond them in the last vector is weighted too, and not used.
inline void weigh_rows(const Resample& r, Window window, float* row) {
  const std::ptrdiff_t stride = r.source.stride;
  const int bytes = (r.source_end - r.source_first) * r.source.channels;
  const std::uint8_t* base =
      r.source.data + window.first * stride + static_cast<std::ptrdiff_t>(r.source_first) * r.source.channels;
  const float* weights = r.y.weights + window.offset;
  constexpr int kUnroll = 4;
  const int sure = bytes - (r.source.channels - 3);  // the fourth byte of the last pixel may lie beyond the image
  int i = 0;
  for (; i + kUnroll * kLanes <= sure; i += kUnroll * kLanes) {
    F32 sum[kUnroll] = {};
    for (int t = 0; t < window.count; ++t) {
      const F32 weight = splat(weights[t]);
      for (int u = 0; u < kUnroll; ++u) sum[u] = fma(load_u8(base + t * stride + i + u * kLanes), weight, sum[u]);
    }
    for (int u = 0; u < kUnroll; ++u) store(row + i + u * kLanes, sum[u]);
  }
  for (; i < bytes; i += kLanes) {
    F32 sum = {};
    for (int t = 0; t < window.count; ++t)
      sum = fma(load_u8_before(base + t * stride + i, r.source.end), splat(weights[t]), sum);
    store(row + i, sum);
  }
}

inline F32x4 fma4(F32x4 a, F32x4 b, F32x4 c) {
#if defined(__FMA__)
  return _mm_fmadd_ps(a, b, c);
#elif defined(__ARM_NEON)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

// One output pixel (its channels in the source's order, a fourth lane of no meaning) from a weighted row.
template <int kChannels>
inline F32x4 weigh_columns(const Resample& r, int x, const float* row) {
  const Window window = r.x.windows[x];
  const float* weights = r.x.weights + window.offset;
  const float* pixel = row + static_cast<std::ptrdiff_t>(window.first - r.source_first) * kChannels;
  F32x4 sum = {};
  for (int t = 0; t < window.count; ++t) sum = fma4(load<F32x4>(pixel + t * kChannels), splat<F32x4>(weights[t]), sum);
  if (r.round) {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, halves to even, as cvRound does.
    const F32x4 magic = splat<F32x4>(12582912.0f);
    sum = (sum + magic) - magic;
  }
  return fma4(sum, splat<F32x4>(r.scale), splat<F32x4>(r.bias));
}

struct PlanarRow {
  float* red;
  std::ptrdiff_t plane;
};

template <int kChannels>
inline void weigh_columns_planar(const Resample& r, const float* row, PlanarRow out) {
  float* first = r.source.bgr ? out.red + 2 * out.plane : out.red;
  float* second = out.red + out.plane;
  float* third = r.source.bgr ? out.red : out.red + 2 * out.plane;
  int x = 0;
  for (; x + 4 <= r.width; x += 4) {
    const F32x4 a = weigh_columns<kChannels>(r, x, row), b = weigh_columns<kChannels>(r, x + 1, row);
    const F32x4 c = weigh_columns<kChannels>(r, x + 2, row), d = weigh_columns<kChannels>(r, x + 3, row);
    store(first + x, F32x4{a[0], b[0], c[0], d[0]});
    store(second + x, F32x4{a[1], b[1], c[1], d[1]});
    store(third + x, F32x4{a[2], b[2], c[2], d[2]});
  }
  for (; x < r.width; ++x) {
    const F32x4 a = weigh_columns<kChannels>(r, x, row);
    first[x] = a[0], second[x] = a[1], third[x] = a[2];
  }
}

template <int kChannels>
inline void weigh_columns_interleaved(const Resample& r, const float* row, float* out) {
  const int red = r.source.bgr ? 2 : 0;
  for (int x = 0; x < r.width; ++x) {
    const F32x4 a = weigh_columns<kChannels>(r, x, row);
    out[3 * x + red] = a[0], out[3 * x + 1] = a[1], out[3 * x + 2 - red] = a[2];
  }
}

inline void resample_planar_row(const Resample& r, int y, PlanarRow out, float* row) {
  weigh_rows(r, r.y.windows[y], row);
  if (r.source.channels == 3) return weigh_columns_planar<3>(r, row, out);
  weigh_columns_planar<4>(r, row, out);
}

std::size_t resample_scratch(const Resample& r) {
  return round_up(static_cast<std::size_t>(r.source_end - r.source_first) * r.source.channels + kSlack, 16);
}

void resample(const Resample& r, int first_row, int end_row, float* out, float* scratch) {
  for (int y = first_row; y < end_row; ++y, out += static_cast<std::ptrdiff_t>(r.width) * 3) {
    weigh_rows(r, r.y.windows[y], scratch);
    if (r.source.channels == 3)
      weigh_columns_interleaved<3>(r, scratch, out);
    else
      weigh_columns_interleaved<4>(r, scratch, out);
  }
}

}  // namespace
}  // namespace mtcnn_fast
