#include "mutation.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

namespace simt::mutation {
namespace {

// A line of a file that a variable of the environment names.
struct Dropped {
  const char* variable;
  std::string file = {};
  int line = 0;

  void read() {
    line = 0;
    const char* const site = std::getenv(variable);
    if (!site) return;
    const char* const colon = std::strrchr(site, ':');
    if (!colon || (line = std::atoi(colon + 1)) <= 0) {
      std::fprintf(stderr, "simt: %s is '%s', wanted FILE:LINE\n", variable, site);
      std::abort();
    }
    file.assign(site, colon);
  }
  bool is(Site site) const;
};
Dropped barrier = {"SIMT_DROP_BARRIER"}, atomic = {"SIMT_DROP_ATOMIC"}, wait = {"SIMT_DROP_WAIT"};

const char* name_of(const char* path) {
  const char* const slash = std::strrchr(path, '/');
  return slash ? slash + 1 : path;
}

bool Dropped::is(Site site) const { return site.line == line && file == name_of(site.file); }

// Written by the destructor: at the end of the process. Plain pointers, because blocks' threads add to it
// (sanitizers.h).
struct List {
  struct Met {
    Site site;
    const char* operation;
  };
  std::string path;
  Met all[1000];
  std::size_t count = 0;

  void add(const char* operation, Site site) {
    for (std::size_t i = count; i-- > 0;)
      if (all[i].site.line == site.line && std::strcmp(all[i].site.file, site.file) == 0) return;
    if (count == std::size(all)) stop(site, "more barriers, atomics and waits than the list has room for");
    all[count++] = {site, operation};
  }
  ~List() {
    if (path.empty()) return;
    std::FILE* const file = std::fopen(path.c_str(), "a");
    if (!file) return;
    for (std::size_t i = 0; i < count; ++i)
      std::fprintf(file, "%s:%d %s\n", name_of(all[i].site.file), all[i].site.line, all[i].operation);
    std::fclose(file);
  }
};
List list;

}  // namespace

void read_environment() {
  if (const char* const path = std::getenv("SIMT_LIST_SITES")) list.path = path;
  barrier.read();
  atomic.read();
  wait.read();
}

bool barrier_is_dropped(const char* operation, Site site) {
  if (!list.path.empty()) list.add(operation, site);
  return barrier.is(site);
}
bool atomic_is_dropped(const char* operation, Site site) {
  if (!list.path.empty()) list.add(operation, site);
  return atomic.is(site);
}
bool wait_is_dropped(const char* operation, Site site) {
  if (!list.path.empty()) list.add(operation, site);
  return wait.is(site);
}

}  // namespace simt::mutation
