// The tracker's own time per frame, without networks, crops and thumbnails: src/tracker.cpp with a detector that has
// its answers ready, instead of the library's.
#include <mtcnn_fast/tracker.h>

#include <chrono>
#include <cmath>
#include <cstdio>

#include "backend.h"
#include "refine.h"

namespace mtcnn_fast {
namespace {

constexpr int kFaces = 10, kEvery = 10, kFrames = 100'000;
constexpr int kStep = 100;  // pixels from one face to the next, each below the other
int now = 0;                // the frame

// The faces go to and fro.
Detection face(int i) {
  const auto x = static_cast<float>(std::abs(now % 400 - 200)), y = static_cast<float>(kStep * i);
  return {.box = {x, y, x + 60, y + 60},
          .score = 0.99f,
          .landmarks = {{{x + 20, y + 20}, {x + 40, y + 20}, {x + 30, y + 35}, {x + 20, y + 50}, {x + 40, y + 50}}}};
}

class Ready final : public Backend {
 public:
  Ready() : Backend(kProfiles[0]) {}
  void check_image(const ImageView&) const override {}
  void detect(std::span<const ImageView>, std::span<const Part>, std::span<std::vector<Detection>>,
              std::span<Inspection>, void*) const override {}
  std::vector<Window> windows(const ImageView&, Stage) const override { return {}; }
  void look(std::span<const ImageView>, std::span<const Place>, Stage, float*, void*) const override {}
  void resize(const ImageView&, int, int, float*, void*) const override {}
  void pnet(const float*, int, int, float*, float*) const override {}
  void rnet(const float*, std::int64_t, float*, float*) const override {}
  void onet(const float*, std::int64_t, float*, float*, float*) const override {}
  std::vector<std::int64_t> suppress(std::span<const BoxD>, std::span<const float>, double, Overlap) const override {
    return {};
  }
  std::vector<PyramidLevel> levels(int, int) const override { return {}; }
  std::shared_ptr<float> upload(std::span<const float>) const override { return nullptr; }
  void order_streams(void*, void*) const override {}
};

}  // namespace

Detector::Detector(const Options&) : backend_(std::make_shared<Ready>()) {}
void Detector::check(const ImageView&) const {}
void Detector::check(std::span<const ImageView>) const {}

std::vector<std::vector<Detection>> Detector::detect(std::span<const ImageView> images,
                                                     const Selection& selection) const {
  std::vector<std::vector<Detection>> found(images.size());
  for (auto& faces : found)
    for (int i = selection.part.index; i < kFaces; i += selection.part.count) faces.push_back(face(i));
  return found;
}

std::vector<std::vector<Detection>> refine(const Backend&, std::span<const ImageView> images,
                                           std::span<const std::span<const Box>> boxes, Networks, Landmarks, void*) {
  std::vector<std::vector<Detection>> answers(images.size());
  for (std::size_t i = 0; i < images.size(); ++i)
    for (const Box& box : boxes[i]) answers[i].push_back(face(static_cast<int>(std::lround(box.y1 / kStep))));
  return answers;
}

std::int64_t mirror_landmarks(const Backend&, std::span<const ImageView>, std::span<const FaceOf>, void*) { return 0; }

}  // namespace mtcnn_fast

int main() {
  using namespace mtcnn_fast;
  using Clock = std::chrono::steady_clock;
  const ImageView frame{.data = nullptr, .width = 640, .height = kStep * kFaces, .stride = 0};
  for (const bool spread : {false, true}) {
    Tracker tracker(Detector(), {.every = kEvery, .spread = spread});
    std::size_t shown = 0;
    now = 0;
    const auto begin = Clock::now();
    for (; now < kFrames; ++now) shown += tracker.update(frame).size();
    const std::chrono::duration<double, std::micro> time = Clock::now() - begin;
    std::printf("%s, %.1f faces per frame: %.2f us per frame\n", spread ? "spread" : "whole",
                static_cast<double>(shown) / kFrames, time.count() / kFrames);
  }
}
