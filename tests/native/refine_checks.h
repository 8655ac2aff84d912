// What refine() must answer, for detectors on any device.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "backend.h"
#include "common.h"

namespace refine_checks {

using namespace mtcnn_fast;

inline bool same(const Detection& a, const Detection& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// The windows that a network looks at, as boxes of the profile's detections.
inline std::vector<Box> windows(const Detector& cpu, const Picture& picture, Stage network,
                                const std::string& profile) {
  const float shift = profile == "reference" ? 0 : 1;
  std::vector<Box> boxes;
  for (const Backend::Window& window : cpu.backend().windows(picture.view(), network))
    boxes.push_back({window.box.x1 + shift, window.box.y1 + shift, window.box.x2, window.box.y2});
  return boxes;
}

// Every face that the cascade finds is, to the bit, one of the answers for the windows that its networks looked at.
inline void check_faces_are_answers(const Detector& detector, const Detector& cpu, const Picture& picture,
                                    const std::string& profile) {
  const std::vector<Detection> faces = detector.detect(picture.view());
  CHECK(!faces.empty());
  for (const Networks networks : {Networks::onet, Networks::both}) {
    const Stage first = networks == Networks::onet ? Stage::onet : Stage::rnet;
    const std::vector<Box> boxes = windows(cpu, picture, first, profile);
    const std::vector<Detection> answers = detector.refine(picture.view(), boxes, networks);
    CHECK(answers.size() == boxes.size());
    for (const Detection& face : faces)
      CHECK(std::any_of(answers.begin(), answers.end(), [&](const Detection& answer) { return same(answer, face); }));
  }
}

// An answer depends on its image and its box alone, and comes in its box's place.
inline void check_order(const Detector& detector, const std::vector<Picture>& pictures, Networks networks) {
  const std::vector<Box> boxes[] = {{{4, 5, 20, 21}, {-300, 2, -280, 22}, {-3, -2, 9, 13}, {10, 10, 10, 10.5f}},
                                    {},
                                    {{1e9f, 1e9f, 2e9f, 2e9f}, {8, 9, 30.5f, 25}, {4, 5, 20, 21}}};
  std::vector<ImageView> views;
  for (std::size_t i = 0; i < std::size(boxes); ++i) views.push_back(pictures[i % pictures.size()].view());
  const std::vector<std::span<const Box>> lists(std::begin(boxes), std::end(boxes));
  const std::vector<std::vector<Detection>> together = detector.refine(views, lists, networks);
  CHECK(together.size() == lists.size());
  for (std::size_t i = 0; i < together.size(); ++i) {
    CHECK(together[i].size() == lists[i].size());
    for (std::size_t k = 0; k < together[i].size(); ++k)
      CHECK(same(together[i][k], detector.refine(views[i], lists[i].subspan(k, 1), networks).front()));
  }
  for (const Detection& unseen : {together[0][1], together[2][0]}) {
    CHECK(unseen.score == 0);
    for (const Point& point : unseen.landmarks)
      CHECK(point.x == (unseen.box.x1 + unseen.box.x2) / 2 && point.y == (unseen.box.y1 + unseen.box.y2) / 2);
  }
  CHECK(together[0][1].box.x1 == -300 && together[0][1].box.x2 == -280);
  CHECK(together[0][0].score > 0 && together[0][2].score > 0);
}

// Landmarks of Options::landmarks "mirrored" belong to a face alone, whatever is detected with it. Nothing else differs
// from what `direct` gives.
inline void check_mirrored(const Detector& mirrored, const Detector& direct, const std::vector<Picture>& pictures) {
  std::vector<ImageView> views;
  for (const Picture& picture : pictures) views.push_back(picture.view());
  const std::vector<std::vector<Detection>> together = mirrored.detect(views);
  for (std::size_t i = 0; i < views.size(); ++i) {
    const std::vector<Detection> others = direct.detect(views[i]);
    CHECK(!others.empty() && together[i].size() == others.size());
    CHECK(::same(together[i], mirrored.detect(views[i])));
    const int most = static_cast<int>(others.size() + 1) / 2;
    const std::vector<Detection> few = mirrored.detect(views[i], {.max_faces = most, .clip = true});
    for (std::size_t k = 0; k < others.size(); ++k) {
      Detection other = others[k];
      CHECK(std::memcmp(&other.landmarks, &together[i][k].landmarks, sizeof other.landmarks) != 0);
      other.landmarks = together[i][k].landmarks;
      CHECK(same(other, together[i][k]));
      if (k < few.size()) CHECK(std::memcmp(&few[k].landmarks, &other.landmarks, sizeof other.landmarks) == 0);
    }
  }
}

}  // namespace refine_checks
