// The suppression kernels on the emulator, against the CPU's suppression: which candidates are kept, in which order,
// and what becomes of them.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "backend.h"
#include "check.h"
#include "cpu/candidates.h"
#include "cuda/plan.h"
#include "kernels.h"
#include "pyramid.h"

using namespace mtcnn_fast;

namespace {

const cuda::Queue kQueue = {nullptr, 3, 227 << 10, true};

// The emulator may put off what is queued.
void finish() { CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess); }

// Each order in which the emulator can run threads and blocks.
void for_each_schedule(const std::function<void()>& test) {
  const std::string context = check::context;
  const char* const set = std::getenv("SIMT_SCHEDULE");
  const std::string before = set ? set : "index";
  for (const char* schedule : {"index", "reverse", "random:3"}) {
    setenv("SIMT_SCHEDULE", schedule, 1);
    check::context = context + " " + schedule;
    test();
  }
  setenv("SIMT_SCHEDULE", before.c_str(), 1);
  check::context = context;
}

// --- Boxes alone -----------------------------------------------------------------------------------------------------

std::vector<std::int64_t> suppressed(const std::vector<BoxD>& boxes, const std::vector<float>& scores, double threshold,
                                     Overlap kind, double extra) {
  const int n = static_cast<int>(boxes.size());
  std::vector<std::uint64_t> keys(boxes.size());
  std::vector<int> kept(boxes.size());
  int count = -1;
  cuda::suppress_boxes(kQueue, boxes.data(), scores.data(), n, threshold, kind, extra, keys.data(), kept.data(),
                       &count);
  finish();
  return {kept.begin(), kept.begin() + count};
}

// By definition. Where sides or areas are infinite, the CPU's search for what is near a box may miss some.
std::vector<std::int64_t> defined(const std::vector<BoxD>& boxes, const std::vector<float>& scores, double threshold,
                                  Overlap kind, double extra) {
  std::vector<std::int64_t> order(boxes.size()), kept;
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](auto a, auto b) { return scores[a] > scores[b]; });
  for (const std::int64_t i : order)
    if (std::ranges::none_of(kept, [&](auto k) { return overlap(boxes[i], boxes[k], kind, extra) > threshold; }))
      kept.push_back(i);
  return kept;
}

void check_boxes(const std::vector<BoxD>& boxes, const std::vector<float>& scores, double threshold) {
  for (const Overlap kind : {Overlap::iou, Overlap::iom})
    for (const double extra : {0.0, 1.0})
      CHECK(suppressed(boxes, scores, threshold, kind, extra) == nms(boxes, scores, threshold, kind, extra));
}

// Boxes over `area` pixels a side; sizes over five octaves, some without an area, some equal, some far away.
void random_boxes(std::mt19937& random, int n, double area, bool whole, bool few_scores, std::vector<BoxD>& boxes,
                  std::vector<float>& scores) {
  std::uniform_real_distribution<double> uniform;
  boxes.clear(), scores.clear();
  for (int i = 0; i < n; ++i) {
    const double side = 12 * std::pow(2, 5 * uniform(random));
    BoxD box{uniform(random) * area - 40, uniform(random) * area - 40, 0, 0};
    box.x2 = box.x1 + side * (0.7 + 0.6 * uniform(random));
    box.y2 = box.y1 + side * (0.7 + 0.6 * uniform(random));
    if (random() % 20 == 0) box.x2 = box.x1 - (random() % 3);
    if (whole) box = fix(box);
    boxes.push_back(box);
    if (i && random() % 10 == 0) boxes.back() = boxes[random() % i];
    scores.push_back(few_scores ? (float(random() % 4) - 2) / 4 : float(uniform(random)));
    if (random() % 30 == 0) scores.back() = random() % 2 ? 0.0f : -0.0f;
  }
}

// --- The cascade -----------------------------------------------------------------------------------------------------

struct Stages {
  PerRefineStage<std::vector<std::vector<BoxD>>> windows;  // per image
  std::vector<std::vector<Detection>> faces;
  std::vector<cuda::LevelCounts> levels;
};

constexpr auto same_bits = [](const auto& a, const auto& b) { return std::memcmp(&a, &b, sizeof a) == 0; };
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_bits);
}

// Candidates and heads made of random numbers, and what the CPU and the kernels make of them. R-Net's and O-Net's
// heads are a function of the window, so that they do not depend on where it stands in a list.
class Scene {
 public:
  struct Picture {
    int height, width;
    double share;  // of the cells that pass
  };

