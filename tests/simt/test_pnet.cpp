// P-Net's kernels on the emulator against plain loops in double precision (reference.cpp).
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <tuple>

#include "backend.h"
#include "check.h"
#include "kernels.h"
#include "reference.h"
#include "weights.h"

using namespace mtcnn_fast;
using cuda::Arithmetic;
using reference::Map;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

// What float32 and fp16 come to against double precision, in logits and offsets. Seen: 8e-6 and 1.2e-2, with the
// embedded weights.
double tolerance(Arithmetic arithmetic) { return arithmetic == Arithmetic::fp32 ? 1e-4 : 4e-2; }

// The shared memory of a block on Turing, on consumer cards since, and on Hopper.
constexpr std::size_t kTuring = 64 << 10, kConsumer = 99 << 10, kHopper = 227 << 10;

// One for each tile that an arithmetic has.
std::vector<std::size_t> shared_memories(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::fp32 ? std::vector{kTuring, kConsumer} : std::vector{kTuring};
}

const char* name(Arithmetic arithmetic) { return arithmetic == Arithmetic::fp32 ? "fp32" : "fp16"; }

float in_precision(float x, Arithmetic arithmetic) {
  return arithmetic == Arithmetic::fp32 ? x : __half2float(__float2half_rn(x));
}

