// The base that every kernel file includes. The same sources compile with nvcc and, for machines without a GPU, with
// the host's compiler against tests/simt/include, where cuda_runtime.h is an emulator: so no <<< >>>, and dynamic
// shared memory by the macro below.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define MTCNN_FAST_SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]
#else
#define MTCNN_FAST_SHARED_MEMORY(name) unsigned char* const name = simt::dynamic_shared_memory()
#endif

namespace mtcnn_fast::cuda {

// An error of the CUDA runtime, as an exception that ends at the C interface.
struct Error {
  cudaError_t code;
  const char* what;  // the call
};
inline void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw Error{code, what};
}
#define MTCNN_FAST_CHECK(call) ::mtcnn_fast::cuda::check((call), #call)

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// A kernel may begin while the one before it still runs (programmatic dependent launch, in NVIDIA's words). So every
// thread of every kernel calls this before it reads what an earlier kernel writes, or writes anything that one reads:
// it waits until all earlier kernels have ended and their writes are to be seen. And the kernel that follows may begin:
// it takes no place from this one, all of whose blocks run at the same time.
#if defined(__CUDACC__)
__device__ inline void wait_for_earlier_kernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
#endif
}
#elif !defined(__CUDA_RUNTIME_API_H__)  // the emulator; nvcc does not compile the backend's .cpp files, without kernels
inline void wait_for_earlier_kernels(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  cudaGridDependencySynchronize(file, line);
}
#endif

// Where kernels are queued, and on what.
struct Queue {
  cudaStream_t stream;
  int processors;             // streaming multiprocessors
  std::size_t shared_memory;  // bytes that one block can have
  bool programmatic = false;  // whether a kernel may begin before the one in front of it has ended
};

// Whether the machine code of a kernel has the wait in it: not where the driver made it of PTX for an older card.
inline bool can_wait_for_earlier_kernels(const void* kernel) {
  cudaFuncAttributes attributes = {};
  MTCNN_FAST_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  return attributes.ptxVersion >= 90;
}

inline cudaLaunchAttribute programmatic_launch() {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  return attribute;
}

// Queues a kernel whose blocks take work until there is none: as many as run at the same time, but no more than
// `most_blocks`.
template <class... Parameters, class... Arguments>
void launch_up_to(int most_blocks, const Queue& queue, void (*kernel)(Parameters...), int threads,
                  std::size_t shared_memory, const Arguments&... arguments) {
  if (shared_memory > 48 * 1024)
    MTCNN_FAST_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                          cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(shared_memory)));
  int blocks = 0;
  MTCNN_FAST_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_memory));
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(std::clamp(blocks * queue.processors, 1, std::max(most_blocks, 1))));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_memory;
  config.stream = queue.stream;
  cudaLaunchAttribute attribute = programmatic_launch();
  config.attrs = &attribute;
  config.numAttrs = queue.programmatic && can_wait_for_earlier_kernels(reinterpret_cast<const void*>(kernel)) ? 1 : 0;
  MTCNN_FAST_CHECK(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
}
template <class... Parameters, class... Arguments>
void launch(const Queue& queue, void (*kernel)(Parameters...), int threads, std::size_t shared_memory,
            const Arguments&... arguments) {
  launch_up_to(INT_MAX, queue, kernel, threads, shared_memory, arguments...);
}

}  // namespace mtcnn_fast::cuda