  Scene(const Conventions& conventions, const Options& options, const std::vector<Picture>& pictures, unsigned seed,
        int capacity = std::numeric_limits<int>::max())
      : conventions_(conventions), geometry_(conventions), options_(options) {
    settings_.conventions = conventions;
    settings_.logits = {{logit_of(options.thresholds[1]), logit_of(options.thresholds[2])}};
    std::copy(options.nms_thresholds.begin(), options.nms_thresholds.end(), settings_.nms);
    std::mt19937 random(seed);
    std::int64_t cells = 0;
    int found = 0;
    for (const Picture& picture : pictures) {
      const CudaPlan plan(picture.height, picture.width, options, conventions);
      cuda::Image image = {};
      image.height = picture.height, image.width = picture.width;
      image.first_level = static_cast<int>(levels_.size()), image.levels = static_cast<int>(plan.levels.size());
      image.first_found = found;
      image.first_cell = cells;
      image.across = plan.across;
      for (const cuda::PlannedLevel& planned : plan.levels) {
        cuda::Level level = {};
        level.scale = planned.scale;
        level.image = static_cast<int>(images_.size());
        level.rows = pnet_cells(planned.height), level.columns = pnet_cells(planned.width);
        level.first_cell = cells;
        level.reach = planned.reach;
        level.found = found;
        std::vector<cuda::Cell> list = cells_of(level, picture.share, random);
        counted_.push_back(static_cast<int>(list.size()));
        level.capacity = std::min(capacity, static_cast<int>(list.size()));
        list.resize(level.capacity);
        found_.insert(found_.end(), list.begin(), list.end());
        cells += static_cast<std::int64_t>(level.rows) * level.columns;
        found += level.capacity;
        levels_.push_back(level);
      }
      images_.push_back(image);
    }
    cell_count_ = cells;
  }

  // The CPU's, from src/cpu/candidates.h.
  Stages expected() const {
    Stages stages;
    Suppression work;
    stages.windows[Stage::rnet].resize(images_.size()), stages.windows[Stage::onet].resize(images_.size());
    for (std::size_t i = 0; i < images_.size(); ++i) {
      const cuda::Image& image = images_[i];
      const auto windows_of = [&](Stage stage, std::vector<Candidate>& candidates, int extra) {
        auto& windows = stages.windows[stage][i];
        for (const Candidate& c : candidates) {
          const BoxD window = geometry_.next_window(c.box, c.offsets, extra);
          if (geometry_.has_pixels(window, image.height, image.width)) windows.push_back(window);
        }
        candidates.clear();
        for (const BoxD& window : windows) candidates.push_back(refined(stage, window));
      };
      std::vector<Candidate> candidates;
      for (int l = image.first_level; l < image.first_level + image.levels; ++l) {
        std::vector<Candidate> level;
        std::vector<cuda::Cell> cells(found_.begin() + levels_[l].found,
                                      found_.begin() + levels_[l].found + levels_[l].capacity);
        std::ranges::sort(cells, {}, [](const cuda::Cell& cell) { return std::pair(cell.row, cell.column); });
        for (const cuda::Cell& cell : cells) {
          level.push_back({geometry_.cell(cell.row, cell.column, levels_[l].scale), cell.logit, {}, {}});
          std::copy_n(cell.offsets, 4, level.back().offsets);
        }
        suppress(geometry_, level, options_.nms_thresholds[0], Stage::pnet, work);
        stages.levels.push_back({counted_[l], static_cast<int>(level.size()), 0});
        candidates.insert(candidates.end(), level.begin(), level.end());
      }
      suppress(geometry_, candidates, options_.nms_thresholds[1], Stage::pnet, work);
      windows_of(Stage::rnet, candidates, 0);
      keep_above(candidates, options_.thresholds[1]);
      suppress(geometry_, candidates, options_.nms_thresholds[2], Stage::rnet, work);
      windows_of(Stage::onet, candidates, 1);
      keep_above(candidates, options_.thresholds[2]);
      for (Candidate& c : candidates) geometry_.finish(c);
      suppress(geometry_, candidates, options_.nms_thresholds[3], Stage::onet, work);
      stages.faces.emplace_back();
      for (const Candidate& c : candidates) stages.faces.back().push_back(geometry_.detection(c));
    }
    return stages;
  }