Map random_map(int height, int width, std::mt19937& random, Arithmetic arithmetic) {
  Map map(height, width, 3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (double& value : map.values) value = in_precision(uniform(random), arithmetic);
  return map;
}

double logit(double probability) { return std::log(probability) - std::log1p(-probability); }

// Several levels in one pyramid: every other belongs to a second image. All memory that is not the levels' is poison,
// in blocks of their exact size. `screened`: with the tiles that the screen of a detector in float32 has.
class Pyramid {
 public:
  Pyramid(const Tensors& weights, const std::vector<Map>& maps, Arithmetic arithmetic,
          std::size_t shared_memory = kHopper, int capacity = std::numeric_limits<int>::max(), bool screened = false)
      : arithmetic_(arithmetic), shared_memory_(shared_memory) {
    for (const auto& [name, tensor] : weights) named_.emplace(name, tensor.data);
    packed_ = pack_pnet(named_, arithmetic);
    if (screened) screen_packed_ = pack_pnet(named_, Arithmetic::fp16);
    const cuda::PnetTile tile = pnet_tile(screened ? Arithmetic::fp16 : arithmetic, shared_memory);
    std::int64_t pixels = kPadding;
    for (const Map& map : maps) {
      cuda::Level level = {};
      level.scale = 1;
      level.image = static_cast<int>(levels.size()) % 2;
      level.height = level.whole_height = map.height, level.width = map.width;
      level.pitch = (map.width + 1) / 2 * 2 + kPadding;
      level.first_pixel = pixels;
      level.rows = pnet_cells(map.height), level.columns = pnet_cells(map.width);
      level.first_cell = cells_;
      level.first_tile = job_.tiles;
      level.found = found_;
      level.capacity = std::min(capacity, level.rows * level.columns);
      job_.tiles += (level.rows + tile.height - 1) / tile.height * ((level.columns + tile.width - 1) / tile.width);
      cells_ += level.rows * level.columns;
      found_ += level.capacity + kPadding;
      pixels += static_cast<std::int64_t>(level.pitch) * map.height + kPadding;
      levels.push_back(level);
    }
    job_.images = 2, job_.levels = static_cast<int>(levels.size());
    job_.tile_height = tile.height, job_.tile_width = tile.width;
    if (arithmetic == Arithmetic::fp32)
      fill(floats_, maps, pixels, [](float x) { return x; });
    else
      fill(halves_, maps, pixels, __float2half_rn);
  }

  void run(float threshold) {
    clear();
    cuda::pnet(queue(), work(threshold), arithmetic_, packed_.data());
    cuda::check(cudaStreamSynchronize(nullptr), "pnet");
  }
  // In two steps, of which the first drops the cells whose fp16 logit is below `least`. `capacity`: of the list of the
  // others.
  void run_screened(float threshold, float least, int capacity = std::numeric_limits<int>::max()) {
    clear();
    capacity = std::min(capacity, cells_);
    cells_left.assign(capacity + kPadding, kNowhere);
    cuda::Work screened = work(threshold);
    screened.settings.screen_logit = least;
    screened.counts = &all_counts;
    screened.cells_left = cells_left.data(), screened.cells_left_capacity = capacity;
    cuda::screen_cells(queue(), screened, screen_packed_.data());
    cuda::confirm_cells(queue(), screened, packed_.data());
    cuda::check(cudaStreamSynchronize(nullptr), "confirm_cells");
    check_list(capacity);
  }
  void mirror() {
    cuda::mirror_lone_cells(queue(), work(0), arithmetic_, packed_.data());
    cuda::check(cudaStreamSynchronize(nullptr), "mirror_lone_cells");
  }

  // Whether every list holds each cell once, as the counts and the map of cells have it, and nothing else is written.
  void check_consistent() const {
    std::vector<std::int32_t> marked(cells_, 0);
    for (std::size_t k = 0; k < levels.size(); ++k) {
      const cuda::Level& level = levels[k];
      CHECK(counts[k].kept == 0);
      const int stored = std::min(counts[k].found, level.capacity);
      for (int i = 0; i < level.capacity + kPadding; ++i) {
        const cuda::Cell& cell = found[level.found + i];
        if (i >= stored) {
          CHECK(std::memcmp(&cell, &kPoison, sizeof cell) == 0);
          continue;
        }
        CHECK(cell.rivals == 0);
        const bool inside = cell.row >= 0 && cell.row < level.rows && cell.column >= 0 && cell.column < level.columns;
        CHECK(inside);
        if (!inside) continue;
        std::int32_t& mark = marked[level.first_cell + cell.row * level.columns + cell.column];
        CHECK(mark == 0);
        mark = 1 + level.found + i;
      }
    }
    CHECK(marked == cell_map);
  }

  // Whether the list of the screen holds each cell once, as the counts have it, and nothing else is written.
  void check_list(int capacity) const {
    std::vector<int> of_levels(levels.size(), 0);
    std::set<std::tuple<int, int, int>> places;
    for (std::size_t i = 0; i < cells_left.size(); ++i) {
      const auto& [level, row, column] = cells_left[i];
      CHECK((level != kNowhere.level) == (static_cast<int>(i) < std::min(capacity, all_counts.cells_left)));
      if (level == kNowhere.level) continue;
      CHECK(row >= 0 && row < levels[level].rows && column >= 0 && column < levels[level].columns);
      CHECK(places.insert({level, row, column}).second);
      ++of_levels[level];
    }
    int all = 0;
    for (std::size_t k = 0; k < levels.size(); ++k) {
      CHECK(all_counts.cells_left > capacity || counts[k].cells_left == of_levels[k]);
      all += counts[k].cells_left;
    }
    CHECK(all_counts.cells_left == all);
  }

  // What is stored of a level, in order of cells.
  std::vector<cuda::Cell> sorted(std::size_t k) const {
    const auto first = found.begin() + levels[k].found;
    std::vector<cuda::Cell> cells(first, first + std::min(counts[k].found, levels[k].capacity));
    std::ranges::sort(cells, {}, [](const cuda::Cell& cell) { return std::pair(cell.row, cell.column); });
    return cells;
  }
  std::vector<cuda::Cell> sorted() const {
    std::vector<cuda::Cell> all;
    for (std::size_t k = 0; k < levels.size(); ++k) {
      const auto cells = sorted(k);
      all.insert(all.end(), cells.begin(), cells.end());
    }
    return all;
  }

  static constexpr int kPadding = 2;
  static constexpr cuda::Cell kPoison = {-77, {-77, -77, -77, -77}, -77, -77, 77};
  static constexpr cuda::PlacedCell kNowhere = {-77, -77, -77};
  std::vector<cuda::Level> levels;
  std::vector<cuda::LevelCounts> counts;
  cuda::Counts all_counts = {};
  std::vector<std::int32_t> cell_map;
  std::vector<cuda::Cell> found;
  std::vector<cuda::PlacedCell> cells_left;

 private:
  void clear() {
    counts.assign(levels.size(), {});
    all_counts = {};
    cell_map.assign(cells_, 0);
    found.assign(found_, kPoison);
  }
  cuda::Queue queue() const { return {nullptr, 3, shared_memory_, true}; }
  cuda::Work work(float threshold) {
    cuda::Work work = {};
    work.settings.cell_logit = threshold;
    work.job = &job_;
    work.levels = levels.data();
    work.level_capacity = static_cast<int>(levels.size());
    work.pyramid = arithmetic_ == Arithmetic::fp32 ? static_cast<void*>(floats_.get()) : halves_.get();
    work.cell_map = cell_map.data();
    work.found = found.data();
    work.level_counts = counts.data();
    return work;
  }
  // NaN around the levels: what reads beyond their borders is seen in the cells next to them. On the heap in its exact
  // size, for sanitizers.
  template <class Element, class F>
  void fill(std::unique_ptr<Element[]>& out, const std::vector<Map>& maps, std::int64_t pixels, const F& convert) {
    out = std::make_unique<Element[]>(3 * pixels);
    std::fill_n(out.get(), 3 * pixels, convert(kNan));
    for (std::size_t k = 0; k < maps.size(); ++k)
      for (int y = 0; y < maps[k].height; ++y)
        for (int x = 0; x < 3 * maps[k].width; ++x)
          out[3 * (levels[k].first_pixel + std::int64_t{y} * levels[k].pitch) + x] =
              convert(static_cast<float>(maps[k].values[std::size_t{3} * y * maps[k].width + x]));
  }

  Arithmetic arithmetic_;
  std::size_t shared_memory_;
  cuda::NamedTensors named_;
  std::vector<unsigned char> packed_, screen_packed_;
  cuda::Job job_ = {};
  int cells_ = 0, found_ = 0;
  std::unique_ptr<float[]> floats_;
  std::unique_ptr<__half[]> halves_;
};

bool same(const std::vector<cuda::Cell>& a, const std::vector<cuda::Cell>& b) {
  // An empty list may have no address, which memcmp() does not take.
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(cuda::Cell)) == 0);
}

