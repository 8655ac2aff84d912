// The values that align() and crop() accept. Each function throws std::invalid_argument for any other.
#pragma once

#include <cstdint>

namespace mtcnn_fast {

// The side of the cut face, in pixels.
void check_crop_size(int size);
// The same for n cut faces, which together may take up to 16 GiB.
void check_cuts(std::int64_t n, int size);
void check_margin(double margin);

}  // namespace mtcnn_fast
