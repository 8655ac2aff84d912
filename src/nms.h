// Greedy non-maximum suppression: boxes by score, highest first; a box is dropped only for its overlap with a kept box.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "boxes.h"

namespace mtcnn_fast {

// Indices of what is kept, highest score first, ties in the order given. Dropped is what overlaps a kept box by more
// than `threshold`; `extra` is 1 where boxes are inclusive (width = x2 - x1 + 1), 0 where they are half-open.
std::vector<std::int64_t> nms(std::span<const BoxD> boxes, std::span<const float> scores, double threshold,
                              Overlap kind, double extra);

}  // namespace mtcnn_fast
