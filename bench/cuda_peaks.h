// What a GPU can do at most, measured: what the kernels' rates are held against.
#pragma once

namespace mtcnn_fast::cuda {

struct Peaks {
  double ffma_flops;     // FLOP/s of multiply-adds in float32
  double tensor_flops;   // FLOP/s of mma.sync with fp16 inputs and float32 sums
  double copy_bytes;     // bytes a second, read and written, of a copy within the device
  double upload_pinned;  // bytes a second from pinned memory of the host
  double upload_pageable;
};
// `brief`: as little work as shows that it runs, on the emulator; the figures then mean nothing.
Peaks measure_peaks(int device, bool brief);

}  // namespace mtcnn_fast::cuda
