// Any view of an image as the packed rows of 3 or 4 channels that the kernels read.
#pragma once

#include <cstdint>
#include <memory>

#include <mtcnn_fast/types.h>

#include "cpu/kernels/kernels.h"

namespace mtcnn_fast {

// Rows in any order and distance, RGB, BGR and what has a fourth channel are read where they lie. Gray, mirrored and
// transposed images are copied, once, to three channels, in memory that the next image uses again.
class SourceImage {
 public:
  // Whether read() copies it.
  static bool is_copied(const ImageView& image) {
    const std::ptrdiff_t pixel = pixel_stride(image);
    const bool packed = (pixel == 3 || pixel == 4) && (image.channel_stride == 1 || image.channel_stride == -1);
    return !packed || image.format == PixelFormat::gray;
  }

  void read(const ImageView& image) {
    const std::ptrdiff_t pixel = pixel_stride(image);
    const std::ptrdiff_t stride = image.stride ? image.stride : pixel * image.width;
    const bool reversed = image.channel_stride == -1;
    const bool bgr = image.format == PixelFormat::bgr || image.format == PixelFormat::bgra;
    if (!is_copied(image)) {
      source =
          describe(reversed ? image.data - 2 : image.data, image, stride, static_cast<int>(pixel), bgr != reversed);
      return;
    }
    const std::ptrdiff_t channel = image.format == PixelFormat::gray ? 0 : image.channel_stride;
    const std::ptrdiff_t packed_stride = std::ptrdiff_t{3} * image.width;
    const std::size_t bytes = static_cast<std::size_t>(packed_stride) * image.height;
    if (bytes > bytes_) {
      copy_.reset(new std::uint8_t[bytes]);
      bytes_ = bytes;
    }
    std::uint8_t* out = copy_.get();
    for (int y = 0; y < image.height; ++y) {
      const std::uint8_t* in = image.data + y * stride;
      for (int x = 0; x < image.width; ++x, in += pixel, out += 3) {
        out[0] = in[0];
        out[1] = in[channel];
        out[2] = in[2 * channel];
      }
    }
    source = describe(copy_.get(), image, packed_stride, 3, bgr);
  }

  Source source;
  std::size_t bytes() const { return bytes_; }

 private:
  static std::ptrdiff_t pixel_stride(const ImageView& image) {
    return image.pixel_stride ? image.pixel_stride : channels(image.format);
  }

  static Source describe(const std::uint8_t* data, const ImageView& image, std::ptrdiff_t stride, int pixel, bool bgr) {
    // Of the last pixel only three bytes are sure to be there: a view of three of four channels ends before the fourth.
    const std::uint8_t* last_row = stride > 0 ? data + (image.height - 1) * stride : data;
    return {data, last_row + std::ptrdiff_t{pixel} * (image.width - 1) + 3, stride, pixel, bgr};
  }

  std::unique_ptr<std::uint8_t[]> copy_;
  std::size_t bytes_ = 0;
};

}  // namespace mtcnn_fast
