#include "weights.h"

#include <algorithm>
#include <bit>

namespace mtcnn_fast {
namespace {

Tensor unpack(const EmbeddedTensor& embedded) {
  Tensor tensor;
  std::int64_t count = 1;
  for (int axis = 0; axis < embedded.rank; ++axis) {
    tensor.shape.push_back(embedded.shape[axis]);
    count *= embedded.shape[axis];
  }
  tensor.data.resize(count);
  std::transform(embedded.bits, embedded.bits + count, tensor.data.begin(),
                 [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
  return tensor;
}

}  // namespace

const Tensors& embedded_weights() {
  // Leaked on purpose: a detector in a static object may outlive any static of ours.
  static const Tensors& tensors = *[] {
    auto* all = new Tensors;
    for (int i = 0; i < embedded_tensor_count; ++i) all->emplace(embedded_tensors[i].name, unpack(embedded_tensors[i]));
    return all;
  }();
  return tensors;
}

}  // namespace mtcnn_fast
