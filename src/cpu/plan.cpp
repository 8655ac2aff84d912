#include "cpu/plan.h"

namespace mtcnn_fast {

Resample Resize::whole(const Source& source, int height, int width, int target_height, int target_width,
                       const Conventions& conventions, float scale, float bias) {
  const Filter filter = resize_filter(conventions.resampling, height, width, target_height, target_width);
  x.make(width, target_width, filter);
  y.make(height, target_height, filter);
  return {.source = source,
          .x = x.columns(),
          .y = y.rows(),
          .width = target_width,
          .source_first = x.first(),
          .source_end = x.end(),
          .rounding = pixel_rounding(conventions, height, width, target_height, target_width),
          .scale = scale,
          .bias = bias};
}

void PyramidPlan::make(int height, int width, const Part& part, const Options& options,
                       const Conventions& conventions) {
  if (height != height_ || width != width_) {
    height_ = width_ = 0;  // no plan, should one of these throw
    levels.clear();
    for (const PyramidLevel& size : pyramid_levels(height, width, options, conventions)) {
      Level& level = levels.add();
      level.size = size;
      level.resample = level.resize.whole({}, height, width, size.height, size.width, conventions, kScale, kBias);
    }
    height_ = height, width_ = width;
  }
  for (Level& level : levels) {
    level.rows = rows_of(level.size, part);
    level.candidates.clear();
    level.seen = {level.size.scale, level.size.height, level.size.width, 0, 0, 0};
  }
}

void PyramidPlan::read_from(const Source& source) {
  for (Level& level : levels) level.resample.source = source;
}

std::size_t PyramidPlan::bytes() const {
  std::size_t bytes = levels.items().capacity() * sizeof(Level);
  for (const Level& level : levels.items())
    bytes += level.resize.x.bytes() + level.resize.y.bytes() + level.candidates.capacity() * sizeof(Candidate);
  return bytes;
}

}  // namespace mtcnn_fast
