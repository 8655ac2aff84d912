// The CPU quota of control groups, read from file systems made up of a few files.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "check.h"
#include "cpu_quota.h"

using mtcnn_fast::cpu_quota;
using mtcnn_fast::threads_within;

#if defined(__linux__)
namespace {

// A folder that stands for /, with these files in it.
class Tree {
 public:
  explicit Tree(const std::map<std::string, std::string>& files) {
    std::string pattern = (std::filesystem::temp_directory_path() / "mtcnn_fast_XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    for (const auto& [name, text] : files) {
      const std::filesystem::path path = root_ + "/" + name;
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path) << text;
    }
  }
  ~Tree() { std::filesystem::remove_all(root_); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  const std::string& root() const { return root_; }

 private:
  std::string root_;
};

std::optional<double> quota_of(const std::map<std::string, std::string>& files) {
  return cpu_quota(Tree(files).root());
}

const std::string kGroups = "proc/self/cgroup", kMounts = "proc/self/mountinfo";
const std::string kOther = "21 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n";
const std::string kVersion2 = kOther + "32 21 0:28 / /sys/fs/cgroup rw,nosuid shared:9 master:2 - cgroup2 cgroup2 rw\n";
const std::string kVersion1 = kOther + "34 33 0:30 / /sys/fs/cgroup/cpuset rw shared:10 - cgroup cgroup rw,cpuset\n" +
                              "35 33 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n";

}  // namespace

TEST(quota, of_version_2) {
  const auto with = [](const std::string& group, const std::map<std::string, std::string>& limits) {
    std::map<std::string, std::string> files = {{kGroups, "0::" + group + "\n"}, {kMounts, kVersion2}};
    for (const auto& [folder, text] : limits) files["sys/fs/cgroup/" + folder + "cpu.max"] = text;
    return quota_of(files);
  };
  check::context = "a container with a namespace";
  CHECK(with("/", {{"", "150000 100000\n"}}) == 1.5);
  check::context = "no limit";
  CHECK(!with("/", {{"", "max 100000\n"}}));
  CHECK(!with("/a/b", {{"", "max 100000\n"}, {"a/", "max 100000\n"}, {"a/b/", "max 50000\n"}}));
  check::context = "nested";
  CHECK(with("/a/b", {{"a/", "200000 100000\n"}, {"a/b/", "max 100000\n"}}) == 2.0);
  CHECK(with("/a/b", {{"a/", "400000 100000\n"}, {"a/b/", "30000 20000\n"}}) == 1.5);
  CHECK(with("/a/b", {{"a/", "50000 100000\n"}, {"a/b/", "300000 100000\n"}}) == 0.5);
  check::context = "another group";
  CHECK(!with("/a/b", {{"a/c/", "200000 100000\n"}, {"ab/", "200000 100000\n"}}));
  check::context = "outside the namespace";
  CHECK(!with("/../a", {{"", "200000 100000\n"}}));
}

TEST(quota, of_version_1) {
  const auto with = [](const std::string& mounts, const std::string& group, const std::string& folder,
                       const std::string& quota, const std::string& period = "100000\n") {
    const std::string path = "sys/fs/cgroup/cpu,cpuacct" + folder;
    return quota_of({{kGroups, "12:cpuset:/elsewhere\n4:cpu,cpuacct:" + group + "\n"},
                     {kMounts, mounts},
                     {path + "/cpu.cfs_quota_us", quota},
                     {path + "/cpu.cfs_period_us", period}});
  };
  check::context = "a path of the host";
  CHECK(with(kVersion1, "/system.slice/a.service", "/system.slice/a.service", "250000\n") == 2.5);
  CHECK(with(kVersion1, "/system.slice/a.service", "/system.slice", "250000\n") == 2.5);
  CHECK(with(kVersion1, "/", "", "80000\n", "20000\n") == 4.0);
  check::context = "no limit";
  CHECK(!with(kVersion1, "/a", "/a", "-1\n"));
  check::context = "a container, whose group is the mount's root";
  std::string container = kVersion1;
  for (std::size_t at; (at = container.find(" / /sys/fs")) != std::string::npos;)
    container.replace(at + 1, 1, "/docker/0123abcd");
  CHECK(with(container, "/docker/0123abcd", "", "300000\n") == 3.0);
  CHECK(with(container, "/docker/0123abcd/inner", "/inner", "300000\n") == 3.0);
  CHECK(!with(container, "/docker/0123abcdef", "", "300000\n"));
  CHECK(!with(container, "/docker", "", "300000\n"));
  check::context = "a group with a blank";
  const std::string blank = "35 33 0:31 /my\\040group /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
  CHECK(with(blank, "/my group", "", "300000\n") == 3.0);
}

TEST(quota, of_a_hybrid_system) {
  const std::string mounts = kVersion1 + "36 33 0:41 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
  std::map<std::string, std::string> files = {{kGroups, "4:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/b\n"},
                                              {kMounts, mounts},
                                              {"sys/fs/cgroup/unified/b/cgroup.procs", "1\n"},
                                              {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n"},
                                              {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}};
  CHECK(quota_of(files) == 2.0);
  files["sys/fs/cgroup/unified/b/cpu.max"] = "100000 100000\n";
  CHECK(quota_of(files) == 1.0);
}

TEST(quota, none_where_files_are_missing_or_malformed) {
  CHECK(!quota_of({}));
  CHECK(!cpu_quota("/proc/self/no such folder"));
  CHECK(!quota_of({{kGroups, "0::/\n"}}));
  CHECK(!quota_of({{kMounts, kVersion2}, {"sys/fs/cgroup/cpu.max", "100000 100000\n"}}));
  CHECK(!quota_of({{kGroups, "0::/\n"}, {kMounts, kVersion2}}));
  for (const char* text : {"", "\n", "100000", "100000 0", "0 100000", "-1 100000", "100000 -100000", "1e5 100000",
                           "100000x 100000", "100000 100000x", "nan inf", "99999999999999999999 100000", "max"}) {
    check::context = text;
    CHECK(!quota_of({{kGroups, "0::/\n"}, {kMounts, kVersion2}, {"sys/fs/cgroup/cpu.max", text}}));
    CHECK(!quota_of(
        {{kGroups, "4:cpu:/\n"}, {kMounts, kVersion1}, {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", text}}));
  }
  const std::string limit = "100000 100000\n";
  for (const char* groups : {"", "\n", "0", "0:", "0::", ":::", "0:cpu", "no colon"}) {
    check::context = groups;
    const auto found = quota_of({{kGroups, groups}, {kMounts, kVersion2}, {"sys/fs/cgroup/cpu.max", limit}});
    CHECK(!found || groups == std::string("0::"));
  }
  for (const char* mounts : {"\n", " - ", "cgroup2", "1 2 3 - cgroup2", " - cgroup2 cgroup2 rw",
                             "32 21 0:28 / - cgroup2", "32 21 0:28 \\ \\04 rw - cgroup2 cgroup2 rw"}) {
    check::context = mounts;
    CHECK(!quota_of({{kGroups, "0::/\n"}, {kMounts, mounts}, {"sys/fs/cgroup/cpu.max", limit}}));
  }
}
#endif

TEST(quota, threads_are_rounded_up) {
  CHECK(threads_within(std::nullopt, 8) == 8);
  CHECK(threads_within(2.0, 8) == 2);
  CHECK(threads_within(1.5, 8) == 2);
  CHECK(threads_within(0.1, 8) == 1);
  CHECK(threads_within(64.0, 8) == 8);
  CHECK(threads_within(1e300, 8) == 8);
  CHECK(threads_within(0.5, 1) == 1);
}
