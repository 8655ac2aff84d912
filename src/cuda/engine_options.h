// A detector's options in the form that the CUDA backend takes.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include <mtcnn_fast/detector.h>

#include "cuda_interface.h"
#include "geometry.h"
#include "screen_logit.h"

namespace mtcnn_fast {

// Of the screen in fp16, derived by tools/derive_margins.py for the embedded networks: the chance that rounding moves a
// passing window's logit by more is below 1e-15. Figures in docs/performance.md.
constexpr double kPnetMargin = 0.2, kRnetMargin = 0.12;

struct CudaEngineOptions {
  std::vector<cuda::NamedTensor> tensors;
  cuda::EngineOptions options = {};

  // Points into `all_tensors`, and into itself.
  CudaEngineOptions(const Options& from, const Conventions& conventions, const Tensors& all_tensors) {
    for (const auto& [name, tensor] : all_tensors)
      tensors.push_back({name.c_str(), tensor.data.data(), tensor.data.size()});
    options.fp16 = from.precision == "fast";
    options.pnet_screen = screen(from, 0, kPnetMargin);
    options.rnet_screen = screen(from, 1, kRnetMargin);
    options.conventions = conventions;
    options.cell_logit = least_float_not_below(logit_of(from.thresholds[0]));
    options.logits = {{logit_of(from.thresholds[1]), logit_of(from.thresholds[2])}};
    std::copy(from.nms_thresholds.begin(), from.nms_thresholds.end(), options.nms);
    options.tensors = tensors.data(), options.tensor_count = tensors.size();
  }
  CudaEngineOptions(const CudaEngineOptions&) = delete;
  CudaEngineOptions& operator=(const CudaEngineOptions&) = delete;

 private:
  static cuda::Screen screen(const Options& from, int network, double margin) {
    const std::optional<float> logit = screen_logit(from, from.thresholds[network], margin);
    return {logit.has_value(), logit.value_or(0)};
  }
};

}  // namespace mtcnn_fast