  // The kernels'. `room` for windows and faces; what an image has of them is left out where it does not fit.
  Stages run(int room = 1 << 20) {
    std::int64_t n = 0;
    for (const cuda::Level& level : levels_) n += level.capacity;
    room = static_cast<int>(std::min<std::int64_t>(room, n));
    const auto keys_room = static_cast<std::size_t>(std::max<std::int64_t>(room, n));
    std::vector<cuda::Cell> found(found_);
    for (cuda::Cell& cell : found) cell.rivals = 0x77777777;
    std::vector<std::int32_t> cell_map(cell_count_, 0);
    for (const cuda::Level& level : levels_)
      for (int k = level.found; k < level.found + level.capacity; ++k)
        cell_map[level.first_cell + found[k].row * level.columns + found[k].column] = 1 + k;
    const cuda::Job job = {.images = static_cast<int>(images_.size()),
                           .levels = static_cast<int>(levels_.size()),
                           .strips = 0,
                           .tiles = 0,
                           .tile_height = 0,
                           .tile_width = 0};
    std::vector<BoxD> found_boxes(found.size());
    std::vector<std::uint64_t> keys(keys_room + 1, kPoison);
    cuda::Counts counts = {};
    std::vector<cuda::ImageCounts> image_counts(images_.size());
    std::vector<cuda::LevelCounts> level_counts;
    for (const int count : counted_) level_counts.push_back({count, 0, 0});
    std::vector<cuda::LevelCounts> host_level_counts(levels_.size());
    host_counts = {{-1, -1}, -1, -1, -1, -1};
    host_image_counts.assign(images_.size(), {});
    PerRefineStage<std::vector<BoxD>> boxes;
    PerRefineStage<std::vector<int>> window_images;
    PerRefineStage<std::vector<float>> heads;
    std::vector<Detection> faces(room);
    cuda::Work work = {};
    work.settings = settings_;
    work.job = &job;
    work.images = images_.data(), work.levels = levels_.data();
    work.image_capacity = static_cast<int>(images_.size()), work.level_capacity = static_cast<int>(levels_.size());
    work.cell_map = cell_map.data();
    work.found = found.data(), work.found_boxes = found_boxes.data();
    work.keys = keys.data();
    work.counts = &counts, work.image_counts = image_counts.data(), work.level_counts = level_counts.data();
    for (const Stage stage : {Stage::rnet, Stage::onet}) {
      boxes[stage].resize(room), window_images[stage].resize(room), heads[stage].resize(kHeadOutputs * room);
      work.windows[stage] = {boxes[stage].data(), window_images[stage].data(), heads[stage].data(), room};
    }
    work.host_counts = &host_counts, work.host_image_counts = host_image_counts.data();
    work.host_level_counts = host_level_counts.data();
    work.faces = faces.data(), work.face_capacity = room;

    Stages stages;
    const auto refine = [&](Stage stage) {
      finish();
      for (int k = 0; k < std::min(counts.windows[stage], room); ++k) {
        const Candidate c = refined(stage, boxes[stage][k]);
        float* const out = heads[stage].data() + kHeadOutputs * k;
        out[0] = c.logit;
        std::copy_n(c.offsets, 4, out + 1);
        std::copy_n(c.landmarks, 10, out + 5);
      }
      stages.windows[stage].resize(images_.size());
      std::vector<char> taken(counts.windows[stage], 0);
      for (std::size_t i = 0; i < images_.size(); ++i)
        for (int k = 0; k < image_counts[i].windows[stage]; ++k) {
          const int at = image_counts[i].first[stage] + k;
          CHECK(at >= 0 && at < counts.windows[stage] && !taken[at]);
          if (at < 0 || at >= counts.windows[stage]) continue;
          taken[at] = 1;
          if (at >= room) continue;
          CHECK(window_images[stage][at] == static_cast<int>(i));
          stages.windows[stage][i].push_back(boxes[stage][at]);
        }
      CHECK(std::count(taken.begin(), taken.end(), 1) == counts.windows[stage]);
    };
    cuda::suppress_levels(kQueue, work);
    finish();
    CHECK(std::ranges::none_of(cell_map, [](std::int32_t entry) { return entry > 0; }));  // all are decided
    cuda::suppress_cells(kQueue, work);
    refine(Stage::rnet);
    CHECK(std::count(cell_map.begin(), cell_map.end(), 0) == std::ssize(cell_map));
    cuda::suppress_rnet(kQueue, work);
    refine(Stage::onet);
    cuda::suppress_onet(kQueue, work);
    finish();
    CHECK(keys.back() == kPoison);
    CHECK(std::memcmp(&host_counts, &counts, sizeof counts) == 0);
    for (std::size_t i = 0; i < images_.size(); ++i) {
      CHECK(std::memcmp(&host_image_counts[i], &image_counts[i], sizeof(cuda::ImageCounts)) == 0);
      stages.faces.emplace_back();
      for (int k = 0; k < image_counts[i].faces; ++k)
        if (image_counts[i].first_face + k < room) stages.faces.back().push_back(faces[image_counts[i].first_face + k]);
    }
    stages.levels = host_level_counts;
    return stages;
  }

