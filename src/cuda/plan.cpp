#include "cuda/plan.h"

#include <algorithm>

#include "backend.h"
#include "geometry.h"

namespace mtcnn_fast {
namespace {

// One side of the boxes of P-Net's cells in one row or column of a level.
struct Interval {
  double first, last;
};

std::vector<Interval> intervals(int side, double scale, const Geometry& geometry) {
  std::vector<Interval> all;
  for (int i = 0; i < pnet_cells(side); ++i) {
    const BoxD box = geometry.cell(0, i, scale);
    all.push_back({box.x1, box.x2});
  }
  return all;
}

// The greatest distance, in cells, at which two boxes of a level can overlap by more than the threshold. Along either
// axis their IoU is at most that of their sides: with an intersection of w x h, sides a and b along the one axis and
// the lesser side m >= h along the other, IoU <= w * m / (a * m + b * m - w * m).
int farthest_overlap(const std::vector<Interval>& sides, double threshold, double extra) {
  int reach = 0;
  for (std::size_t distance = 1; distance < sides.size(); ++distance) {
    double most = 0;
    bool meet = false;
    for (std::size_t i = 0; i + distance < sides.size(); ++i) {
      const Interval &a = sides[i], &b = sides[i + distance];
      const double shared = std::min(a.last, b.last) - std::max(a.first, b.first) + extra;
      if (!(shared > 0)) continue;
      meet = true;
      most = std::max(most, shared / (a.last - a.first + extra + (b.last - b.first + extra) - shared));
    }
    if (most > threshold) reach = static_cast<int>(distance);
    if (!meet) break;
  }
  return reach;
}

struct Sides {
  double least, most;
};

Sides extremes(const std::vector<Interval>& sides, double extra) {
  Sides found = {sides[0].last - sides[0].first + extra, sides[0].last - sides[0].first + extra};
  for (const Interval& side : sides) {
    found.least = std::min(found.least, side.last - side.first + extra);
    found.most = std::max(found.most, side.last - side.first + extra);
  }
  return found;
}

}  // namespace

CudaPlan::CudaPlan(int height, int width, const Options& options, const Conventions& conventions)
    : pyramid(pyramid_levels(height, width, options, conventions)) {
  const Geometry geometry(conventions);
  const double within = options.nms_thresholds[0], across_levels = options.nms_thresholds[1];
  const double extra = geometry.overlap_extra(Stage::pnet);
  double greatest = 0;        // IoU of boxes of two levels
  double largest_so_far = 0;  // area of the largest box of the levels before, whose boxes are the smaller ones
  for (const PyramidLevel& size : pyramid) {
    const std::vector<Interval> columns = intervals(size.width, size.scale, geometry);
    const std::vector<Interval> rows = intervals(size.height, size.scale, geometry);
    levels.push_back({size.scale, size.height, size.width, 0, pnet_cells(size.height),
                      std::max(farthest_overlap(columns, within, extra), farthest_overlap(rows, within, extra))});
    const Sides w = extremes(columns, extra), h = extremes(rows, extra);
    // An IoU is at most the quotient of the areas, the lesser over the greater.
    if (levels.size() > 1) greatest = std::max(greatest, largest_so_far / (w.least * h.least));
    largest_so_far = std::max(largest_so_far, w.most * h.most);
  }
  across = within > across_levels || greatest > across_levels;
}

CudaPlan::CudaPlan(const CudaPlan& whole, const Part& part) : CudaPlan(whole) {
  for (std::size_t k = 0; k < levels.size(); ++k) {
    const CellRows rows = rows_of(pyramid[k], part);
    levels[k].first_row = rows.first, levels[k].end_row = rows.end;
  }
}

std::shared_ptr<const CudaPlan> CudaPlans::get(int height, int width) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& e) { return e.height == height && e.width == width; });
    if (found != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, found);
      return found->plan;
    }
  }
  auto plan = std::make_shared<const CudaPlan>(height, width, options_, conventions_);
  const std::lock_guard lock(mutex_);
  entries_.push_front({height, width, plan});
  if (entries_.size() > kMostKept) entries_.pop_back();
  return plan;
}

}  // namespace mtcnn_fast
