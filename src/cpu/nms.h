// Greedy non-maximum suppression: boxes by score, highest first; a box is dropped only for its overlap with a kept box.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "boxes.h"

namespace mtcnn_fast {

// Keeps its memory from one call to the next: about 50 bytes per box of the largest call.
class Nms {
 public:
  // Indices of what is kept, highest score first, ties in the order given; valid until the next call. Dropped is what
  // overlaps a kept box by more than `threshold`; `extra` is 1 where boxes are inclusive (width = x2 - x1 + 1), 0 where
  // they are half-open.
  std::span<const std::int32_t> operator()(std::span<const BoxD> boxes, std::span<const float> scores, double threshold,
                                           Overlap kind, double extra);

  // Makes room for that many boxes.
  void reserve(std::size_t boxes);
  std::size_t bytes() const;

 private:
  void sort(std::span<const float> scores);

  std::vector<std::uint64_t> order_, sorted_;
  std::vector<std::uint8_t> octaves_;
  std::vector<std::int32_t> next_, heads_, kept_;
};

std::vector<std::int64_t> nms(std::span<const BoxD> boxes, std::span<const float> scores, double threshold,
                              Overlap kind, double extra);

}  // namespace mtcnn_fast
