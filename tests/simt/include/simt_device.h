// CUDA's intrinsics. Only overloads that CUDA has, so that what compiles here compiles with nvcc.
#pragma once

#include <math.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

#include "simt_emulator.h"

#define SIMT_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

constexpr int warpSize = 32;

// --- Barriers --------------------------------------------------------------------------------------------------------

inline void __syncthreads(SIMT_SITE) { simt::synchronize_block("__syncthreads", false, {file, line}); }
inline int __syncthreads_or(int predicate, SIMT_SITE) {
  return simt::synchronize_block("__syncthreads_or", predicate != 0, {file, line}).yes != 0;
}
inline int __syncthreads_and(int predicate, SIMT_SITE) {
  const simt::Votes votes = simt::synchronize_block("__syncthreads_and", predicate != 0, {file, line});
  return votes.yes == votes.all;
}
inline int __syncthreads_count(int predicate, SIMT_SITE) {
  return simt::synchronize_block("__syncthreads_count", predicate != 0, {file, line}).yes;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_SITE) { simt::synchronize_warp(mask, {file, line}); }
inline void cudaGridDependencySynchronize(SIMT_SITE) { simt::wait_for_earlier_kernels({file, line}); }
// One thread of a block runs at a time, and what it wrote, all others see.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {}
[[noreturn]] inline void __trap() { std::abort(); }

// --- Exchange between the lanes of a warp ----------------------------------------------------------------------------

namespace simt {

// `source` may be a lane that takes no part: the value is undefined then, here poison.
template <class T>
struct Shuffle {
  T value, result;
  int source;
};
template <class T>
T shuffle(const char* operation, unsigned mask, T value, int source, Site site) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "CUDA shuffles 4 or 8 bytes");
  Shuffle<T> mine{value, value, source};
  meet<Shuffle<T>>(
      operation, mask, mine,
      [](Shuffle<T>* const* all, unsigned lanes) {
        for (int i = 0; i < kLanes; ++i) {
          if (!(lanes >> i & 1)) continue;
          if (lanes >> all[i]->source & 1)
            all[i]->result = all[all[i]->source]->value;
          else
            std::memset(&all[i]->result, schedule().poison(), sizeof(T));
        }
      },
      site);
  return mine.result;
}
// Shuffles divide the warp into sections of `width` lanes, a power of two.
inline int section(const char* operation, int width, Site site) {
  if (width < 1 || width > kLanes || (width & (width - 1))) stop(site, "%s: width is %d", operation, width);
  return lane() & ~(width - 1);
}

template <class T>
struct Ballot {
  T value;
  unsigned result;
};

