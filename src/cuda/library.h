// The CUDA backend's shared object, opened on first use: importing the package, and the CPU, touch no driver.
#pragma once

#include <string>

#include "../../cuda/interface.h"

namespace mtcnn_fast {

// Null where it is not there; `reason` then says why.
const cuda::Interface* cuda_library(std::string& reason);

// GPUs that it can use; none, and why, where there is no library, driver or GPU.
int cuda_device_count(std::string& reason);

// The GPU, N of cuda:N, whose memory the address is in; -1 for any other memory. Throws std::runtime_error where there
// is no GPU, saying why.
int cuda_device_of(const void* address);

}  // namespace mtcnn_fast
