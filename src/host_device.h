// Marks a function that the CUDA kernels call as well. Plain data only: the units that are compiled per instruction set
// include what includes this file.
#pragma once

#if defined(__CUDACC__)
#define MTCNN_FAST_HD __host__ __device__
#else
#define MTCNN_FAST_HD
#endif
