#include "cpu_quota.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <exception>
#include <fstream>
#include <sstream>
#include <vector>

namespace mtcnn_fast {

#if defined(__linux__)
namespace {

// Formats: man 7 cgroups (/proc/PID/cgroup), man 5 proc_pid_mountinfo, and in the kernel's Documentation
// admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.

std::vector<std::string> lines(const std::string& path) {
  std::vector<std::string> found;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) found.push_back(line);
  return found;
}

bool lists(const std::string& names, const std::string& name) {
  return ("," + names + ",").find("," + name + ",") != std::string::npos;
}

// The kernel writes blanks, line ends and backslashes of paths as \ and three octal digits.
std::string unescaped(const std::string& field) {
  std::string text;
  for (std::size_t i = 0; i < field.size(); ++i) {
    int code = 0;
    const char* const digits = field.data() + i + 1;
    if (field[i] == '\\' && i + 3 < field.size() && std::from_chars(digits, digits + 3, code, 8).ptr == digits + 3) {
      text += static_cast<char>(code);
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

// A hierarchy of control groups, or a part of it, in the file system.
struct Mount {
  bool version_2;
  std::string root;   // the group that is mounted
  std::string point;  // where
};

// The mounts where limits of processor time may stand.
std::vector<Mount> cpu_mounts(const std::string& root) {
  std::vector<Mount> mounts;
  for (const std::string& line : lines(root + "/proc/self/mountinfo")) {
    // Optional fields, of any number, end with a lone dash.
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string skipped, group, point, type, options;
    before >> skipped >> skipped >> skipped >> group >> point;
    after >> type >> skipped >> options;
    if (type == "cgroup2" || (type == "cgroup" && lists(options, "cpu")))
      mounts.push_back({type == "cgroup2", unescaped(group), unescaped(point)});
  }
  return mounts;
}

// The group of this process in the hierarchy of version 2, or in that of version 1 with the controller `cpu`. A hybrid
// system has both, the controller in one of them.
std::optional<std::string> own_group(const std::string& root, bool version_2) {
  for (const std::string& line : lines(root + "/proc/self/cgroup")) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool wanted = version_2 ? line.compare(0, first, "0") == 0 && controllers.empty() : lists(controllers, "cpu");
    if (wanted) return line.substr(second + 1);
  }
  return std::nullopt;
}

// The group's path below the mount's root, which in a container may be the container's own group: empty for the root
// itself, none for a group that the mount does not show.
std::optional<std::string> path_below(const Mount& mount, std::string group) {
  if (group == "/") group.clear();
  const std::string top = mount.root == "/" ? "" : mount.root;
  if (group.compare(0, top.size(), top) != 0) return std::nullopt;
  std::string below = group.substr(top.size());
  // "/../other" is a group outside this process's namespace.
  if ((!below.empty() && below[0] != '/') || (below + "/").find("/../") != std::string::npos) return std::nullopt;
  return below;
}

std::optional<double> number(const std::string& text) {
  long long value = 0;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || last != end || value <= 0) return std::nullopt;  // no limit is -1 in version 1
  return static_cast<double>(value);
}

// The limit that one group's folder sets.
std::optional<double> limit(const std::string& folder, bool version_2) {
  std::string quota, period;
  if (version_2) {
    std::ifstream(folder + "/cpu.max") >> quota >> period;
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  const std::optional<double> microseconds = number(quota), of = number(period);
  if (!microseconds || !of) return std::nullopt;
  return *microseconds / *of;
}

}  // namespace

std::optional<double> cpu_quota(const std::string& root) noexcept {
  try {
    std::optional<double> least;
    for (const Mount& mount : cpu_mounts(root)) {
      const std::optional<std::string> group = own_group(root, mount.version_2);
      if (!group) continue;
      std::optional<std::string> below = path_below(mount, *group);
      while (below) {
        const std::optional<double> here = limit(root + mount.point + *below, mount.version_2);
        if (here && (!least || *here < *least)) least = here;
        if (below->empty()) break;
        below->resize(below->rfind('/'));
      }
    }
    return least;
  } catch (const std::exception&) {
    return std::nullopt;  // out of memory: what comes next says so
  }
}
#else
std::optional<double> cpu_quota(const std::string&) noexcept { return std::nullopt; }
#endif

int threads_within(std::optional<double> quota, int processors) {
  if (!quota) return processors;
  return static_cast<int>(std::clamp(std::ceil(*quota), 1.0, static_cast<double>(processors)));
}

}  // namespace mtcnn_fast
