// The three networks, by name and by size, once for every backend. Plain data only: the units that are compiled per
// instruction set include this file.
#pragma once

#include "host_device.h"

namespace mtcnn_fast {

enum class Stage { pnet, rnet, onet };

// Side of the square crops that R-Net and O-Net read, in pixels.
MTCNN_FAST_HD constexpr int crop_side(Stage stage) { return stage == Stage::rnet ? 24 : 48; }

// Floats per crop that R-Net and O-Net write: logit, 4 offsets, 10 landmarks (R-Net: zeros), a zero.
constexpr int kHeadOutputs = 16;

// One T for R-Net and one for O-Net.
template <class T>
struct PerRefineStage {
  T of[2];

  MTCNN_FAST_HD T& operator[](Stage stage) { return of[static_cast<int>(stage) - 1]; }
  MTCNN_FAST_HD const T& operator[](Stage stage) const { return of[static_cast<int>(stage) - 1]; }
  bool operator==(const PerRefineStage&) const = default;
};

}  // namespace mtcnn_fast
