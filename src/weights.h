// The networks that the library carries in itself: src/weights/mtcnn.safetensors, turned into C++ by
// cmake/embed_weights.py when the library is built.
#pragma once

#include <cstdint>

#include <mtcnn_fast/types.h>

namespace mtcnn_fast {

struct EmbeddedTensor {
  const char* name;
  int rank;
  int shape[4];
  const std::uint32_t* bits;  // of the float32 values, row-major; a pointer to float would break aliasing rules
};
extern const EmbeddedTensor embedded_tensors[];
extern const int embedded_tensor_count;

// Made on first use, then shared by all detectors; safe to call from several threads.
const Tensors& embedded_weights();

}  // namespace mtcnn_fast
