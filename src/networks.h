// The three networks' parameters: their names and shapes.
#pragma once

#include <mtcnn_fast/types.h>

namespace mtcnn_fast {

// Throws std::invalid_argument naming the first tensor that is missing, unknown, of another shape or not finite.
void check_tensors(const Tensors& tensors);

}  // namespace mtcnn_fast
