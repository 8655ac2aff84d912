#include "align_checks.h"

#include <sstream>
#include <stdexcept>
#include <string>

namespace mtcnn_fast {
namespace {

constexpr int kLargestSize = 1 << 14;
constexpr std::int64_t kMostBytes = std::int64_t{1} << 34;

}  // namespace

void check_crop_size(int size) {
  if (size < 1 || size > kLargestSize)
    throw std::invalid_argument("size is " + std::to_string(size) + "; it must be at least 1 and at most " +
                                std::to_string(kLargestSize));
}

void check_cuts(std::int64_t n, int size) {
  check_crop_size(size);
  if (n > kMostBytes / (std::int64_t{size} * size * 3))
    throw std::invalid_argument("size is " + std::to_string(size) + ", of " + std::to_string(n) +
                                " faces: the cuts would take more than 16 GiB; fewer faces at a time are wanted");
}

void check_margin(double margin) {
  if (margin > -0.5 && margin <= 2) return;
  std::ostringstream message;
  message << "margin is " << margin << "; it must be above -0.5 and at most 2: a share of the box's width and height "
          << "on each side, such as 0.14 for 14 %, not pixels";
  throw std::invalid_argument(message.str());
}

}  // namespace mtcnn_fast
