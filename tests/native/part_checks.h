// What parts of a search must be, for detectors on any device.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend.h"
#include "common.h"

namespace part_checks {

using namespace mtcnn_fast;

// With nothing suppressed or dropped after P-Net, every candidate of P-Net's is a face.
inline Options all_candidates(Options options) {
  options.thresholds = {options.thresholds[0], 0, 0};
  options.nms_thresholds = {1, 1, 1, 1};
  return options;
}

inline bool before(const Detection& a, const Detection& b) { return std::memcmp(&a, &b, sizeof a) < 0; }

inline std::vector<Detection> sorted(std::vector<Detection> faces) {
  std::sort(faces.begin(), faces.end(), before);
  return faces;
}

// All parts together have P-Net's candidates of the whole search, each once and to the bit.
inline void check_union(const Detector& detector, const Picture& picture, int count) {
  const std::vector<Detection> whole = detector.detect(picture.view());
  CHECK(whole.size() > 5);
  std::vector<Detection> all;
  for (int index = 0; index < count; ++index) {
    const std::vector<Detection> found = detector.detect(picture.view(), {.part = {index, count}});
    if (count == 1) CHECK(same(found, whole));
    all.insert(all.end(), found.begin(), found.end());
  }
  CHECK(same(sorted(all), sorted(whole)));
}

// Different parts of several images, in one call and alone.
inline void check_together(const Detector& detector, const std::vector<Picture>& pictures) {
  std::vector<ImageView> views;
  std::vector<Part> parts;
  for (int index = 0; index < 4; ++index)
    for (const Picture& picture : pictures) {
      views.push_back(picture.view());
      parts.push_back({index, 4});
    }
  std::vector<std::vector<Detection>> faces(views.size());
  std::vector<Inspection> inspections(views.size());
  detector.backend().detect(views, parts, faces, inspections, nullptr);
  std::int64_t windows = 0, expected = 0;
  for (std::size_t i = 0; i < views.size(); ++i) {
    CHECK(same(faces[i], detector.detect(views[i], {.part = parts[i]})));
    std::int64_t candidates = 0;
    for (const Inspection::Level& level : inspections[i].levels)
      windows += level.windows, candidates += level.candidates;
    CHECK(inspections[i].candidates == candidates);
  }
  for (const Picture& picture : pictures)
    for (const Inspection::Level& level : detector.inspect(picture.view()).levels) expected += level.windows;
  CHECK(windows == expected);
}

}  // namespace part_checks