void for_each_arithmetic(const std::function<void(Arithmetic)>& test) {
  for (const Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::fp16}) {
    check::context = name(arithmetic);
    test(arithmetic);
  }
}

std::vector<Map> random_maps(const std::vector<std::pair<int, int>>& sizes, std::mt19937& random,
                             Arithmetic arithmetic) {
  std::vector<Map> maps;
  for (const auto& [height, width] : sizes) maps.push_back(random_map(height, width, random, arithmetic));
  return maps;
}

// Every cell of every level passes -inf. Returns the greatest difference from the reference.
double check_all_cells(const Tensors& weights, const std::vector<Map>& maps, Arithmetic arithmetic,
                       std::size_t shared_memory) {
  Pyramid pyramid(weights, maps, arithmetic, shared_memory);
  pyramid.run(-kInfinity);
  pyramid.check_consistent();
  double worst = 0;
  for (std::size_t k = 0; k < maps.size(); ++k) {
    const cuda::Level& level = pyramid.levels[k];
    CHECK(pyramid.counts[k].found == level.rows * level.columns);
    const auto expected = reference::pnet(weights, maps[k]);
    std::vector<double> logits(expected.probability.size()), found_logits, offsets;
    std::ranges::transform(expected.probability, logits.begin(), logit);
    for (const cuda::Cell& cell : pyramid.sorted(k)) {
      found_logits.push_back(cell.logit);
      offsets.insert(offsets.end(), cell.offsets, cell.offsets + 4);
    }
    worst = std::max(worst, CHECK_NEAR(found_logits, logits, tolerance(arithmetic)));
    worst = std::max(worst, CHECK_NEAR(offsets, expected.offsets, tolerance(arithmetic)));
  }
  return worst;
}

}  // namespace

