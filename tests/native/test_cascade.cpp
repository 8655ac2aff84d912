// The whole cascade on pictures of random blobs, with so low thresholds that many candidates reach every stage.
#include <array>
#include <limits>

#include "backend.h"
#include "common.h"
#include "weights.h"

using mtcnn_fast::Detection;
using mtcnn_fast::Detector;
using mtcnn_fast::Options;

namespace {

void check_faces(const std::vector<Detection>& faces) {
  for (std::size_t i = 0; i < faces.size(); ++i) {
    const Detection& face = faces[i];
    CHECK(face.score >= 0 && face.score <= 1);
    CHECK(i == 0 || faces[i - 1].score >= face.score);
    bool finite = std::isfinite(face.box.x1 + face.box.y1 + face.box.x2 + face.box.y2);
    for (const mtcnn_fast::Point& point : face.landmarks) finite = finite && std::isfinite(point.x + point.y);
    CHECK(finite);
  }
}

struct Size {
  int width, height;
};

}  // namespace

TEST(cascade, sizes_and_thresholds) {
  const Size sizes[] = {{12, 12}, {13, 12}, {12, 40}, {45, 31}, {50, 44}, {120, 12}};
  const std::array<double, 3> thresholds[] = {{0.6, 0.7, 0.7}, {0.01, 0.01, 0.003}, {0, 0, 0}, {0, 1, 0}, {1, 1, 1}};
  std::vector<Picture> pictures;
  for (const Size& size : sizes) pictures.emplace_back(size.width, size.height, 7);
  for_each_isa([&] {
    for (const auto& threshold : thresholds)
      for (const std::string& profile : profiles())
        for (const double min_face_size : {5.0, 12.0, 17.0}) {
          const Detector detector(Options{.min_face_size = min_face_size, .thresholds = threshold, .profile = profile});
          for (const Picture& picture : pictures) {
            // Every window would be a candidate, of which a large picture has thousands.
            const double faces = picture.width * picture.height / (min_face_size * min_face_size);
            if (threshold[0] > 0 || faces < 8) check_faces(detector.detect(picture.view()));
          }
        }
  });
}

TEST(cascade, nms_thresholds_at_their_ends) {
  const Picture picture(40, 36, 8);
  for_each_isa([&] {
    for (const double nms : {0.0, 0.3, 1.0})
      for (const double across : {0.0, 1.0}) {
        Options options = lenient();
        options.nms_thresholds = {nms, across, nms, nms};
        check_faces(Detector(options).detect(picture.view()));
      }
  });
}

TEST(cascade, pictures_too_small_for_any_level_have_no_face) {
  for_each_isa([&] {
    const Detector detector(Options{.min_face_size = 4, .thresholds = {0, 0, 0}});
    for (const Size& size : {Size{1, 1}, Size{3, 3}, Size{1, 200}, Size{200, 2}})
      CHECK(detector.detect(Picture(size.width, size.height, 9).view()).empty());
  });
}

