// What align and crop ask of their options. Throw std::invalid_argument.
#pragma once

#include <cstdint>

namespace mtcnn_fast {

void check_crop_size(int size);
// Of the cuts of n faces together.
void check_cuts(std::int64_t n, int size);
void check_margin(double margin);

}  // namespace mtcnn_fast
