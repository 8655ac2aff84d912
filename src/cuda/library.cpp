#include "cuda/library.h"

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "backend.h"

namespace mtcnn_fast {
namespace {

struct Library {
  const cuda::Interface* interface = nullptr;
  std::string reason;
};

#if defined(_WIN32)

Library open() { return {nullptr, "the CUDA backend has not been brought to Windows"}; }

#else

constexpr const char* kFile = "libmtcnn_fast_cuda.so";

// The variable names another file. Else the backend lies beside the binary that this code was linked into, which is the
// Python extension or a program, or in the folder lib beside it, where the Python package has its C++ library.
std::vector<std::filesystem::path> places() {
  if (const char* named = std::getenv("MTCNN_FAST_CUDA_LIBRARY")) return {named};
  std::vector<std::filesystem::path> all;
  Dl_info info = {};
  if (dladdr(reinterpret_cast<const void*>(&cuda_library), &info) && info.dli_fname) {
    const std::filesystem::path folder = std::filesystem::path(info.dli_fname).parent_path();
    all = {folder / kFile, folder / "lib" / kFile};
  }
  return all;
}

Library open() {
  void* handle = nullptr;
  std::error_code ignored;
  for (const std::filesystem::path& path : places()) {
    if (!std::filesystem::exists(path, ignored)) continue;
    handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) return {nullptr, "its CUDA backend cannot be loaded: " + std::string(dlerror())};
    break;
  }
  if (!handle && !std::getenv("MTCNN_FAST_CUDA_LIBRARY")) handle = dlopen(kFile, RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return {nullptr, "this build of mtcnn_fast has no CUDA backend: " + std::string(kFile) + " is not there"};
  using Entry = const cuda::Interface* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, cuda::kInterfaceSymbol));
  const cuda::Interface* interface = entry ? entry() : nullptr;
  if (!interface || interface->version != cuda::kInterfaceVersion)
    return {nullptr, std::string(kFile) + " is of another version of mtcnn_fast"};
  return {interface, {}};
}

#endif

}  // namespace

const cuda::Interface* cuda_library(std::string& reason) {
  static const Library library = open();
  reason = library.reason;
  return library.interface;
}

int cuda_device_count(std::string& reason) {
  const cuda::Interface* interface = cuda_library(reason);
  if (!interface) return 0;
  int count = 0;
  cuda::Message message = {};
  if (interface->device_count(&count, &message) == cuda::Status::ok && count > 0) return count;
  reason = message.text[0] ? message.text : "there is no GPU";
  return 0;
}

int cuda_device_of(const void* address) {
  std::string reason;
  const cuda::Interface* interface = cuda_library(reason);
  if (!interface) throw std::runtime_error(reason);
  int device = -1;
  cuda::Message message = {};
  if (interface->device_of(address, &device, &message) != cuda::Status::ok)
    throw std::runtime_error(std::string("CUDA: ") + message.text);
  return device;
}

}  // namespace mtcnn_fast
