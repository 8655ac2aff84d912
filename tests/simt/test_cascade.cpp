// The whole CUDA backend on the emulator, against the CPU's, on pictures of random blobs.
#include <array>
#include <cstdlib>
#include <thread>

#include "../native/common.h"
#include "../native/part_checks.h"
#include "../native/refine_checks.h"
#include "backend.h"
#include "bare_engine.h"
#include "variable.h"
#include "weights.h"

using namespace mtcnn_fast;

namespace {

struct Size {
  int width, height;
};

Options on(const char* device, Options options = lenient()) {
  options.device = device;
  return options;
}

std::vector<std::vector<float>> values(const std::vector<Detection>& faces) {
  std::vector<std::vector<float>> all;
  for (const Detection& d : faces) {
    all.push_back({d.box.x1, d.box.y1, d.box.x2, d.box.y2, d.score});
    for (const Point& point : d.landmarks) all.back().insert(all.back().end(), {point.x, point.y});
  }
  return all;
}

// In the sense of docs/numerics.md, of pictures in which no decision is within its rounding error.
void check_agree(const std::vector<Detection>& found, const std::vector<Detection>& expected) {
  CHECK(found.size() == expected.size());
  if (found.size() != expected.size()) return;
  const auto a = values(found), b = values(expected);
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t k = 0; k < a[i].size(); ++k) CHECK(std::abs(a[i][k] - b[i][k]) <= (k == 4 ? 1e-4 : 0.01));
}

// Each order in which the emulator can run threads and blocks.
void for_each_schedule(const std::function<void()>& test) {
  for (const char* schedule : {"index", "reverse", "random:3"}) {
    setenv("SIMT_SCHEDULE", schedule, 1);
    check::context = schedule;
    test();
  }
  unsetenv("SIMT_SCHEDULE");
}

}  // namespace

TEST(cascade, refine) {
  const std::vector<Picture> pictures = {Picture(45, 36, 3), Picture(52, 31, 9)};
  const Detector cuda(on("cuda"));
  refine_checks::check_faces_are_answers(cuda, Detector(on("cpu")), pictures[0], "reference");
  for_each_schedule([&] { refine_checks::check_order(cuda, pictures, Networks::both); });
}

TEST(cascade, parts) {
  const Picture picture(52, 45, 3);
  for (const Conventions& conventions : kProfiles) {
    check::context = conventions.name;
    Options options = lenient();
    options.thresholds[0] = 0.3;
    options.profile = conventions.name;
    const Detector gpu(on("cuda", options)), cpu(on("cpu", options));
    for (int index = 0; index < 3; ++index) {
      const Selection part{.part = {index, 3}};
      check_agree(gpu.detect(picture.view(), part), cpu.detect(picture.view(), part));
    }
    if (conventions.mirrors_lone_cell) continue;
    for (const char* precision : {"fp32", "fast"}) {
      options.precision = precision;
      part_checks::check_union(Detector(on("cuda", part_checks::all_candidates(options))), picture, 4);
    }
  }
  part_checks::check_together(Detector(on("cuda")), {Picture(30, 38, 3), Picture(5, 5, 4), Picture(44, 35, 5)});
}

TEST(cascade, mirrored_landmarks) {
  const std::vector<Picture> pictures = {Picture(36, 32, 10), Picture(24, 20, 11)};
  for (const char* profile : {"reference", "facenet-pytorch"}) {  // crops beyond the image are black, or cut
    check::context = profile;
    Options options = lenient();
    options.profile = profile;
    const Detector direct(on("cuda", options));
    options.landmarks = "mirrored";
    const Detector gpu(on("cuda", options)), cpu(on("cpu", options));
    refine_checks::check_mirrored(gpu, direct, pictures);
    for (const Picture& picture : pictures) check_agree(gpu.detect(picture.view()), cpu.detect(picture.view()));
  }
}

TEST(cascade, as_on_the_cpu) {
  const Size sizes[] = {{12, 12}, {13, 12}, {12, 40}, {45, 31}, {90, 12}};
  const std::array<double, 3> thresholds[] = {{0.01, 0.01, 0.003}, {0.6, 0.7, 0.7}, {1, 1, 1}};
  for (const auto& threshold : thresholds)
    for (const std::string& profile : profiles()) {
      check::context = profile;
      Options options = lenient();
      options.thresholds = threshold;
      options.profile = profile;
      const Detector gpu(on("cuda", options)), cpu(on("cpu", options));
      CHECK(gpu.device() == "cuda:0");
      for (const Size& size : sizes) {
        const Picture picture(size.width, size.height, 7);
        check_agree(gpu.detect(picture.view()), cpu.detect(picture.view()));
      }
    }
}

