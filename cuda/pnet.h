// P-Net's parameters as its kernels read them. Shared by the kernels and pack_pnet.cpp.
#pragma once

#include "kernels.h"

namespace mtcnn_fast::cuda {

// A cell is made of 3 x 3 convolutions: of 5 x 5 pooled outputs of the first, which look at 12 x 12 pixels.
constexpr int kMaps1 = 10, kMaps2 = 16, kMaps3 = 32;

// Convolutions' weights are [input, row, column][output], the order in which their products are summed.
struct alignas(16) PnetLayers {
  float conv1[27][12], bias1[12], slope1[12];  // two outputs' places are unused: rows begin at multiples of 16 bytes
  float conv2[9 * kMaps1][kMaps2], bias2[kMaps2], slope2[kMaps2];
  float conv3[9 * kMaps2][kMaps3], bias3[kMaps3], slope3[kMaps3];
  float face[kMaps3], face_bias[4];  // of logit(face) - logit(not a face); one bias
};
struct PnetWeights {
  PnetLayers layers;
  float box[kMaps3][4], box_bias[4];
};

// pnet_fp16.cu's part of pnet_tile() and pnet().
PnetTile pnet_fp16_tile();
void pnet_fp16(const Queue& queue, const Work& work, const void* weights);
// The layers as the tensor cores see them, rounded to fp16.
const PnetWeights* pnet_fp16_layers(const void* weights);

}  // namespace mtcnn_fast::cuda
