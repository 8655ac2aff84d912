// Resizing with rows kept as three planes, outputs as lanes: a vector of outputs picks its source pixels by permuting
// the vectors that these span. Bytes are split into planes while they are read, which costs one shuffle more for a
// vector of pixels than widening them does.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/resample_pixels.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/weighted_rows.h"

namespace mtcnn_fast {
namespace {

#if defined(__AVX512F__)
typedef __m512i Bytes;
#else
typedef __m256i Bytes;
#endif

// kLanes pixels, four to each 128 bits. Reads pixels_read<kChannels>() bytes.
template <int kChannels>
inline Bytes load_pixels(const std::uint8_t* p) {
#if defined(__AVX512F__)
  if constexpr (kChannels == 4) return _mm512_loadu_si512(p);
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11),
                                  _mm512_maskz_loadu_epi32(0x0fff, p));
#else
  if constexpr (kChannels == 4) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
                                 _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 12)), 1);
#endif
}
template <int kChannels>
constexpr int pixels_read() {
  return kChannels * kLanes + (kChannels == 3 && kLanes == 8 ? 4 : 0);
}

inline Bytes shuffle(Bytes v, Bytes pattern) {
#if defined(__AVX512F__)
  return _mm512_shuffle_epi8(v, pattern);
#else
  return _mm256_shuffle_epi8(v, pattern);
#endif
}
inline F32 as_f32(Bytes v) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(v);
#else
  return _mm256_cvtepi32_ps(v);
#endif
}

// Byte shuffles that make 32-bit integers: of channel c's bytes; and of its 16-bit sums, where even and odd bytes of
// the pixels were added apart.
template <int kChannels>
struct Patterns {
  alignas(64) std::int8_t byte[3][4 * kLanes], even[3][4 * kLanes], odd[3][4 * kLanes];
  constexpr Patterns() : byte(), even(), odd() {
    for (int c = 0; c < 3; ++c) {
      for (int i = 0; i < 4 * kLanes; ++i) {
        const int at = i % 16 / 4 * kChannels + c, half = i % 4;
        byte[c][i] = static_cast<std::int8_t>(half == 0 ? at : -1);
        even[c][i] = static_cast<std::int8_t>(half < 2 && at % 2 == 0 ? at + half : -1);
        odd[c][i] = static_cast<std::int8_t>(half < 2 && at % 2 == 1 ? at - 1 + half : -1);
      }
    }
  }
};
template <int kChannels>
constexpr Patterns<kChannels> kPatterns;

inline Bytes pattern(const std::int8_t* p) {
  Bytes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The weighted sum of `count` rows of kBlocks * kLanes pixels; at(t) is where row t's pixels are. The loops are
// unrolled by order: gcc 12 clears and keeps sums of three blocks in memory otherwise.
template <int kChannels, int kBlocks, class At>
inline void weigh_rows_of_pixels(const float* weights, int count, int equal, const At& at, float* out,
                                 std::ptrdiff_t plane) {
  constexpr const Patterns<kChannels>& patterns = kPatterns<kChannels>;
  F32 sum[kBlocks][3];
  const auto each_sum = [&](const auto& f) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 3
      for (int c = 0; c < 3; ++c) f(b, c, sum[b][c]);
  };
  each_sum([](int, int, F32& s) { s = F32{}; });
  const auto add = [&](int t) {
    const std::uint8_t* p = at(t);
    const F32 weight = splat(weights[t]);
    Bytes pixels[kBlocks];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) pixels[b] = load_pixels<kChannels>(p + b * kLanes * kChannels);
    each_sum([&](int b, int c, F32& s) { s = fma(as_f32(shuffle(pixels[b], pattern(patterns.byte[c]))), weight, s); });
  };
  if (equal) {
    for_each_sum_of_16_bits(equal, [&](int from, int end) {
      // Sums of 16-bit numbers of two bytes each, modulo 2^16, and of their high bytes: the low bytes' sums follow.
      U16 both[kBlocks], odd[kBlocks];
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) both[b] = odd[b] = U16{};
      for (int t = from; t < end; ++t) {
        const std::uint8_t* p = at(t);
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b) {
          const U16 pixels = reinterpret_cast<U16>(load_pixels<kChannels>(p + b * kLanes * kChannels));
          both[b] += pixels;
          odd[b] += pixels >> 8;
        }
      }
      each_sum([&](int b, int c, F32& s) {
        const Bytes high = reinterpret_cast<Bytes>(odd[b]), low = reinterpret_cast<Bytes>(both[b] - (odd[b] << 8));
        s += as_f32(shuffle(low, pattern(patterns.even[c])) | shuffle(high, pattern(patterns.odd[c])));
      });
    });
    each_sum([&](int, int, F32& s) { s *= splat(weights[1]); });
    add(0);
    add(count - 1);
  } else {
    for (int t = 0; t < count; ++t) add(t);
  }
  each_sum([&](int b, int c, const F32& s) { store(out + c * plane + b * kLanes, s); });
}

