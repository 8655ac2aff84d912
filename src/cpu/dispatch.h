// The compiled kernels that this processor can run.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels/kernels.h"

namespace mtcnn_fast {

// Best first.
std::vector<const Kernels*> available_kernels();

// The best, or those that the environment variable MTCNN_FAST_ISA names; std::invalid_argument, listing what there is,
// where this machine cannot run these.
const Kernels& choose_kernels();

}  // namespace mtcnn_fast
