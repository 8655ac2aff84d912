// The processor time that a control group (a container's, a service's) leaves this process. A quota is not in the
// affinity mask: a container limited to two processors of 64 may run on all of them, each for a thirty-second of the
// time.
#pragma once

#include <optional>
#include <string>

namespace mtcnn_fast {

// Processors' worth of time that this process gets: the least quota / period of its control groups for `cpu`, of
// version 1 (cpu.cfs_quota_us, cpu.cfs_period_us) and 2 (cpu.max), and of all groups above them up to the mount. None
// where there is no limit, or no telling: files that are missing or malformed limit nothing. `root` is the folder that
// stands for /, without a slash at its end.
std::optional<double> cpu_quota(const std::string& root = "") noexcept;

// How many threads to start on so many processors under a quota, at least 1. A part of a processor counts as one: a
// quota of 1.5 keeps two threads busy 75 % of the time, and would leave a third of itself unused with one.
int threads_within(std::optional<double> quota, int processors);

}  // namespace mtcnn_fast
