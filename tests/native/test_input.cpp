// Image views of every kind, and options and weights that must be refused.
#include <limits>

#include <mtcnn_fast/align.h>

#include "backend.h"
#include "common.h"
#include "weights.h"

using mtcnn_fast::Detector;
using mtcnn_fast::ImageView;
using mtcnn_fast::Options;
using mtcnn_fast::PixelFormat;

TEST(input, strides_do_not_matter) {
  const Picture picture(45, 37, 1);
  const int w = picture.width, h = picture.height;
  struct Layout {
    const char* name;
    std::ptrdiff_t stride, pixel_stride, channel_stride;
    PixelFormat format = PixelFormat::rgb;
  };
  const Layout layouts[] = {
      {"padded rows", 3 * w + 17, 3, 1},
      {"bottom up", -3 * w, 3, 1},
      {"mirrored", 3 * w, -3, 1},
      {"turned by 180 degrees", -3 * w, -3, 1},
      {"channels backwards", 3 * w, 3, -1},
      {"bgr", 3 * w, 3, 1, PixelFormat::bgr},
      {"rgba", 4 * w, 4, 1, PixelFormat::rgba},
      {"bgra", 4 * w, 4, 1, PixelFormat::bgra},
      {"rgba, bottom up", -4 * w, 4, 1, PixelFormat::rgba},
      {"planar", w, 1, w * h},
      {"planar, backwards", w, 1, -w * h},
      {"row-planar", 3 * w, 1, w},
      {"transposed", 3, 3 * h, 1},
      {"transposed, bottom up", -3, 3 * h, 1},
      {"every other pixel", 12 * w, 6, 1},
      {"one of four bytes", 12 * w, 12, 4},
  };
  for_each_isa([&] {
    const std::string isa = check::context;
    const Detector detector(lenient());
    const auto expected = detector.detect(picture.view());
    CHECK(!expected.empty());
    for (const Layout& layout : layouts) {
      check::context = isa + ", " + layout.name;
      const bool bgr = layout.format == PixelFormat::bgr || layout.format == PixelFormat::bgra;
      const auto address = [&](int y, int x, int c) {
        return y * layout.stride + x * layout.pixel_stride + (bgr ? 2 - c : c) * layout.channel_stride;
      };
      std::ptrdiff_t low = 0, high = 0;  // the first and last byte, as seen from pixel 0, 0
      for (const int y : {0, h - 1})
        for (const int x : {0, w - 1})
          for (const int c : {0, 1, 2}) {
            low = std::min(low, address(y, x, c));
            high = std::max(high, address(y, x, c));
          }
      // Alpha may be read. Apart from that the buffer ends with the picture, so that ASan sees any step beyond it.
      if (mtcnn_fast::channels(layout.format) == 4) ++high;
      std::vector<std::uint8_t> memory(high - low + 1, 0xA5);
      for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x)
          for (int c = 0; c < 3; ++c) memory[address(y, x, c) - low] = picture.pixels[(y * w + x) * 3 + c];
      const auto found = detector.detect({.data = memory.data() - low,
                                          .width = w,
                                          .height = h,
                                          .stride = layout.stride,
                                          .format = layout.format,
                                          .pixel_stride = layout.pixel_stride,
                                          .channel_stride = layout.channel_stride});
      CHECK(same(found, expected));
    }
  });
}

TEST(input, gray_is_three_equal_channels) {
  Picture picture(50, 40, 2);
  std::vector<std::uint8_t> gray;
  for (std::size_t i = 0; i < picture.pixels.size(); i += 3) {
    gray.push_back(picture.pixels[i]);
    picture.pixels[i + 1] = picture.pixels[i + 2] = picture.pixels[i];
  }
  for_each_isa([&] {
    const Detector detector(lenient());
    const auto expected = detector.detect(picture.view());
    CHECK(!expected.empty());
    CHECK(
        same(detector.detect({.data = gray.data(), .width = 50, .height = 40, .format = PixelFormat::gray}), expected));
    std::vector<std::uint8_t> transposed(gray.size());
    for (int y = 0; y < 40; ++y)
      for (int x = 0; x < 50; ++x) transposed[x * 40 + y] = gray[y * 50 + x];
    CHECK(same(detector.detect({.data = transposed.data(),
                                .width = 50,
                                .height = 40,
                                .stride = 1,
                                .format = PixelFormat::gray,
                                .pixel_stride = 40}),
               expected));
  });
}

