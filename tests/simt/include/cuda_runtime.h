// Stands in for CUDA's cuda_runtime.h where the kernels are compiled for the CPU (g++ -x c++): see simt_emulator.h. To
// be linked with tests/simt/emulator.cpp, fiber.cpp, mutation.cpp, runtime*.cpp and contexts.cpp.
#pragma once

// These must not meet the host's own attributes of the same names, which the standard library uses.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// One block runs at a time, so that one copy is enough.
#define __shared__ static

#define CUDART_VERSION 13000

#include "simt_device.h"
#include "simt_emulator.h"
#include "simt_runtime.h"
#include "simt_types.h"
