// The resizing kernels on the emulator, against plain loops in double precision and the CPU's kernels.
#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>

#include "../native/common.h"
#include "backend.h"
#include "cpu/crop_tables.h"
#include "cpu/dispatch.h"
#include "kernels.h"
#include "reference.h"

using namespace mtcnn_fast;
using cuda::Arithmetic;

namespace {

// Of pixel values up to 255: seen are 4e-5 against double precision, 6e-5 against the CPU.
constexpr double kTolerance = 1.5e-4;
// Of normalised values.
constexpr double kNormalised = kTolerance / 128;

const cuda::Queue kQueue = {nullptr, 3, 227 << 10, true};

// The emulator may put off what is queued.
void finish() { CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess); }

struct Size {
  int height, width;
};

const char* name(Arithmetic arithmetic) { return arithmetic == Arithmetic::fp32 ? "fp32" : "fp16"; }

// Random bytes in a block of their exact size, for sanitizers, and an image among them.
class Pixels {
 public:
  Pixels(Size size, std::ptrdiff_t stride, std::ptrdiff_t pixel, std::ptrdiff_t channel, PixelFormat format,
         unsigned seed = 1) {
    // The lowest and the highest byte of the image, as seen from its first pixel.
    std::ptrdiff_t low = 0, high = 0;
    for (const std::ptrdiff_t step :
         {stride * (size.height - 1), pixel * (size.width - 1), (format == PixelFormat::gray ? 0 : 2) * channel})
      (step < 0 ? low : high) += step;
    bytes_ = std::make_unique<std::uint8_t[]>(high - low + 1);
    std::mt19937 random(seed);
    for (std::ptrdiff_t i = 0; i <= high - low; ++i) bytes_[i] = std::uint8_t(random());
    view = {.data = bytes_.get() - low,
            .width = size.width,
            .height = size.height,
            .stride = stride,
            .format = format,
            .pixel_stride = pixel,
            .channel_stride = channel};
  }
  explicit Pixels(Size size, unsigned seed = 1) : Pixels(size, 3 * size.width, 3, 1, PixelFormat::rgb, seed) {}

  cuda::Image image() const {
    const bool bgr = view.format == PixelFormat::bgr, gray = view.format == PixelFormat::gray;
    cuda::Image image = {};
    image.data = view.data + (bgr ? 2 * view.channel_stride : 0);
    image.stride = view.stride, image.pixel = view.pixel_stride;
    image.channel = gray ? 0 : bgr ? -view.channel_stride : view.channel_stride;
    image.height = view.height, image.width = view.width;
    return image;
  }
  // Black where the image is not.
  reference::Map map(int top, int left, int height, int width) const {
    reference::Map map(height, width, 3);
    const cuda::Image source = image();
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int c = 0; c < 3; ++c)
          if (top + y >= 0 && top + y < view.height && left + x >= 0 && left + x < view.width)
            map.at(y, x, c) = source.data[(top + y) * source.stride + (left + x) * source.pixel + c * source.channel];
    return map;
  }
  reference::Map map() const { return map(0, 0, view.height, view.width); }

  ImageView view;

 private:
  std::unique_ptr<std::uint8_t[]> bytes_;
};

std::vector<float> resized(const Pixels& pixels, const Conventions& conventions, Size to) {
  std::vector<float> out(std::size_t{3} * to.height * to.width, std::numeric_limits<float>::quiet_NaN());
  cuda::resize(kQueue, pixels.image(), conventions, to.height, to.width, out.data());
  finish();
  return out;
}

