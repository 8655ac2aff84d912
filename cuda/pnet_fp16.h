// P-Net's parameters as pnet_fp16.cu reads them. Shared by the kernel and pack_pnet.cpp.
#pragma once

#include "pnet.h"

namespace mtcnn_fast::cuda {

// What the third convolution reads again for every product, and so from shared memory.
struct alignas(16) PnetHeads {
  uint4 weights[kWarp];  // of maps 0-15, 16-31
  float bias3[kMaps3], slope3[kMaps3];
  float bias[8];
};
// B's fragments in the order in which a lane loads them, 16 bytes at a time.
struct PnetFragments {
  uint4 conv1[2][2][kWarp];  // [odd][values 0-15, 16-31]: maps 0-7, 8-15
  uint4 conv2[9][kWarp];     // maps 0-7, 8-15
  uint4 conv3[9][2][kWarp];  // maps 0-7, 8-15, and 16-23, 24-31
  PnetHeads heads;
  float bias1[16], slope1[16], bias2[16], slope2[16];
};
// Columns of the heads: offsets, logit, nothing.
constexpr int kLogitColumn = 4;

struct PnetWeightsFp16 {
  PnetFragments fragments;
  PnetWeights layers;
};

}  // namespace mtcnn_fast::cuda
