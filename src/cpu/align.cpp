#include <mtcnn_fast/align.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <stdexcept>
#include <vector>

#include "align_checks.h"
#include "cpu/window_table.h"

namespace mtcnn_fast {
namespace {

constexpr int kChannels = 3;
constexpr double kTemplateSize = 112;
constexpr double kFarthest = 1 << 22;  // of a box's corners: a table of windows has an entry a pixel

// The ArcFace template (insightface), pixels of a 112 x 112 crop: eyes, nose, mouth corners.
constexpr std::array<Point, 5> kTemplate{
    {{38.2946f, 51.6963f}, {73.5318f, 51.5014f}, {56.0252f, 71.7366f}, {41.5493f, 92.3655f}, {70.7299f, 92.2041f}}};

void check(const ImageView& image, int size) {
  if (image.data == nullptr || image.width < 1 || image.height < 1) {
    throw std::invalid_argument("the image has no pixels");
  }
  check_crop_size(size);
}

// Reads pixels by the strides of a view, whose zeros stand for packed storage.
class Reader {
 public:
  explicit Reader(const ImageView& image)
      : data_(image.data),
        pixel_stride_(image.pixel_stride != 0 ? image.pixel_stride : channels(image.format)),
        row_stride_(image.stride != 0 ? image.stride : image.width * pixel_stride_),
        channel_stride_(image.format == PixelFormat::gray ? 0 : image.channel_stride) {}

  // The first of the three channels, which lie channel_stride() apart.
  const std::uint8_t* at(int x, int y) const { return data_ + y * row_stride_ + x * pixel_stride_; }
  std::ptrdiff_t channel_stride() const { return channel_stride_; }

 private:
  const std::uint8_t* data_;
  std::ptrdiff_t pixel_stride_, row_stride_, channel_stride_;
};

std::uint8_t round_to_byte(double value) { return static_cast<std::uint8_t>(std::lrint(std::clamp(value, 0., 255.))); }

}  // namespace

void align(const ImageView& image, const std::array<Point, 5>& landmarks, int size, std::uint8_t* out) {
  check(image, size);
  using Complex = std::complex<double>;
  const auto mean = [](const std::array<Point, 5>& points) {
    Complex sum = 0;
    for (const Point& p : points) sum += Complex(p.x, p.y);
    return sum / 5.;
  };
  for (const Point& p : landmarks) {
    if (!std::isfinite(p.x) || !std::isfinite(p.y)) throw std::invalid_argument("a landmark is not finite");
  }
  // In complex numbers a similarity without reflection is z -> a * z + b, and its least squares are one division.
  // The inverse, from the crop to the image, is what the warp needs.
  const Complex from = mean(landmarks), to = mean(kTemplate);
  Complex product = 0;
  double spread = 0;
  for (int i = 0; i < 5; ++i) {
    const Complex z = Complex(landmarks[i].x, landmarks[i].y) - from;
    product += std::conj(z) * (Complex(kTemplate[i].x, kTemplate[i].y) - to);
    spread += std::norm(z);
  }
  const Complex inverse = spread / product;
  if (!(spread > 0) || !std::isfinite(inverse.real()) || !std::isfinite(inverse.imag())) {
    throw std::invalid_argument("the landmarks lie in one point or mirror a face: no similarity maps them to a face");
  }

  const Reader reader(image);
  const double unit = kTemplateSize / size;
  for (int v = 0; v < size; ++v) {
    for (int u = 0; u < size; ++u, out += kChannels) {
      const Complex position = inverse * (Complex(u * unit, v * unit) - to) + from;
      std::fill(out, out + kChannels, std::uint8_t{0});
      // Written so that a position beyond every integer, or not a number, is outside as well.
      if (!(position.real() > -1 && position.real() < image.width && position.imag() > -1 &&
            position.imag() < image.height)) {
        continue;
      }
      const int x = static_cast<int>(std::floor(position.real())), y = static_cast<int>(std::floor(position.imag()));
      const double dx = position.real() - x, dy = position.imag() - y;
      double sum[kChannels] = {};
      for (int row = std::max(y, 0); row <= std::min(y + 1, image.height - 1); ++row) {
        for (int column = std::max(x, 0); column <= std::min(x + 1, image.width - 1); ++column) {
          const double weight = (row == y ? 1 - dy : dy) * (column == x ? 1 - dx : dx);
          const std::uint8_t* pixel = reader.at(column, row);
          for (int c = 0; c < kChannels; ++c) sum[c] += weight * pixel[c * reader.channel_stride()];
        }
      }
      for (int c = 0; c < kChannels; ++c) out[c] = round_to_byte(sum[c]);
    }
  }
}

void crop(const ImageView& image, const Box& box, int size, double margin, std::uint8_t* out) {
  check(image, size);
  check_margin(margin);
  const double dx = margin * (double(box.x2) - box.x1), dy = margin * (double(box.y2) - box.y1);
  const double x1 = std::nearbyint(box.x1 - dx), x2 = std::nearbyint(box.x2 + dx);
  const double y1 = std::nearbyint(box.y1 - dy), y2 = std::nearbyint(box.y2 + dy);
  // What is not a number fails every comparison.
  if (!(x1 >= -kFarthest && x2 <= kFarthest && y1 >= -kFarthest && y2 <= kFarthest)) {
    throw std::invalid_argument("the box, with its margin, is not finite or too large");
  }
  if (!(x1 < x2 && y1 < y2)) throw std::invalid_argument("the box, with its margin, is empty");

  const int width = int(x2 - x1), height = int(y2 - y1);
  const Filter filter = resize_filter(Resampling::area_or_bilinear, height, width, size, size);
  WindowTable columns, rows;
  columns.make(width, size, filter);
  columns.place(int(x1), image.width);
  rows.make(height, size, filter);
  rows.place(int(y1), image.height);

  const Reader reader(image);
  std::vector<float> sums(std::size_t(size) * kChannels);
  for (const Taps& row : rows.taps) {
    std::fill(sums.begin(), sums.end(), 0.f);
    for (int j = 0; j < row.count; ++j) {
      float* sum = sums.data();
      for (const Taps& column : columns.taps) {
        for (int i = 0; i < column.count; ++i) {
          const float weight = rows.weights[row.offset + j] * columns.weights[column.offset + i];
          const std::uint8_t* pixel = reader.at(column.first + i, row.first + j);
          for (int c = 0; c < kChannels; ++c) sum[c] += weight * pixel[c * reader.channel_stride()];
        }
        sum += kChannels;
      }
    }
    for (const float sum : sums) *out++ = round_to_byte(sum);
  }
}

}  // namespace mtcnn_fast