  void check(const Stages& found, const Stages& expected) const {
    for (const Stage stage : {Stage::rnet, Stage::onet})
      for (std::size_t i = 0; i < images_.size(); ++i) CHECK(same(found.windows[stage][i], expected.windows[stage][i]));
    for (std::size_t l = 0; l < levels_.size(); ++l)
      CHECK(found.levels[l].found == expected.levels[l].found && found.levels[l].kept == expected.levels[l].kept);
    for (std::size_t i = 0; i < images_.size(); ++i) CHECK(same(found.faces[i], expected.faces[i]));
  }

  cuda::Counts host_counts;
  std::vector<cuda::ImageCounts> host_image_counts;

 private:
  static constexpr std::uint64_t kPoison = 0x7777777777777777;

  // In random order, as P-Net's blocks leave them. Logits tie often, and, as probabilities of float32, more often yet.
  static std::vector<cuda::Cell> cells_of(const cuda::Level& level, double share, std::mt19937& random) {
    std::uniform_real_distribution<double> uniform;
    std::vector<cuda::Cell> list;
    for (int row = 0; row < level.rows; ++row)
      for (int column = 0; column < level.columns; ++column) {
        if (uniform(random) >= share) continue;
        cuda::Cell cell = {};
        cell.row = row, cell.column = column;
        cell.logit =
            random() % 4 ? static_cast<float>(uniform(random) * 40 - 10) : static_cast<float>(random() % 5) - 2;
        if (random() % 10 == 0) cell.logit = random() % 2 ? 0.0f : -0.0f;
        for (float& offset : cell.offsets) offset = static_cast<float>(uniform(random) - 0.5);
        if (random() % 50 == 0) cell.offsets[random() % 4] = 1e7f;
        list.push_back(cell);
      }
    std::ranges::shuffle(list, random);
    return list;
  }

  Candidate refined(Stage stage, const BoxD& window) const {
    const double values[] = {window.x1, window.y1, window.x2, window.y2};
    std::uint32_t seed = 16 + static_cast<std::uint32_t>(stage);
    for (const double value : values) seed = seed * 1664525 + static_cast<std::uint32_t>(std::hash<double>()(value));
    std::minstd_rand random(seed % 1000);  // so few that many heads tie
    random.discard(4);                     // the first numbers are as small as the seed
    std::uniform_real_distribution<float> uniform;
    Candidate c = {window, 24 * uniform(random) - 6, {}, {}};
    if (random() % 40 == 0) c.logit = std::numeric_limits<float>::quiet_NaN();
    for (float& offset : c.offsets) offset = 0.4f * (uniform(random) - 0.5f);
    for (float& value : c.landmarks) value = stage == Stage::onet ? uniform(random) : 0;
    return c;
  }

  Conventions conventions_;
  Geometry geometry_;
  Options options_;
  cuda::Settings settings_ = {};
  std::vector<cuda::Image> images_;
  std::vector<cuda::Level> levels_;
  std::vector<int> counted_;
  std::vector<cuda::Cell> found_;
  std::int64_t cell_count_;
};

Options options_of(double min_face_size, std::array<double, 4> nms, double scale_factor = 0.709) {
  Options options;
  options.min_face_size = min_face_size;
  options.scale_factor = scale_factor;
  options.thresholds = {0.5, 0.3, 0.3};
  options.nms_thresholds = nms;
  return options;
}

}  // namespace

TEST(suppress, boxes) {
  std::mt19937 random(6);
  std::vector<BoxD> boxes;
  std::vector<float> scores;
  int round = 0;
  for (const int n : {0, 1, 2, 31, 63, 64, 65, 128, 511, 512, 513, 700})
    for (const double threshold : {0.0, 0.3, 0.5, 0.7, 1.0}) {
      check::context = std::to_string(n) + " at " + std::to_string(threshold);
      ++round;
      random_boxes(random, n, n > 200 ? 1500 : 300, round % 2, round % 3 == 0, boxes, scores);
      check_boxes(boxes, scores, threshold);
    }
}