std::vector<float> resized_on_the_cpu(const Pixels& pixels, const Conventions& conventions, Size to) {
  const Detector detector({.device = "cpu", .profile = std::string(conventions.name)});
  std::vector<float> out(std::size_t{3} * to.height * to.width);
  detector.backend().resize(pixels.view, to.height, to.width, out.data(), nullptr);
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// From and to: of 1, 8 and 32 lanes; shrinking, enlarging, both; sides that divide, and that a strip does not.
struct Case {
  Size from, to;
};
const Case kCases[] = {{{37, 41}, {37, 41}},
                       {{40, 66}, {20, 33}},
                       {{90, 160}, {54, 96}},
                       {{50, 167}, {13, 65}},
                       {{20, 31}, {48, 48}},
                       {{31, 20}, {24, 24}},
                       {{9, 60}, {24, 24}},
                       {{1, 1}, {5, 3}},
                       {{97, 90}, {12, 13}},
                       {{120, 70}, {7, 9}},
                       {{100, 83}, {2, 3}},
                       {{160, 140}, {1, 1}},
                       {{1, 300}, {1, 7}},
                       {{300, 1}, {11, 1}},
                       {{3, 1000}, {3, 40}},
                       {{64, 70}, {16, 7}},
                       {{8, 8}, {33, 130}},
                       {{66, 130}, {33, 65}},
                       {{36, 72}, {4, 36}},
                       // More columns of one output than a block keeps the sums of.
                       {{5, 1400}, {3, 1}}};

// One image with levels of any size, as many lanes to an output as asked for, in memory that is poison elsewhere.
template <class Element>
struct Pyramid {
  Pyramid(const std::vector<const Pixels*>& pixels, const std::vector<std::vector<Size>>& sizes,
          const Conventions& conventions, int lanes)
      : conventions(conventions) {
    std::int64_t first = kPadding;
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      images.push_back(pixels[i]->image());
      for (const Size& size : sizes[i]) {
        cuda::Level level = {};
        level.image = static_cast<int>(i);
        level.height = level.whole_height = size.height, level.width = size.width;
        level.pitch = (size.width + 1) / 2 * 2 + kPadding;
        level.first_pixel = first;
        level.lanes = lanes ? lanes : cuda::resize_lanes(images[i].height, images[i].width, size.height, size.width);
        level.first_strip = job.strips;
        const cuda::Strip strip = cuda::resize_strip(level.lanes);
        job.strips += (size.height + strip.height - 1) / strip.height * ((size.width + strip.width - 1) / strip.width);
        first += std::int64_t{level.pitch} * size.height;
        levels.push_back(level);
      }
    }
    job.images = static_cast<int>(images.size()), job.levels = static_cast<int>(levels.size());
    std::memset(&poison, 0x77, sizeof poison);
    elements.assign(3 * (first + kPadding), poison);
  }

  void run(Arithmetic arithmetic) {
    // Counts of a call before.
    counts = {{7, 7}, 7, 7, 7, 7};
    image_counts.assign(images.size() + 1, {7, {7, 7}, {7, 7}, 7, 7, 7});
    level_counts.assign(levels.size() + 1, {7, 7, 7});
    cuda::Work work = {};
    work.settings.conventions = conventions;
    work.job = &job;
    work.images = images.data(), work.levels = levels.data();
    work.pyramid = elements.data();
    work.counts = &counts, work.image_counts = image_counts.data(), work.level_counts = level_counts.data();
    cuda::pyramid(kQueue, work, arithmetic);
    finish();
  }
  float at(const cuda::Level& level, int y, int x, int c) const {
    return static_cast<float>(elements[3 * (level.first_pixel + std::int64_t{y} * level.pitch + x) + c]);
  }

  static constexpr int kPadding = 4;
  Conventions conventions;
  cuda::Job job = {};
  std::vector<cuda::Image> images;
  std::vector<cuda::Level> levels;
  Element poison;
  std::vector<Element> elements;
  cuda::Counts counts;
  std::vector<cuda::ImageCounts> image_counts;
  std::vector<cuda::LevelCounts> level_counts;
};

