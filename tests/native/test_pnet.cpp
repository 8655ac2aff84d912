// P-Net's kernels by band: each cell once, with the bits that it has in the whole level, whatever bands are asked for.
#include <algorithm>
#include <cstring>
#include <limits>

#include "backend.h"
#include "common.h"
#include "cpu/dispatch.h"
#include "cpu/packed_networks.h"
#include "memory.h"
#include "weights.h"

using namespace mtcnn_fast;

namespace {

struct Level {
  int height, width;
  std::vector<float> pixels;
  Level(int h, int w, std::mt19937& random) : height(h), width(w), pixels(std::size_t{3} * h * w) {
    std::normal_distribution<float> normal(0, 0.5);
    for (float& value : pixels) value = normal(random);
  }
  int rows() const { return pnet_cells(height); }
};

std::vector<Cell> cells(const Kernels& kernels, const PackedNetworks& networks, const Level& level, int first,
                        int end) {
  std::vector<Cell> found;
  const PnetBand band{.resample = nullptr,
                      .level = level.pixels.data(),
                      .height = level.height,
                      .width = level.width,
                      .first_row = first,
                      .end_row = end,
                      .threshold = -std::numeric_limits<float>::infinity(),
                      .emit =
                          [](void* context, const Cell* passed, int count) {
                            auto& list = *static_cast<std::vector<Cell>*>(context);
                            list.insert(list.end(), passed, passed + count);
                          },
                      .context = &found};
  kernels.pnet(networks.pnet, band, GuardedFloats(kernels.pnet_scratch(band)));
  std::sort(found.begin(), found.end(),
            [](const Cell& a, const Cell& b) { return a.row != b.row ? a.row < b.row : a.column < b.column; });
  return found;
}

}  // namespace

// Sizes about every multiple that tiles and strips have.
TEST(pnet, bands) {
  for (const Kernels* kernels : available_kernels()) {
    check::context = kernels->name;
    const PackedNetworks networks(embedded_weights(), *kernels);
    std::mt19937 random(7);
    for (int k = 0; k < 60; ++k) {
      const int height = 12 + static_cast<int>(k < 25 ? k % 5 : random() % 60);
      const int width = 12 + static_cast<int>(k < 25 ? k / 5 : random() % (k % 4 ? 90 : 1100));
      const Level level(height, width, random);
      const std::vector<Cell> whole = cells(*kernels, networks, level, 0, level.rows());
      CHECK(whole.size() == std::size_t(level.rows()) * pnet_cells(width));
      for (std::size_t i = 0; i < whole.size(); ++i)
        CHECK(whole[i].row * pnet_cells(width) + whole[i].column == static_cast<int>(i));
      std::vector<Cell> parts;
      for (int row = 0; row < level.rows();) {
        const int end = std::min(row + 1 + static_cast<int>(random() % 9), level.rows());
        const std::vector<Cell> part = cells(*kernels, networks, level, row, end);
        parts.insert(parts.end(), part.begin(), part.end());
        row = end;
      }
      CHECK(parts.size() == whole.size() && !std::memcmp(parts.data(), whole.data(), sizeof(Cell) * whole.size()));
    }
  }
}
