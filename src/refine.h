// Detector::refine(): from boxes to places and from answers to detections, once for every backend.
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
                                           void* stream);

}  // namespace mtcnn_fast
