// The CUDA backend's shared object, opened on first use: importing the package, and the CPU, touch no driver.
#pragma once

#include <string>

#include "cuda_interface.h"

namespace mtcnn_fast {

// Null where it is not there; `reason` then says why.
const cuda::Interface* cuda_library(std::string& reason);

}  // namespace mtcnn_fast