TEST(pnet, tiles) {
  CHECK(pnet_tile(Arithmetic::fp32, kTuring).width == 16);
  CHECK(pnet_tile(Arithmetic::fp32, kConsumer).width == 32);
  CHECK(pnet_tile(Arithmetic::fp32, kHopper).width == 16);
  for (const std::size_t shared_memory : {kTuring, kConsumer, kHopper})
    CHECK(pnet_tile(Arithmetic::fp16, shared_memory).width == 32);
}

TEST(pnet, every_cell) {
  // The smallest level; sides that ceil-mode pooling cuts and does not cut; one cell less and more than tiles have;
  // more than one tile both ways.
  const std::vector<std::pair<int, int>> sizes = {{12, 12}, {13, 40}, {40, 13}, {12, 13}, {13, 12},  {14, 14},
                                                  {15, 29}, {39, 38}, {40, 41}, {42, 43}, {41, 57},  {43, 59},
                                                  {12, 72}, {13, 73}, {14, 74}, {75, 76}, {12, 150}, {110, 12}};
  for_each_arithmetic([&](Arithmetic arithmetic) {
    std::mt19937 random(2);
    const Tensors networks[] = {embedded_weights(), reference::random_weights(random)};
    for (const Tensors& weights : networks)
      for (const std::size_t shared_memory : shared_memories(arithmetic)) {
        const double worst =
            check_all_cells(weights, random_maps(sizes, random, arithmetic), arithmetic, shared_memory);
        if (std::getenv("MTCNN_FAST_VERBOSE")) std::printf("%s: off by %.1e\n", name(arithmetic), worst);
      }
  });
}

TEST(pnet, no_levels) {
  for_each_arithmetic([](Arithmetic arithmetic) {
    Pyramid pyramid(embedded_weights(), {}, arithmetic);
    pyramid.run(-kInfinity);
    pyramid.mirror();
    // A level without cells has no tiles.
    std::mt19937 random(3);
    check_all_cells(embedded_weights(), random_maps({{20, 22}, {30, 24}}, random, arithmetic), arithmetic, kHopper);
    Pyramid small(embedded_weights(), random_maps({{11, 40}, {14, 16}, {40, 11}, {5, 5}}, random, arithmetic),
                  arithmetic);
    small.run(-kInfinity);
    small.mirror();
    small.check_consistent();
    CHECK(small.counts[0].found == 0 && small.counts[1].found == 6 && small.counts[2].found == 0);
  });
}

TEST(pnet, thresholds) {
  for_each_arithmetic([](Arithmetic arithmetic) {
    std::mt19937 random(4);
    const Tensors weights = reference::random_weights(random);
    const std::vector<Map> maps = random_maps({{60, 77}, {30, 31}}, random, arithmetic);
    Pyramid all(weights, maps, arithmetic), some(weights, maps, arithmetic);
    all.run(-kInfinity);
    const std::vector<cuda::Cell> every = all.sorted();
    CHECK(!every.empty());
    if (every.empty()) return;
    std::vector<float> logits;
    for (const cuda::Cell& cell : every) logits.push_back(cell.logit);
    std::ranges::sort(logits);
    // A threshold that is some cell's logit lets that cell pass.
    for (const double share : {0.3, 1.0}) {
      const float threshold = logits[static_cast<std::size_t>(share * (logits.size() - 1))];
      some.run(threshold);
      some.check_consistent();
      std::vector<cuda::Cell> expected;
      std::ranges::copy_if(every, std::back_inserter(expected),
                           [&](const cuda::Cell& cell) { return cell.logit >= threshold; });
      CHECK(!expected.empty());
      CHECK(same(some.sorted(), expected));
    }
    for (const float none : {kInfinity, kNan, std::nextafter(logits.back(), kInfinity)}) {
      some.run(none);
      some.check_consistent();
      CHECK(some.sorted().empty());
    }
  });
}

