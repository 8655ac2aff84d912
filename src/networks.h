// The three networks' parameters: their names, their shapes, and the one row that every backend makes of a face
// layer's two.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <mtcnn_fast/types.h>

namespace mtcnn_fast {

// Throws std::invalid_argument naming the first tensor that is missing, unknown, of another shape or not finite.
void check_tensors(const Tensors& tensors);

// Weights or biases of logit(face) - logit(not a face), from a face layer's two rows: not a face, face. The softmax of
// two logits is a sigmoid of their difference.
inline std::vector<float> logit_row(std::span<const float> rows) {
  const std::size_t inputs = rows.size() / 2;
  std::vector<float> difference(inputs);
  for (std::size_t i = 0; i < inputs; ++i) difference[i] = rows[inputs + i] - rows[i];
  return difference;
}

}  // namespace mtcnn_fast
