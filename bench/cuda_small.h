// Small measurements of a GPU, each of which decides something about the cascade: what a launch costs in a graph, with
// and without programmatic edges, what a copy in front of it costs, how fast shared operands come back from L1, what
// loads of bytes cost beside loads of words, and what a block's sort takes.
#pragma once

#include <span>

#include "../cuda/device.h"

namespace mtcnn_fast::cuda {

struct SmallMeasurement {
  const char* name;
  const char* unit;
  // `brief`: as little work as shows that it runs, on the emulator. NaN: this device cannot do it.
  double (*measure)(const Queue& queue, bool brief);
};
std::span<const SmallMeasurement> small_measurements();

}  // namespace mtcnn_fast::cuda
