// What align and crop ask of their options. Throw std::invalid_argument.
#pragma once

namespace mtcnn_fast {

void check_crop_size(int size);
void check_margin(double margin);

}  // namespace mtcnn_fast
