// The three networks' parameters: their names and shapes, and their packing into the layout of a set of kernels.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <mtcnn_fast/types.h>

#include "cpu/kernels.h"

namespace mtcnn_fast {

// Throws std::invalid_argument naming the first tensor that is missing, unknown, of another shape or not finite.
void check_tensors(const Tensors& tensors);

// Parameters packed for CPU kernels. The structs point into `storage`.
struct PackedNetworks {
  PnetWeights pnet{};
  RefineWeights rnet{}, onet{};
  // Filled in for kernels that compute in bf16.
  PnetTiles pnet_tiles{};
  RefineTiles rnet_tiles{}, onet_tiles{};

  PackedNetworks(const Tensors& tensors, const Kernels& kernels);
  PackedNetworks(const PackedNetworks&) = delete;
  PackedNetworks& operator=(const PackedNetworks&) = delete;

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::vector<std::unique_ptr<float[], Free>> storage;

  void pack_tiles(const Tensors& tensors);
  float* allocate(std::size_t floats);
  friend class Packer;
};

}  // namespace mtcnn_fast
