#include "contexts.h"

#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <mutex>
#include <vector>

struct CUctx_st {
  bool active;
};

namespace {

constexpr int kMostDevices = 16;
std::mutex mutex;
CUctx_st all[kMostDevices];                 // by device
thread_local std::vector<CUcontext> stack;  // the last one is current

int device_of(CUcontext context) { return static_cast<int>(context - all); }
bool exists(CUdevice device) {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && device >= 0 && device < std::min(count, kMostDevices);
}

}  // namespace

int simt::contexts::device() { return stack.empty() ? 0 : device_of(stack.back()); }
int simt::contexts::make() {
  if (stack.empty()) set(0);
  return device();
}
void simt::contexts::set(int device) {
  const std::lock_guard lock(mutex);
  all[device].active = true;
  if (stack.empty()) stack.emplace_back();
  stack.back() = &all[device];
}
void simt::contexts::reset(int device) {
  const std::lock_guard lock(mutex);
  all[device].active = false;
  if (!stack.empty() && stack.back() == &all[device]) stack.pop_back();
}

CUresult cuInit(unsigned flags) { return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }
CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (!exists(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(mutex);
  *flags = 0;
  *active = all[device].active;
  return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(mutex);
  all[device].active = true;
  *context = &all[device];
  return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = stack.empty() ? nullptr : stack.back();
  return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent(CUcontext context) {
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  stack.push_back(context);
  return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext* context) {
  if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  *context = stack.back();
  stack.pop_back();
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  struct Entry {
    const char* name;
    void* function;
  };
#define SIMT_ENTRY(name) \
  { #name, reinterpret_cast < void*>(&name) }
  static const Entry kEntries[] = {SIMT_ENTRY(cuInit),
                                   SIMT_ENTRY(cuDeviceGet),
                                   SIMT_ENTRY(cuDevicePrimaryCtxGetState),
                                   SIMT_ENTRY(cuDevicePrimaryCtxRetain),
                                   SIMT_ENTRY(cuCtxGetCurrent),
                                   SIMT_ENTRY(cuCtxPushCurrent),
                                   SIMT_ENTRY(cuCtxPopCurrent)};
#undef SIMT_ENTRY
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) return error;
  const Entry* const entry = std::find_if(std::begin(kEntries), std::end(kEntries),
                                          [&](const Entry& one) { return std::strcmp(one.name, symbol) == 0; });
  const bool known = entry != std::end(kEntries);
  *function = known ? entry->function : nullptr;
  *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
