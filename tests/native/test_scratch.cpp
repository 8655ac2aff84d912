// What the networks' kernels of every instruction set read and write beside their arguments: their scratch, no byte
// beyond it, and nothing in it that they have not written.
#include <cmath>
#include <limits>

#include "common.h"
#include "cpu/dispatch.h"
#include "cpu/packed_networks.h"
#include "cpu/window_table.h"
#include "memory.h"
#include "weights.h"

using namespace mtcnn_fast;

namespace {

struct Emitted {
  int cells = 0;
  bool finite = true;
};
void count_cells(void* context, const Cell* cells, int count) {
  auto& emitted = *static_cast<Emitted*>(context);
  emitted.cells += count;
  for (const Cell* cell = cells; cell != cells + count; ++cell) {
    emitted.finite = emitted.finite && std::isfinite(cell->logit);
    for (const float offset : cell->offsets) emitted.finite = emitted.finite && std::isfinite(offset);
  }
}

void for_each_kernels(const std::function<void(const Kernels&, const PackedNetworks&)>& test) {
  for (const Kernels* kernels : available_kernels()) {
    check::context = kernels->name;
    test(*kernels, PackedNetworks(embedded_weights(), *kernels));
  }
}

}  // namespace

// Sizes around every multiple that vectors and tiles have; whole levels and bands of them.
TEST(scratch, pnet) {
  const Picture picture(640, 97, 5);
  const Source source{picture.pixels.data(), picture.pixels.data() + picture.pixels.size(), 3 * picture.width, 3,
                      false};
  std::vector<int> widths{64, 65, 137, 256, 257, 1021, 2051};
  for (int width = 12; width <= 46; ++width) widths.push_back(width);
  for_each_kernels([&](const Kernels& kernels, const PackedNetworks& networks) {
    for (const int height : {12, 13, 14, 29, 60})
      for (const int width : widths) {
        WindowTable x, y;
        x.make(picture.width, width, width > picture.width ? Filter::bilinear : Filter::area);
        y.make(picture.height, height, Filter::area);
        const Resample resample{source,  x.columns(),    y.rows(),   width, x.first(),
                                x.end(), Rounding::none, 1.0f / 128, -1};
        const int rows = (height - 1) / 2 - 4, columns = (width - 1) / 2 - 4;
        for (const auto& [first, end] : {std::pair{0, rows}, {rows / 2, rows}, {rows / 2, rows / 2 + 1}}) {
          Emitted emitted;
          const PnetBand band{.resample = &resample,
                              .level = nullptr,
                              .height = height,
                              .width = width,
                              .first_row = first,
                              .end_row = end,
                              .threshold = -std::numeric_limits<float>::infinity(),
                              .emit = count_cells,
                              .context = &emitted};
          kernels.pnet(networks.pnet, band, GuardedFloats(kernels.pnet_scratch(band)));
          int times = 1;
          if (kernels.pnet_bf16) {
            kernels.pnet_bf16(networks.pnet_bf16, band, GuardedFloats(kernels.pnet_bf16_scratch(band)));
            kernels.pnet_screened(networks.pnet_bf16, networks.pnet, band, band.threshold,
                                  GuardedFloats(kernels.pnet_bf16_scratch(band)));
            times = 3;
          }
          CHECK(emitted.cells == times * (end - first) * columns);
          CHECK(emitted.finite);
        }
      }
  });
}

TEST(scratch, rnet_and_onet) {
  for_each_kernels([](const Kernels& kernels, const PackedNetworks& networks) {
    for (const Stage stage : {Stage::rnet, Stage::onet}) {
      const bool onet = stage == Stage::onet;
      const int side = crop_side(stage);
      for (int n = 1; n <= kMaxRefineBatch; ++n) {
        const std::size_t floats = std::size_t(3) * side * side * n, outputs = std::size_t(n) * kHeadOutputs;
        const GuardedFloats crops(floats), heads(outputs);
        const Picture picture(side, side * n, static_cast<unsigned>(n));
        for (std::size_t i = 0; i < floats; ++i) crops[i] = (picture.pixels[i] - 127.5f) / 128;
        const auto check_finite = [&] {
          for (std::size_t i = 0; i < outputs; ++i) CHECK(std::isfinite(heads[i]));
          std::fill_n(static_cast<float*>(heads), outputs, std::numeric_limits<float>::quiet_NaN());
        };
        (onet ? kernels.onet : kernels.rnet)(onet ? networks.onet : networks.rnet, crops, n, heads,
                                             GuardedFloats(kernels.refine_scratch()));
        check_finite();
        if (!kernels.pnet_bf16) continue;
        (onet ? kernels.onet_bf16 : kernels.rnet_bf16)(onet ? networks.onet_bf16 : networks.rnet_bf16, crops, n, heads,
                                                       GuardedFloats(kernels.refine_bf16_scratch()));
        check_finite();
      }
    }
  });
}
