// The whole test framework: TEST registers, CHECK counts, main (main.cpp) runs the groups named on its command line.
#pragma once

#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace check {

struct Test {
  std::string group, name;
  std::function<void()> run;
};
inline std::vector<Test> tests;
inline int failures = 0;
inline std::string context;  // what a loop is at, such as the instruction set: printed with a failure

struct Registration {
  Registration(const char* group, const char* name, void (*run)()) { tests.push_back({group, name, run}); }
};

inline void fail(const char* file, int line, const std::string& what) {
  ++failures;
  std::fprintf(stderr, "%s:%d: %s [%s]\n", file, line, what.c_str(), context.c_str());
}

template <class Exception>
void throws(const char* file, int line, const char* code, const std::string& text, const std::function<void()>& run) {
  try {
    run();
  } catch (const Exception& error) {
    if (std::string(error.what()).find(text) == std::string::npos)
      fail(file, line, std::string(code) + " says \"" + error.what() + "\", which lacks \"" + text + "\"");
    return;
  }
  fail(file, line, std::string(code) + " throws nothing");
}

// Returns the greatest difference, so that a test can say how near its tolerance it came. NaN counts as infinite.
template <class Actual, class Expected>
double near(const char* file, int line, const Actual& actual, const Expected& expected, double tolerance) {
  if (actual.size() != expected.size()) {
    fail(file, line, std::to_string(actual.size()) + " values, not " + std::to_string(expected.size()));
    return INFINITY;
  }
  double worst = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(double(actual[i]) - double(expected[i]));
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
    if (difference <= tolerance) continue;
    fail(file, line,
         "at " + std::to_string(i) + ": " + std::to_string(actual[i]) + ", not " + std::to_string(expected[i]) +
             " (off by " + std::to_string(difference) + ")");
    break;
  }
  return worst;
}

}  // namespace check

#define TEST(group, name)                                                                      \
  static void group##_##name();                                                                \
  static const check::Registration registered_##group##_##name(#group, #name, group##_##name); \
  static void group##_##name()
#define CHECK(condition) ((condition) ? (void)0 : check::fail(__FILE__, __LINE__, #condition))
#define CHECK_NEAR(actual, expected, tolerance) check::near(__FILE__, __LINE__, actual, expected, tolerance)
#define CHECK_THROWS(Exception, text, code) check::throws<Exception>(__FILE__, __LINE__, #code, text, [&] { code; })