TEST(input, views_without_pixels_are_refused) {
  const Detector detector;
  const std::uint8_t pixel[3] = {};
  CHECK_THROWS(std::invalid_argument, "", detector.detect(ImageView{.data = nullptr, .width = 9, .height = 9}));
  CHECK_THROWS(std::invalid_argument, "", detector.detect(ImageView{.data = pixel, .width = 0, .height = 1}));
  CHECK_THROWS(std::invalid_argument, "", detector.detect(ImageView{.data = pixel, .width = 1, .height = 0}));
  CHECK_THROWS(std::invalid_argument, "", detector.detect(ImageView{.data = pixel, .width = -1, .height = 1}));
}

// Of several images the message names the one, and nothing was done with the others.
TEST(input, the_image_that_is_refused_is_named) {
  const Picture picture(50, 40, 2);
  const std::vector<std::uint8_t> pixels(std::size_t{2500} * 2500);
  const ImageView too_large{.data = pixels.data(), .width = 2500, .height = 2500, .format = PixelFormat::gray};
  const ImageView nothing{.data = nullptr, .width = 9, .height = 9}, ok = picture.view();
  const ImageView elsewhere{.data = pixels.data(), .width = 9, .height = 9, .memory = mtcnn_fast::Memory::device};
  const Detector detector(Options{.min_face_size = 4, .scale_factor = 0.99, .device = "cpu"});
  const auto refused = [&](std::vector<ImageView> images, const std::string& text) {
    CHECK_THROWS(std::invalid_argument, text, detector.detect(images));
    CHECK_THROWS(std::invalid_argument, text, detector.check(images));
  };
  refused({ok, too_large}, "image 1: min_face_size 4.0");
  refused({too_large}, "image 0: min_face_size 4.0");
  refused({ok, ok, ok, nothing, too_large}, "image 3: the image is 9x9 without data");
  refused({ok, ok, elsewhere}, "image 2: the image is in a GPU's memory");
  detector.check(std::vector{ok, ok});
  // One image alone has no number.
  CHECK_THROWS(std::invalid_argument, "min_face_size 4.0", detector.detect(too_large));
  try {
    detector.detect(too_large);
  } catch (const std::invalid_argument& error) {
    CHECK(std::string(error.what()).find("image 0") == std::string::npos);
  }
}

TEST(input, sizes_beyond_the_kernels_reach_are_refused) {
  const Detector detector(Options{.min_face_size = 24, .device = "cpu"});
  const std::uint8_t pixel[3] = {};
  const auto text = "an image of 300000000x24 pixels has a side of more than 2^28";
  const ImageView wide{.data = pixel, .width = 300'000'000, .height = 24, .format = PixelFormat::gray};
  CHECK_THROWS(std::invalid_argument, text, detector.detect(wide));
  CHECK_THROWS(std::invalid_argument, text, mtcnn_fast::check_resize(24, 300'000'000, 5, 5));
  CHECK_THROWS(std::invalid_argument, "a size of 300000000x1 pixels", mtcnn_fast::check_resize(9, 9, 1, 300'000'000));
  CHECK_THROWS(std::invalid_argument, "a size of 2048x8400000 has more than 2^30 pixels",
               mtcnn_fast::check_resize(9, 9, 8'400'000, 2048));
  mtcnn_fast::check_resize(1 << 28, 1, 1 << 15, 1 << 15);
}

TEST(input, cuts_of_absurd_sizes_are_refused) {
  const Picture picture(20, 20, 3);
  std::uint8_t out[3];
  for (const int size : {0, -1, 16385, std::numeric_limits<int>::max()}) {
    const std::string text = "size is " + std::to_string(size) + "; it must be at least 1 and at most 16384";
    CHECK_THROWS(std::invalid_argument, text, mtcnn_fast::crop(picture.view(), {0, 0, 9, 9}, size, 0, out));
    CHECK_THROWS(std::invalid_argument, text,
                 mtcnn_fast::align(picture.view(), {{{1, 1}, {9, 1}, {5, 5}, {2, 8}, {8, 8}}}, size, out));
  }
}