TEST(pnet, lists_that_are_too_short) {
  for_each_arithmetic([](Arithmetic arithmetic) {
    std::mt19937 random(5);
    const std::vector<Map> maps = random_maps({{60, 77}, {30, 31}, {13, 12}}, random, arithmetic);
    Pyramid all(embedded_weights(), maps, arithmetic);
    all.run(-kInfinity);
    for (const int capacity : {8, 0}) {
      Pyramid pyramid(embedded_weights(), maps, arithmetic, kHopper, capacity);
      pyramid.run(-kInfinity);
      pyramid.check_consistent();
      pyramid.mirror();
      for (std::size_t k = 0; k < maps.size(); ++k) {
        const auto expected = all.sorted(k);
        CHECK(pyramid.counts[k].found == static_cast<int>(expected.size()));
        for (const cuda::Cell& cell : pyramid.sorted(k))
          CHECK(std::ranges::any_of(expected, [&](const cuda::Cell& one) { return same({cell}, {one}); }));
      }
    }
  });
}

// A NaN in a level keeps the cells that see it from passing, and no others. (In the outermost pixels of a cell's window
// it may be lost: pooling takes the greatest of what is a number.)
TEST(pnet, nan) {
  for_each_arithmetic([](Arithmetic arithmetic) {
    std::mt19937 random(6);
    std::vector<Map> maps = random_maps({{50, 61}}, random, arithmetic);
    const int y = 27, x = 32;
    Pyramid clean(embedded_weights(), maps, arithmetic);
    clean.run(-kInfinity);
    maps[0].at(y, x, 1) = kNan;
    Pyramid dirty(embedded_weights(), maps, arithmetic);
    dirty.run(-kInfinity);
    dirty.check_consistent();
    std::set<std::pair<int, int>> passed;
    for (const cuda::Cell& cell : dirty.sorted()) passed.insert({cell.row, cell.column});
    for (const cuda::Cell& cell : clean.sorted()) {
      const int dy = y - 2 * cell.row, dx = x - 2 * cell.column;
      const bool sees = dy >= 0 && dy < 12 && dx >= 0 && dx < 12;
      const bool inner = dy >= 1 && dy < 11 && dx >= 1 && dx < 11;
      if (!sees) CHECK(passed.count({cell.row, cell.column}) == 1);
      if (inner) CHECK(passed.count({cell.row, cell.column}) == 0);
    }
    for (double& value : maps[0].values) value = kNan;
    Pyramid all(embedded_weights(), maps, arithmetic);
    all.run(-kInfinity);
    CHECK(all.counts[0].found == 0);
  });
}

TEST(pnet, every_order_gives_the_same_bits) {
  for_each_arithmetic([](Arithmetic arithmetic) {
    std::mt19937 random(7);
    const Tensors weights = reference::random_weights(random);
    const std::vector<Map> maps = random_maps({{60, 77}, {44, 50}}, random, arithmetic);
    // A cell's outputs do not depend on the tile that it lies in either.
    Pyramid first(weights, maps, arithmetic, kTuring);
    first.run(-kInfinity);
    const auto expected = first.sorted();
    const char* const before = std::getenv("SIMT_SCHEDULE");
    const std::string saved = before ? before : "index";
    for (const char* schedule : {"index", "reverse", "random:3"})
      for (const std::size_t shared_memory : shared_memories(arithmetic)) {
        setenv("SIMT_SCHEDULE", schedule, 1);
        Pyramid pyramid(weights, maps, arithmetic, shared_memory);
        pyramid.run(-kInfinity);
        pyramid.check_consistent();
        CHECK(same(pyramid.sorted(), expected));
      }
    setenv("SIMT_SCHEDULE", saved.c_str(), 1);
  });
}