template <class T>
struct Reduction {
  T value, result;
};
template <class T, class Combine>
T reduce(const char* operation, unsigned mask, T value, Combine, Site site) {
  Reduction<T> mine{value, value};
  meet<Reduction<T>>(
      operation, mask, mine,
      [](Reduction<T>* const* all, unsigned lanes) {
        T result = all[std::countr_zero(lanes)]->value;
        for (unsigned left = lanes & (lanes - 1); left; left &= left - 1)
          result = Combine()(result, all[std::countr_zero(left)]->value);
        for (unsigned left = lanes; left; left &= left - 1) all[std::countr_zero(left)]->result = result;
      },
      site);
  return mine.result;
}

}  // namespace simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, SIMT_SITE) {
  const int first = simt::section("__shfl_sync", width, {file, line});
  return simt::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SIMT_SITE) {
  const int source = simt::lane() - static_cast<int>(delta);
  const bool inside = source >= simt::section("__shfl_up_sync", width, {file, line});
  return simt::shuffle("__shfl_up_sync", mask, value, inside ? source : simt::lane(), {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SIMT_SITE) {
  const int source = simt::lane() + static_cast<int>(delta);
  const bool inside = source < simt::section("__shfl_down_sync", width, {file, line}) + width;
  return simt::shuffle("__shfl_down_sync", mask, value, inside ? source : simt::lane(), {file, line});
}
// As CUDA has it: a lane of an earlier section can be read, one of a later section cannot.
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize, SIMT_SITE) {
  const int source = simt::lane() ^ lanes;
  const bool inside = source >= 0 && source < simt::section("__shfl_xor_sync", width, {file, line}) + width;
  return simt::shuffle("__shfl_xor_sync", mask, value, inside ? source : simt::lane(), {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE) {
  simt::Ballot<bool> mine{predicate != 0, 0};
  simt::meet<simt::Ballot<bool>>("__ballot_sync", mask, mine,
                                 [](simt::Ballot<bool>* const* all, unsigned lanes) {
                                   unsigned result = 0;
                                   for (unsigned left = lanes; left; left &= left - 1)
                                     if (all[std::countr_zero(left)]->value) result |= left & -left;
                                   for (unsigned left = lanes; left; left &= left - 1)
                                     all[std::countr_zero(left)]->result = result;
                                 },
                                 {file, line});
  return mine.result;
}
inline int __any_sync(unsigned mask, int predicate, SIMT_SITE) {
  return simt::reduce("__any_sync", mask, predicate != 0, [](bool a, bool b) { return a || b; }, {file, line});
}
inline int __all_sync(unsigned mask, int predicate, SIMT_SITE) {
  return simt::reduce("__all_sync", mask, predicate != 0, [](bool a, bool b) { return a && b; }, {file, line});
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, SIMT_SITE) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "CUDA matches 4 or 8 bytes");
  simt::Ballot<T> mine{value, 0};
  simt::meet<simt::Ballot<T>>(
      "__match_any_sync", mask, mine,
      [](simt::Ballot<T>* const* all, unsigned lanes) {
        for (int i = 0; i < simt::kLanes; ++i)
          for (int k = 0; k < simt::kLanes; ++k)
            if ((lanes >> i & lanes >> k & 1) && std::memcmp(&all[i]->value, &all[k]->value, sizeof(T)) == 0)
              all[i]->result |= 1u << k;
      },
      {file, line});
  return mine.result;
}

#define SIMT_REDUCE(name, type, expression)                                                                   \
  inline type name(unsigned mask, type value, SIMT_SITE) {                                                    \
    return simt::reduce(#name, mask, value, [](type a, type b) -> type { return expression; }, {file, line}); \
  }
SIMT_REDUCE(__reduce_add_sync, unsigned, a + b)
SIMT_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
SIMT_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
SIMT_REDUCE(__reduce_and_sync, unsigned, a& b)
SIMT_REDUCE(__reduce_or_sync, unsigned, a | b)
SIMT_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
SIMT_REDUCE(__reduce_add_sync, int, static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b)))
SIMT_REDUCE(__reduce_min_sync, int, a < b ? a : b)
SIMT_REDUCE(__reduce_max_sync, int, a > b ? a : b)
#undef SIMT_REDUCE

// --- Atomics ---------------------------------------------------------------------------------------------------------