TEST(cascade, suppression_across_levels) {
  const Picture picture(40, 36, 8);
  for (const auto& nms : {std::array<double, 4>{0.5, 0.3, 0.7, 0.7}, {0.9, 0.8, 0.9, 0.9}, {0, 0, 0, 0}}) {
    Options options = lenient();
    options.thresholds[1] = 0.1;  // O-Net takes the emulator a tenth of a second a window
    options.nms_thresholds = nms;
    options.scale_factor = 0.8;
    check_agree(Detector(on("cuda", options)).detect(picture.view()),
                Detector(on("cpu", options)).detect(picture.view()));
  }
}

// Tensor cores take the emulator far longer: one order, of a smaller picture.
TEST(cascade, every_order_gives_the_same_bits) {
  const Picture picture(40, 36, 11), small(24, 20, 11);
  const Detector detector(on("cuda"));
  const auto expected = detector.detect(picture.view());
  CHECK(!expected.empty());
  for_each_schedule([&] { CHECK(same(detector.detect(picture.view()), expected)); });

  Options options = on("cuda");
  options.precision = "fast";
  const Detector fast(options);
  const auto first = fast.detect(small.view());
  CHECK(!first.empty());
  setenv("SIMT_SCHEDULE", "random:5", 1);
  CHECK(same(fast.detect(small.view()), first));
  unsetenv("SIMT_SCHEDULE");
}

TEST(cascade, lists_that_are_too_short_grow) {
  const Picture picture(36, 32, 10), small(16, 14, 3);
  Options options = lenient();
  const Inspection seen = Detector(on("cpu")).inspect(picture.view());
  CHECK(seen.candidates > 8 && seen.rnet > 8 && seen.onet > 1);
  const BareEngine roomy(options, 0);
  const auto expected = roomy.detect(picture), few = roomy.detect(small);
  CHECK(!expected.empty());
  // Much too short; and by one, so that a list grows within what its memory had to spare.
  for (const int capacity : {1, 8, static_cast<int>(seen.rnet) - 1}) {
    check::context = std::to_string(capacity);
    const BareEngine tight(options, capacity);
    CHECK(same(tight.detect(small), few));
    for (int run = 0; run < 2; ++run) CHECK(same(tight.detect(picture), expected));
  }
  options.precision = "fast";
  const Picture tiny(24, 20, 11);
  CHECK(same(BareEngine(options, 1).detect(tiny), BareEngine(options, 0).detect(tiny)));
}

// Thresholds just below what P-Net says of some windows: without its margin, the screen would lose some of these.
TEST(cascade, the_screen_changes_nothing) {
  const Picture picture(60, 54, 6);
  Options options = lenient();
  const auto windows = Detector(on("cpu", options)).backend().windows(picture.view(), Stage::rnet);
  int cells_left = 0, cells_found = 0, lists_too_short = 0;
  for (const Backend::Window& window : windows) {
    if (window.score < 0.5 || window.score > 0.9) continue;
    options.thresholds = {window.score - 1e-5, 1, 1};
    const BareEngine screened(options);
    const Variable variable("MTCNN_FAST_SCREEN", "0");
    const auto with = screened.levels(picture), without = BareEngine(options).levels(picture);
    for (std::size_t k = 0; k < without.size(); ++k) {
      CHECK(with[k].found == without[k].found && with[k].kept == without[k].kept);
      CHECK(with[k].cells_left >= with[k].found && without[k].cells_left == 0);
      cells_left += with[k].cells_left, cells_found += with[k].found;
    }
    // Lists as long as what one level has at most: that of the screen is of all levels.
    int most = 0, all = 0;
    for (const cuda::LevelReport& level : with) most = std::max(most, level.found), all += level.found;
    if (most == all || lists_too_short++ > 0) continue;
    const Variable on("MTCNN_FAST_SCREEN", "1");
    const auto tight = BareEngine(options, most).levels(picture);
    for (std::size_t k = 0; k < with.size(); ++k)
      CHECK(tight[k].found == with[k].found && tight[k].cells_left == with[k].cells_left);
  }
  CHECK(cells_left > cells_found && cells_found > 10 && lists_too_short > 0);
}

