#include "cpu/screen.h"

#include <iterator>
#include <optional>

#include "screen_logit.h"

namespace mtcnn_fast {
namespace {

// Derived by tools/derive_margins.py for the embedded networks: the chance that rounding moves a passing window's logit
// by more is below 1e-15. Figures in docs/performance.md. O-Net is not screened: most of what reaches it is a face, and
// the screen takes longer than what it spares.
constexpr double kMargins[] = {1.25, 0.75};

}  // namespace

std::array<Precision, 3> choose_precision(const Options& options, const Kernels& kernels) {
  std::array<Precision, 3> chosen{};
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    std::optional<float> screen;
    if (i < std::size(kMargins)) screen = screen_logit(options, options.thresholds[i], kMargins[i]);
    chosen[i] = {Arithmetic::fp32, 0};
    if (!kernels.pnet_bf16) continue;
    if (options.precision == "fast")
      chosen[i] = {Arithmetic::bf16, 0};
    else if (screen)
      chosen[i] = {Arithmetic::screened, *screen};
  }
  return chosen;
}

}  // namespace mtcnn_fast
