// The search of tasks for the level that they belong to.
#pragma once

#include "device.h"
#include "work.h"

namespace mtcnn_fast::cuda {

// The level of a task: the last whose first task (`kFirst`) is not after it. The search starts at level `least`. By all
// lanes of a warp, which look at 32 levels at a time: one wait for memory for an image, two for a batch.
template <int Level::*kFirst>
__device__ inline int level_of(const Work& work, int task, int least) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int first = least, end = work.job->levels;
  while (end - first > 1) {
    const int step = (end - first + kWarp - 1) / kWarp, probed = first + lane * step;
    const bool not_after = probed < end && work.levels[probed].*kFirst <= task;
    first += (__popc(__ballot_sync(kAllLanes, not_after)) - 1) * step;
    end = min(end, first + step);
  }
  return first;
}

}  // namespace mtcnn_fast::cuda
