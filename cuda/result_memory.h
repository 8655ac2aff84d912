// Device memory for results that their reader keeps for as long as it likes.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace mtcnn_fast::cuda {

// Safe to use from many threads at once. Work that the reader has queued, on streams that nobody knows here, may still
// read what is given back: that is used again only after a wait for the whole device. cudaFree() would be such a wait
// in each call; here one stands for a megabyte, which is a thousand calls of few faces.
class ResultMemory {
 public:
  ResultMemory() = default;
  ~ResultMemory();
  ResultMemory(const ResultMemory&) = delete;
  ResultMemory& operator=(const ResultMemory&) = delete;

  // Room for that many bytes, aligned to 256.
  void* take(std::size_t bytes);
  // Makes no call of CUDA's.
  void give_back(void* memory) noexcept;

 private:
  // What is waited for together, and as much is kept for the next calls.
  static constexpr std::size_t kMostGivenBack = std::size_t{1} << 20, kLeast = 1024;
  struct Piece {
    std::size_t bytes;  // kLeast times a power of two
    bool given_back;
  };

  void reclaim();

  std::mutex mutex_;
  std::map<void*, Piece> pieces_;                     // all that there are
  std::map<std::size_t, std::vector<void*>> unused_;  // by size
  std::size_t given_back_ = 0;                        // bytes
};

}  // namespace mtcnn_fast::cuda
