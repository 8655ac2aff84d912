// The emulated driver's primary contexts: which devices have one, and which are current to the calling thread.
#pragma once

namespace simt::contexts {

// The thread's current device. Makes no context.
int device();
// The same, whose context there is from now on: what most calls of the runtime do.
int make();
void set(int device);
// Whatever is in the context stays: only that there is one is forgotten.
void reset(int device);

}  // namespace simt::contexts
