// Parts of a search: Selection::part.
#include <numeric>

#include "part_checks.h"
#include "pyramid.h"

using namespace part_checks;

namespace {

constexpr int kCounts[] = {1, 2, 5, 10, 97};

struct Size {
  int width, height;
};

}  // namespace

TEST(parts, have_every_row_once_and_equal_work) {
  for (const Conventions& conventions : kProfiles)
    for (const Size& size : {Size{12, 12}, Size{33, 40}, Size{640, 480}, Size{480, 640}, Size{1920, 1080}}) {
      const std::vector<PyramidLevel> levels = pyramid_levels(size.height, size.width, Options{}, conventions);
      for (const int count : kCounts) {
        std::vector<double> work(count);
        for (const PyramidLevel& level : levels) {
          const int rows = pnet_cells(level.height);
          int next = 0;
          for (int index = 0; index < count; ++index) {
            const CellRows part = rows_of(level, {index, count});
            CHECK(part.first == next && part.end >= next);
            next = part.end;
            work[index] += level_work(level, size.height, size.width) * part.count() / rows;
          }
          CHECK(next == rows);
        }
        const double mean = std::accumulate(work.begin(), work.end(), 0.0) / count;
        if (size.width >= 480 && count <= 10) CHECK(*std::max_element(work.begin(), work.end()) < 1.12 * mean);
      }
    }
}

TEST(parts, together_have_the_candidates_of_the_whole) {
  const Picture picture(88, 71, 3);
  for_each_isa([&] {
    for (const Conventions& conventions : kProfiles)
      for (const char* precision : {"fp32", "fast"})
        for (const int threads : {1, 3}) {
          // What one profile does to a lone candidate of a level it does in whole levels alone.
          if (conventions.mirrors_lone_cell) continue;
          const Detector detector(all_candidates({.min_face_size = 12,
                                                  .thresholds = {0.3, 0, 0},
                                                  .profile = std::string(conventions.name),
                                                  .precision = precision,
                                                  .num_threads = threads}));
          for (const int count : kCounts) check_union(detector, picture, count);
        }
  });
}

TEST(parts, of_several_images) {
  const std::vector<Picture> pictures = {Picture(60, 48, 3), Picture(8, 9, 4), Picture(41, 70, 5)};
  for_each_isa([&] {
    for (const std::string& profile : profiles()) {
      Options options = lenient();
      options.profile = profile;
      check_together(Detector(options), pictures);
    }
  });
}

TEST(parts, that_are_none_are_refused) {
  const Picture picture(20, 20, 1);
  const Detector detector;
  const ImageView views[] = {picture.view()};
  for (const Part& part : {Part{-1, 3}, Part{3, 3}, Part{0, 0}, Part{0, -1}}) {
    CHECK_THROWS(std::invalid_argument, "wanted (k, n) with 0 <= k < n", detector.detect(views[0], {.part = part}));
    CHECK_THROWS(std::invalid_argument, "wanted (k, n) with 0 <= k < n", detector.detect(views, {.part = part}));
  }
}