template <class Element>
void check_pyramid(Arithmetic arithmetic) {
  const Pixels first({50, 67}, 2), second({13, 140}, 3);
  const std::vector<std::vector<Size>> sizes = {{{25, 35}, {16, 21}, {4, 5}}, {}, {{13, 66}, {5, 67}}};
  for (const Conventions& conventions : kProfiles)
    for (const int lanes : {0, 1, 8, 32}) {
      check::context = std::string(conventions.name) + " " + name(arithmetic) + " " + std::to_string(lanes);
      Pyramid<Element> pyramid({&first, &first, &second}, sizes, conventions, lanes);
      pyramid.run(arithmetic);
      std::size_t written = 0;
      for (const cuda::Level& level : pyramid.levels) {
        const Pixels& from = level.image ? second : first;
        const std::vector<float> expected = resized_on_the_cpu(from, conventions, {level.height, level.width});
        std::vector<float> normalised, found;
        for (int y = 0; y < level.height; ++y)
          for (int x = 0; x < level.width; ++x)
            for (int c = 0; c < 3; ++c) {
              normalised.push_back((expected[(std::size_t(y) * level.width + x) * 3 + c] - 127.5f) / 128);
              found.push_back(pyramid.at(level, y, x, c));
            }
        CHECK_NEAR(found, normalised, arithmetic == Arithmetic::fp32 ? kNormalised : 0x1p-11 + kNormalised);
        // Whole numbers are exact in either precision.
        if (conventions.rounds_levels) CHECK(same_bits(found, normalised));
        written += found.size();
      }
      // Nothing else is written.
      const auto untouched = [&](const Element& e) { return std::memcmp(&e, &pyramid.poison, sizeof e) == 0; };
      CHECK(std::size_t(std::count_if(pyramid.elements.begin(), pyramid.elements.end(), untouched)) ==
            pyramid.elements.size() - written);

      CHECK(pyramid.counts.windows[Stage::rnet] == 0 && pyramid.counts.windows[Stage::onet] == 0 &&
            pyramid.counts.faces == 0 && pyramid.counts.blocks_done == 0 && pyramid.counts.cells_left == 0 &&
            pyramid.counts.windows_left == 0);
      for (std::size_t i = 0; i <= pyramid.images.size(); ++i) {
        const cuda::ImageCounts& counts = pyramid.image_counts[i];
        const int value = i < pyramid.images.size() ? 0 : 7;
        for (const int count :
             {counts.candidates, counts.first[Stage::rnet], counts.first[Stage::onet], counts.windows[Stage::rnet],
              counts.windows[Stage::onet], counts.first_face, counts.faces, counts.windows_left})
          CHECK(count == value);
      }
      for (std::size_t l = 0; l <= pyramid.levels.size(); ++l) {
        const int value = l < pyramid.levels.size() ? 0 : 7;
        const cuda::LevelCounts& counts = pyramid.level_counts[l];
        for (const int count : {counts.found, counts.kept, counts.cells_left}) CHECK(count == value);
      }
    }
}

// Crops of all windows of a list, and the poison behind them.
template <class Element>
std::vector<Element> crops(const std::vector<const Pixels*>& pixels, std::vector<BoxD> boxes, std::vector<int> from,
                           const Conventions& conventions, Stage stage, Arithmetic arithmetic, int counted = -1) {
  const std::size_t side = crop_side(stage);
  std::vector<cuda::Image> images;
  for (const Pixels* p : pixels) images.push_back(p->image());
  cuda::Counts counts = {};
  counts.windows[stage] = counted < 0 ? static_cast<int>(boxes.size()) : counted;
  Element poison;
  std::memset(&poison, 0x77, sizeof poison);
  std::vector<Element> out(side * side * 3 * (boxes.size() + 1), poison);
  cuda::Work work = {};
  work.settings.conventions = conventions;
  work.images = images.data();
  work.counts = &counts;
  work.windows[stage] = {boxes.data(), from.data(), nullptr, static_cast<int>(boxes.size())};
  work.activations[stage].crops = out.data();
  cuda::crops(kQueue, work, stage, arithmetic);
  finish();
  for (std::size_t i = side * side * 3 * boxes.size(); i < out.size(); ++i)
    CHECK(std::memcmp(&out[i], &poison, sizeof poison) == 0);
  out.resize(out.size() - side * side * 3);
  return out;
}

