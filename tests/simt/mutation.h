// Kernels with one barrier less, to see whether a test notices: see tests/simt/barriers.py.
//
// SIMT_DROP_BARRIER=pnet.cu:123 leaves out the barriers (__syncthreads*, __syncwarp) written in that line of a file of
// that name. SIMT_LIST_BARRIERS=path appends to a file, at the end of the process, where those are that were met.
#pragma once

#include "simt_emulator.h"

namespace simt::mutation {

// At each launch.
void read_environment();
// Whether the barrier is to be left out. Notes it, where a list is wanted.
bool dropped(const char* operation, Site site);

}  // namespace simt::mutation
