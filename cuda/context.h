// Which GPU a thread of the caller's works on while it is in here.
#pragma once

#include <cuda_runtime.h>

#include <optional>

namespace mtcnn_fast::cuda {

// Makes the device's primary context the calling thread's, for as long as it lives. Not cudaSetDevice(): going back to
// a device that the thread has not used would make a context there, some 500 MB of that GPU's memory. And lets the
// thread allocate and wait while the caller captures a stream: the detector's own streams are no part of that.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  bool pushed_ = false;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// The first device whose primary context has been made, by whomever. Makes none.
std::optional<int> device_in_use();

}  // namespace mtcnn_fast::cuda
