#include "cpu/window_table.h"

#include <algorithm>

#include "cpu/reuse.h"

namespace mtcnn_fast {

void WindowTable::make(int source, int target, Filter filter) {
  reserve(source, target);
  windows.resize(target);
  weights.resize(static_cast<std::size_t>(target) * (source / target + 2));
  float* weight = weights.data();
  // Places are carried from output to output, because crops are many and divisions slow.
  AxisPlace at = axis_place(source, target, 0);
  const int step = source / target, part_step = source % target;
  const std::int64_t twice = std::int64_t{2} * target;
  for (int i = 0; i < target; ++i) {
    const AxisWindow window = axis_window(filter, source, target, i, at);
    windows[i] = {window.first, window.count, static_cast<std::int32_t>(weight - weights.data())};
    *weight++ = window.begin;
    if (window.count > 1) {
      weight = std::fill_n(weight, window.count - 2, window.middle);
      *weight++ = window.end;
    }
    at.pixel = at.next, at.part = at.next_part;
    at.next += step, at.next_part += part_step;
    if (at.next_part >= target) ++at.next, at.next_part -= target;
    at.between += std::int64_t{2} * source;
    while (filter == Filter::bilinear && at.between >= twice) ++at.below, at.between -= twice;
  }
  weights.resize(weight - weights.data());
}

void WindowTable::reserve(int source, int target) {
  const std::size_t taps = static_cast<std::size_t>(source) / target + 2, pitch = target + kColumnPad;
  make_room(windows, static_cast<std::size_t>(target));
  make_room(weights, taps * target);
  make_room(column_first_, pitch);
  make_room(column_weights_, taps * pitch);
}

std::size_t WindowTable::bytes() const {
  return windows.capacity() * sizeof(Window) + column_first_.capacity() * sizeof(std::int32_t) +
         (weights.capacity() + column_weights_.capacity()) * sizeof(float);
}

int WindowTable::taps() const {
  int taps = 1;
  for (const Window& window : windows) taps = std::max(taps, window.count);
  return taps;
}

Columns WindowTable::columns() {
  const int width = static_cast<int>(windows.size()), most = taps();
  const int pitch = (width + kColumnPad - 1) / kColumnPad * kColumnPad;
  column_first_.resize(pitch);
  column_weights_.assign(static_cast<std::size_t>(most) * pitch, 0);
  std::int32_t first = this->first();
  for (int x = 0; x < width; ++x) {
    // An empty window's first pixel says nothing.
    if (windows[x].count > 0) first = windows[x].first;
    column_first_[x] = first;
    const float* weight = weights.data() + windows[x].offset;
    float* out = column_weights_.data() + x;
    for (int t = 0; t < windows[x].count; ++t, out += pitch) *out = weight[t];
  }
  std::fill(column_first_.begin() + width, column_first_.end(), first);
  return {column_first_.data(), column_weights_.data(), pitch, most};
}

void WindowTable::place(int offset, int size) {
  for (Window& window : windows) {
    const int first = window.first + offset;
    const int before = std::min(std::max(-first, 0), window.count);
    const int beyond = std::min(std::max(first + window.count - size, 0), window.count - before);
    window = {first + before, window.count - before - beyond, window.offset + before};
    if (window.count == 0) window.first = 0;
  }
}

int WindowTable::first() const {
  int first = 0;
  bool any = false;
  for (const Window& window : windows) {
    if (window.count == 0) continue;
    first = any ? std::min(first, window.first) : window.first;
    any = true;
  }
  return first;
}

int WindowTable::end() const {
  int end = 0;
  for (const Window& window : windows)
    if (window.count > 0) end = std::max(end, window.first + window.count);
  return end;
}

}  // namespace mtcnn_fast
