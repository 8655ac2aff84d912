#include "screen_logit.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "geometry.h"

namespace mtcnn_fast {
namespace {

// What tools/derive_margins.py derives margins for.
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

std::optional<float> screen_logit(const Options& options, double threshold, double margin) {
  if (!wants_screen() || options.precision == "fast" || options.weights || threshold < kLeastThreshold ||
      threshold > kGreatestThreshold)
    return std::nullopt;
  return static_cast<float>(logit_of(threshold) - margin);
}

}  // namespace mtcnn_fast
