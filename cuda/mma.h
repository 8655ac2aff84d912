// Warp-wide matrix products on tensor cores: D = A * B + D with fp16 inputs and float32 sums, of 16 x 8 outputs over 16
// products. Fragments are those of PTX's mma.m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16"): with group =
// lane / 4 and pair = lane % 4 * 2,
//   A[0], A[1]: rows group, group + 8, columns pair, pair + 1;  A[2], A[3]: the same, columns pair + 8, pair + 9
//   B[0]: rows pair, pair + 1, column group;                    B[1]: rows pair + 8, pair + 9
//   D[0], D[1]: row group, columns pair, pair + 1;              D[2], D[3]: row group + 8
#pragma once

#include <cuda_fp16.h>

#include "device.h"
#if !defined(__CUDACC__)
#include <simt_mma.h>
#endif

namespace mtcnn_fast::cuda {

#if defined(__CUDACC__)

// Two floats as fp16, the first in the lower half.
__device__ inline unsigned to_half2(float low, float high) {
  const __half2 both = __floats2half2_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&both);
}

// A's fragment of 16 rows of 16 fp16 values in shared memory. Lane i hands over the address of row i % 16, columns
// i / 16 * 8 .. + 7, aligned to 16 bytes.
__device__ inline void load_a(unsigned (&a)[4], const __half* row) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}

__device__ inline void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  // Turing multiplies 16 x 8 x 8: the same fragments, half of the columns at a time.
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

#endif

}  // namespace mtcnn_fast::cuda
