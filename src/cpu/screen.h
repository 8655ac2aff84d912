// The arithmetic of each network. In float32, a screen may come first: a pass in bf16, on a processor that
// multiplies tiles of bf16, drops windows that are clearly no face. Only the others are computed in float32. The
// result is the same to the bit, as long as no bf16 logit is further below its float32 logit than a margin.
#pragma once

#include <array>

#include <mtcnn_fast/detector.h>

#include "cpu/kernels/kernels.h"

namespace mtcnn_fast {

enum class Arithmetic { fp32, screened, bf16 };

struct Precision {
  Arithmetic arithmetic;
  float least_logit;  // screened: what is below in bf16 is dropped
};

// For P-Net, R-Net, O-Net. Reads the environment variable MTCNN_FAST_SCREEN ("0": no screen); throws
// std::invalid_argument for a value other than "0" or "1".
std::array<Precision, 3> choose_precision(const Options& options, const Kernels& kernels);

}  // namespace mtcnn_fast