TEST(pnet, lone_cells_take_the_offsets_of_their_mirror) {
  for_each_arithmetic([](Arithmetic arithmetic) {
    std::mt19937 random(8);
    const Tensors weights = reference::random_weights(random);
    // More levels than blocks; the second is one cell, its own mirror.
    const std::vector<std::pair<int, int>> sizes = {{25, 30}, {12, 12}, {26, 31}, {40, 21},
                                                    {13, 42}, {14, 17}, {30, 30}};
    const std::vector<Map> maps = random_maps(sizes, random, arithmetic);
    Pyramid all(weights, maps, arithmetic), mirrored(weights, maps, arithmetic);
    all.run(-kInfinity);
    for (std::size_t k = 0; k < maps.size(); ++k) {
      const auto cells = all.sorted(k);
      const std::size_t every = std::size_t(all.levels[k].rows) * all.levels[k].columns;
      CHECK(cells.size() == every);
      if (cells.size() != every) continue;
      const auto best = std::ranges::max_element(cells, {}, &cuda::Cell::logit);
      mirrored.run(best->logit);
      const auto before = mirrored.found;
      mirrored.mirror();
      for (std::size_t j = 0; j < maps.size(); ++j) {
        if (mirrored.counts[j].found == 1) continue;
        for (int i = 0; i < mirrored.counts[j].found; ++i) {
          const int at = mirrored.levels[j].found + i;
          CHECK(std::memcmp(&mirrored.found[at], &before[at], sizeof before[at]) == 0);
        }
      }
      CHECK(mirrored.counts[k].found == 1);
      const cuda::Cell& lone = mirrored.found[mirrored.levels[k].found];
      CHECK(lone.row == best->row && lone.column == best->column && lone.logit == best->logit && lone.rivals == 0);
      const int columns = mirrored.levels[k].columns;
      const cuda::Cell& mirror = cells[lone.row * columns + columns - 1 - lone.column];
      for (int i = 0; i < 4; ++i)
        if (arithmetic == Arithmetic::fp32)
          CHECK(lone.offsets[i] == mirror.offsets[i]);
        else
          CHECK(std::abs(lone.offsets[i] - mirror.offsets[i]) <= 2e-3);
    }
  });
}

// What the screen leaves is found as without it. Pixels are no fp16 numbers; sides are odd, so that rows end with half
// a pair.
TEST(pnet, the_screen_changes_nothing) {
  std::mt19937 random(9);
  const std::vector<Map> maps = random_maps({{40, 77}, {12, 13}, {31, 30}, {13, 12}}, random, Arithmetic::fp32);
  Pyramid plain(embedded_weights(), maps, Arithmetic::fp32), low(embedded_weights(), maps, Arithmetic::fp16);
  Pyramid screened(embedded_weights(), maps, Arithmetic::fp32, kHopper, std::numeric_limits<int>::max(), true);
  plain.run(-kInfinity), low.run(-kInfinity);
  const std::vector<cuda::Cell> all = plain.sorted(), all_low = low.sorted();
  CHECK(!all.empty() && all.size() == all_low.size());
  std::vector<float> logits;
  std::size_t lowered = 0;  // the cell that fp16 lowers most
  for (std::size_t i = 0; i < std::min(all.size(), all_low.size()); ++i) {
    logits.push_back(all[i].logit);
    if (all[i].logit - all_low[i].logit > all[lowered].logit - all_low[lowered].logit) lowered = i;
  }
  std::ranges::sort(logits);
  const float edge = all[lowered].logit, margin = 0.2f;
  for (const float threshold : {-kInfinity, logits[logits.size() * 9 / 10], edge, kInfinity}) {
    screened.run_screened(threshold, threshold - margin);
    screened.check_consistent();
    plain.run(threshold);
    CHECK(same(screened.sorted(), plain.sorted()));
    CHECK(threshold == -kInfinity || screened.all_counts.cells_left < static_cast<int>(all.size()));
  }
  // Without a margin, the cell is lost.
  plain.run(edge);
  screened.run_screened(edge, edge);
  CHECK(screened.sorted().size() < plain.sorted().size());
  // All cells that reach it in fp16 are left, and no others.
  low.run(edge);
  CHECK(screened.all_counts.cells_left == static_cast<int>(low.sorted().size()));
  for (std::size_t k = 0; k < maps.size(); ++k) CHECK(screened.counts[k].cells_left == low.counts[k].found);
  // A list that is too short counts all, and holds as many as it can.
  for (const int capacity : {0, static_cast<int>(all.size()) - 1}) {
    screened.run_screened(-kInfinity, -kInfinity, capacity);
    screened.check_consistent();
    CHECK(screened.all_counts.cells_left == static_cast<int>(all.size()));
    const auto some = screened.sorted();
    CHECK(static_cast<int>(some.size()) == capacity);
    for (const cuda::Cell& cell : some)
      CHECK(std::ranges::any_of(all, [&](const cuda::Cell& one) { return same({cell}, {one}); }));
  }
}
