// The tensor cores' part of cuda/mma.h, for the emulator. Included by it.
#pragma once

#include <cuda_fp16.h>

#include <bit>

namespace mtcnn_fast::cuda {

namespace simt_mma {
// Value `row`, `column` of fragments as PTX documents them: which lane has it, in which register, in which half of
// that.
struct Place {
  int lane, element, half;
};
constexpr Place place_in_a(int row, int column) {
  return {row % 8 * 4 + column % 8 / 2, row / 8 + column / 8 * 2, column % 2};
}
constexpr Place place_in_b(int row, int column) { return {column * 4 + row % 8 / 2, row / 8, row % 2}; }
constexpr Place place_in_d(int row, int column) { return {row % 8 * 4 + column / 2, row / 8 * 2 + column % 2, 0}; }

inline float half_of(unsigned both, int half) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(both >> (16 * half))));
}

struct Product {
  float* d;
  unsigned a[4], b[2];
};
// Products of fp16 values are exact in float32. The order of the sums is not documented, and differs between GPUs.
inline void resolve(Product* const* all, unsigned) {
  float a[16][16], b[16][8];
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k) {
      const Place place = place_in_a(row, k);
      a[row][k] = half_of(all[place.lane]->a[place.element], place.half);
    }
  for (int k = 0; k < 16; ++k)
    for (int column = 0; column < 8; ++column) {
      const Place place = place_in_b(k, column);
      b[k][column] = half_of(all[place.lane]->b[place.element], place.half);
    }
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      const Place place = place_in_d(row, column);
      float& sum = all[place.lane]->d[place.element];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
    }
}

struct Rows {
  const __half* row;
  unsigned* a;
};
// Of each 8 x 8 matrix in turn, lane i gets row i / 4, columns i % 4 * 2 and + 1; lanes 8 k .. 8 k + 7 have handed over
// the addresses of matrix k's rows.
inline void resolve(Rows* const* all, unsigned) {
  for (int i = 0; i < simt::kLanes; ++i)
    for (int matrix = 0; matrix < 4; ++matrix) {
      const __half* const row = all[matrix * 8 + i / 4]->row + i % 4 * 2;
      all[i]->a[matrix] = __half_as_ushort(row[0]) | static_cast<unsigned>(__half_as_ushort(row[1])) << 16;
    }
}

// Products are the work of whole warps: that of one with ended lanes is undefined.
template <class Request>
void meet_all(const char* operation, Request& request, simt::Site site) {
  simt::meet<Request>(
      operation, 0xffffffffu, request,
      [](Request* const* all, unsigned lanes) {
        if (lanes != 0xffffffffu) simt::stop({"simt_mma.h", 0}, "a matrix product of %d lanes", __popc(lanes));
        resolve(all, lanes);
      },
      site);
}
}  // namespace simt_mma

inline unsigned to_half2(float low, float high) {
  return __half_as_ushort(__float2half_rn(low)) | static_cast<unsigned>(__half_as_ushort(__float2half_rn(high))) << 16;
}

inline void load_a(unsigned (&a)[4], const __half* row, const char* file = __builtin_FILE(),
                   int line = __builtin_LINE()) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0)
    simt::stop({file, line}, "load_a: the row's address %p is not a multiple of 16", static_cast<const void*>(row));
  simt_mma::Rows mine{row, a};
  simt_mma::meet_all("load_a", mine, {file, line});
}

inline void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                         const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  simt_mma::Product mine{d, {a[0], a[1], a[2], a[3]}, {b0, b1}};
  simt_mma::meet_all("multiply_add", mine, {file, line});
}

}  // namespace mtcnn_fast::cuda
