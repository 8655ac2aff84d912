// Looks at given places: Detector::refine().
#include <limits>

#include "refine_checks.h"

using namespace refine_checks;

TEST(refine, the_cascades_faces_are_among_the_answers) {
  const Picture picture(90, 70, 3);
  for_each_isa([&] {
    // facenet-pytorch's windows are fractions of pixels, and windows() gives the pixels that they cover.
    for (const char* profile : {"reference", "mtcnn"})
      for (const char* landmarks : {"direct", "mirrored"}) {
        Options options = lenient();
        options.profile = profile;
        options.landmarks = landmarks;
        const Detector detector(options);
        check_faces_are_answers(detector, detector, picture, profile);
      }
  });
}

TEST(refine, answers_come_in_the_order_of_the_boxes) {
  const std::vector<Picture> pictures = {Picture(40, 36, 8), Picture(52, 31, 9)};
  for_each_isa([&] {
    for (const std::string& profile : profiles())
      for (const Networks networks : {Networks::onet, Networks::both})
        for (const int threads : {1, 2})
          for (const char* landmarks : {"direct", "mirrored"})
            check_order(Detector(Options{.profile = profile, .landmarks = landmarks, .num_threads = threads}), pictures,
                        networks);
  });
}

TEST(refine, mirrored_landmarks_are_a_faces_own) {
  const std::vector<Picture> pictures = {Picture(52, 40, 9), Picture(40, 45, 11)};
  for_each_isa([&] {
    for (const std::string& profile : profiles()) {
      Options options = lenient();
      options.profile = profile;
      const Detector direct(options);
      options.landmarks = "mirrored";
      for (const int threads : {1, 2}) {
        options.num_threads = threads;
        check_mirrored(Detector(options), direct, pictures);
      }
    }
  });
}

// No pyramid: neither the size of an image nor min_face_size matters.
TEST(refine, images_and_boxes_may_be_smaller_than_a_face) {
  const Picture picture(6, 5, 1);
  const Box box{1, 1, 4, 3};
  for_each_isa([&] {
    const Detection answer = Detector(Options{.min_face_size = 40}).refine(picture.view(), std::span(&box, 1)).front();
    CHECK(answer.score > 0);
    CHECK(same(answer, Detector(Options{.thresholds = {1, 1, 1}}).refine(picture.view(), std::span(&box, 1)).front()));
  });
}

TEST(refine, boxes_that_are_none_are_refused_by_index) {
  const Picture picture(20, 20, 1);
  const Detector detector;
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const Box& wrong : {Box{0, 0, nan, 2}, Box{-infinity, 0, 1, 2}, Box{3, 0, 2, 2}, Box{0, 3, 2, 2}}) {
    const Box boxes[] = {{0, 0, 5, 5}, wrong};
    CHECK_THROWS(std::invalid_argument, "box 1: it is ", detector.refine(picture.view(), boxes));
    const ImageView views[] = {picture.view(), picture.view()};
    const std::span<const Box> lists[] = {{}, boxes};
    CHECK_THROWS(std::invalid_argument, "image 1: box 1: it is ", detector.refine(views, lists));
    CHECK_THROWS(std::invalid_argument, "boxes for 1", detector.refine(views, std::span(lists, 1)));
  }
}