// The same of R-Net's. O-Net lets everything pass.
TEST(cascade, the_screen_of_rnet_changes_nothing) {
  const Picture picture(60, 54, 74);
  Options options = lenient();
  options.thresholds = {0.1, 0.5, 0};
  int compared = 0;
  for (const Backend::Window& window : Detector(on("cpu", options)).backend().windows(picture.view(), Stage::onet)) {
    if (window.score > 0.9 || ++compared > 5) continue;
    options.thresholds[1] = window.score - 1e-5;
    const auto with = BareEngine(options).detect(picture);
    const Variable variable("MTCNN_FAST_SCREEN", "0");
    CHECK(!with.empty() && same(with, BareEngine(options).detect(picture)));
  }
  CHECK(compared > 3);
}

TEST(cascade, every_cell_a_candidate) {
  const Picture picture(24, 26, 5);
  Options options = lenient();
  options.thresholds = {0, 0, 0};
  check_agree(Detector(on("cuda", options)).detect(picture.view()),
              Detector(on("cpu", options)).detect(picture.view()));
}

// A byte stands for the first image: it is not looked at, and but for a pixel not uploaded.
TEST(cascade, an_image_without_a_level_is_not_read) {
  const Picture picture(36, 32, 10);
  const std::uint8_t pixel = 0;
  const ImageView wide{.data = &pixel, .width = 1'000'000'000, .height = 11, .format = PixelFormat::gray};
  const Detector detector(on("cuda"));
  const auto found = detector.detect(std::vector{wide, picture.view()});
  CHECK(found[0].empty());
  CHECK(!found[1].empty() && same(found[1], detector.detect(picture.view())));
  CHECK(detector.inspect(wide).levels.empty());
}

TEST(cascade, wild_weights_are_limited_as_on_the_cpu) {
  const Picture picture(24, 26, 5);
  for (const char* layer : {"pnet.box.bias", "rnet.box.bias", "onet.box.bias", "onet.landmarks.bias"})
    for (const char* profile : {"reference", "facenet-pytorch"}) {
      check::context = std::string(layer) + ", " + profile;
      Options options = lenient();
      options.profile = profile;
      Tensors& weights = options.weights.emplace(embedded_weights());
      std::vector<float>& bias = weights.at(layer).data;
      for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = i % 3 == 0 ? -1e30f : i % 3 == 1 ? 3e38f : 20;
      check_agree(Detector(on("cuda", options)).detect(picture.view()),
                  Detector(on("cpu", options)).detect(picture.view()));
    }
}

TEST(cascade, batches_are_as_one_by_one) {
  std::vector<Picture> pictures;
  for (const Size& size : {Size{30, 38}, Size{12, 12}, Size{44, 35}, Size{5, 5}, Size{23, 50}, Size{30, 38}})
    pictures.emplace_back(size.width, size.height, 12 + size.width);
  std::vector<ImageView> views;
  for (const Picture& picture : pictures) views.push_back(picture.view());
  const Detector detector(on("cuda"));
  const auto together = detector.detect(views);
  CHECK(together.size() == views.size());
  for (std::size_t i = 0; i < views.size(); ++i) CHECK(same(together[i], detector.detect(views[i])));
  CHECK(!together[2].empty());
  CHECK(detector.detect(std::span<const ImageView>{}).empty());
  // More than a run takes.
  const std::vector<ImageView> many(150, pictures[1].view());
  CHECK(detector.detect(many).size() == many.size());
}

TEST(cascade, any_view) {
  const Picture picture(36, 32, 10);
  const int width = picture.width, height = picture.height;
  const Detector detector(on("cuda"));
  const auto expected = detector.detect(picture.view());
  CHECK(!expected.empty());

  std::vector<std::uint8_t> flipped(picture.pixels), rgba(std::size_t{4} * width * height),
      planes(picture.pixels.size()), bgr(picture.pixels.size());
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        const std::uint8_t value = picture.pixels[(y * width + x) * 3 + c];
        flipped[((height - 1 - y) * width + x) * 3 + c] = value;
        rgba[(y * width + x) * 4 + c] = value;
        planes[(c * width + x) * height + y] = value;
        bgr[(y * width + x) * 3 + 2 - c] = value;
      }
  const auto with = [&](const std::uint8_t* data, PixelFormat format, std::ptrdiff_t stride, std::ptrdiff_t pixel,
                        std::ptrdiff_t channel) {
    ImageView view = picture.view();
    view.data = data, view.format = format, view.stride = stride, view.pixel_stride = pixel;
    view.channel_stride = channel;
    CHECK(same(detector.detect(view), expected));
    view.memory = Memory::device;
    CHECK_THROWS(std::invalid_argument, "no GPU", detector.detect(view));
  };
  with(flipped.data() + std::ptrdiff_t{3} * width * (height - 1), PixelFormat::rgb, -3 * width, 0, 1);
  with(rgba.data(), PixelFormat::rgba, 0, 0, 1);
  with(planes.data(), PixelFormat::rgb, 1, height, std::ptrdiff_t{width} * height);
  with(bgr.data(), PixelFormat::bgr, 0, 0, 1);
  with(bgr.data() + 2, PixelFormat::rgb, 3 * width, 3, -1);

  std::vector<std::uint8_t> gray(std::size_t(width) * height), three;
  for (std::size_t i = 0; i < gray.size(); ++i) {
    gray[i] = picture.pixels[3 * i];
    three.insert(three.end(), 3, gray[i]);
  }
  ImageView one = picture.view(), many = picture.view();
  one.data = gray.data(), one.format = PixelFormat::gray;
  many.data = three.data();
  CHECK(same(detector.detect(one), detector.detect(many)));
}