// A byte stands for the image: what reads further is seen by ASan, and what copies takes seconds and gigabytes.
TEST(cascade, an_image_without_a_level_is_not_read) {
  const std::uint8_t pixel = 0;
  const mtcnn_fast::ImageView wide{
      .data = &pixel, .width = 1'000'000'000, .height = 11, .format = mtcnn_fast::PixelFormat::gray};
  for_each_isa([&] {
    const Detector detector(Options{});
    CHECK(detector.detect(wide).empty());
    CHECK(detector.inspect(wide).levels.empty());
    CHECK(detector.backend().windows(wide, mtcnn_fast::Stage::onet).empty());
    CHECK(Detector(Options{.min_face_size = 40, .max_face_size = 40}).detect(wide).empty());
  });
}

TEST(cascade, faces_are_finite_whatever_the_weights) {
  const Picture picture(50, 44, 10);
  const float largest = std::numeric_limits<float>::max();
  const auto wild = [&](const std::string& layers, float value) {
    mtcnn_fast::Tensors weights = mtcnn_fast::embedded_weights();
    float sign = 1;
    for (auto& [name, tensor] : weights)
      if (name.find(layers) != std::string::npos)
        for (float& x : tensor.data) x = (sign = -sign) * value;
    return weights;
  };
  for_each_isa([&] {
    std::size_t found = 0;
    for (const char* layers : {"pnet.box", "rnet.box", "onet.box", "onet.landmarks", "onet.fc"})
      for (const float value : {30.0f, 1e9f, largest})
        for (const std::string& profile : profiles())
          for (const char* precision : {"fp32", "fast"}) {
            Options options = lenient();
            options.profile = profile, options.precision = precision;
            options.weights = wild(layers, value);
            const Detector detector(options);
            const auto faces = detector.detect(picture.view());
            check_faces(faces);
            found += faces.size();
            for (const auto next : {mtcnn_fast::Stage::rnet, mtcnn_fast::Stage::onet})
              for (const auto& window : detector.backend().windows(picture.view(), next))
                for (const float side : {window.box.x1, window.box.y1, window.box.x2, window.box.y2})
                  CHECK(std::abs(side) <= 16 * 50 + 1);
          }
    CHECK(found > 0);
  });
}

TEST(cascade, selection) {
  const Picture picture(50, 44, 10);
  for_each_isa([&] {
    const Detector detector(lenient());
    const auto all = detector.detect(picture.view());
    CHECK(all.size() > 2);
    CHECK(same(detector.detect(picture.view(), {.max_faces = 2}),
               {all.begin(), all.begin() + std::min<int>(2, all.size())}));
    CHECK(detector.detect(picture.view(), {.max_faces = 0}).empty());
    for (const Detection& face : detector.detect(picture.view(), {.clip = true}))
      CHECK(face.box.x1 >= 0 && face.box.y1 >= 0 && face.box.x2 <= 50 && face.box.y2 <= 44);
  });
}

TEST(cascade, inspection_counts_what_detect_does) {
  const Picture picture(64, 50, 11);
  for_each_isa([&] {
    const Detector detector(lenient());
    const mtcnn_fast::Inspection inspection = detector.inspect(picture.view());
    const auto levels = detector.backend().levels(50, 64);
    CHECK(inspection.levels.size() == levels.size());
    std::int64_t candidates = 0;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      const auto& level = inspection.levels[i];
      CHECK(level.height == levels[i].height && level.width == levels[i].width);
      CHECK(level.candidates >= level.after_nms && level.windows >= level.candidates);
      candidates += level.candidates;
    }
    CHECK(inspection.candidates == candidates);
    CHECK(inspection.candidates >= inspection.rnet && inspection.rnet >= inspection.onet);
    CHECK(std::size_t(inspection.faces) == detector.detect(picture.view()).size());
    Options mirrored = lenient();
    mirrored.landmarks = "mirrored";
    const mtcnn_fast::Inspection more = Detector(mirrored).inspect(picture.view());
    CHECK(more.onet == inspection.onet + 2 * inspection.faces);
    CHECK(more.confirmed_onet == inspection.confirmed_onet + 2 * inspection.faces);
  });
}

TEST(cascade, batches_and_threads_change_nothing) {
  std::vector<Picture> pictures;
  for (const Size& size : {Size{40, 48}, Size{12, 12}, Size{60, 45}, Size{5, 5}, Size{23, 70}})
    pictures.emplace_back(size.width, size.height, 12);
  std::vector<mtcnn_fast::ImageView> views;
  for (const Picture& picture : pictures) views.push_back(picture.view());
  for_each_isa([&] {
    std::vector<std::vector<Detection>> expected;
    Options options = lenient();
    options.num_threads = 1;
    const Detector single(options);
    for (const auto& view : views) expected.push_back(single.detect(view));
    CHECK(!expected[2].empty());
    for (const int threads : {2, 3, 8}) {
      options.num_threads = threads;
      const Detector detector(options);
      const auto found = detector.detect(views);
      CHECK(found.size() == views.size());
      for (std::size_t i = 0; i < views.size(); ++i) {
        CHECK(same(found[i], expected[i]));
        CHECK(same(detector.detect(views[i]), expected[i]));
      }
    }
    CHECK(single.detect(std::span<const mtcnn_fast::ImageView>{}).empty());
  });
}
