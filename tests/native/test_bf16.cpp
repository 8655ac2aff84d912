// The bf16 kernels of every instruction set that has them, against its float32 kernels.
#include <cmath>
#include <limits>
#include <map>

#include "common.h"
#include "cpu/dispatch.h"
#include "cpu/packed_networks.h"
#include "memory.h"
#include "reference.h"
#include "weights.h"

using namespace mtcnn_fast;

namespace {

void for_each_bf16_kernels(const std::function<void(const Kernels&, const PackedNetworks&)>& test) {
  for (const Kernels* kernels : available_kernels()) {
    if (!kernels->pnet_bf16) continue;
    check::context = kernels->name;
    test(*kernels, PackedNetworks(embedded_weights(), *kernels));
    check::context = std::string(kernels->name) + ", random weights";
    std::mt19937 random(7);
    test(*kernels, PackedNetworks(reference::random_weights(random), *kernels));
  }
}

using Cells = std::map<std::pair<int, int>, Cell>;
void collect(void* context, const Cell* cells, int count) {
  for (const Cell* cell = cells; cell != cells + count; ++cell)
    CHECK(static_cast<Cells*>(context)->insert({{cell->row, cell->column}, *cell}).second);
}

// Picture-like values: smooth, with steps.
std::vector<float> random_level(int height, int width, unsigned seed) {
  const Picture picture(width, height, seed);
  std::vector<float> level;
  for (const std::uint8_t value : picture.pixels) level.push_back((value - 127.5f) / 128);
  return level;
}

// The error that rounding to 8 bits makes of sums this large.
bool near(float bf16, float exact) { return std::abs(bf16 - exact) <= 0.06 * std::abs(exact) + 0.25; }

}  // namespace

// Compilers differ in the macros by which kernels.cpp tells that it may use tiles.
TEST(bf16, kernels_of_an_instruction_set_with_tiles_use_them) {
  for (const Kernels* kernels : available_kernels())
    CHECK((std::string(kernels->name) == "amx") == (kernels->pnet_bf16 != nullptr));
}

TEST(bf16, pnet) {
  for_each_bf16_kernels([](const Kernels& kernels, const PackedNetworks& networks) {
    for (const auto& [height, width] : {std::pair{12, 12},
                                        {13, 12},
                                        {12, 13},
                                        {14, 25},
                                        {31, 17},
                                        {15, 128},
                                        {40, 129},
                                        {57, 136},
                                        {64, 137},
                                        {90, 1151},
                                        {301, 64}}) {
      const std::vector<float> level = random_level(height, width, static_cast<unsigned>(height * width));
      const int rows = (height - 1) / 2 - 4;
      for (const auto& [first, end] : {std::pair{0, rows}, {rows / 3, rows - rows / 4}}) {
        Cells exact, rounded, screened, passed;
        PnetBand band{.resample = nullptr,
                      .level = level.data(),
                      .height = height,
                      .width = width,
                      .first_row = first,
                      .end_row = end,
                      .threshold = -std::numeric_limits<float>::infinity(),
                      .emit = collect,
                      .context = &exact};
        kernels.pnet(networks.pnet, band, GuardedFloats(kernels.pnet_scratch(band)));
        band.context = &rounded;
        kernels.pnet_bf16(networks.pnet_bf16, band, GuardedFloats(kernels.pnet_bf16_scratch(band)));
        CHECK(exact.size() == rounded.size());
        for (const auto& [place, cell] : exact) {
          CHECK(near(rounded.at(place).logit, cell.logit));
          for (int k = 0; k < 4; ++k) CHECK(near(rounded.at(place).offsets[k], cell.offsets[k]));
        }
        // At a threshold that part of the cells reach, the confirmed cells are the exact ones.
        std::vector<float> logits;
        float error = 0;
        for (const auto& [place, cell] : exact) {
          logits.push_back(cell.logit);
          error = std::max(error, std::abs(cell.logit - rounded.at(place).logit));
        }
        std::nth_element(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(logits.size() / 3), logits.end());
        band.threshold = logits[logits.size() / 3];
        band.context = &screened;
        const int confirmed =
            kernels.pnet_screened(networks.pnet_bf16, networks.pnet, band, band.threshold - error * 1.01f,
                                  GuardedFloats(kernels.pnet_bf16_scratch(band)));
        for (const auto& entry : exact)
          if (entry.second.logit >= band.threshold) passed.insert(entry);
        CHECK(screened.size() == passed.size());
        CHECK(confirmed >= static_cast<int>(passed.size()));
        for (const auto& [place, cell] : passed) {
          const auto found = screened.find(place);
          CHECK(found != screened.end());
          if (found == screened.end()) continue;
          CHECK(found->second.logit == cell.logit);
          CHECK(std::equal(cell.offsets, cell.offsets + 4, found->second.offsets));
        }
      }
    }
  });
}

TEST(bf16, rnet_and_onet) {
  for_each_bf16_kernels([](const Kernels& kernels, const PackedNetworks& networks) {
    for (const bool onet : {false, true})
      for (const int n : {1, 2, 15, 16, 17, kMaxRefineBatch}) {
        const int side = onet ? kOnetSide : kRnetSide;
        const std::vector<float> pictures = random_level(side * n, side, static_cast<unsigned>(n));
        GuardedFloats crops(pictures.size());
        std::copy(pictures.begin(), pictures.end(), static_cast<float*>(crops));
        std::vector<float> exact(static_cast<std::size_t>(n) * kHeadOutputs), rounded(exact.size());
        (onet ? kernels.onet : kernels.rnet)(onet ? networks.onet : networks.rnet, crops, n, exact.data(),
                                             GuardedFloats(kernels.refine_scratch()));
        (onet ? kernels.onet_bf16 : kernels.rnet_bf16)(onet ? networks.onet_bf16 : networks.rnet_bf16, crops, n,
                                                       rounded.data(), GuardedFloats(kernels.refine_bf16_scratch()));
        for (std::size_t i = 0; i < exact.size(); ++i) CHECK(near(rounded[i], exact[i]));
      }
  });
}
