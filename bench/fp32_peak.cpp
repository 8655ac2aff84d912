// Prints the fp32 multiply-add rate of one core in GFLOP/s; linked with multiply_add_loop.cpp for one instruction set.
#include <algorithm>
#include <chrono>
#include <cstdio>

namespace mtcnn_fast {
double multiply_add_loop_native(long rounds);
}

int main() {
  double best = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    const double operations = mtcnn_fast::multiply_add_loop_native(2000000);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, operations / seconds * 1e-9);
  }
  std::printf("%.1f\n", best);
}