TEST(input, options_out_of_range_are_refused) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (const double value : {nan, infinity, 3.9, 0.0, -1.0})
    CHECK_THROWS(std::invalid_argument, "min_face_size", Detector(Options{.min_face_size = value}));
  for (const double value : {nan, -1.0, 0.0})
    CHECK_THROWS(std::invalid_argument, "max_face_size", Detector(Options{.max_face_size = value}));
  for (const double value : {nan, infinity, 0.0, -0.5, 0.991, 1.0})
    CHECK_THROWS(std::invalid_argument, "scale_factor", Detector(Options{.scale_factor = value}));
  for (const double value : {nan, infinity, -0.01, 1.01}) {
    CHECK_THROWS(std::invalid_argument, "thresholds", Detector(Options{.thresholds = {0.6, value, 0.7}}));
    CHECK_THROWS(std::invalid_argument, "nms_thresholds", Detector(Options{.nms_thresholds = {0.5, 0.7, 0.7, value}}));
  }
  for (const int value : {0, -1})
    CHECK_THROWS(std::invalid_argument, "num_threads", Detector(Options{.num_threads = value}));
  CHECK_THROWS(std::invalid_argument, "profile", Detector(Options{.profile = "other"}));
  CHECK_THROWS(std::invalid_argument, "precision", Detector(Options{.precision = "fp3"}));
  CHECK_THROWS(std::invalid_argument, "device", Detector(Options{.device = "gpu"}));
}

TEST(input, an_unknown_instruction_set_is_refused_with_the_list) {
  setenv("MTCNN_FAST_ISA", "mmx", 1);
  CHECK_THROWS(std::invalid_argument, mtcnn_fast::available_isas()[0], Detector());
  unsetenv("MTCNN_FAST_ISA");
}

TEST(input, hostile_weights_are_refused_by_name) {
  using mtcnn_fast::Tensors;
  const auto refuse = [](const char* text, const std::function<void(Tensors&)>& spoil) {
    Tensors weights = mtcnn_fast::embedded_weights();
    spoil(weights);
    check::context = text;
    CHECK_THROWS(std::invalid_argument, text, Detector(Options{.weights = weights}));
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  refuse("", [](Tensors& t) { t.clear(); });
  refuse("onet.landmarks.bias", [](Tensors& t) { t.erase("onet.landmarks.bias"); });
  refuse("qnet.conv1.bias", [](Tensors& t) { t["qnet.conv1.bias"] = t.at("pnet.conv1.bias"); });
  refuse("pnet.conv1.weight", [&](Tensors& t) { t.at("pnet.conv1.weight").data[7] = nan; });
  refuse("rnet.fc.weight", [&](Tensors& t) { t.at("rnet.fc.weight").data.back() = -infinity; });
  refuse("rnet.conv2.weight", [](Tensors& t) { t.at("rnet.conv2.weight").data.pop_back(); });
  refuse("rnet.conv2.weight", [](Tensors& t) { t.at("rnet.conv2.weight").data.clear(); });
  refuse("onet.conv3.bias", [](Tensors& t) { t.at("onet.conv3.bias").shape = {}; });
  refuse("onet.conv3.bias", [](Tensors& t) { t.at("onet.conv3.bias").shape = {-64}; });
  refuse("onet.conv3.bias", [](Tensors& t) { t.at("onet.conv3.bias").shape = {8, 8}; });
  refuse("pnet.conv2.weight",
         [](Tensors& t) { std::swap(t.at("pnet.conv2.weight").shape[0], t.at("pnet.conv2.weight").shape[1]); });
  refuse("pnet.conv2.weight", [](Tensors& t) { t.at("pnet.conv2.weight").shape = {INT64_MAX, INT64_MAX, 3, 3}; });
}

TEST(input, own_weights_are_used) {
  const Picture picture(60, 60, 3);
  mtcnn_fast::Tensors weights = mtcnn_fast::embedded_weights();
  const auto expected = Detector(lenient()).detect(picture.view());
  CHECK(!expected.empty());
  Options options = lenient();
  options.weights = weights;
  CHECK(same(Detector(options).detect(picture.view()), expected));
  // logits are (not a face, face)
  weights.at("pnet.face.bias").data[0] += 1000;
  options.weights = weights;
  CHECK(Detector(options).detect(picture.view()).empty());
}