// More than is sorted in shared memory at once, and than a block has threads.
TEST(suppress, many_boxes) {
  std::mt19937 random(7);
  std::vector<BoxD> boxes;
  std::vector<float> scores;
  for (const int n : {4095, 4096, 4097, 16500}) {
    check::context = std::to_string(n);
    random_boxes(random, n, 3000, n % 2, n == 4097, boxes, scores);
    CHECK(suppressed(boxes, scores, 0.5, Overlap::iou, 1) == nms(boxes, scores, 0.5, Overlap::iou, 1));
  }
}

// Boxes that do not overlap, so that the whole order is seen: around the sizes at which the sort changes its way.
TEST(suppress, order_of_any_number_of_boxes) {
  std::mt19937 random(9);
  for (const int size : {1, 32, 64, 128, 256, 512, 1024, 2048, 8192})
    for (const int n : {size - 1, size, size + 1, size + size / 3}) {
      check::context = std::to_string(n);
      std::vector<BoxD> boxes;
      std::vector<float> scores;
      for (int i = 0; i < n; ++i) {
        boxes.push_back({20.0 * i, 0, 20.0 * i + 10, 10});
        scores.push_back(static_cast<float>(random() % (n + 1)));
      }
      std::vector<std::int64_t> order(boxes.size());
      std::iota(order.begin(), order.end(), 0);
      std::ranges::stable_sort(order, [&](auto a, auto b) { return scores[a] > scores[b]; });
      CHECK(suppressed(boxes, scores, 0.5, Overlap::iou, 0) == order);
    }
}

TEST(suppress, boxes_in_every_schedule) {
  std::mt19937 random(8);
  std::vector<BoxD> boxes;
  std::vector<float> scores;
  random_boxes(random, 1100, 900, true, true, boxes, scores);
  const auto expected = nms(boxes, scores, 0.6, Overlap::iou, 0);
  for_each_schedule([&] { CHECK(suppressed(boxes, scores, 0.6, Overlap::iou, 0) == expected); });
}

TEST(suppress, equal_boxes) {
  for (const int n : {5, 100, 1000}) {
    const std::vector<BoxD> boxes(n, BoxD{3, 3, 9, 9});
    check_boxes(boxes, std::vector<float>(n, 0.5f), 0.5);
    check_boxes(boxes, std::vector<float>(n, 0.5f), 1);
  }
}

// What overlaps by the threshold to the last bit, or nearly; at places where float32 knows no fractions; and where it
// knows no such numbers.
TEST(suppress, close_decisions) {
  std::mt19937 random(9);
  for (const double scale : {1.0, 1e-9, 1e6, 1e18, 1e40, 1e-40})
    for (const double far : {0.0, 3e7}) {
      check::context = std::to_string(scale) + " " + std::to_string(far);
      std::vector<BoxD> boxes;
      std::vector<float> scores;
      for (int i = 0; i < 150; ++i) {
        const double x = far + random() % 12, y = far + random() % 12;
        BoxD box = {x, y, x + 1 + random() % 12, y + 1 + random() % 12};
        if (random() % 4 == 0) box.x2 += 1e-9 * (random() % 3);
        for (double* value : {&box.x1, &box.y1, &box.x2, &box.y2}) *value *= scale;
        boxes.push_back(box);
        scores.push_back(float(random() % 50));
      }
      for (const double threshold : {0.0, 1e-9, 0.25, 1.0 / 3, 0.5}) check_boxes(boxes, scores, threshold);
    }
}

TEST(suppress, degenerate_boxes) {
  const double huge = 1e300, inf = std::numeric_limits<double>::infinity();
  const std::vector<BoxD> boxes = {{0, 0, 10, 10},         {5, 5, 5, 5},        {5, 5, 4, 4},     {10, 10, 0, 0},
                                   {-huge, 0, huge, 10},   {0, -huge, 3, huge}, {1, 0, 11, 10},   {0, 0, inf, 10},
                                   {-inf, -inf, inf, inf}, {0, 0, 0, 10},       {2, 2, 1e8, 1e8}, {3, 3, 3.0000001, 3}};
  std::vector<float> scores(boxes.size());
  std::mt19937 random(10);
  for (int round = 0; round < 8; ++round) {
    for (float& score : scores) score = float(random() % 8);
    for (const double threshold : {0.0, 0.5, 1.0})
      for (const Overlap kind : {Overlap::iou, Overlap::iom})
        for (const double extra : {0.0, 1.0})
          CHECK(suppressed(boxes, scores, threshold, kind, extra) == defined(boxes, scores, threshold, kind, extra));
  }
}

