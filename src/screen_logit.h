// The screen: a first pass of a network in lower precision, which drops windows that are clearly no face. Only the
// others are computed in float32. The result is the same to the bit, as long as no window's logit in the lower
// precision is further below its float32 logit than a margin.
#pragma once

#include <optional>

#include <mtcnn_fast/detector.h>

namespace mtcnn_fast {

// The logit below which the screen of a network with that threshold drops a window, or nothing: there is no screen for
// weights of a user's own, for thresholds that the margins are not derived for, for precision "fast", and where the
// environment variable MTCNN_FAST_SCREEN is "0". Throws std::invalid_argument where that is neither "0" nor "1".
std::optional<float> screen_logit(const Options& options, double threshold, double margin);

}  // namespace mtcnn_fast
