// What the sanitizers have to be told of fibers.
//
// ThreadSanitizer sees a block's threads as threads, which only barriers and meetings of warps bring into an order: so
// it finds races that no order in which one thread runs at a time would show. (Blocks run one after another for it
// too.) The emulator's own files are compiled without it, for a block's threads share what they read and write, and
// with SIMT_THREAD_SANITIZER defined.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ADDRESS_SANITIZER
#endif
#endif

#if defined(SIMT_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#elif defined(SIMT_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
#endif

namespace simt {

// What other threads did before they released, comes before what a thread does after it acquired.
#if defined(SIMT_THREAD_SANITIZER)
inline void acquire(void* what) { __tsan_acquire(what); }
inline void release(void* what) { __tsan_release(what); }
#else
inline void acquire(void*) {}
inline void release(void*) {}
#endif

}  // namespace simt
