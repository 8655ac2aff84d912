// Memory that ends where a page begins that nobody may touch: what reads or writes beyond it stops the test, vector
// instructions and tiles included, of which sanitizers see nothing where they are written in assembly.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "check.h"

class GuardedMemory {
 public:
  // Every byte is 255, so that floats are NaN: a kernel that reads what it has not written shows it.
  explicit GuardedMemory(std::size_t bytes) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t usable = (bytes + page - 1) / page * page;
    size_ = usable + 2 * page;
    void* const mapped = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED);
    memory_ = static_cast<std::byte*>(mapped);
    CHECK(mprotect(memory_, page, PROT_NONE) == 0);
    CHECK(mprotect(memory_ + page + usable, page, PROT_NONE) == 0);
    data_ = memory_ + page + usable - bytes;
    std::memset(data_, 255, bytes);
  }
  ~GuardedMemory() { munmap(memory_, size_); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  std::byte* data() const { return data_; }

 private:
  std::size_t size_;
  std::byte *memory_, *data_;
};

// Scratch for a kernel, which wants it aligned to 64 bytes.
class GuardedFloats {
 public:
  explicit GuardedFloats(std::size_t count) : memory_((count + 15) / 16 * 64) {}
  operator float*() const { return reinterpret_cast<float*>(memory_.data()); }

 private:
  GuardedMemory memory_;
};