std::vector<float> crop_on_the_cpu(const Pixels& pixels, const BoxD& box, const Conventions& conventions, int side) {
  const ImageView& view = pixels.view;
  const Kernels& kernels = *available_kernels().back();
  const CropTables tables(conventions.resampling, side);
  WindowTable x, y;
  const Source source = {view.data, view.data + view.stride * view.height, view.stride, 3, false};
  const Resample r = tables.resampling(source, view.height, view.width,
                                       Geometry(conventions).crop_window(box, view.height, view.width), x, y);
  std::vector<float> out(std::size_t(side) * side * 3), scratch(kernels.resample_scratch(r) + 16);
  void* aligned = scratch.data();
  std::size_t room = scratch.size() * sizeof(float);
  kernels.resample(r, 0, side, out.data(), static_cast<float*>(std::align(64, 64, aligned, room)));
  return out;
}

}  // namespace

TEST(resize, as_the_reference) {
  for (const Case& c : kCases) {
    check::context = std::to_string(c.from.width) + " to " + std::to_string(c.to.width);
    const Pixels pixels(c.from);
    CHECK_NEAR(resized(pixels, kProfiles[0], c.to), reference::resize(pixels.map(), c.to.height, c.to.width).values,
               kTolerance);
  }
}

TEST(resize, as_on_the_cpu) {
  for (const Conventions& conventions : kProfiles)
    for (const Case& c : kCases) {
      check::context =
          std::string(conventions.name) + " " + std::to_string(c.from.width) + " to " + std::to_string(c.to.width);
      const Pixels pixels(c.from);
      const std::vector<float> found = resized(pixels, conventions, c.to),
                               expected = resized_on_the_cpu(pixels, conventions, c.to);
      CHECK_NEAR(found, expected, kTolerance);
      if (conventions.rounds_levels) CHECK(same_bits(found, expected));
    }
}

// Every 2 x 2 pixels' mean ties in one of four, which goes up where both axes are halved, and to the even number else.
TEST(resize, ties_go_where_opencv_sends_them) {
  for (const Size& to : {Size{40, 35}, Size{40, 14}}) {
    const Pixels pixels({80, 70}, 5);
    CHECK(same_bits(resized(pixels, kProfiles[2], to), resized_on_the_cpu(pixels, kProfiles[2], to)));
  }
}

TEST(resize, pixels_lie_as_they_like) {
  const Size size = {45, 39};
  const std::ptrdiff_t packed = 3 * size.width;
  const Pixels views[] = {
      Pixels(size, packed + 5, 3, 1, PixelFormat::rgb),
      Pixels(size, -packed, 3, 1, PixelFormat::rgb),
      Pixels(size, packed, 3, 1, PixelFormat::bgr),
      Pixels(size, packed + 3, 3, 1, PixelFormat::bgr),  // whole words
      Pixels(size, -packed, -3, -1, PixelFormat::bgr),
      Pixels(size, 4 * size.width, 4, 1, PixelFormat::rgba),
      Pixels(size, size.width, 1, 1, PixelFormat::gray),
      Pixels(size, -2 * size.width, 2, 0, PixelFormat::gray),
      Pixels(size, size.width, 1, size.width * size.height, PixelFormat::rgb),  // planes
      Pixels(size, size.width, -1, -size.width * size.height, PixelFormat::bgr),
      Pixels(size, 3, 3 * size.height, 1, PixelFormat::rgb),  // transposed
  };
  for (const Pixels& pixels : views)
    for (const Size& to : {Size{30, 25}, Size{6, 7}, Size{2, 1}}) {
      CHECK_NEAR(resized(pixels, kProfiles[0], to), reference::resize(pixels.map(), to.height, to.width).values,
                 kTolerance);
      CHECK(same_bits(resized(pixels, kProfiles[2], to), resized_on_the_cpu(pixels, kProfiles[2], to)));
    }
}

TEST(resize, pyramids) {
  check_pyramid<float>(Arithmetic::fp32);
  check_pyramid<__half>(Arithmetic::fp16);
}

TEST(resize, no_images) {
  Pyramid<float> pyramid({}, {}, kProfiles[0], 0);
  pyramid.run(Arithmetic::fp32);
  CHECK(pyramid.counts.windows[Stage::rnet] == 0 && pyramid.counts.windows[Stage::onet] == 0 &&
        pyramid.counts.faces == 0 && pyramid.counts.blocks_done == 0 && pyramid.counts.cells_left == 0 &&
        pyramid.counts.windows_left == 0);
}

