// What the multiply-add units of one core can do: independent sums in registers, no memory. Compiled once for each
// instruction set.
#include "../src/cpu/kernels/simd.h"

#define MTCNN_FAST_CONCATENATE(a, b) a##b
#define MTCNN_FAST_LOOP(isa) MTCNN_FAST_CONCATENATE(multiply_add_loop_, isa)

namespace mtcnn_fast {

// Returns the floating-point operations done.
double MTCNN_FAST_LOOP(MTCNN_FAST_ISA_NAME)(long rounds) {
  constexpr int kSums = 12;  // 8 to 10 are in flight in two units
  F32 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = splat(1e-3f * i);  // equal sums would be computed once
  F32 x = splat(0.999f);
  for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (F32& sum : sums) sum = fma(sum, x, x);
#if defined(__x86_64__)
    asm volatile("" : "+x"(x));  // the compiler must not see that nothing changes
#else
    asm volatile("" : "+w"(x));
#endif
  }
  float kept = 0;
  for (const F32& sum : sums) kept += sum[0];
  asm volatile("" : : "r"(&kept) : "memory");
  return 2.0 * kLanes * kSums * static_cast<double>(rounds);
}

}  // namespace mtcnn_fast
