// What becomes of a resized pixel before a network sees it, once for every backend. Plain data only: the units that are
// compiled per instruction set include this file.
#pragma once

namespace mtcnn_fast {

// How it becomes a whole number: not; as OpenCV's 8-bit INTER_AREA does, bit for bit, with its order of operations; or
// as its special case of halving does, where ties go up.
enum class Rounding { none, opencv, opencv_halving };

// (x - 127.5) / 128: exact in one multiply-add, since a power of two commutes with rounding.
inline constexpr float kScale = 1.0f / 128, kBias = -127.5f / 128;

}  // namespace mtcnn_fast