TEST(resize, lanes_grow_with_the_windows) {
  CHECK(cuda::resize_lanes(1080, 1920, 648, 1152) == 1);
  CHECK(cuda::resize_lanes(1080, 1920, 108, 192) == 8);
  CHECK(cuda::resize_lanes(1080, 1920, 13, 23) == 32);
  CHECK(cuda::resize_lanes(1, 1, 24, 24) == 1);
}

TEST(resize, crops) {
  const Pixels first({60, 81}, 2), second({40, 33}, 3);
  std::vector<BoxD> boxes;
  std::vector<int> from;
  const auto add = [&](int image, double x, double y, double width, double height) {
    boxes.push_back({x, y, x + width - 1, y + height - 1});
    from.push_back(image);
  };
  for (const double size : {1.0, 2.0, 7.0, 23.0, 24.0, 25.0, 48.0, 60.0}) {
    add(0, 1, 1, size, size);
    add(1, 33 - size / 2, 41 - size, size, size);  // beyond the right border
    add(0, 2 - size, 3 - size, size, size);        // a pixel or two are of the image
  }
  add(0, 10, 5, 31, 17);
  add(1, 3, 30, 5, 40);
  add(0, -200, -150, 500, 500);
  add(1, -700, 20, 1500, 3);
  add(0, 5, -3000, 4, 7000);
  add(0, 1, 1, 81, 60);
  add(1, 200, 7, 30, 30);  // nothing of it
  add(1, 5, -100, 30, 90);
  for (const Conventions& conventions : kProfiles)
    for (const Stage stage : {Stage::rnet, Stage::onet}) {
      const int side = crop_side(stage);
      check::context = std::string(conventions.name) + " " + std::to_string(side);
      std::vector<BoxD> here;
      std::vector<int> here_from;
      for (std::size_t i = 0; i < boxes.size(); ++i) {
        const Pixels& pixels = from[i] ? second : first;
        if (!Geometry(conventions).has_pixels(boxes[i], pixels.view.height, pixels.view.width)) continue;
        here.push_back(boxes[i]);
        here_from.push_back(from[i]);
      }
      const std::vector<float> found =
          crops<float>({&first, &second}, here, here_from, conventions, stage, Arithmetic::fp32);
      const std::vector<__half> fp16 =
          crops<__half>({&first, &second}, here, here_from, conventions, stage, Arithmetic::fp16);
      const std::size_t size = std::size_t(side) * side * 3;
      for (std::size_t i = 0; i < here.size(); ++i) {
        const std::vector<float> one(found.begin() + i * size, found.begin() + (i + 1) * size);
        const std::vector<float> rounded(fp16.begin() + i * size, fp16.begin() + (i + 1) * size);
        std::vector<float> expected = crop_on_the_cpu(here_from[i] ? second : first, here[i], conventions, side);
        CHECK_NEAR(one, expected, kNormalised);
        for (std::size_t k = 0; k < size; ++k) CHECK(rounded[k] == static_cast<float>(__float2half_rn(one[k])));
        if (conventions.clips_crops || conventions.resampling != Resampling::area_or_bilinear) continue;
        const int left = static_cast<int>(here[i].x1) - 1, top = static_cast<int>(here[i].y1) - 1;
        const int width = static_cast<int>(here[i].x2) - left, height = static_cast<int>(here[i].y2) - top;
        if (height * width > 100000) continue;
        const Pixels& pixels = here_from[i] ? second : first;
        reference::Map map = reference::resize(pixels.map(top, left, height, width), side, side);
        for (double& value : map.values) value = (value - 127.5) / 128;
        CHECK_NEAR(one, map.values, kNormalised);
      }
    }
}

