// Kernels with one barrier, atomic or wait less, to see whether a test notices: see tests/simt/barriers.py.
//
// SIMT_DROP_BARRIER=pnet.cu:123 leaves out the barriers (__syncthreads*, __syncwarp) written in that line of a file of
// that name. SIMT_DROP_ATOMIC=pnet.cu:123 makes the atomics in that line a load and a store, between which other
// threads and blocks run. SIMT_DROP_WAIT=pnet.cu:123 leaves out the wait for earlier kernels in that line.
// SIMT_LIST_SITES=path appends to a file, at the end of the process, where those are that were met.
#pragma once

#include "simt_emulator.h"

namespace simt::mutation {

// At each launch.
void read_environment();
// Whether it is to be left out. Notes it, where a list is wanted.
bool barrier_is_dropped(const char* operation, Site site);
bool atomic_is_dropped(const char* operation, Site site);
bool wait_is_dropped(const char* operation, Site site);

}  // namespace simt::mutation