// GCC's atomics rather than plain reads and writes: only so does ThreadSanitizer know them for what they are.
namespace simt {
template <class T, class Whole, class Next>
T atomic(const char* operation, T* p, Site site, const Whole& whole, const Next& next) {
  if (!atomic_is_dropped(operation, site)) return whole();
  T old;
  load_in_turns(p, &old, sizeof old);
  __atomic_store_n(p, next(old), __ATOMIC_RELAXED);
  return old;
}
template <class T, class Next>
T exchange_until(T* p, const Next& next) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(p, &old, next(old), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
}  // namespace simt

#define SIMT_ATOMIC(name, type, whole, result)                          \
  inline type name(type* p, type v, SIMT_SITE) {                        \
    const auto next = [v](type old) -> type { return result; };         \
    return simt::atomic(                                                \
        #name, p, {file, line}, [&]() -> type { return whole; }, next); \
  }
#define SIMT_ATOMICS(type)                                                                                         \
  SIMT_ATOMIC(atomicAdd, type, __atomic_fetch_add(p, v, __ATOMIC_RELAXED), old + v)                                \
  SIMT_ATOMIC(atomicExch, type, __atomic_exchange_n(p, v, __ATOMIC_RELAXED), (static_cast<void>(old), v))          \
  SIMT_ATOMIC(atomicAnd, type, __atomic_fetch_and(p, v, __ATOMIC_RELAXED), old& v)                                 \
  SIMT_ATOMIC(atomicOr, type, __atomic_fetch_or(p, v, __ATOMIC_RELAXED), old | v)                                  \
  SIMT_ATOMIC(atomicXor, type, __atomic_fetch_xor(p, v, __ATOMIC_RELAXED), old ^ v)                                \
  SIMT_ATOMIC(atomicMax, type, simt::exchange_until(p, next), old < v ? v : old)                                   \
  SIMT_ATOMIC(atomicMin, type, simt::exchange_until(p, next), v < old ? v : old)                                   \
  inline type atomicCAS(type* p, type expected, type v, SIMT_SITE) {                                               \
    const auto whole = [&] {                                                                                       \
      type old = expected;                                                                                         \
      __atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);                          \
      return old;                                                                                                  \
    };                                                                                                             \
    return simt::atomic("atomicCAS", p, {file, line}, whole, [=](type old) { return old == expected ? v : old; }); \
  }
SIMT_ATOMICS(int)
SIMT_ATOMICS(unsigned)
SIMT_ATOMICS(unsigned long long)
SIMT_ATOMIC(atomicSub, int, __atomic_fetch_sub(p, v, __ATOMIC_RELAXED), old - v)  // not of 64 bits
SIMT_ATOMIC(atomicSub, unsigned, __atomic_fetch_sub(p, v, __ATOMIC_RELAXED), old - v)
#undef SIMT_ATOMICS
#undef SIMT_ATOMIC

// --- Loads and stores ------------------------------------------------------------------------------------------------

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcg(T* p, T value) {
  *p = value;
}
template <class T>
void __stcs(T* p, T value) {
  *p = value;
}

// --- Integers --------------------------------------------------------------------------------------------------------

inline int __popc(unsigned v) { return std::popcount(v); }
inline int __popcll(unsigned long long v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
inline int __clzll(long long v) { return std::countl_zero(static_cast<unsigned long long>(v)); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (v >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((std::uint64_t{a} * b) >> 32); }
inline int __mulhi(int a, int b) { return static_cast<int>((std::int64_t{a} * b) >> 32); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((std::uint64_t{high} << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (shift & 31));
}
// Each of the selector's four lower digits names one of the eight bytes; its highest bit repeats that byte's sign.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t both = std::uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned digit = selector >> (4 * i) & 15;
    unsigned byte = static_cast<unsigned>(both >> (8 * (digit & 7))) & 255;
    if (digit & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
  return c;
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<signed char>(a >> i) * static_cast<signed char>(b >> i);
  return c;
}

// --- Floating point --------------------------------------------------------------------------------------------------
// Exact where CUDA's are: the approximations (__expf, rsqrtf, ...) differ between GPUs, and are not here.

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float v) { return sqrtf(v); }
inline float __frcp_rn(float v) { return 1 / v; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double v) { return sqrt(v); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __saturatef(float v) { return v > 0 ? v < 1 ? v : 1 : 0; }

inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline long long __double_as_longlong(double v) { return std::bit_cast<long long>(v); }
inline double __longlong_as_double(long long v) { return std::bit_cast<double>(v); }

namespace simt {
// Conversions to integers saturate, and NaN becomes 0, unlike those of C++, where both are undefined.
template <class T, class F>
T saturate(F v) {
  if (v != v) return 0;
  if (v <= static_cast<F>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  if (v >= static_cast<F>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(v);
}
}  // namespace simt
inline int __float2int_rn(float v) { return simt::saturate<int>(nearbyintf(v)); }
inline int __float2int_rz(float v) { return simt::saturate<int>(truncf(v)); }
inline int __float2int_rd(float v) { return simt::saturate<int>(floorf(v)); }
inline int __float2int_ru(float v) { return simt::saturate<int>(ceilf(v)); }
inline unsigned __float2uint_rn(float v) { return simt::saturate<unsigned>(nearbyintf(v)); }
inline unsigned __float2uint_rz(float v) { return simt::saturate<unsigned>(truncf(v)); }
inline int __double2int_rn(double v) { return simt::saturate<int>(nearbyint(v)); }
inline int __double2int_rz(double v) { return simt::saturate<int>(trunc(v)); }
inline int __double2int_rd(double v) { return simt::saturate<int>(floor(v)); }
inline int __double2int_ru(double v) { return simt::saturate<int>(ceil(v)); }
inline float __double2float_rn(double v) { return static_cast<float>(v); }
inline float __int2float_rn(int v) { return static_cast<float>(v); }
inline float __uint2float_rn(unsigned v) { return static_cast<float>(v); }

#define SIMT_MIN_MAX(type)                                     \
  constexpr type min(type a, type b) { return b < a ? b : a; } \
  constexpr type max(type a, type b) { return a < b ? b : a; }
SIMT_MIN_MAX(int)
SIMT_MIN_MAX(unsigned)
SIMT_MIN_MAX(long)
SIMT_MIN_MAX(unsigned long)
SIMT_MIN_MAX(long long)
SIMT_MIN_MAX(unsigned long long)
#undef SIMT_MIN_MAX
// Of a number and NaN, the number.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

#undef SIMT_SITE
