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

// Pixel areas weight all source rows but the first and the last alike. How many there are of these, if it is worth
// while.
inline int equal_weights(const float* weights, int count) {
  if (count < 5) return 0;
  for (int t = 2; t < count - 1; ++t)
    if (weights[t] != weights[1]) return 0;
  return count - 2;
}

// out = the weighted sum of `count` rows of 2 * kPairs * kLanes bytes; at(t) is where row t's bytes are.
template <int kPairs, class At>
inline void weigh_bytes(const float* weights, int count, int equal, const At& at, float* out) {
  F32 sum[2 * kPairs] = {};
  const auto add = [&](int t) {
    const std::uint8_t* bytes = at(t);
    const F32 weight = splat(weights[t]);
    for (int u = 0; u < 2 * kPairs; ++u) sum[u] = fma(load_u8(bytes + u * kLanes), weight, sum[u]);
  };
  if (equal) {
    // Rows of equal weight are added as integers first, which is exact, and three times as fast. 16 bits hold 257 rows.
    for (int t = 1; t <= equal; t += 257) {
      U16 total[kPairs] = {};
      const int end = t + 257 <= equal ? t + 257 : equal + 1;
      for (int k = t; k < end; ++k) {
        const std::uint8_t* bytes = at(k);
        for (int u = 0; u < kPairs; ++u) total[u] += load_u8_as_u16(bytes + 2 * u * kLanes);
      }
      for (int u = 0; u < kPairs; ++u) {
        sum[2 * u] += low_as_f32(total[u]);
        sum[2 * u + 1] += high_as_f32(total[u]);
      }
    }
    for (F32& s : sum) s *= splat(weights[1]);
    add(0);
    add(count - 1);
  } else {
    for (int t = 0; t < count; ++t) add(t);
  }
  for (int u = 0; u < 2 * kPairs; ++u) store(out + u * kLanes, sum[u]);
}

