// Faces through frames: Tracker. What it makes of real faces is tested in Python.
#include <mtcnn_fast/tracker.h>

#include <algorithm>

#include "common.h"
#include "weights.h"

using namespace mtcnn_fast;

namespace {

std::vector<float> values(const std::vector<Track>& tracks) {
  std::vector<float> all;
  for (const Track& track : tracks)
    all.insert(all.end(), {static_cast<float>(track.id), static_cast<float>(track.age), track.face.box.x1,
                           track.face.box.y2, track.face.score});
  return all;
}

// O-Net is sure of all that it sees, as the tracker asks where one search alone has found a face.
Options sure() {
  Options options = lenient();
  options.weights = embedded_weights();
  options.weights->at("onet.face.bias").data[1] += 10;
  return options;
}

// A picture that moves a pixel per frame, with many faces for so low a threshold.
std::vector<ImageView> pan(const Picture& picture, int frames) {
  std::vector<ImageView> views;
  for (int i = 0; i < frames; ++i)
    views.push_back({.data = picture.pixels.data() + 3 * i,
                     .width = picture.width - frames,
                     .height = picture.height,
                     .stride = std::ptrdiff_t{3} * picture.width});
  return views;
}

}  // namespace

TEST(tracker, ids_ascend_and_are_not_given_again) {
  const Picture picture(44, 36, 3);
  for_each_isa([&] {
    for (const std::string& profile : profiles()) {
      Options options = sure();
      options.profile = profile;
      Tracker tracker(Detector(options), {.every = 3});
      std::int64_t next = 0;
      for (int round = 0; round < 2; ++round, tracker.reset()) {
        std::int64_t last = next - 1;
        for (const ImageView& frame : pan(picture, 5)) {
          const std::vector<Track> tracks = tracker.update(frame);
          for (std::size_t i = 0; i < tracks.size(); ++i) {
            CHECK(i == 0 || tracks[i - 1].id < tracks[i].id);
            CHECK(tracks[i].id >= next && tracks[i].age >= 0);
            last = std::max(last, tracks[i].id);
          }
        }
        CHECK(last >= next);
        next = last + 1;
      }
    }
  });
}

// Neither threads nor the streams that share a call change a result.
TEST(tracker, streams_together_as_alone) {
  const Picture pictures[] = {Picture(50, 40, 3), Picture(40, 50, 4)};
  std::vector<std::vector<float>> expected;
  for (const int threads : {1, 2}) {
    Options options = sure();
    options.num_threads = threads;
    const Detector detector(options);
    Tracker alone[] = {Tracker(detector, {.every = 3}), Tracker(detector, {.every = 4, .spread = true})};
    Tracker first(detector, {.every = 3}), second(detector, {.every = 4, .spread = true});
    std::vector<std::vector<float>> seen;
    for (int i = 0; i < 8; ++i) {
      const ImageView frames[] = {pan(pictures[0], 8)[i], pan(pictures[1], 8)[i]};
      Tracker* const both[] = {&first, &second};
      const std::vector<std::vector<Track>> together = Tracker::update(both, frames);
      for (int s = 0; s < 2; ++s) {
        seen.push_back(values(together[s]));
        CHECK(seen.back() == values(alone[s].update(frames[s])));
      }
    }
    if (expected.empty()) expected = seen;
    CHECK(seen == expected);
  }
}

TEST(tracker, mirrored_landmarks_alone_differ) {
  const Picture picture(44, 36, 3);
  Options options = sure();
  const Detector direct(options);
  options.landmarks = "mirrored";
  const Detector mirrored(options);
  const TrackerOptions slow{.every = 4};
  Tracker plain(direct, slow), nearer(mirrored, slow);
  int seen_again = 0;
  for (const ImageView& frame : pan(picture, 8)) {
    const std::vector<Track> expected = plain.update(frame), tracks = nearer.update(frame);
    CHECK(values(tracks) == values(expected));
    for (std::size_t i = 0; i < std::min(tracks.size(), expected.size()); ++i) {
      const auto &a = tracks[i].face.landmarks, &b = expected[i].face.landmarks;
      for (std::size_t k = 0; k < a.size(); ++k) CHECK(a[k].x != b[k].x || a[k].y != b[k].y);
      seen_again += tracks[i].age > 0;
    }
  }
  CHECK(seen_again > 3);
}

TEST(tracker, options_and_frames_are_checked) {
  CHECK_THROWS(std::invalid_argument, "every is 0", Tracker(Detector(), {.every = 0}));
  CHECK_THROWS(std::invalid_argument, "keep is 2", Tracker(Detector(), {.keep = 2}));
  CHECK_THROWS(std::invalid_argument, "patience is -1", Tracker(Detector(), {.patience = -1}));
  Tracker tracker{Detector()};
  CHECK_THROWS(std::invalid_argument, "the image is 0x0 without data", tracker.update({}));
}
