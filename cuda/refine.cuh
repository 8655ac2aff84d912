// The device code that R-Net's and O-Net's kernels share in both arithmetics.
#pragma once

#include <cmath>

#include "prelu.h"
#include "refine.h"

namespace mtcnn_fast::cuda {

// How many windows there are, as their counter may exceed what there is room for, and where each one's crop and heads
// are.
struct WindowCount {
  const int* count;
  int capacity;
  const int* places;  // null: one after the other
  __device__ int get() const { return min(*count, capacity); }
  __device__ int place(int window) const { return places ? places[window] : window; }
};
inline WindowCount window_count(const Work& work, Stage stage) {
  return {&work.counts->windows[stage], work.windows[stage].capacity, nullptr};
}

// The greater, or NaN if one is: fmaxf() would hide it.
__device__ inline float greater(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
#else
  return a > b || a != a ? a : b;
#endif
}

__device__ inline float4 load4(const float* p) { return __ldg(reinterpret_cast<const float4*>(p)); }

// Where a window's heads go: lane i has head i.
struct KeepHeads {
  __device__ static void store(const Work&, float* outputs, int, int lane, float output) { outputs[lane] = output; }
};
// Of a screen: a window whose logit is too low has one that passes no threshold, and the others are listed.
struct ScreenHeads {
  __device__ static void store(const Work& work, float* outputs, int window, int lane, float output) {
    if (lane > 0) return;
    if (output >= work.settings.rnet_screen_logit) {
      work.windows_left[atomicAdd(&work.counts->windows_left, 1)] = window;
      atomicAdd(&work.image_counts[work.windows[Stage::rnet].images[window]].windows_left, 1);
    } else {
      outputs[0] = -INFINITY;
    }
  }
};

// The heads: a warp for a window, lanes share the inputs.
constexpr int kHeadThreads = 128;
template <class Layer, class Sink>
__global__ void __launch_bounds__(kHeadThreads)
    heads_kernel(Work work, WindowCount windows, const float* hidden, const float* weights, float* outputs) {
  constexpr Heads kHeads = Layer::kShape;
  constexpr int kInputs = kHeads.inputs / kWarp;
  wait_for_earlier_kernels();
  const int n = windows.get();
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const float* const biases = weights + kHeads.inputs * kHeads.outputs;
  constexpr int kWarps = kHeadThreads / kWarp;
  for (int window = static_cast<int>(blockIdx.x) * kWarps + warp; window < n;
       window += static_cast<int>(gridDim.x) * kWarps) {
    float inputs[kInputs];
#pragma unroll
    for (int i = 0; i < kInputs; ++i)
      inputs[i] = hidden[static_cast<std::size_t>(window) * kHeads.inputs + i * kWarp + lane];
    // All outputs' loads together, then all shuffles: one output after the other would wait for memory as often.
    float sums[kHeads.outputs] = {};
#pragma unroll
    for (int o = 0; o < kHeads.outputs; ++o)
#pragma unroll
      for (int i = 0; i < kInputs; ++i)
        sums[o] = fmaf(inputs[i], __ldg(weights + o * kHeads.inputs + i * kWarp + lane), sums[o]);
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
#pragma unroll
      for (float& sum : sums) sum += __shfl_xor_sync(kAllLanes, sum, distance);
    float output = 0;
#pragma unroll
    for (int o = 0; o < kHeads.outputs; ++o)
      if (lane == o) output = sums[o] + __ldg(biases + o);
    const int place = windows.place(window);
    if (lane < kHeadOutputs)
      Sink::store(work, outputs + static_cast<std::size_t>(place) * kHeadOutputs, place, lane, output);
  }
}

// A network's layers in their order. Steps has them in one arithmetic: their shapes, what maps are made of, the bytes
// of a layer's parameters, and how each kind is queued.
template <class Steps, class Sink>
void run_layers(const Queue& queue, const Work& work, WindowCount windows, const void* weights) {
  using Layers = typename Steps::Layers;
  using Element = typename Steps::Element;
  constexpr Stage kStage = Steps::Net::kStage;
  const Activations& activations = work.activations[kStage];
  const auto* const crops = static_cast<const typename Steps::Pixel*>(activations.crops);
  auto* const maps1 = static_cast<Element*>(activations.maps);
  Element* const maps2 = maps1 + static_cast<std::size_t>(windows.capacity) * Steps::values(Layers::Conv1::kShape);
  auto* const maps3 = static_cast<Element*>(activations.maps3);
  auto* const features = static_cast<Element*>(activations.features);
  auto* const hidden = static_cast<float*>(activations.hidden);
  const auto* next = static_cast<const unsigned char*>(weights);
  const auto take = [&next](std::size_t bytes) {
    const unsigned char* const taken = next;
    next += bytes;
    return taken;
  };

  Steps::template first<typename Layers::Conv1>(queue, windows, crops, take(Steps::bytes(Layers::Conv1::kShape)),
                                                maps1);
  Steps::template conv<typename Layers::Conv2>(queue, windows, maps1, take(Steps::bytes(Layers::Conv2::kShape)), maps2);
  if constexpr (kStage == Stage::onet) {
    Steps::template conv<typename Layers::Conv3>(queue, windows, maps2, take(Steps::bytes(Layers::Conv3::kShape)),
                                                 maps3);
    Steps::template product<typename Layers::Conv4>(queue, windows, maps3, take(Steps::bytes(Layers::Conv4::kShape)),
                                                    features);
  } else {
    Steps::template product<typename Layers::Conv3>(queue, windows, maps2, take(Steps::bytes(Layers::Conv3::kShape)),
                                                    features);
  }
  Steps::template product<typename Layers::Dense>(queue, windows, features, take(Steps::bytes(Layers::Dense::kShape)),
                                                  hidden);
  launch(queue, heads_kernel<typename Steps::Net::Output, Sink>, kHeadThreads, 0, work, windows, hidden,
         reinterpret_cast<const float*>(next), work.windows[kStage].heads);
}

}  // namespace mtcnn_fast::cuda
