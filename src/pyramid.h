// The image pyramid's levels, and the sizes that an image and a resize may have.
#pragma once

#include <vector>

#include <mtcnn_fast/detector.h>

#include "conventions.h"

namespace mtcnn_fast {

struct PyramidLevel {
  double scale;
  int height, width;
};

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
