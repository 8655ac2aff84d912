// A detector's options in the form that the CUDA backend takes.
#pragma once

#include <algorithm>
#include <vector>

#include <mtcnn_fast/detector.h>

#include "cuda_interface.h"
#include "geometry.h"

namespace mtcnn_fast {

struct CudaEngineOptions {
  std::vector<cuda::NamedTensor> tensors;
  cuda::EngineOptions options = {};

  // Points into `all_tensors`, and into itself.
  CudaEngineOptions(const Options& from, const Conventions& conventions, const Tensors& all_tensors) {
    for (const auto& [name, tensor] : all_tensors)
      tensors.push_back({name.c_str(), tensor.data.data(), tensor.data.size()});
    options.fp16 = from.precision == "fast";
    options.conventions = conventions;
    options.cell_logit = least_float_not_below(logit_of(from.thresholds[0]));
    options.logits = {{logit_of(from.thresholds[1]), logit_of(from.thresholds[2])}};
    std::copy(from.nms_thresholds.begin(), from.nms_thresholds.end(), options.nms);
    options.tensors = tensors.data(), options.tensor_count = tensors.size();
  }
  CudaEngineOptions(const CudaEngineOptions&) = delete;
  CudaEngineOptions& operator=(const CudaEngineOptions&) = delete;
};

}  // namespace mtcnn_fast