// Weights that were never trained can ask for windows of up to 2^25 pixels a side, in an image that is as large.
TEST(resize, huge_crops) {
  const Pixels pixels({30, 200});
  const double far = (1 << 24) - 1;
  const std::vector<BoxD> boxes = {{-far, -far, far, far}, {190, -far, far, 20}, {-far, 1, 1, 1}, {-9e6, 3, 9e6, 4e5}};
  for (const Conventions& conventions : kProfiles) {
    check::context = conventions.name;
    const std::vector<float> found =
        crops<float>({&pixels}, boxes, {0, 0, 0, 0}, conventions, Stage::rnet, Arithmetic::fp32);
    const std::size_t size = kRnetSide * kRnetSide * 3;
    for (std::size_t i = 0; i < boxes.size(); ++i)
      CHECK_NEAR(std::vector<float>(found.begin() + i * size, found.begin() + (i + 1) * size),
                 crop_on_the_cpu(pixels, boxes[i], conventions, kRnetSide), kNormalised);
  }
}

// Rows with more pixels than a block keeps the sums of.
TEST(resize, wide_crops) {
  const Pixels pixels({20, 1100});
  const std::vector<BoxD> boxes = {{1, 1, 1100, 20}, {30, 1, 1060, 700}, {1000, 5, 2100, 60}};
  for (const Conventions& conventions : kProfiles) {
    const auto found = crops<float>({&pixels}, boxes, {0, 0, 0}, conventions, Stage::rnet, Arithmetic::fp32);
    const std::ptrdiff_t size = kRnetSide * kRnetSide * 3;
    for (std::size_t i = 0; i < boxes.size(); ++i)
      CHECK_NEAR(std::vector<float>(found.begin() + i * size, found.begin() + (i + 1) * size),
                 crop_on_the_cpu(pixels, boxes[i], conventions, kRnetSide), kNormalised);
  }
}

TEST(resize, no_more_crops_than_there_is_room_for) {
  const Pixels pixels({30, 20});
  const std::vector<BoxD> boxes = {{1, 1, 20, 20}, {5, 5, 12, 12}};
  const auto all = crops<float>({&pixels}, boxes, {0, 0}, kProfiles[0], Stage::rnet, Arithmetic::fp32);
  CHECK(same_bits(crops<float>({&pixels}, boxes, {0, 0}, kProfiles[0], Stage::rnet, Arithmetic::fp32, 500), all));
  const auto one = crops<float>({&pixels}, boxes, {0, 0}, kProfiles[0], Stage::rnet, Arithmetic::fp32, 1);
  CHECK(std::equal(one.begin(), one.begin() + std::ptrdiff_t(one.size()) / 2, all.begin()));
  for (const float value : crops<float>({&pixels}, boxes, {0, 0}, kProfiles[0], Stage::rnet, Arithmetic::fp32, 0)) {
    const unsigned bits = __float_as_uint(value);
    CHECK(bits == 0x77777777u);
  }
}

TEST(resize, schedules_do_not_show) {
  const Pixels pixels({120, 150}, 9);
  std::vector<float> expected[3];
  const char* const set = std::getenv("SIMT_SCHEDULE");
  const std::string before = set ? set : "index";
  for (const char* schedule : {"index", "reverse", "random:5"}) {
    setenv("SIMT_SCHEDULE", schedule, 1);
    check::context = schedule;
    const Size sizes[] = {{70, 90}, {12, 14}, {3, 4}};
    for (int k = 0; k < 3; ++k) {
      std::vector<float> found = resized(pixels, kProfiles[0], sizes[k]);
      if (expected[k].empty()) expected[k] = found;
      CHECK(same_bits(found, expected[k]));
      CHECK_NEAR(found, reference::resize(pixels.map(), sizes[k].height, sizes[k].width).values, kTolerance);
    }
    const auto cropped = crops<float>({&pixels}, {{1, 1, 70, 70}, {30, -50, 180, 100}}, {0, 0}, kProfiles[0],
                                      Stage::rnet, Arithmetic::fp32);
    for (std::size_t i = 0; i < 2; ++i)
      CHECK_NEAR(std::vector<float>(cropped.begin() + std::ptrdiff_t(i * cropped.size() / 2),
                                    cropped.begin() + std::ptrdiff_t((i + 1) * cropped.size() / 2)),
                 crop_on_the_cpu(pixels, i ? BoxD{30, -50, 180, 100} : BoxD{1, 1, 70, 70}, kProfiles[0], kRnetSide),
                 kNormalised);
  }
  setenv("SIMT_SCHEDULE", before.c_str(), 1);
}
