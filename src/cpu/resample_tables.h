// The windows of a row's outputs as vectors of outputs read them, made once for all rows of a level's band or a crop.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace mtcnn_fast {
namespace {

// Floats that the tail of a row may be read or written beyond its end.
constexpr int kSlack = 64;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Every window has `taps` weights here, the missing ones zero, so that no loop's length changes from output to output.
// What they are multiplied with is finite: rows are followed by zeros.
struct Columns {
  std::int32_t* first;  // of each output, from source_first on; never falling
  float* weights;       // tap t of output x at t * pitch + x
  int pitch, taps;
  int vectors;           // of planes that kLanes outputs in a row span; 0: rows are kept as pixels
  float* row;            // the weighted row
  std::ptrdiff_t plane;  // floats from one of its planes to the next
};

// Vectors of a plane up to which outputs are picked by permutations; beyond, pixels are weighted one by one. Each
// channel, tap and pair of vectors costs one permutation with AVX-512, each vector one and a blend with AVX2.
#if defined(__AVX512F__)
constexpr int kMostVectors = 8;
#elif defined(__AVX2__)
constexpr int kMostVectors = 3;
#else
constexpr int kMostVectors = 0;
#endif

inline int most_taps(const Axis& x, int width) {
  int most = 1;
  for (int i = 0; i < width; ++i)
    if (x.windows[i].count > most) most = x.windows[i].count;
  return most;
}

inline int columns_pitch(int width) { return static_cast<int>(round_up(width, 16)); }

inline std::ptrdiff_t plane_floats(int columns) { return round_up(columns, 16) + 16 * ((kMostVectors + 1) | 1); }

// Floats of the weighted row, for each of its layouts.
inline std::size_t row_floats(const Resample& r, int taps) {
  const int columns = r.source_end - r.source_first;
  const std::size_t pixels = static_cast<std::size_t>(columns + taps) * r.source.channels + kSlack;
  if (r.rounding != Rounding::none) return pixels + 4 * static_cast<std::size_t>(r.width);
  const std::size_t planes = kMostVectors ? 3 * plane_floats(columns) : 0;
  return planes > pixels ? planes : pixels;
}

inline std::size_t columns_scratch(const Resample& r, int taps) {
  return round_up(static_cast<std::size_t>(taps + 1) * columns_pitch(r.width) + row_floats(r, taps), 16);
}

// `scratch` is what the Columns stand in.
inline Columns prepare_columns(const Resample& r, float* scratch) {
  Columns c = {};
  c.taps = most_taps(r.x, r.width);
  c.pitch = columns_pitch(r.width);
  c.first = reinterpret_cast<std::int32_t*>(scratch);
  c.weights = scratch + c.pitch;
  c.row = c.weights + static_cast<std::ptrdiff_t>(c.taps) * c.pitch;
  if (r.rounding != Rounding::none) return c;

  std::memset(c.weights, 0, sizeof(float) * c.taps * c.pitch);
  std::int32_t first = 0;
  for (int x = 0; x < r.width; ++x) {
    const Window window = r.x.windows[x];
    if (window.count > 0) first = window.first - r.source_first;
    c.first[x] = first;
    for (int t = 0; t < window.count; ++t) c.weights[t * c.pitch + x] = r.x.weights[window.offset + t];
  }
  for (int x = r.width; x < c.pitch; ++x) c.first[x] = first;

  const int columns = r.source_end - r.source_first;
  int span = 0;
  for (int x = 0; x < r.width && kMostVectors; x += kLanes) {
    // The last kLanes outputs of a row that has as many.
    const int from = x + kLanes <= r.width || r.width < kLanes ? x : r.width - kLanes;
    const int here = c.first[from + kLanes - 1] - c.first[from] + c.taps;
    if (here > span) span = here;
  }
  if (span <= kMostVectors * kLanes) c.vectors = (span + kLanes - 1) / kLanes;
  if (c.vectors) {
    c.plane = plane_floats(columns);
    for (int k = 0; k < 3; ++k)
      std::memset(c.row + k * c.plane + columns, 0, sizeof(float) * (c.plane - columns));
  } else {
    const std::ptrdiff_t end = static_cast<std::ptrdiff_t>(columns) * r.source.channels;
    std::memset(c.row + end, 0, sizeof(float) * (c.taps * r.source.channels + kSlack));
  }
  return c;
}

}  // namespace
}  // namespace mtcnn_fast
