// Non-maximum suppression against its definition.
#include "nms.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "check.h"

using mtcnn_fast::BoxD;
using mtcnn_fast::Overlap;

namespace {

std::vector<std::int64_t> reference_nms(const std::vector<BoxD>& boxes, const std::vector<float>& scores,
                                        double threshold, Overlap kind, double extra) {
  std::vector<std::int64_t> order(boxes.size()), kept;
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
  for (const std::int64_t i : order) {
    const bool dropped = std::any_of(kept.begin(), kept.end(), [&](std::int64_t k) {
      return mtcnn_fast::overlap(boxes[i], boxes[k], kind, extra) > threshold;
    });
    if (!dropped) kept.push_back(i);
  }
  return kept;
}

void compare(const std::vector<BoxD>& boxes, const std::vector<float>& scores) {
  for (const Overlap kind : {Overlap::iou, Overlap::iom})
    for (const double extra : {0.0, 1.0})
      for (const double threshold : {0.0, 0.1, 0.5, 0.7, 0.99, 1.0})
        CHECK(mtcnn_fast::nms(boxes, scores, threshold, kind, extra) ==
              reference_nms(boxes, scores, threshold, kind, extra));
}

}  // namespace

TEST(nms, overlap_by_hand) {
  const BoxD a{0, 0, 10, 10}, b{5, 0, 15, 10}, inside{2, 2, 4, 4}, far{20, 20, 30, 30};
  CHECK(mtcnn_fast::overlap(a, b, Overlap::iou, 0) == 50.0 / 150);
  CHECK(mtcnn_fast::overlap(a, b, Overlap::iom, 0) == 50.0 / 100);
  CHECK(mtcnn_fast::overlap(a, b, Overlap::iou, 1) == 66.0 / 176);
  CHECK(mtcnn_fast::overlap(a, inside, Overlap::iou, 0) == 4.0 / 100);
  CHECK(mtcnn_fast::overlap(a, inside, Overlap::iom, 0) == 1);
  CHECK(mtcnn_fast::overlap(a, far, Overlap::iou, 0) == 0);
}

// c overlaps b, b overlaps a, c does not overlap a: a drops b, and what b would have dropped lives.
TEST(nms, only_kept_boxes_suppress) {
  const std::vector<BoxD> boxes{{0, 0, 10, 10}, {4, 0, 14, 10}, {8, 0, 18, 10}, {12, 0, 22, 10}};
  const std::vector<float> scores{0.9f, 0.8f, 0.7f, 0.6f};
  CHECK((mtcnn_fast::nms(boxes, scores, 0.3, Overlap::iou, 0) == std::vector<std::int64_t>{0, 2}));
  compare(boxes, scores);
  compare(boxes, {0.6f, 0.7f, 0.8f, 0.9f});
}

TEST(nms, ties_keep_their_order) {
  const std::vector<BoxD> boxes(5, BoxD{3, 3, 9, 9});
  const std::vector<float> scores(5, 0.5f);
  CHECK((mtcnn_fast::nms(boxes, scores, 0.5, Overlap::iou, 0) == std::vector<std::int64_t>{0}));
  CHECK((mtcnn_fast::nms(boxes, scores, 1, Overlap::iou, 0) == std::vector<std::int64_t>{0, 1, 2, 3, 4}));
}

TEST(nms, nothing) { CHECK(mtcnn_fast::nms({}, {}, 0.5, Overlap::iou, 0).empty()); }

TEST(nms, random_boxes) {
  std::mt19937 random(6);
  std::uniform_real_distribution<double> uniform;
  for (int round = 0; round < 60; ++round) {
    const int n = 1 + int(random() % 200);
    const bool whole = round % 2, few_scores = round % 3 == 0;
    std::vector<BoxD> boxes;
    std::vector<float> scores;
    for (int i = 0; i < n; ++i) {
      // Sizes over five octaves, as from a pyramid; some boxes outside the image, some without an area.
      const double side = 12 * std::pow(2, 5 * uniform(random));
      BoxD box{uniform(random) * 300 - 40, uniform(random) * 300 - 40, 0, 0};
      box.x2 = box.x1 + side * (0.7 + 0.6 * uniform(random));
      box.y2 = box.y1 + side * (0.7 + 0.6 * uniform(random));
      if (random() % 20 == 0) box.x2 = box.x1 - (random() % 3);
      if (whole) box = mtcnn_fast::fix(box);
      boxes.push_back(box);
      if (i && random() % 10 == 0) boxes.back() = boxes[random() % i];
      scores.push_back(few_scores ? float(random() % 4) / 4 : float(uniform(random)));
    }
    compare(boxes, scores);
  }
}
