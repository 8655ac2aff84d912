// The image pyramid's levels, and the sizes that an image and a resize may have.
#pragma once

#include <vector>

#include <mtcnn_fast/detector.h>

#include "conventions.h"

namespace mtcnn_fast {

struct PyramidLevel {
  double scale;
  int height, width;
  // From where to where the work of this level reaches, of that of all levels one after the other: 0 to 1.
  double begin = 0, end = 1;
};

// Rows of a level's map of P-Net's cells.
struct CellRows {
  int first, end;

  int count() const { return end - first; }
};

// The work of resizing an image to a level and of P-Net on it. Work is counted in multiply-adds, about 80 of which an
// AVX-512 core does in a nanosecond. Reading a pixel of the image for a level is counted as so many: 5 to 18 were
// measured with AVX-512 and AVX2.
constexpr double kPnetWork = 1800, kReadingWork = 15;  // a pixel of the level, of the image
inline double level_work(const PyramidLevel& level, int height, int width) {
  return kPnetWork * level.height * level.width + kReadingWork * height * width;
}

// The rows of a level that a part of a search has, the same on every device. Parts are runs of rows of equal work,
// level after level. A band of the picture through all levels would cut every level, and at a cut rows are computed
// twice: at 640x480 ten such bands took 1.27 to 1.30 of the time of one search, ten runs 0.99 to 1.12.
CellRows rows_of(const PyramidLevel& level, const Part& part);

// Throws std::invalid_argument for an image whose pyramid has more than 2^31 pixels, and for one that has a pyramid and
// a side of more than 2^28.
void check_pyramid(int height, int width, const Options& options);

// Levels of the pyramid for an image of height x width, largest first: scale_k = 12 / min_face_size * scale_factor^k
// while the shorter side is at least 12. Throws as check_pyramid() does.
std::vector<PyramidLevel> pyramid_levels(int height, int width, const Options& options, const Conventions& conventions);

// Throws std::invalid_argument for a resize that is beyond the kernels' reach: a side of the source or the target of
// more than 2^28 pixels (rows are counted in bytes, by int), or a target of more than 2^30 (tasks on a GPU are counted
// by int).
void check_resize(int height, int width, int target_height, int target_width);

}  // namespace mtcnn_fast
