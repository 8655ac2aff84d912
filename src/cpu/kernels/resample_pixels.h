// Resizing with rows kept as pixels, four floats loaded at a time: on instruction sets that cannot permute floats by a
// table, and where outputs lie too far apart for that.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/weighted_rows.h"

namespace mtcnn_fast {
namespace {

// Returns how many inner rows share one weight; 0 if using that would not pay. (A pixel area weights all source rows
// but the first and the last alike.)
inline int equal_weights(const float* weights, int count) {
  if (count < 5) return 0;
  for (int t = 2; t < count - 1; ++t)
    if (weights[t] != weights[1]) return 0;
  return count - 2;
}

// Calls add(from, end) for pieces of rows 1 .. equal of which the sums of bytes fit 16 bits.
template <class Add>
inline void for_each_sum_of_16_bits(int equal, const Add& add) {
  for (int t = 1; t <= equal; t += 257) add(t, t + 257 <= equal ? t + 257 : equal + 1);
}

// Bytes to fetch ahead in each of many rows: the processor does not foresee reading that goes down dozens of rows
// before it goes on along them. Whole calls with 3840x2160 pixels take .90 to .96 of the time without (AMD Zen 5).
constexpr int kFetchAhead = 512, kCacheLine = 64;

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
    // Rows of equal weight are added as integers first, which is exact, and three times as fast.
    for_each_sum_of_16_bits(equal, [&](int from, int end) {
      U16 total[kPairs] = {};
      for (int k = from; k < end; ++k) {
        const std::uint8_t* bytes = at(k);
        for (int line = 0; line < 2 * kPairs * kLanes; line += kCacheLine)
          __builtin_prefetch(bytes + kFetchAhead + line);
        for (int u = 0; u < kPairs; ++u) total[u] += load_u8_as_u16(bytes + 2 * u * kLanes);
      }
      for (int u = 0; u < kPairs; ++u) {
        sum[2 * u] += low_as_f32(total[u]);
        sum[2 * u + 1] += high_as_f32(total[u]);
      }
    });
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

// All outputs of a row of pixels; of each the channels are in the source's order, a fourth lane is of no meaning.
template <int kChannels, class Out>
inline void weigh_pixels(const Resample& r, const float* row, const Out& out) {
  const float* const origin = row - static_cast<std::ptrdiff_t>(r.source_first) * kChannels;
  const auto four = [&](int x, F32x4(&sum)[4]) {
    const float* pixel[4];
    for (int k = 0; k < 4; ++k) {
      pixel[k] = origin + static_cast<std::ptrdiff_t>(r.x.first[x + k]) * kChannels;
      sum[k] = F32x4{};
    }
    const float* weights = r.x.weights + x;
    for (int t = 0; t < r.x.most_taps; ++t, weights += r.x.pitch) {
      const F32x4 w = load<F32x4>(weights);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k)
        sum[k] = fma4(load<F32x4>(pixel[k] + t * kChannels), F32x4{w[k], w[k], w[k], w[k]}, sum[k]);
    }
    for (F32x4& s : sum) s = scaled(r, s);
  };
  F32x4 sum[4];
  int x = 0;
  for (; x + 4 <= r.width; x += 4) {
    four(x, sum);
    out.four_pixels(x, sum);
  }
  if (x == r.width) return;
  four(x, sum);
  for (int k = 0; x + k < r.width; ++k) out.pixel(x + k, sum[k]);
}

}  // namespace
}  // namespace mtcnn_fast
