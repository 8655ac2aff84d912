// The rows of floats between the two passes of a resize: their layout and their place.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

// Floats that the tail of a row may be read or written beyond its end.
constexpr int kSlack = 64;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Vectors of a plane up to which outputs are picked by permutations; beyond, pixels are weighted one by one, which was
// measured to be as fast from five vectors on with AVX-512 (a permutation for every two) and from three with AVX2 (a
// permutation for each, and blends).
#if defined(__AVX512F__)
constexpr int kMostVectors = 4;
#elif defined(__AVX2__)
constexpr int kMostVectors = 2;
#else
constexpr int kMostVectors = 0;
#endif

// Where weighted rows of a level or crop stand, between the passes. They begin with column source_first.
struct WeightedRows {
  float* data;
  int vectors;           // of a plane that kLanes outputs in a row span; 0: rows are kept as pixels
  std::ptrdiff_t plane;  // floats from one plane to the next, three a row
  int count;             // rows at a time
};

// Rows of planes at a time: as many as leave room in the first-level cache. Outputs straight after the row that they
// are made of would wait for its vectors to be written, because those that they load lie across two of these.
constexpr int kFloatsOfRows = 4096;

inline std::ptrdiff_t plane_floats(int columns) {
  // An odd number of cache lines, as in P-Net.
  return round_up(columns + kMostVectors * kLanes, 32) + 16;
}

std::size_t resample_scratch(const Resample& r) {
  const int columns = r.source_end - r.source_first;
  const std::size_t pixels = static_cast<std::size_t>(columns + r.x.most_taps) * r.source.channels + kSlack;
  if (r.rounding != Rounding::none) return round_up(pixels + 4 * static_cast<std::size_t>(r.width), 16);
  if (!kMostVectors) return round_up(pixels, 16);
  const std::size_t planes = 3 * plane_floats(columns) + kFloatsOfRows;
  return round_up(planes > pixels ? planes : pixels, 16);
}

// Vectors that kLanes outputs in a row span, where they begin as weigh_planes lets them.
inline int spanned_vectors(const Resample& r) {
  int span = 0;
  for (int x = 0; x < r.width; x += kLanes) {
    const int from = x + kLanes > r.width && r.width >= kLanes ? r.width - kLanes : x;
    const int here = r.x.first[from + kLanes - 1] - r.x.first[from] + r.x.most_taps;
    if (here > span) span = here;
  }
  return (span + kLanes - 1) / kLanes;
}

// The rows' place in `scratch`, and after each of them zeros for the weights of zero.
inline WeightedRows prepare_rows(const Resample& r, float* scratch) {
  WeightedRows rows = {scratch, 0, 0, 1};
  const int columns = r.source_end - r.source_first;
  if (kMostVectors && r.rounding == Rounding::none) rows.vectors = spanned_vectors(r);
  if (rows.vectors > kMostVectors) rows.vectors = 0;
  if (rows.vectors) {
    rows.plane = plane_floats(columns);
    rows.count = 1 + static_cast<int>(kFloatsOfRows / (3 * rows.plane));
    if (rows.count > 8) rows.count = 8;
    // A number of vectors known here: gcc 12 makes a call of memset for each plane otherwise.
    for (int c = 0; c < 3 * rows.count; ++c)
#pragma GCC unroll 4
      for (int v = 0; v < kMostVectors; ++v) store(rows.data + c * rows.plane + columns + v * kLanes, F32{});
  } else {
    if (r.rounding != Rounding::none) rows.data += 4 * r.width;
    std::memset(rows.data + static_cast<std::ptrdiff_t>(columns) * r.source.channels, 0,
                sizeof(float) * (r.x.most_taps * r.source.channels + kSlack));
  }
  return rows;
}

}  // namespace
}  // namespace mtcnn_fast
