// Stands in for CUDA's cuda_fp16.h: what the kernels use of it, by the compiler's own 16-bit floats.
#pragma once

#include <cuda_runtime.h>

#include <bit>

// Before version 13, g++ has _Float16 in C++ on x86 alone, and on Arm this one.
#if defined(__aarch64__)
using simt_half = __fp16;
#else
using simt_half = _Float16;
#endif

struct alignas(2) __half {
  simt_half value;

  __half() = default;
  __half(float v) : value(static_cast<simt_half>(v)) {}
  operator float() const { return static_cast<float>(value); }
};
struct alignas(4) __half2 {
  __half x, y;
};
using half = __half;
using half2 = __half2;

inline __half __float2half(float v) { return __half(v); }
inline __half __float2half_rn(float v) { return __half(v); }
inline float __half2float(__half v) { return static_cast<float>(v.value); }
inline __half2 __floats2half2_rn(float low, float high) { return {__half(low), __half(high)}; }
inline __half2 __float2half2_rn(float v) { return {__half(v), __half(v)}; }
inline __half2 __halves2half2(__half low, __half high) { return {low, high}; }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline __half __low2half(__half2 v) { return v.x; }
inline __half __high2half(__half2 v) { return v.y; }
inline float __low2float(__half2 v) { return __half2float(v.x); }
inline float __high2float(__half2 v) { return __half2float(v.y); }
inline unsigned short __half_as_ushort(__half v) { return std::bit_cast<unsigned short>(v.value); }
inline __half __ushort_as_half(unsigned short v) {
  __half result;
  result.value = std::bit_cast<simt_half>(v);
  return result;
}