// row[i] = sum over `count` source rows from `first` on of weight * pixel byte i, for the bytes of columns source_first
// .. source_end. What lies beyond them in the last vectors is weighted too, and not used.
inline void weigh_rows(const Resample& r, int first, int count, const float* weights, float* row) {
  const std::ptrdiff_t stride = r.source.stride;
  const int bytes = (r.source_end - r.source_first) * r.source.channels;
  const std::uint8_t* const base =
      r.source.data + first * stride + static_cast<std::ptrdiff_t>(r.source_first) * r.source.channels;
  const int equal = equal_weights(weights, count);
  constexpr int kPairs = 4, kPair = 2 * kLanes;
  // The fourth byte of the last pixel may lie beyond the image.
  const int sure = bytes - (r.source.channels - 3);
  int i = 0;
  for (; i + kPairs * kPair <= sure; i += kPairs * kPair)
    weigh_bytes<kPairs>(
        weights, count, equal, [=](int t) { return base + t * stride + i; }, row + i);
  for (; i < bytes; i += kPair) {
    std::uint8_t tail[kPair] = {};
    const auto at = [&](int t) -> const std::uint8_t* {
      const std::uint8_t* const p = base + t * stride + i;
      if (r.source.end - p >= kPair) return p;
      if (r.source.end > p) std::memcpy(tail, p, r.source.end - p);
      return tail;
    };
    weigh_bytes<1>(weights, count, equal, at, row + i);
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

inline F32x4 scaled(const Resample& r, F32x4 pixel) { return fma4(pixel, splat<F32x4>(r.scale), splat<F32x4>(r.bias)); }

// One output pixel (its channels in the source's order, a fourth lane of no meaning) from a weighted row.
template <int kChannels>
inline F32x4 weigh_columns(const Resample& r, int x, const float* row) {
  const Window window = r.x.windows[x];
  const float* weights = r.x.weights + window.offset;
  const float* pixel = row + static_cast<std::ptrdiff_t>(window.first - r.source_first) * kChannels;
  F32x4 sum = {};
  for (int t = 0; t < window.count; ++t) sum = fma4(load<F32x4>(pixel + t * kChannels), splat<F32x4>(weights[t]), sum);
  return sum;
}

// Output row y as sums of four floats a pixel, with OpenCV's float32 operations in OpenCV's order (resize.cpp,
// ResizeArea): columns before rows, products rounded before they are added. That order decides ties of the rounding.
template <int kChannels>
inline void sum_as_opencv(const Resample& r, int y, float* row, float* sums) {
  const Window rows = r.y.windows[y];
  constexpr float kOne = 1;
  for (int t = 0; t < rows.count; ++t) {
    weigh_rows(r, rows.first + t, 1, &kOne, row);
    const F32x4 row_weight = splat<F32x4>(r.y.weights[rows.offset + t]);
    for (int x = 0; x < r.width; ++x) {
      const Window window = r.x.windows[x];
      const float* weights = r.x.weights + window.offset;
      const float* pixel = row + static_cast<std::ptrdiff_t>(window.first - r.source_first) * kChannels;
      F32x4 sum = {};
      for (int k = 0; k < window.count; ++k) sum += load<F32x4>(pixel + k * kChannels) * splat<F32x4>(weights[k]);
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

// Output row y: write(pixel) is called with a function from a column to its pixel.
template <int kChannels, class Write>
inline void resample_row(const Resample& r, int y, float* scratch, const Write& write) {
  if (r.rounding == Rounding::none) {
    const Window rows = r.y.windows[y];
    weigh_rows(r, rows.first, rows.count, r.y.weights + rows.offset, scratch);
    write([&](int x) { return scaled(r, weigh_columns<kChannels>(r, x, scratch)); });
  } else {
    float* const sums = scratch;
    sum_as_opencv<kChannels>(r, y, scratch + 4 * r.width, sums);
    write([&](int x) { return scaled(r, rounded(r.rounding, load<F32x4>(sums + 4 * x))); });
  }
}

// Into red, green and blue planes that lie `plane` floats apart.
inline void resample_planar_row(const Resample& r, int y, float* red, std::ptrdiff_t plane, float* scratch) {
  float* const first = r.source.bgr ? red + 2 * plane : red;
  float* const second = red + plane;
  float* const third = r.source.bgr ? red : red + 2 * plane;
  const auto write = [&](const auto& pixel) {
    int x = 0;
    for (; x + 4 <= r.width; x += 4) {
      const F32x4 a = pixel(x), b = pixel(x + 1), c = pixel(x + 2), d = pixel(x + 3);
      store(first + x, F32x4{a[0], b[0], c[0], d[0]});
      store(second + x, F32x4{a[1], b[1], c[1], d[1]});
      store(third + x, F32x4{a[2], b[2], c[2], d[2]});
    }
    for (; x < r.width; ++x) {
      const F32x4 a = pixel(x);
      first[x] = a[0], second[x] = a[1], third[x] = a[2];
    }
  };
  if (r.source.channels == 3)
    resample_row<3>(r, y, scratch, write);
  else
    resample_row<4>(r, y, scratch, write);
}

std::size_t resample_scratch(const Resample& r) {
  const std::size_t row = static_cast<std::size_t>(r.source_end - r.source_first) * r.source.channels + kSlack;
  return round_up(row + (r.rounding == Rounding::none ? 0 : 4 * static_cast<std::size_t>(r.width)), 16);
}

void resample(const Resample& r, int first_row, int end_row, float* out, float* scratch) {
  const int red = r.source.bgr ? 2 : 0;
  for (int y = first_row; y < end_row; ++y, out += static_cast<std::ptrdiff_t>(r.width) * 3) {
    const auto write = [&](const auto& pixel) {
      for (int x = 0; x < r.width; ++x) {
        const F32x4 a = pixel(x);
        out[3 * x + red] = a[0], out[3 * x + 1] = a[1], out[3 * x + 2 - red] = a[2];
      }
    };
    if (r.source.channels == 3)
      resample_row<3>(r, y, scratch, write);
    else
      resample_row<4>(r, y, scratch, write);
  }
}

}  // namespace
}  // namespace mtcnn_fast
