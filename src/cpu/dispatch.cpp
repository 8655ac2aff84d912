#include "cpu/dispatch.h"

#include <cstdlib>
#include <stdexcept>

#include <mtcnn_fast/detector.h>

#include "backend.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace mtcnn_fast {
namespace {

// One function an instruction set, named as in isa_list.h. The checks of gcc and clang include the operating system's
// consent to the wide registers.
#if defined(__x86_64__) || defined(_M_X64)
bool has_sse2() { return true; }
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

// The tiles' state of 8 KiB must be allowed to the process before its first use, once for all its threads and children
// (Linux, Documentation/arch/x86/xstate.rst).
bool has_amx() {
#if defined(__linux__)
  static const bool allowed = [] {
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;  // of edx
    if (!(d & kAmxBf16) || !(d & kAmxTile)) return false;
    constexpr unsigned kAvx512Bf16 = 1u << 5;  // of eax, leaf 7.1
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & kAvx512Bf16)) return false;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return allowed;
#else
  return false;
#endif
}
#else
bool has_neon() { return true; }
#endif

}  // namespace

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> available;
#define MTCNN_FAST_ADD(isa) \
  if (has_##isa()) available.push_back(&kernels_##isa);
  MTCNN_FAST_FOR_EACH_ISA(MTCNN_FAST_ADD)
#undef MTCNN_FAST_ADD
  return available;
}

// No check is made but those that decide: the one of tiles changes the process, from which the system then refuses
// signal stacks that could not hold their state.
const Kernels& choose_kernels() {
  const char* variable = std::getenv("MTCNN_FAST_ISA");
  const std::string wanted = variable ? variable : "";
#define MTCNN_FAST_TAKE(isa) \
  if ((wanted.empty() || wanted == kernels_##isa.name) && has_##isa()) return kernels_##isa;
  MTCNN_FAST_FOR_EACH_ISA(MTCNN_FAST_TAKE)
#undef MTCNN_FAST_TAKE
  std::string names;
  for (const Kernels* kernels : available_kernels()) names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  throw std::invalid_argument("MTCNN_FAST_ISA is '" + wanted + "'; this machine has " + names);
}

std::string cpu_isa() { return choose_kernels().name; }

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
  return names;
}

}  // namespace mtcnn_fast
