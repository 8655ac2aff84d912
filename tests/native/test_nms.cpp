// Non-maximum suppression against its definition.
#include "cpu/nms.h"

#include <algorithm>
#include <limits>
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

// Networks that were never trained send boxes anywhere.
TEST(nms, boxes_that_are_not_finite) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<BoxD> boxes{{nan, nan, nan, nan}, {-inf, 0, inf, 10},  {0, 0, 10, 10},       {inf, inf, inf, inf},
                                {1, 0, 11, 10},       {nan, 0, 10, 1e300}, {-1e308, 0, 1e308, 4}};
  const std::vector<float> scores{0.1f, 0.2f, 0.9f, 0.4f, 0.5f, 0.6f, 0.7f};
  for (const Overlap kind : {Overlap::iou, Overlap::iom})
    CHECK(mtcnn_fast::nms(boxes, scores, 0.5, kind, 1).front() == 2);
  for (std::size_t i = 0; i < boxes.size(); ++i)
    CHECK(
        mtcnn_fast::nms(std::span(boxes).subspan(i, 1), std::span(scores).subspan(i, 1), 0.5, Overlap::iou, 0).size() ==
        1);
}

// Scores that are negative, tie as 0 and -0 do, or are as many as are sorted by digits.
TEST(nms, scores_of_any_sign) {
  const std::vector<BoxD> apart{{0, 0, 9, 9}, {20, 0, 29, 9}, {40, 0, 49, 9}, {60, 0, 69, 9}, {80, 0, 89, 9}};
  CHECK((mtcnn_fast::nms(apart, std::vector<float>{-0.0f, -2, 0.0f, 3, -1}, 0.5, Overlap::iou, 0) ==
         std::vector<std::int64_t>{3, 0, 2, 4, 1}));
  std::mt19937 random(7);
  std::vector<BoxD> boxes;
  std::vector<float> scores;
  for (int i = 0; i < 2000; ++i) {
    const double x = random() % 400, y = random() % 400, side = 12 << random() % 4;
    boxes.push_back({x, y, x + side, y + side});
    scores.push_back(static_cast<float>(static_cast<int>(random() % 1000) - 500) / 50);
  }
  compare(boxes, scores);
}

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
