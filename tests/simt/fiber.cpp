// Switching takes a dozen instructions where it is written in assembly: the registers that a call preserves go on the
// stack, and the stack pointer changes. swapcontext(), for other processors, also asks the kernel for the signal mask.
#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "sanitizers.h"

#if defined(__x86_64__) && defined(__ELF__)
#define SIMT_SWITCH
asm(R"(
  .text
  .globl simt_switch
  .hidden simt_switch
  .type simt_switch, @function
simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size simt_switch, .-simt_switch
)");
#elif defined(__aarch64__) && defined(__ELF__)
#define SIMT_SWITCH
asm(R"(
  .text
  .globl simt_switch
  .hidden simt_switch
  .type simt_switch, %function
simt_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size simt_switch, .-simt_switch
)");
#else
#include <ucontext.h>
#endif

namespace simt {
namespace {

// What resumed the fiber that runs: its context, and its stack as the sanitizers want to know it.
void* resumer;
Fiber* running;
#if defined(SIMT_ADDRESS_SANITIZER)
const void* resumer_stack;
std::size_t resumer_stack_bytes;
#elif defined(SIMT_THREAD_SANITIZER)
void* resumer_fiber;
#endif

}  // namespace

#if defined(SIMT_SWITCH)

extern "C" void simt_switch(void** save, void* load);

namespace {

// What a first switch to the fiber finds on its stack: registers, and where to return to.
void* prepare(unsigned char* top, void (*begin)()) {
#if defined(__x86_64__)
  // A function is entered with the stack 8 bytes below a multiple of 16, below which is the return address.
  constexpr std::size_t kSaved = 6, kWords = kSaved + 2;
  void** const words = reinterpret_cast<void**>(top) - kWords;
  std::memset(words, 0, kWords * sizeof(void*));
  words[kSaved] = reinterpret_cast<void*>(begin);
#else
  constexpr std::size_t kReturn = 11, kWords = 20;
  void** const words = reinterpret_cast<void**>(top) - kWords;
  std::memset(words, 0, kWords * sizeof(void*));
  words[kReturn] = reinterpret_cast<void*>(begin);
#endif
  return words;
}
void switch_contexts(void*& save, void* load) { simt_switch(&save, load); }

}  // namespace

#else

namespace {

void* prepare(unsigned char* top, void (*begin)()) {
  auto* const context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = top - Fiber::kStack;
  context->uc_stack.ss_size = Fiber::kStack;
  context->uc_link = nullptr;
  makecontext(context, begin, 0);
  return context;
}
void switch_contexts(void*& save, void* load) {
  if (!save) save = new ucontext_t;  // the resumer's, for good
  swapcontext(static_cast<ucontext_t*>(save), static_cast<ucontext_t*>(load));
}

}  // namespace

#endif

Fiber::Fiber(void (*entry)()) : entry_(entry) {
  // The lowest page is nobody's: where a stack overflows, the program stops.
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const mapped =
      mmap(nullptr, page + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED || mprotect(mapped, page, PROT_NONE) != 0) std::abort();
  stack_ = static_cast<unsigned char*>(mapped) + page;
  context_ = prepare(stack_ + kStack, begin);
#if defined(SIMT_THREAD_SANITIZER)
  sanitizer_ = __tsan_create_fiber(0);
#endif
}

void Fiber::begin() {
#if defined(SIMT_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(nullptr, &resumer_stack, &resumer_stack_bytes);
#endif
  running->entry_();
  std::abort();
}

void Fiber::resume() {
  running = this;
#if defined(SIMT_ADDRESS_SANITIZER)
  void* fake_stack;
  __sanitizer_start_switch_fiber(&fake_stack, stack_, kStack);
#elif defined(SIMT_THREAD_SANITIZER)
  resumer_fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(sanitizer_, __tsan_switch_to_fiber_no_sync);
#endif
  switch_contexts(resumer, context_);
#if defined(SIMT_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fiber::yield() {
  Fiber& self = *running;
#if defined(SIMT_ADDRESS_SANITIZER)
  __sanitizer_start_switch_fiber(&self.sanitizer_, resumer_stack, resumer_stack_bytes);
#elif defined(SIMT_THREAD_SANITIZER)
  __tsan_switch_to_fiber(resumer_fiber, __tsan_switch_to_fiber_no_sync);
#endif
  switch_contexts(self.context_, resumer);
#if defined(SIMT_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(self.sanitizer_, &resumer_stack, &resumer_stack_bytes);
#endif
}

}  // namespace simt
