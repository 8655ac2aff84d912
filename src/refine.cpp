#include "refine.h"

#include <algorithm>
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

// The window about a box of a detection.
BoxD window_about(const Box& box, const Geometry& geometry, const Conventions& conventions) {
  const double shift = conventions.shifts_output ? 1 : 0;
  return window_about(BoxD{box.x1 + shift, box.y1 + shift, box.x2, box.y2}, geometry);
}

bool meets(const BoxD& window, const ImageView& image) {
  return window.x2 >= 1 && window.y2 >= 1 && window.x1 <= image.width && window.y1 <= image.height;
}

bool can_look_at(const BoxD& window, const ImageView& image, const Geometry& geometry) {
  return geometry.has_pixels(window, image.height, image.width) &&
         meets(geometry.crop_window(window, image.height, image.width), image);
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
  std::erase_if(looks,
                [&](const Look& look) { return !can_look_at(look.place.window, images[look.place.image], geometry); });
  std::vector<Backend::Place> places;
  for (const Look& look : looks) places.push_back(look.place);
  std::vector<float> heads(looks.size() * kHeadOutputs);
  if (!places.empty()) backend.look(images, places, stage, heads.data(), stream);
  return heads;
}

// What a window sees of its image, as an image of its own, and the window in it. So the rest of the image is neither
// copied to a GPU once more nor turned round.
struct Cutout {
  ImageView image;
  BoxD window;
};

Cutout cutout_of(const ImageView& image, const BoxD& window) {
  const int left = static_cast<int>(std::max(window.x1, 1.0)) - 1, top = static_cast<int>(std::max(window.y1, 1.0)) - 1;
  Cutout cutout{image, {window.x1 - left, window.y1 - top, window.x2 - left, window.y2 - top}};
  cutout.image.pixel_stride = image.pixel_stride ? image.pixel_stride : channels(image.format);
  cutout.image.stride = image.stride ? image.stride : cutout.image.pixel_stride * image.width;
  cutout.image.data += top * cutout.image.stride + left * cutout.image.pixel_stride;
  cutout.image.width = static_cast<int>(std::min<double>(window.x2, image.width)) - left;
  cutout.image.height = static_cast<int>(std::min<double>(window.y2, image.height)) - top;
  return cutout;
}

Cutout mirrored(const Cutout& cutout) {
  Cutout mirror = cutout;
  mirror.image.data += (cutout.image.width - 1) * cutout.image.pixel_stride;
  mirror.image.pixel_stride = -cutout.image.pixel_stride;
  mirror.window.x1 = cutout.image.width + 1 - cutout.window.x2;
  mirror.window.x2 = cutout.image.width + 1 - cutout.window.x1;
  return mirror;
}

// The mean of O-Net's landmarks of a window and of its mirror image, in units of the window. A head has them from its
// sixth number on, as Candidate::take() reads it.
void average_landmarks(const float* head, const float* mirrored_head, float (&landmarks)[10]) {
  // The left eye and corner of the mouth are the right ones of the mirror image.
  constexpr int kOpposite[5] = {1, 0, 2, 4, 3};
  const float *x = head + 5, *y = head + 10, *mirrored_x = mirrored_head + 5, *mirrored_y = mirrored_head + 10;
  for (int p = 0; p < 5; ++p) {
    landmarks[p] = (limited(x[p]) + (1 - limited(mirrored_x[kOpposite[p]]))) / 2;
    landmarks[p + 5] = (limited(y[p]) + limited(mirrored_y[kOpposite[p]])) / 2;
  }
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
                                           Landmarks landmarks, void* stream) {
  const Geometry geometry(backend.conventions);
  std::vector<std::vector<Detection>> answers(images.size());
  std::vector<Look> looks;
  for (std::size_t i = 0; i < images.size(); ++i) {
    for (const Box& box : boxes[i]) answers[i].push_back(unseen(box));
    for (Detection& answer : answers[i])
      looks.push_back({{static_cast<int>(i), window_about(answer.box, geometry, backend.conventions)}, &answer});
  }
  if (networks == Networks::both) {
    const std::vector<float> heads = ask(backend, images, looks, Stage::rnet, stream);
    for (std::size_t k = 0; k < looks.size(); ++k)
      looks[k].place.window = geometry.next_window(looks[k].place.window, &heads[k * kHeadOutputs + 1], 1);
  }
  const std::vector<float> heads = ask(backend, images, looks, Stage::onet, stream);
  std::vector<FaceOf> answered;
  for (std::size_t k = 0; k < looks.size(); ++k) {
    const float* head = &heads[k * kHeadOutputs];
    // Networks that were never trained can say what is not a number; detect() drops that too.
    if (std::isnan(head[0])) continue;
    Candidate candidate{.box = looks[k].place.window, .logit = 0, .offsets = {}, .landmarks = {}};
    candidate.take(head);
    geometry.finish(candidate);
    *looks[k].answer = geometry.detection(candidate);
    answered.push_back({looks[k].place.image, looks[k].answer});
  }
  if (landmarks == Landmarks::mirrored) mirror_landmarks(backend, images, answered, stream);
  return answers;
}

std::int64_t mirror_landmarks(const Backend& backend, std::span<const ImageView> images, std::span<const FaceOf> faces,
                              void* stream) {
  // Of the cutouts that are looked at together: what is copied takes no more than 12 MB, unless one cutout has more.
  constexpr std::int64_t kPixelsTogether = 1 << 22;
  const Geometry geometry(backend.conventions);
  std::int64_t crops = 0;
  for (std::size_t next = 0; next < faces.size();) {
    std::vector<ImageView> cutouts;
    std::vector<Backend::Place> places;
    std::vector<Look> looks;
    std::int64_t pixels = 0;
    for (; next < faces.size() && pixels < kPixelsTogether; ++next) {
      const ImageView& image = images[faces[next].image];
      const BoxD window = window_about(faces[next].face->box, geometry, backend.conventions);
      if (!can_look_at(window, image, geometry)) continue;
      looks.push_back({{faces[next].image, window}, faces[next].face});
      const Cutout cutout = cutout_of(image, geometry.crop_window(window, image.height, image.width));
      for (const Cutout& side : {cutout, mirrored(cutout)}) {
        places.push_back({static_cast<int>(cutouts.size()), side.window});
        cutouts.push_back(side.image);
        pixels += std::int64_t{side.image.width} * side.image.height;
      }
    }
    std::vector<float> heads(places.size() * kHeadOutputs);
    if (!places.empty()) backend.look(cutouts, places, Stage::onet, heads.data(), stream);
    for (std::size_t k = 0; k < looks.size(); ++k) {
      const float *head = &heads[2 * k * kHeadOutputs], *mirrored_head = head + kHeadOutputs;
      if (std::isnan(head[0]) || std::isnan(mirrored_head[0])) continue;
      Candidate candidate{.box = looks[k].place.window, .logit = 0, .offsets = {}, .landmarks = {}};
      average_landmarks(head, mirrored_head, candidate.landmarks);
      geometry.finish(candidate);
      looks[k].answer->landmarks = geometry.detection(candidate).landmarks;
    }
    crops += std::ssize(places);
  }
  return crops;
}

}  // namespace mtcnn_fast
