#include "refine.h"

#include <cmath>
#include <sstream>
#include <stdexcept>

#include "conventions.h"
#include "geometry.h"
#include "numbered.h"

namespace mtcnn_fast {
namespace {

// The window for a network about a box, in the authors' coordinates. What the cascade rounded to whole pixels is a
// square but for one pixel, and stays as it is: a second squaring would move it.
BoxD window_about(const BoxD& box, const Geometry& geometry) {
  constexpr float kNoOffsets[4] = {};
  const bool square = std::abs((box.x2 - box.x1) - (box.y2 - box.y1)) <= 1;
  return square ? geometry.rounded(box) : geometry.next_window(box, kNoOffsets, 1);
}

bool meets(const BoxD& window, const ImageView& image) {
  return window.x2 >= 1 && window.y2 >= 1 && window.x1 <= image.width && window.y1 <= image.height;
}

Detection unseen(const Box& box) {
  Detection face{.box = box, .score = 0, .landmarks = {}};
  face.landmarks.fill({box.x1 / 2 + box.x2 / 2, box.y1 / 2 + box.y2 / 2});
  return face;
}

// A box on its way through the networks.
struct Look {
  Backend::Place place;
  Detection* answer;
};

// What a network says of the looks' places, by its heads, after places without pixels were dropped.
std::vector<float> ask(const Backend& backend, std::span<const ImageView> images, std::vector<Look>& looks, Stage stage,
                       void* stream) {
  const Geometry geometry(backend.conventions);
  std::erase_if(looks, [&](const Look& look) {
    const ImageView& image = images[look.place.image];
    const BoxD& window = look.place.window;
    return !geometry.has_pixels(window, image.height, image.width) ||
           !meets(geometry.crop_window(window, image.height, image.width), image);
  });
  std::vector<Backend::Place> places;
  for (const Look& look : looks) places.push_back(look.place);
  std::vector<float> heads(looks.size() * kHeadOutputs);
  if (!places.empty()) backend.look(images, places, stage, heads.data(), stream);
  return heads;
}

}  // namespace

void check_boxes(std::span<const Box> boxes) {
  for (std::size_t i = 0; i < boxes.size(); ++i)
    numbered("box", i, [&box = boxes[i]] {
      const bool finite =
          std::isfinite(box.x1) && std::isfinite(box.y1) && std::isfinite(box.x2) && std::isfinite(box.y2);
      if (finite && box.x1 <= box.x2 && box.y1 <= box.y2) return;
      std::ostringstream message;
      message << "it is " << box.x1 << ", " << box.y1 << ", " << box.x2 << ", " << box.y2
              << ", wanted finite corners x1, y1, x2, y2 with x1 <= x2 and y1 <= y2";
      throw std::invalid_argument(message.str());
    });
}

std::vector<std::vector<Detection>> refine(const Backend& backend, std::span<const ImageView> images,
                                           std::span<const std::span<const Box>> boxes, Networks networks,
                                           void* stream) {
  const Geometry geometry(backend.conventions);
  const double shift = backend.conventions.shifts_output ? 1 : 0;
  std::vector<std::vector<Detection>> answers(images.size());
  std::vector<Look> looks;
  for (std::size_t i = 0; i < images.size(); ++i) {
    for (const Box& box : boxes[i]) answers[i].push_back(unseen(box));
    for (Detection& answer : answers[i]) {
      const Box& box = answer.box;
      const BoxD authors = {box.x1 + shift, box.y1 + shift, box.x2, box.y2};
      looks.push_back({{static_cast<int>(i), window_about(authors, geometry)}, &answer});
    }
  }
  if (networks == Networks::both) {
    const std::vector<float> heads = ask(backend, images, looks, Stage::rnet, stream);
    for (std::size_t k = 0; k < looks.size(); ++k)
      looks[k].place.window = geometry.next_window(looks[k].place.window, &heads[k * kHeadOutputs + 1], 1);
  }
  const std::vector<float> heads = ask(backend, images, looks, Stage::onet, stream);
  for (std::size_t k = 0; k < looks.size(); ++k) {
    const float* head = &heads[k * kHeadOutputs];
    // Networks that were never trained can say what is not a number; detect() drops that too.
    if (std::isnan(head[0])) continue;
    Candidate candidate{.box = looks[k].place.window, .logit = 0, .offsets = {}, .landmarks = {}};
    candidate.take(head);
    geometry.finish(candidate);
    *looks[k].answer = geometry.detection(candidate);
  }
  return answers;
}

}  // namespace mtcnn_fast
