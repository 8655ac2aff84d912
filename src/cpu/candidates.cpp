#include "cpu/candidates.h"

#include <algorithm>

#include "cpu/reuse.h"

namespace mtcnn_fast {

void keep_above(std::vector<Candidate>& candidates, double threshold) {
  const double logit = logit_of(threshold);
  std::erase_if(candidates, [logit](const Candidate& c) { return !(c.logit > logit); });
}

void Suppression::reserve(std::size_t candidates) {
  nms.reserve(candidates);
  make_room(boxes, candidates);
  make_room(ranks, candidates);
  make_room(kept, candidates);
}

std::size_t Suppression::bytes() const {
  return nms.bytes() + boxes.capacity() * sizeof(BoxD) + ranks.capacity() * sizeof(float) +
         kept.capacity() * sizeof(Candidate);
}

void suppress(const Geometry& geometry, std::vector<Candidate>& candidates, double threshold, Stage stage,
              Suppression& work) {
  const bool last_wins = geometry.last_wins(stage);
  const std::size_t n = candidates.size();
  const auto index = [&](std::size_t i) { return last_wins ? n - 1 - i : i; };
  work.reserve(n);
  work.boxes.resize(n);
  work.ranks.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    work.boxes[i] = candidates[index(i)].box;
    work.ranks[i] = geometry.rank(candidates[index(i)].logit);
  }
  work.kept.clear();
  for (const std::int32_t i :
       work.nms(work.boxes, work.ranks, threshold, geometry.overlap_kind(stage), geometry.overlap_extra(stage)))
    work.kept.push_back(candidates[index(static_cast<std::size_t>(i))]);
  // Copied, not exchanged: each list keeps the memory that its own part in the cascade needs.
  candidates.assign(work.kept.begin(), work.kept.end());
}

}  // namespace mtcnn_fast