// Three planes from `out` on = the weighted sums of output row y's source rows, of columns source_first .. source_end.
// What lies beyond them in the last vectors is weighted too, and not used.
template <int kChannels>
inline void weigh_rows_to_planes(const Resample& r, int y, float* out, std::ptrdiff_t plane) {
  const Taps rows = r.y.taps[y];
  const float* weights = r.y.weights + rows.offset;
  const int pixels = r.source_end - r.source_first;
  const std::ptrdiff_t stride = r.source.stride;
  const std::uint8_t* const base =
      r.source.data + rows.first * stride + static_cast<std::ptrdiff_t>(r.source_first) * kChannels;
  const int last = rows.count > 0 ? rows.count - 1 : 0;
  int count = rows.count;
  // In short rows a loop that is now two, now three rows long costs more than a row of weight zero.
  constexpr int kFew = 4;
  float padded[kFew];
  if (pixels <= kFew * 2 * kLanes && r.y.most_taps <= kFew) {
    for (int t = 0; t < r.y.most_taps; ++t) {
      const float weight = count > 0 ? weights[t < last ? t : last] : 0;
      padded[t] = t < count ? weight : 0;
    }
    weights = padded;
    count = r.y.most_taps;
  }
  const int equal = equal_weights(weights, count);
  // Bytes of a row that can be read: to its end, of which the last pixel's fourth byte may lie beyond the image, or as
  // far as the image goes after the last of these rows.
  constexpr int kBlocks = kLanes == 16 ? 4 : 2, kRead = pixels_read<kChannels>();
  std::ptrdiff_t readable = pixels * kChannels - (kChannels - 3);
  const std::ptrdiff_t after = r.source.end - (base + (stride > 0 ? last * stride : 0));
  if (after > readable) readable = after;

  int x = 0;
  const auto at = [&](int t) { return base + (t < last ? t : last) * stride + x * kChannels; };
  const auto weigh = [&]<int kMany>() {
    weigh_rows_of_pixels<kChannels, kMany>(weights, count, equal, at, out + x, plane);
    x += kMany * kLanes;
  };
  const auto fits = [&](int blocks) { return (x + (blocks - 1) * kLanes) * kChannels + kRead <= readable; };
  while (x + (kBlocks - 1) * kLanes < pixels && fits(kBlocks)) weigh.template operator()<kBlocks>();
  if (kBlocks > 3 && x + 2 * kLanes < pixels && fits(3)) weigh.template operator()<3>();
  if (kBlocks > 2 && x + kLanes < pixels && fits(2)) weigh.template operator()<2>();
  while (x < pixels && fits(1)) weigh.template operator()<1>();
  for (; x < pixels; x += kLanes) {
    std::uint8_t tail[kRead] = {};
    const auto copied = [&](int t) -> const std::uint8_t* {
      const std::uint8_t* const p = at(t);
      if (r.source.end - p >= kRead) return p;
      if (r.source.end > p) std::memcpy(tail, p, r.source.end - p);
      return tail;
    };
    weigh_rows_of_pixels<kChannels, 1>(weights, count, equal, copied, out + x, plane);
  }
}

// Lane i of the result is float index[i] of kVectors vectors.
template <int kVectors>
inline F32 pick(const F32 (&v)[kVectors], Bytes index) {
#if defined(__AVX512F__)
  F32 picked = kVectors == 1 ? _mm512_permutexvar_ps(index, v[0])
                             : _mm512_permutex2var_ps(v[0], index, v[kVectors == 1 ? 0 : 1]);
#pragma GCC unroll 4
  for (int k = 2; k < kVectors; k += 2) {
    const F32 far = k + 1 < kVectors ? _mm512_permutex2var_ps(v[k], index, v[k + 1 < kVectors ? k + 1 : k])
                                     : _mm512_permutexvar_ps(index, v[k]);
    picked = _mm512_mask_mov_ps(picked, _mm512_cmpge_epi32_mask(index, _mm512_set1_epi32(k * kLanes)), far);
  }
#else
  F32 picked = _mm256_permutevar8x32_ps(v[0], index);
#pragma GCC unroll 4
  for (int k = 1; k < kVectors; ++k)
    picked = _mm256_blendv_ps(picked, _mm256_permutevar8x32_ps(v[k], index),
                              _mm256_castsi256_ps(_mm256_cmpgt_epi32(index, _mm256_set1_epi32(k * kLanes - 1))));
#endif
  return picked;
}

