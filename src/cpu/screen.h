// The arithmetic of each network. In float32, a screen in bf16 (src/screen_logit.h) may come first, on a processor that
// multiplies tiles of bf16.
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
