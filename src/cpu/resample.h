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

// row[i] = sum over the window's source rows of weight * pixel byte i, for the bytes of columns source_first ..
// source_end. What lies beyond them in the last vectors is weighted too, and not used.
inline void weigh_rows(const Resample& r, Window window, float* row) {
  const std::ptrdiff_t stride = r.source.stride;
  const int bytes = (r.source_end - r.source_first) * r.source.channels;
  const std::uint8_t* const base =
      r.source.data + window.first * stride + static_cast<std::ptrdiff_t>(r.source_first) * r.source.channels;
  const float* weights = r.y.weights + window.offset;
  const int equal = equal_weights(weights, window.count);
  constexpr int kPairs = 4, kPair = 2 * kLanes;
  // The fourth byte of the last pixel may lie beyond the image.
  const int sure = bytes - (r.source.channels - 3);
  int i = 0;
  for (; i + kPairs * kPair <= sure; i += kPairs * kPair)
    weigh_bytes<kPairs>(
        weights, window.count, equal, [=](int t) { return base + t * stride + i; }, row + i);
  for (; i < bytes; i += kPair) {
    std::uint8_t tail[kPair] = {};
    const auto at = [&](int t) -> const std::uint8_t* {
      const std::uint8_t* const p = base + t * stride + i;
      if (r.source.end - p >= kPair) return p;
      if (r.source.end > p) std::memcpy(tail, p, r.source.end - p);
      return tail;
    };
    weigh_bytes<1>(weights, window.count, equal, at, row + i);
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
