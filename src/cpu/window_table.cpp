#include "cpu/window_table.h"

#include <algorithm>

#include "cpu/reuse.h"

namespace mtcnn_fast {

void WindowTable::make(int source, int target, Filter filter) {
  reserve(source, target);
  taps.resize(target);
  weights.resize(static_cast<std::size_t>(target) * (source / target + 2));
  float* weight = weights.data();
  // Places are carried from output to output, because crops are many and divisions slow.
  AxisPlace at = axis_place(source, target, 0);
  const int step = source / target, part_step = source % target;
  const std::int64_t twice = std::int64_t{2} * target;
  for (int i = 0; i < target; ++i) {
    const AxisWindow window = axis_window(filter, source, target, i, at);
    taps[i] = {window.first, window.count, static_cast<std::int32_t>(weight - weights.data())};
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
  const std::size_t most = static_cast<std::size_t>(source) / target + 2, pitch = target + kColumnPad;
  make_room(taps, static_cast<std::size_t>(target));
  make_room(weights, most * target);
  make_room(column_first_, pitch);
  make_room(column_weights_, most * pitch);
}

std::size_t WindowTable::bytes() const {
  return taps.capacity() * sizeof(Taps) + column_first_.capacity() * sizeof(std::int32_t) +
         (weights.capacity() + column_weights_.capacity()) * sizeof(float);
}

int WindowTable::most_taps() const {
  int most = 1;
  for (const Taps& one : taps) most = std::max(most, one.count);
  return most;
}

Columns WindowTable::columns() {
  const int width = static_cast<int>(taps.size()), most = most_taps();
  const int pitch = (width + kColumnPad - 1) / kColumnPad * kColumnPad;
  column_first_.resize(pitch);
  column_weights_.assign(static_cast<std::size_t>(most) * pitch, 0);
  std::int32_t first = this->first();
  for (int x = 0; x < width; ++x) {
    // Without taps, `first` says nothing.
    if (taps[x].count > 0) first = taps[x].first;
    column_first_[x] = first;
    const float* weight = weights.data() + taps[x].offset;
    float* out = column_weights_.data() + x;
    for (int t = 0; t < taps[x].count; ++t, out += pitch) *out = weight[t];
  }
  std::fill(column_first_.begin() + width, column_first_.end(), first);
  return {column_first_.data(), column_weights_.data(), pitch, most};
}

void WindowTable::place(int offset, int size) {
  for (Taps& one : taps) {
    const int first = one.first + offset;
    const int before = std::min(std::max(-first, 0), one.count);
    const int beyond = std::min(std::max(first + one.count - size, 0), one.count - before);
    one = {first + before, one.count - before - beyond, one.offset + before};
    if (one.count == 0) one.first = 0;
  }
}

int WindowTable::first() const {
  int first = 0;
  bool any = false;
  for (const Taps& one : taps) {
    if (one.count == 0) continue;
    first = any ? std::min(first, one.first) : one.first;
    any = true;
  }
  return first;
}

int WindowTable::end() const {
  int end = 0;
  for (const Taps& one : taps)
    if (one.count > 0) end = std::max(end, one.first + one.count);
  return end;
}

}  // namespace mtcnn_fast
