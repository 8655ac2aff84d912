// The three networks' parameters in the layout of a set of CPU kernels.
#pragma once

#include <memory>
#include <vector>

#include <mtcnn_fast/types.h>

#include "cpu/kernels/kernels.h"

namespace mtcnn_fast {

// The structs point into `storage`.
struct PackedNetworks {
  PnetWeights pnet{};
  RefineWeights rnet{}, onet{};
  // Filled in for kernels that compute in bf16.
  PnetWeightsBf16 pnet_bf16{};
  RefineWeightsBf16 rnet_bf16{}, onet_bf16{};

  // Throws as check_tensors() does.
  PackedNetworks(const Tensors& tensors, const Kernels& kernels);
  PackedNetworks(const PackedNetworks&) = delete;
  PackedNetworks& operator=(const PackedNetworks&) = delete;

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::vector<std::unique_ptr<float[], Free>> storage;

  void pack_bf16(const Tensors& tensors);
  float* allocate(std::size_t floats);
  friend class Packer;
};

}  // namespace mtcnn_fast
