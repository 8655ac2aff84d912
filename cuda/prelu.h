#pragma once

#include "device.h"

namespace mtcnn_fast::cuda {

// Slopes may be negative, and above 1, so this is no max(x, slope * x). NaN stays NaN.
__host__ __device__ inline float prelu(float x, float slope) { return x > 0 ? x : x * slope; }

}  // namespace mtcnn_fast::cuda
