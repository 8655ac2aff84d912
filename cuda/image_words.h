// Interleaved pixels read as words of four bytes, and what the rows of their columns sum up to: the first half of a
// resize (resize.cu).
#pragma once

#include "work.h"

namespace mtcnn_fast::cuda {

// In shared memory. Aligned so that it is read by two loads and not by five.
struct alignas(16) Window : AxisWindow {};

// Of words: where the pixels of a task's columns begin in each row, and how many words they are.
struct Words {
  const std::uint8_t* first;  // in the image's row 0; the first column's lowest byte is `lead` bytes further
  int stride, lead, count;
  int first_column;
  bool aligned;   // every row begins at a whole word
  bool reversed;  // channels stand as blue, green, red
};

// Of the outputs with windows rows[0 .. height - 1] and columns[0 .. width - 1]. None where pixels are not three bytes
// side by side, where a row has more than `most` words, and where a word would begin or end outside the image.
__device__ inline Words words_of(const Image& image, const Window* rows, const Window* columns, int height, int width,
                                 int most) {
  if (image.pixel != 3 || (image.channel != 1 && image.channel != -1)) return {};
  Words words;
  words.stride = static_cast<int>(image.stride);
  if (words.stride != image.stride) return {};
  words.reversed = image.channel < 0;
  words.aligned = image.stride % 4 == 0;
  words.first_column = columns[0].first;
  const int bytes = 3 * (columns[width - 1].first + columns[width - 1].count - words.first_column);
  const std::uint8_t* const low = image.data - (words.reversed ? 2 : 0);
  const std::uint8_t* const first = low + 3 * words.first_column;
  words.lead = words.aligned ? static_cast<int>(reinterpret_cast<std::uintptr_t>(first) % 4) : 0;
  words.first = first - words.lead;
  words.count = (words.lead + bytes + 3) / 4;
  // In memory, rows may go either way.
  const int top = rows[0].first, bottom = rows[height - 1].first + rows[height - 1].count - 1;
  const std::int64_t before = min(top * image.stride, bottom * image.stride);
  const std::int64_t behind = max(top * image.stride, bottom * image.stride);
  const std::int64_t last = (image.height - 1) * image.stride;
  const int beyond = words.aligned ? 0 : 4;  // a row that begins within a word takes parts of one more
  const bool inside =
      words.first + before - beyond >= low + min(last, std::int64_t{0}) &&
      words.first + behind + 4 * words.count + beyond <= low + max(last, std::int64_t{0}) + 3 * image.width;
  if (bytes <= 0 || bottom < top || words.count > most || !inside) words.count = 0;
  return words;
}

template <bool kAligned>
__device__ unsigned word_at(const std::uint8_t* address) {
  if constexpr (kAligned) return __ldg(reinterpret_cast<const unsigned*>(address));
  const int part = static_cast<int>(reinterpret_cast<std::uintptr_t>(address) % 4);
  const unsigned* const words = reinterpret_cast<const unsigned*>(address - part);
  return __funnelshift_r(__ldg(words), __ldg(words + 1), 8 * part);
}
__device__ inline float byte_of(unsigned word, int i) { return static_cast<float>(word >> 8 * i & 255); }

// What the rows of columns sum up to, of `height` rows of outputs: four sums a word.
template <bool kAligned>
__device__ void sum_rows(const Words& words, const Window* rows, int height, float* sums) {
  const int threads = static_cast<int>(blockDim.x), rows_on = threads / words.count;
  int row = static_cast<int>(threadIdx.x) / words.count, k = static_cast<int>(threadIdx.x) % words.count;
  for (int item = static_cast<int>(threadIdx.x); item < height * words.count; item += threads) {
    const Window y = rows[row];
    const std::uint8_t* at = words.first + std::int64_t{y.first} * words.stride + 4 * k;
    row += rows_on, k += threads - rows_on * words.count;
    if (k >= words.count) k -= words.count, ++row;
    if (y.count == 0) continue;
    // Loads that do not wait for one another. Those that are not needed give 0.
    const unsigned begin = word_at<kAligned>(at);
    const unsigned end = y.count > 1 ? word_at<kAligned>(at + std::int64_t{y.count - 1} * words.stride) : 0;
    unsigned middle[4] = {};
    const auto add = [&](unsigned word) {
      for (int i = 0; i < 4; ++i) middle[i] = __dp4a(word, 1u << 8 * i, middle[i]);
    };
    const unsigned second = y.count > 2 ? word_at<kAligned>(at + words.stride) : 0;
    const unsigned third = y.count > 3 ? word_at<kAligned>(at + std::int64_t{2} * words.stride) : 0;
    add(second), add(third);
#pragma unroll 1
    for (int left = y.count - 4; left > 0; left -= 4) {
      at += std::int64_t{4} * words.stride;
      unsigned word[4];
      for (int i = 0; i < 4; ++i) word[i] = i < left ? word_at<kAligned>(at + std::int64_t{i - 1} * words.stride) : 0;
      for (int i = 0; i < 4; ++i) add(word[i]);
    }
    float sum[4];
    for (int i = 0; i < 4; ++i) {
      sum[i] = fmaf(y.middle, static_cast<float>(middle[i]), y.begin * byte_of(begin, i));
      if (y.count > 1) sum[i] = fmaf(y.end, byte_of(end, i), sum[i]);
    }
    reinterpret_cast<float4*>(sums)[item] = make_float4(sum[0], sum[1], sum[2], sum[3]);
  }
}

}  // namespace mtcnn_fast::cuda