TEST(cascade, images_on_the_device) {
  const Picture picture(36, 32, 10);
  Options options = lenient();
  options.landmarks = "mirrored";
  const Detector detector(on("cuda", options));
  // The one way to device memory through the library is an upload of floats.
  std::vector<float> bytes((picture.pixels.size() + sizeof(float) - 1) / sizeof(float));
  std::copy(picture.pixels.begin(), picture.pixels.end(), reinterpret_cast<std::uint8_t*>(bytes.data()));
  const std::shared_ptr<float> device = detector.backend().upload(bytes);
  ImageView view = picture.view();
  view.data = reinterpret_cast<const std::uint8_t*>(device.get());
  view.memory = Memory::device;
  CHECK(same(detector.detect(view), detector.detect(picture.view())));
  const std::vector<ImageView> mixed = {view, picture.view(), view};
  for (const auto& faces : detector.detect(mixed)) CHECK(same(faces, detector.detect(picture.view())));
  CHECK_THROWS(std::invalid_argument, "CPU", Detector(on("cpu")).detect(view));
}

TEST(cascade, inspection_counts_as_the_cpu_does) {
  const Picture picture(48, 40, 11);
  const Inspection gpu = Detector(on("cuda")).inspect(picture.view()),
                   cpu = Detector(on("cpu")).inspect(picture.view());
  CHECK(gpu.levels.size() == cpu.levels.size());
  for (std::size_t i = 0; i < std::min(gpu.levels.size(), cpu.levels.size()); ++i) {
    CHECK(gpu.levels[i].windows == cpu.levels[i].windows);
    CHECK(gpu.levels[i].candidates == cpu.levels[i].candidates);
    CHECK(gpu.levels[i].after_nms == cpu.levels[i].after_nms);
  }
  CHECK(gpu.candidates == cpu.candidates && gpu.rnet == cpu.rnet && gpu.onet == cpu.onet && gpu.faces == cpu.faces);
}

TEST(cascade, threads_share_a_detector) {
  const Picture pictures[] = {{36, 32, 10}, {30, 38, 12}, {33, 30, 4}};
  const Detector detector(on("cuda"));
  std::vector<std::vector<Detection>> expected;
  for (const Picture& picture : pictures) expected.push_back(detector.detect(picture.view()));
  std::array<bool, 6> right = {};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < right.size(); ++t)
    threads.emplace_back([&, t] { right[t] = same(detector.detect(pictures[t % 3].view()), expected[t % 3]); });
  for (std::thread& thread : threads) thread.join();
  CHECK(std::all_of(right.begin(), right.end(), [](bool ok) { return ok; }));
}
