// What goes into a detector and what comes out of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mtcnn_fast {

// Order of the 8-bit channels of one pixel. `gray` has one channel, which stands for all three; alpha is ignored.
enum class PixelFormat { rgb, bgr, rgba, bgra, gray };

// Bytes of one pixel in a packed image of that format.
constexpr int channels(PixelFormat format) {
  return format == PixelFormat::gray ? 1 : format == PixelFormat::rgba || format == PixelFormat::bgra ? 4 : 3;
}

// Where an image's pixels lie: in the host's memory, or in that of the detector's GPU.
enum class Memory { host, device };

// A view of an image in the caller's memory; nothing is owned or copied. Strides are in bytes and may be negative
// (`data` is then still the address of the pixel in row 0, column 0).
struct ImageView {
  const std::uint8_t* data = nullptr;
  int width = 0;
  int height = 0;
  std::ptrdiff_t stride = 0;  // from one row to the next; 0: rows are packed
  PixelFormat format = PixelFormat::rgb;
  std::ptrdiff_t pixel_stride = 0;  // from one pixel to the next in a row; 0: channels(format)
  std::ptrdiff_t channel_stride = 1;
  Memory memory = Memory::host;
};

// Corners in pixels of the image; x grows to the right, y downwards.
struct Box {
  float x1, y1, x2, y2;
};

struct Point {
  float x, y;
};

struct Detection {
  // In the reference profile 0-based and half-open: a box over the whole image is 0, 0, width, height.
  Box box;
  float score;  // probability of a face, in [0, 1]
  // Left eye, right eye, nose, left and right mouth corner, left and right as seen in the image; 0-based.
  std::array<Point, 5> landmarks;
};

// A dense row-major float32 array, such as one entry of a weight file.
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<float> data;
};
using Tensors = std::map<std::string, Tensor>;

// What a detector did with one image.
struct Inspection {
  struct Level {
    double scale;             // level size over image size
    int height, width;        // of the level, pixels
    std::int64_t windows;     // that P-Net looked at
    std::int64_t candidates;  // of them, with a probability at or above thresholds[0]
    std::int64_t after_nms;   // of those, left by the suppression within the level
  };
  std::vector<Level> levels;
  std::int64_t candidates = 0;  // P-Net candidates at or above thresholds[0], all levels
  std::int64_t rnet = 0;        // crops that R-Net looked at
  std::int64_t onet = 0;        // crops that O-Net looked at
  std::int64_t faces = 0;
  // What each network computed in float32: everything, what a screen in bf16 or fp16 left, or, where
  // Detector::precision() is not "fp32", nothing.
  std::int64_t confirmed_windows = 0, confirmed_rnet = 0, confirmed_onet = 0;
  // Wall time. P-Net includes the resizing of the levels and R-Net and O-Net that of their crops: they are fused.
  double pnet_ms = 0, nms_ms = 0, rnet_ms = 0, onet_ms = 0, total_ms = 0;
};

}  // namespace mtcnn_fast
