// Fibers: functions that hand control back before they have ended, and go on from there. Only the emulator uses them.
#pragma once

#include <cstddef>

namespace simt {

// Runs `entry`, which must never return, on a stack of its own. Lives as long as the process.
class Fiber {
 public:
  explicit Fiber(void (*entry)());
  ~Fiber() = delete;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Goes on with the fiber until it yields.
  void resume();
  // Goes on with what resumed the running fiber.
  static void yield();
  static constexpr std::size_t kStack = 256 * 1024;  // ten times what a kernel takes, under AddressSanitizer too

 private:
  static void begin();

  void (*entry_)();
  unsigned char* stack_;
  void* context_;              // where the stack pointer is, or a ucontext_t
  void* sanitizer_ = nullptr;  // AddressSanitizer's fake stack, or ThreadSanitizer's fiber
};

}  // namespace simt
