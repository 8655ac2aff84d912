#include "mutation.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

namespace simt::mutation {
namespace {

std::string dropped_file;
int dropped_line = 0;

const char* name_of(const char* path) {
  const char* const slash = std::strrchr(path, '/');
  return slash ? slash + 1 : path;
}

// Written by the destructor: at the end of the process. Plain pointers, because blocks' threads add to it
// (sanitizers.h).
struct List {
  struct Barrier {
    Site site;
    const char* operation;
  };
  std::string path;
  Barrier barriers[1000];
  std::size_t count = 0;

  void add(const char* operation, Site site) {
    for (std::size_t i = count; i-- > 0;)
      if (barriers[i].site.line == site.line && std::strcmp(barriers[i].site.file, site.file) == 0) return;
    if (count == std::size(barriers)) stop(site, "more barriers than the list has room for");
    barriers[count++] = {site, operation};
  }
  ~List() {
    if (path.empty()) return;
    std::FILE* const file = std::fopen(path.c_str(), "a");
    if (!file) return;
    for (std::size_t i = 0; i < count; ++i)
      std::fprintf(file, "%s:%d %s\n", name_of(barriers[i].site.file), barriers[i].site.line, barriers[i].operation);
    std::fclose(file);
  }
};
List list;

}  // namespace

void read_environment() {
  if (const char* const path = std::getenv("SIMT_LIST_BARRIERS")) list.path = path;
  dropped_line = 0;
  const char* const site = std::getenv("SIMT_DROP_BARRIER");
  if (!site) return;
  const char* const colon = std::strrchr(site, ':');
  if (!colon || (dropped_line = std::atoi(colon + 1)) <= 0) {
    std::fprintf(stderr, "simt: SIMT_DROP_BARRIER is '%s', wanted FILE:LINE\n", site);
    std::abort();
  }
  dropped_file.assign(site, colon);
}

bool dropped(const char* operation, Site site) {
  if (!list.path.empty()) list.add(operation, site);
  return site.line == dropped_line && dropped_file == name_of(site.file);
}

}  // namespace simt::mutation
