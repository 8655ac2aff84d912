#include "context.h"

#include <cuda.h>

#include <map>
#include <mutex>

#include "device.h"

namespace mtcnn_fast::cuda {
namespace {

// The runtime's error codes are the driver's numbers.
void check_driver(CUresult code, const char* what) { check(static_cast<cudaError_t>(code), what); }

// What of the driver the runtime has no call for. By way of the runtime: the shared object loads without a driver.
class Driver {
 public:
  static const Driver& get() {
    static const Driver driver;
    return driver;
  }

  decltype(&::cuDeviceGet) cuDeviceGet;
  decltype(&::cuDevicePrimaryCtxGetState) cuDevicePrimaryCtxGetState;
  decltype(&::cuDevicePrimaryCtxRetain) cuDevicePrimaryCtxRetain;
  decltype(&::cuCtxGetCurrent) cuCtxGetCurrent;
  decltype(&::cuCtxPushCurrent) cuCtxPushCurrent;
  decltype(&::cuCtxPopCurrent) cuCtxPopCurrent;

 private:
  Driver() {
    decltype(&::cuInit) init = nullptr;
    find("cuInit", init);
    check_driver(init(0), "cuInit");
    find("cuDeviceGet", cuDeviceGet);
    find("cuDevicePrimaryCtxGetState", cuDevicePrimaryCtxGetState);
    find("cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain);
    find("cuCtxGetCurrent", cuCtxGetCurrent);
    find("cuCtxPushCurrent", cuCtxPushCurrent);
    find("cuCtxPopCurrent", cuCtxPopCurrent);
  }
  template <class F>
  static void find(const char* name, F& function) {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    // Of the version that the header declares: later ones may have other parameters.
    check(cudaGetDriverEntryPointByVersion(name, &found, CUDART_VERSION, cudaEnableDefault, &result), name);
    if (result != cudaDriverEntryPointSuccess || !found) throw Error{cudaErrorInsufficientDriver, name};
    function = reinterpret_cast<F>(found);
  }
};

// Retained once and never released, as the runtime does it: a context that its last user releases is destroyed, with
// everything that others have in it.
CUcontext primary_context(int device) {
  static std::mutex mutex;
  static auto& contexts = *new std::map<int, CUcontext>;  // never destroyed: detectors may live as long as the process
  const std::lock_guard lock(mutex);
  CUcontext& context = contexts[device];
  if (!context) {
    CUdevice handle = 0;
    check_driver(Driver::get().cuDeviceGet(&handle, device), "cuDeviceGet");
    check_driver(Driver::get().cuDevicePrimaryCtxRetain(&context, handle), "cuDevicePrimaryCtxRetain");
  }
  return context;
}

}  // namespace

DeviceGuard::DeviceGuard(int device) {
  const CUcontext wanted = primary_context(device);
  CUcontext current = nullptr;
  check_driver(Driver::get().cuCtxGetCurrent(&current), "cuCtxGetCurrent");
  if (current != wanted) {
    check_driver(Driver::get().cuCtxPushCurrent(wanted), "cuCtxPushCurrent");
    pushed_ = true;
  }
  cudaThreadExchangeStreamCaptureMode(&mode_);
}

DeviceGuard::~DeviceGuard() {
  cudaThreadExchangeStreamCaptureMode(&mode_);
  CUcontext popped = nullptr;
  if (pushed_) Driver::get().cuCtxPopCurrent(&popped);
}

std::optional<int> device_in_use() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  for (int device = 0; device < count; ++device) {
    CUdevice handle = 0;
    unsigned flags = 0;
    int active = 0;
    check_driver(Driver::get().cuDeviceGet(&handle, device), "cuDeviceGet");
    check_driver(Driver::get().cuDevicePrimaryCtxGetState(handle, &flags, &active), "cuDevicePrimaryCtxGetState");
    if (active) return device;
  }
  return std::nullopt;
}

}  // namespace mtcnn_fast::cuda
