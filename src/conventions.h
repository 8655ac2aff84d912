// The ways in which known implementations of the cascade differ. All of them carry the same weights.
#pragma once

#include <string_view>

namespace mtcnn_fast {

// How the sides of a pyramid level become whole numbers.
enum class LevelRounding {
  ceiling,            // ceil(side * scale)
  truncate_plus_one,  // int(side * scale + 1): one more where side * scale is a whole number
};

enum class Resampling {
  area_or_bilinear,  // pixel area where both axes shrink, else bilinear between pixel centres
  cv2_inter_area,    // the same, but OpenCV's INTER_AREA when enlarging: bilinear between pixel areas
  adaptive_average,  // torch's interpolate(mode="area"): whole pixels of floor(i * r) .. ceil((i + 1) * r), equal
                     // weights
};

struct Conventions {
  std::string_view name;
  LevelRounding level_size;
  Resampling resampling;
  bool rounds_levels;  // pyramid levels are rounded to 8 bits (crops never are)
  // Where a single cell of a level passes, its offsets are taken from the cell mirrored in the level: a slip of mtcnn
  // (and of FaceNet's detect_face.py before it) in carrying over MATLAB's `if size(y, 1) == 1`.
  bool mirrors_lone_cell;
  bool clips_crops;       // crops are cut to the image and stretched; else black beyond it
  bool fixes_boxes;       // squared boxes are rounded by fix(), and the next stage goes on from that
  bool single_precision;  // box arithmetic in float32; else in float64
  int overlap_extra;      // P-Net's and R-Net's NMS count pixels (width = x2 - x1 + 1); O-Net's always does
  // Boxes are ordered by float32 probability, which ties above a logit of about 14, not by logit. Ties go to the first
  // met, after O-Net to the last: torchvision sorts stably, numpy.argsort is read from its end. (mtcnn has ties too,
  // but breaks them as numpy's unstable sort happens to.)
  bool ranks_by_probability;
  bool shifts_output;  // boxes are returned 0-based and half-open; else in the authors' 1-based coordinates

  bool operator==(const Conventions&) const = default;
};

inline constexpr Conventions kProfiles[] = {
    {.name = "reference",
     .level_size = LevelRounding::ceiling,
     .resampling = Resampling::area_or_bilinear,
     .rounds_levels = false,
     .mirrors_lone_cell = false,
     .clips_crops = false,
     .fixes_boxes = true,
     .single_precision = false,
     .overlap_extra = 1,
     .ranks_by_probability = false,
     .shifts_output = true},
    {.name = "facenet-pytorch",
     .level_size = LevelRounding::truncate_plus_one,
     .resampling = Resampling::adaptive_average,
     .rounds_levels = false,
     .mirrors_lone_cell = false,
     .clips_crops = true,
     .fixes_boxes = false,
     .single_precision = true,
     .overlap_extra = 0,
     .ranks_by_probability = true,
     .shifts_output = false},
    {.name = "mtcnn",
     .level_size = LevelRounding::ceiling,
     .resampling = Resampling::cv2_inter_area,
     .rounds_levels = true,
     .mirrors_lone_cell = true,
     .clips_crops = false,
     .fixes_boxes = true,
     .single_precision = false,
     .overlap_extra = 1,
     .ranks_by_probability = false,
     .shifts_output = false},
};

}  // namespace mtcnn_fast
