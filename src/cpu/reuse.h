// Lists that keep their memory from one image to the next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace mtcnn_fast {

// Grows by half at least: counts that creep up from image to image must not allocate each time.
template <class T>
void make_room(std::vector<T>& list, std::size_t count) {
  if (list.capacity() < count) list.reserve(std::max(count, list.capacity() * 3 / 2));
}

// A list whose elements outlive clear() with the memory that they hold; add() hands out an old one as it was left.
template <class T>
class Recycled {
 public:
  void clear() { size_ = 0; }
  T& add() {
    if (size_ == items_.size()) items_.emplace_back();
    return items_[size_++];
  }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return items_[i]; }
  const T& operator[](std::size_t i) const { return items_[i]; }
  T* begin() { return items_.data(); }
  T* end() { return items_.data() + size_; }
  const T* begin() const { return items_.data(); }
  const T* end() const { return items_.data() + size_; }
  // What is in use and what is not: all that takes memory.
  const std::vector<T>& items() const { return items_; }

 private:
  std::vector<T> items_;
  std::size_t size_ = 0;
};

}  // namespace mtcnn_fast
