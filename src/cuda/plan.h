// The plan of an image's pyramid for the CUDA backend, kept for the next image of that size.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include <mtcnn_fast/detector.h>
#include "conventions.h"
#include "cuda_interface.h"
#include "pyramid.h"

namespace mtcnn_fast {

struct CudaPlan {
  std::vector<PyramidLevel> pyramid;
  std::vector<cuda::PlannedLevel> levels;  // of the pyramid
  // Whether suppression across levels can drop a box that suppression within them left.
  bool across = false;

  CudaPlan() = default;

  // Throws as pyramid_levels() does.
  CudaPlan(int height, int width, const Options& options, const Conventions& conventions);
  // Of a part of that search.
  CudaPlan(const CudaPlan& whole, const Part& part);
};

// The plans of the sizes met last. Safe to use from many threads at once.
class CudaPlans {
 public:
  CudaPlans(const Options& options, const Conventions& conventions) : options_(options), conventions_(conventions) {}

  std::shared_ptr<const CudaPlan> get(int height, int width);

 private:
  static constexpr std::size_t kMostKept = 64;
  struct Entry {
    int height, width;
    std::shared_ptr<const CudaPlan> plan;
  };

  const Options& options_;
  const Conventions& conventions_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // the one used last first
};

}  // namespace mtcnn_fast
