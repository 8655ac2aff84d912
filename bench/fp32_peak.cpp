// Prints the fp32 multiply-add rate of one core in GFLOP/s: independent sums in registers, no memory. Compiled with the
// flags of the instruction set in question (bench/compare.py does).
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "../src/cpu/simd.h"

int main() {
  using namespace mtcnn_fast;
  constexpr int kSums = 12;  // of both multiply-add pipes' latency, 8 to 10 are in flight
  constexpr long kRounds = 2000000;
  double best = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    F32 sums[kSums];
    for (int i = 0; i < kSums; ++i) sums[i] = splat(1e-3f * i);  // equal sums would be computed once
    F32 x = splat(0.999f);
    const auto start = std::chrono::steady_clock::now();
    for (long i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
      for (F32& sum : sums) sum = fma(sum, x, x);
#if defined(__x86_64__)
      asm volatile("" : "+v"(x));  // the compiler must not see that nothing changes
#else
      asm volatile("" : "+w"(x));
#endif
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, 2.0 * kLanes * kSums * kRounds / seconds * 1e-9);
    for (const F32& sum : sums)
      if (sum[0] > 1e30f) std::puts("");
  }
  std::printf("%.1f\n", best);
}
