#include "cpu/screen.h"

#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>

#include "geometry.h"

namespace mtcnn_fast {
namespace {

// Derived by tools/derive_margins.py for the embedded networks and thresholds within these bounds: the chance that
// rounding moves a passing window's logit by more is below 1e-15. Figures in docs/performance.md. O-Net is not
// screened: most of what reaches it is a face, and the screen takes longer than what it spares.
constexpr double kMargins[] = {1.25, 0.75};
constexpr double kLeastThreshold = 0.5, kGreatestThreshold = 0.9;

bool wants_screen() {
  const char* text = std::getenv("MTCNN_FAST_SCREEN");
  if (!text || !*text) return true;
  const std::string value = text;
  if (value != "0" && value != "1")
    throw std::invalid_argument("MTCNN_FAST_SCREEN is '" + value + "', wanted '0' or '1'");
  return value == "1";
}

}  // namespace

std::array<Precision, 3> choose_precision(const Options& options, const Kernels& kernels) {
  const bool wanted = wants_screen();
  std::array<Precision, 3> chosen{};
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const double threshold = options.thresholds[i];
    chosen[i] = {Arithmetic::fp32, 0};
    if (!kernels.pnet_bf16) continue;
    if (options.precision == "fast")
      chosen[i] = {Arithmetic::bf16, 0};
    else if (wanted && i < std::size(kMargins) && !options.weights && threshold >= kLeastThreshold &&
             threshold <= kGreatestThreshold)
      chosen[i] = {Arithmetic::screened, static_cast<float>(logit_of(threshold) - kMargins[i])};
  }
  return chosen;
}

}  // namespace mtcnn_fast
