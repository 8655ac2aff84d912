// Vectors of the instruction set that this unit is compiled for: GNU vector extensions, and the few operations that
// these lack. Everything is in an anonymous namespace: a symbol that leaves a unit compiled for AVX-512 may be the copy
// that the linker keeps for all units, and then kills older processors.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace mtcnn_fast {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
#elif defined(__ARM_NEON)
constexpr int kLanes = 4;
constexpr int kRegisters = 32;
#else
constexpr int kLanes = 4;
constexpr int kRegisters = 16;
#endif

typedef float F32 __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t I32 __attribute__((vector_size(4 * kLanes)));
typedef float F32x4 __attribute__((vector_size(16)));
typedef std::uint16_t U16 __attribute__((vector_size(4 * kLanes)));  // 2 * kLanes of them

template <class V = F32>
inline V load(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V>
inline void store(float* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

// `x - 0` folds away; `0 + x` costs an addition, because it turns -0 into +0 (measured: 5 % of a convolution).
template <class V = F32>
inline V splat(float x) {
  return x - V{};
}

// a * b + c, fused where the instruction set can; contraction is off everywhere else, so that each sum has one order
// and one rounding.
inline F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__ARM_NEON)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

// kCount factors that stand one after the other, for multiply-adds with vectors. NEON multiplies by a lane of a
// register: four factors share one. Loaded one by one, P-Net's eight do not fit the registers beside its sums (GCC 12:
// 8 vectors through the stack for 24 multiply-adds).
template <int kCount>
struct Factors {
#if defined(__ARM_NEON)
  static_assert(kCount % 4 == 0);
  F32 fours[kCount / 4];
  explicit Factors(const float* p) {
    for (int i = 0; i < kCount / 4; ++i) fours[i] = load(p + 4 * i);
  }
  template <int kFactor>
  F32 multiply_add(F32 x, F32 sum) const {
    return vfmaq_laneq_f32(sum, x, fours[kFactor / 4], kFactor % 4);
  }
#else
  const float* data;
  explicit Factors(const float* p) : data(p) {}
  template <int kFactor>
  F32 multiply_add(F32 x, F32 sum) const {
    return fma(splat(data[kFactor]), x, sum);
  }
#endif
};

// f.template operator()<0>() .. f.template operator()<kCount - 1>()
template <int kCount, int kFirst = 0, class F>
__attribute__((always_inline)) inline void for_constants(const F& f) {
  if constexpr (kFirst < kCount) {
    f.template operator()<kFirst>();
    for_constants<kCount, kFirst + 1>(f);
  }
}

// The value, in a register from here on. GCC would rather read it from memory again for each multiply-add, and then
// loads are the limit (conv1 of O-Net with AVX-512: 21.3 instead of 16.8 microseconds per crop).
inline F32 in_register(F32 v) {
#if defined(__ARM_NEON)
  asm("" : "+w"(v));
#else
  asm("" : "+v"(v));
#endif
  return v;
}

inline F32 max(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

inline F32 min(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

// Whether a lane of a comparison holds.
inline bool any_lane(I32 v) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(v)) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(reinterpret_cast<__m256>(v)) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_ps(reinterpret_cast<__m128>(v)) != 0;
#else
  return vmaxvq_u32(reinterpret_cast<uint32x4_t>(v)) != 0;
#endif
}

// Parametric ReLU: x where positive, slope * x elsewhere. A slope may be negative or exceed 1, so that neither max nor
// min of the two would do.
inline F32 prelu(F32 x, F32 slope) {
#if defined(__AVX512F__)
  return _mm512_mask_mul_ps(x, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LE_OQ), x, slope);
#elif defined(__AVX2__)
  return _mm256_blendv_ps(x, x * slope, x);
#else
  return x > 0 ? x : x * slope;
#endif
}

// kLanes unsigned bytes as floats. gcc 12 scalarises __builtin_convertvector for this: 40 to 78 instructions for 3.
inline F32 load_u8(const std::uint8_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#elif defined(__SSE2__)
  std::int32_t bytes;
  std::memcpy(&bytes, p, 4);
  const __m128i zero = _mm_setzero_si128();
  return _mm_cvtepi32_ps(_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(bytes), zero), zero));
#elif defined(__ARM_NEON)
  std::uint32_t bytes;
  std::memcpy(&bytes, p, 4);
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes)))));
#else
#error "no vectors for this processor"
#endif
}

// 2 * kLanes unsigned bytes, widened.
inline U16 load_u8_as_u16(const std::uint8_t* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<U16>(_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__AVX2__)
  return reinterpret_cast<U16>(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__SSE2__)
  return reinterpret_cast<U16>(
      _mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), _mm_setzero_si128()));
#else
  return reinterpret_cast<U16>(vmovl_u8(vld1_u8(p)));
#endif
}

// The first and the second half of the lanes as floats.
inline F32 low_as_f32(U16 v) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(reinterpret_cast<__m512i>(v))));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(reinterpret_cast<__m256i>(v))));
#elif defined(__SSE2__)
  return _mm_cvtepi32_ps(_mm_unpacklo_epi16(reinterpret_cast<__m128i>(v), _mm_setzero_si128()));
#else
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(reinterpret_cast<uint16x8_t>(v))));
#endif
}
inline F32 high_as_f32(U16 v) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(reinterpret_cast<__m512i>(v), 1)));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(reinterpret_cast<__m256i>(v), 1)));
#elif defined(__SSE2__)
  return _mm_cvtepi32_ps(_mm_unpackhi_epi16(reinterpret_cast<__m128i>(v), _mm_setzero_si128()));
#else
  return vcvtq_f32_u32(vmovl_u16(vget_high_u16(reinterpret_cast<uint16x8_t>(v))));
#endif
}

// gcc has the first of these from version 12 on, clang never had the second.
#if __has_builtin(__builtin_shufflevector)
#define MTCNN_FAST_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MTCNN_FAST_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, I32{__VA_ARGS__})
#endif

// The even and the odd lanes of two vectors, in order.
inline F32 even(F32 a, F32 b) {
#if defined(__AVX512F__)
  return MTCNN_FAST_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#elif defined(__AVX2__)
  return MTCNN_FAST_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
#else
  return MTCNN_FAST_SHUFFLE(a, b, 0, 2, 4, 6);
#endif
}
inline F32 odd(F32 a, F32 b) {
#if defined(__AVX512F__)
  return MTCNN_FAST_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  return MTCNN_FAST_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  return MTCNN_FAST_SHUFFLE(a, b, 1, 3, 5, 7);
#endif
}

}  // namespace
}  // namespace mtcnn_fast
