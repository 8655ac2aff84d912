// What asks Backend::look, once for every backend: Detector::refine(), from boxes to places and from answers to
// detections, and Options::landmarks.
#pragma once

#include <span>
#include <vector>

#include <mtcnn_fast/detector.h>

#include "backend.h"

namespace mtcnn_fast {

// Throws std::invalid_argument for a box that is not finite or whose corners are in the wrong order, with its index.
void check_boxes(std::span<const Box> boxes);

// The images have passed check_image(), the boxes check_boxes().
std::vector<std::vector<Detection>> refine(const Backend& backend, std::span<const ImageView> images,
                                           std::span<const std::span<const Box>> boxes, Networks networks,
                                           Landmarks landmarks, void* stream);

// A face, its box not clipped, of one of several images.
struct FaceOf {
  int image;
  Detection* face;
};
// Gives the faces the landmarks of Landmarks::mirrored, and returns how many crops O-Net looked at. A face about whose
// box refine() would see nothing keeps its landmarks. `stream` as in Selection.
std::int64_t mirror_landmarks(const Backend& backend, std::span<const ImageView> images, std::span<const FaceOf> faces,
                              void* stream);

}  // namespace mtcnn_fast
