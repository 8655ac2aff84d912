// Rounding and scaling of a resized pixel before a network sees it, once for every backend. Plain data only: the units
// that are compiled per instruction set include this file.
#pragma once

namespace mtcnn_fast {

// How a resized value is rounded.
enum class Rounding {
  none,            // not at all
  opencv,          // as 8-bit INTER_AREA, bit for bit, in OpenCV's order of operations
  opencv_halving,  // as INTER_AREA's special case for factor 2: ties go up
};

// (x - 127.5) / 128: exact in one multiply-add, since a power of two commutes with rounding.
inline constexpr float kScale = 1.0f / 128, kBias = -127.5f / 128;

}  // namespace mtcnn_fast