TEST(suppress, the_cascade_as_on_the_cpu) {
  const std::array<double, 4> thresholds[] = {
      {0.5, 0.7, 0.7, 0.7}, {0, 0, 0, 0}, {0.3, 0.3, 0.3, 0.3}, {0.7, 0.5, 0.3, 0.9}, {1, 1, 1, 1}};
  for (const Conventions& conventions : kProfiles)
    for (const auto& nms : thresholds)
      for (const double min_face_size : {4.0, 5.0, 12.0, 20.0}) {
        check::context =
            std::string(conventions.name) + " " + std::to_string(nms[0]) + " from " + std::to_string(min_face_size);
        const int side = min_face_size < 10 ? 1 : 2;
        const Options options = options_of(min_face_size, nms);
        Scene scene(conventions, options,
                    {{40 * side, 55 * side, 0.1}, {12, 12, 1}, {33 * side, 24 * side, 0.5}, {11, 90, 1}, {60, 31, 0}},
                    static_cast<unsigned>(min_face_size));
        scene.check(scene.run(), scene.expected());
      }
}

TEST(suppress, the_cascade_in_every_schedule) {
  for (const Conventions& conventions : kProfiles) {
    check::context = conventions.name;
    Scene scene(conventions, options_of(12, {0.5, 0.6, 0.7, 0.7}, 0.85), {{60, 70, 0.3}, {40, 30, 0.8}}, 3);
    const Stages expected = scene.expected();
    for_each_schedule([&] { scene.check(scene.run(), expected); });
  }
}

// Levels of more cells, and images of more windows, than a block has threads.
TEST(suppress, crowds) {
  Scene scene(kProfiles[0], options_of(5, {0.6, 0.6, 0.6, 0.6}, 0.8), {{110, 120, 0.6}, {20, 20, 1}}, 4);
  scene.check(scene.run(), scene.expected());
  CHECK(scene.host_counts.windows[Stage::rnet] > 1024 && scene.host_counts.windows[Stage::onet] > 512);
}

// Each cell waits for the one before it.
TEST(suppress, chains) {
  std::vector<BoxD> boxes;
  std::vector<float> scores;
  for (int i = 0; i < 300; ++i) {
    boxes.push_back({4.0 * i, 0, 4.0 * i + 10, 10});
    scores.push_back(static_cast<float>(-i));
  }
  for (const double threshold : {0.3, 0.42, 0.43}) check_boxes(boxes, scores, threshold);
}

// Lists that are too short: what is counted goes on, and nothing is written beyond them. (Sanitizers see that.)
TEST(suppress, overflow) {
  for (const int capacity : {1, 3, 40}) {
    check::context = std::to_string(capacity);
    Scene scene(kProfiles[0], options_of(12, {0.5, 0.7, 0.7, 0.7}), {{60, 70, 0.5}, {50, 40, 0.8}}, 5, capacity);
    scene.check(scene.run(), scene.expected());
  }
  Scene scene(kProfiles[0], options_of(12, {0.5, 0.7, 0.7, 0.7}), {{60, 70, 0.5}, {50, 40, 0.8}}, 5);
  const Stages expected = scene.expected();
  std::size_t windows = 0;
  for (const auto& list : expected.windows[Stage::rnet]) windows += list.size();
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, windows / 2, windows - 1, windows}) {
    check::context = "room for " + std::to_string(room);
    for_each_schedule([&] {
      const Stages found = scene.run(static_cast<int>(room));
      CHECK(scene.host_counts.windows[Stage::rnet] == static_cast<int>(windows));
      for (std::size_t i = 0; i < expected.windows[Stage::rnet].size(); ++i) {
        const auto& list = found.windows[Stage::rnet][i];
        CHECK(scene.host_image_counts[i].windows[Stage::rnet] == std::ssize(expected.windows[Stage::rnet][i]));
        CHECK(std::equal(list.begin(), list.end(), expected.windows[Stage::rnet][i].begin(), same_bits));
      }
      if (room == windows) scene.check(found, expected);
    });
  }
}

TEST(suppress, no_images) {
  Scene scene(kProfiles[0], options_of(12, {0.5, 0.7, 0.7, 0.7}), {}, 5);
  scene.run();
  CHECK(scene.host_counts.windows[Stage::rnet] == 0 && scene.host_counts.windows[Stage::onet] == 0 &&
        scene.host_counts.faces == 0);
}