// The outputs of `n` weighted rows; out(k) is the writer of the k-th.
template <int kVectors, class Out>
inline void weigh_planes_of(const Resample& r, const WeightedRows& rows, int n, const Out& out) {
  // kLanes outputs of every row, from column x on: write(k, outputs) takes those of the k-th.
  const auto weigh = [&](int x, const auto& write) {
    const int base = r.x.first[x];
    I32 first;
    std::memcpy(&first, r.x.first + x, sizeof first);
    first -= base;
    const float* row = rows.data + (base - r.source_first);
    for (int k = 0; k < n; ++k, row += 3 * rows.plane) {
      F32 pixels[3][kVectors], sum[3];
#pragma GCC unroll 3
      for (int c = 0; c < 3; ++c) {
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) pixels[c][v] = load(row + c * rows.plane + v * kLanes);
        sum[c] = F32{};
      }
      I32 index = first;
      const float* weights = r.x.weights + x;
#pragma GCC unroll 1
      for (int t = 0; t < r.x.most_taps; ++t, weights += r.x.pitch, index += 1) {
        const F32 weight = load(weights);
#pragma GCC unroll 3
        for (int c = 0; c < 3; ++c) sum[c] = fma(pick(pixels[c], reinterpret_cast<Bytes>(index)), weight, sum[c]);
      }
      for (F32& s : sum) s = fma(s, splat(r.scale), splat(r.bias));
      write(k, sum);
    }
  };
  if (r.width < kLanes) {
    weigh(0, [&](int k, const F32(&sum)[3]) {
      for (int x = 0; x < r.width; ++x) out(k).pixel(x, F32x4{sum[0][x], sum[1][x], sum[2][x], 0});
    });
    return;
  }
  for (int x = 0; x < r.width; x += kLanes) {
    // The last ones of a row that is no whole number of vectors are made twice.
    const int from = x + kLanes <= r.width ? x : r.width - kLanes;
    weigh(from, [&](int k, const F32(&sum)[3]) { out(k).planes(from, sum[0], sum[1], sum[2]); });
  }
}

template <class Out, int kVectors = 1>
inline void weigh_planes(const Resample& r, const WeightedRows& rows, int n, const Out& out) {
  if constexpr (kVectors < kMostVectors) {
    if (rows.vectors > kVectors) return weigh_planes<Out, kVectors + 1>(r, rows, n, out);
  }
  weigh_planes_of<kVectors>(r, rows, n, out);
}

// 3 * kLanes floats: lane 0 of a, b and c, lane 1 of a, b and c, and so on.
inline void store_interleaved(float* out, F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  const auto merge = [&](auto from_ab, auto from_c) {
    return _mm512_permutex2var_ps(_mm512_permutex2var_ps(a, from_ab, b), from_c, c);
  };
  store(out, F32(merge(_mm512_setr_epi32(0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5),
                       _mm512_setr_epi32(0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15))));
  store(out + 16, F32(merge(_mm512_setr_epi32(21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26),
                            _mm512_setr_epi32(0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15))));
  store(out + 32, F32(merge(_mm512_setr_epi32(0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0),
                            _mm512_setr_epi32(26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31))));
#else
  const __m256 x = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0));          // a0 a2 b0 b2
  const __m256 y = _mm256_shuffle_ps(b, c, _MM_SHUFFLE(3, 1, 3, 1));          // b1 b3 c1 c3
  const __m256 z = _mm256_shuffle_ps(c, a, _MM_SHUFFLE(3, 1, 2, 0));          // c0 c2 a1 a3
  const __m256 parts[] = {_mm256_shuffle_ps(x, z, _MM_SHUFFLE(2, 0, 2, 0)),   // a0 b0 c0 a1
                          _mm256_shuffle_ps(y, x, _MM_SHUFFLE(3, 1, 2, 0)),   // b1 c1 a2 b2
                          _mm256_shuffle_ps(z, y, _MM_SHUFFLE(3, 1, 3, 1))};  // c2 a3 b3 c3
  for (int k = 0; k < 3; ++k) {
    _mm_storeu_ps(out + 4 * k, _mm256_castps256_ps128(parts[k]));
    _mm_storeu_ps(out + 12 + 4 * k, _mm256_extractf128_ps(parts[k], 1));
  }
#endif
}

}  // namespace
}  // namespace mtcnn_fast
