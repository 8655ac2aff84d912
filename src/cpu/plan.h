// The resizing of an image: its pyramid levels, and the crops for R-Net and O-Net.
#pragma once

#include "backend.h"
#include "conventions.h"
#include "cpu/candidates.h"
#include "cpu/kernels/kernels.h"
#include "cpu/reuse.h"
#include "cpu/window_table.h"
#include "pyramid.h"

namespace mtcnn_fast {

// One resize with its tables.
struct Resize {
  WindowTable x, y;

  Resample whole(const Source& source, int height, int width, int target_height, int target_width,
                 const Conventions& conventions, float scale, float bias);
};

// The levels of images of one size, kept for the next image: in a video that is all of them.
class PyramidPlan {
 public:
  struct Level {
    PyramidLevel size;
    Resize resize;
    Resample resample;
    CellRows rows;  // that P-Net looks at
    std::vector<Candidate> candidates;
    Inspection::Level seen;
  };

  // Levels for images of that size, without candidates, and the rows that a part has of them. Throws as
  // pyramid_levels() does.
  void make(int height, int width, const Part& part, const Options& options, const Conventions& conventions);
  // The image that they are resized from.
  void read_from(const Source& source);

  Recycled<Level> levels;
  std::size_t bytes() const;

 private:
  int height_ = 0, width_ = 0;
};

}  // namespace mtcnn_fast
