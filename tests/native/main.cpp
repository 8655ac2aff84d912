// native_tests [GROUP[.TEST]...]: runs the tests of those groups, those tests, or all.
#include <algorithm>
#include <chrono>

#include "check.h"

int main(int argc, char** argv) {
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  int ran = 0;
  for (const check::Test& test : check::tests) {
    const auto is_named = [&](const std::string& name) {
      return name == test.group || name == test.group + "." + test.name;
    };
    if (!wanted.empty() && std::none_of(wanted.begin(), wanted.end(), is_named)) continue;
    const auto start = std::chrono::steady_clock::now();
    const int before = check::failures;
    check::context = "";
    test.run();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%-4s %s: %s (%.2f s)\n", check::failures == before ? "ok" : "FAIL", test.group.c_str(),
                test.name.c_str(), seconds.count());
    std::fflush(stdout);
    ++ran;
  }
  std::printf("%d tests, %d failures\n", ran, check::failures);
  return ran == 0 || check::failures != 0;
}
