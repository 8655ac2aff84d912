// Lists of candidates on the CPU: thresholds and suppression.
#pragma once

#include <vector>

#include "cpu/nms.h"
#include "geometry.h"

namespace mtcnn_fast {

// Drops candidates whose probability does not exceed the threshold.
void keep_above(std::vector<Candidate>& candidates, double threshold);

// What suppress() works in, kept from one call to the next.
struct Suppression {
  Nms nms;
  std::vector<BoxD> boxes;
  std::vector<float> ranks;
  std::vector<Candidate> kept;

  // Makes room for that many candidates.
  void reserve(std::size_t candidates);
  std::size_t bytes() const;
};

// Reduces a list to what non-maximum suppression leaves, best first.
void suppress(const Geometry& geometry, std::vector<Candidate>& candidates, double threshold, Stage stage,
              Suppression& work);

}  // namespace mtcnn_fast
