#include "result_memory.h"

#include <algorithm>
#include <bit>

#include "device.h"

namespace mtcnn_fast::cuda {

ResultMemory::~ResultMemory() {
  for (const auto& [memory, piece] : pieces_) cudaFree(memory);
}

void* ResultMemory::take(std::size_t bytes) {
  bytes = std::bit_ceil(std::max(bytes, kLeast));
  const std::lock_guard lock(mutex_);
  if (unused_[bytes].empty() && given_back_ >= kMostGivenBack) reclaim();
  std::vector<void*>& unused = unused_[bytes];
  if (!unused.empty()) {
    void* const memory = unused.back();
    unused.pop_back();
    return memory;
  }
  void* memory = nullptr;
  MTCNN_FAST_CHECK(cudaMalloc(&memory, bytes));
  pieces_[memory] = {.bytes = bytes, .given_back = false};
  return memory;
}

void ResultMemory::give_back(void* memory) noexcept {
  const std::lock_guard lock(mutex_);
  Piece& piece = pieces_.find(memory)->second;
  piece.given_back = true;
  given_back_ += piece.bytes;
}

void ResultMemory::reclaim() {
  const cudaError_t waited = cudaDeviceSynchronize();
  if (waited == cudaErrorStreamCaptureUnsupported) {
    cudaGetLastError();  // not to be found by the next call
    return;              // later, when nobody captures a stream
  }
  check(waited, "cudaDeviceSynchronize");
  std::size_t kept = 0;
  for (const auto& [size, memories] : unused_) kept += size * memories.size();
  for (auto entry = pieces_.begin(); entry != pieces_.end();) {
    auto& [memory, piece] = *entry;
    if (piece.given_back) {
      piece.given_back = false;
      given_back_ -= piece.bytes;
      if (kept + piece.bytes > kMostGivenBack) {
        MTCNN_FAST_CHECK(cudaFree(memory));
        entry = pieces_.erase(entry);
        continue;
      }
      kept += piece.bytes;
      unused_[piece.bytes].push_back(memory);
    }
    ++entry;
  }
}

}  // namespace mtcnn_fast::cuda
