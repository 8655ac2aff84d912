// The cascade on the CPU: image -> pyramid -> P-Net -> candidates -> NMS -> crops -> R-Net -> NMS -> crops -> O-Net ->
// NMS -> detections.
#pragma once

#include <chrono>
#include <span>
#include <vector>

#include "backend.h"
#include "cpu/candidates.h"
#include "cpu/crop_tables.h"
#include "cpu/kernels/kernels.h"
#include "cpu/packed_networks.h"
#include "cpu/screen.h"
#include "cpu/workspace.h"

namespace mtcnn_fast {

// What a detector is made of; never changes.
struct Model {
  Options options;
  const Conventions& conventions;
  Geometry geometry;
  const Kernels& kernels;
  PackedNetworks networks;
  std::array<Precision, 3> precision;  // by stage
  PerRefineStage<CropTables> crops;
  int threads;

  const Precision& precision_of(Stage stage) const { return precision[static_cast<std::size_t>(stage)]; }
};

// R-Net or O-Net of n <= kMaxRefineBatch crops; scratch: refine_scratch().
void run_network(const Model& model, Stage stage, bool bf16, const float* crops, int n, float* heads, float* scratch);
std::size_t refine_scratch(const Model& model);

// How many of the images, from the first on, one Cascade should take: enough to give all threads work at every step,
// few enough to stay in the caches.
std::size_t images_together(const Model& model, std::span<const ImageView> images, std::span<const Part> parts);

// Takes some images through the cascade together. Each step is one loop over the tasks of all of them, largest first,
// so that one image is spread over the threads as well as many, of equal or unequal size.
class Cascade {
 public:
  // `parts` as in Backend::detect.
  Cascade(const Model& model, Workspace& workspace, std::span<const ImageView> images,
          std::span<const Part> parts = {});

  void run(std::span<std::vector<Detection>> faces, std::span<Inspection> inspections);
  // As Backend::windows, of the first image.
  std::vector<Backend::Window> windows(Stage next);
  // As Backend::look.
  void look(Stage stage, std::span<const Backend::Place> places, float* heads);

 private:
  class Stopwatch {
   public:
    double lap();

   private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  };

  // Their order is the order of a picture's way through the cascade.
  void begin();
  void split();
  void pnet();
  void after_pnet();
  void refine(Stage stage);
  void run_candidates(Stage stage, Arithmetic arithmetic);
  void after_rnet();
  void after_onet(std::span<std::vector<Detection>> faces);

  PnetBand describe(const Band& band, float threshold) const;
  void collect(const LevelBands& bands, ThreadWork& work);
  void mirror_lone_cell(const LevelBands& bands, ThreadWork& work);
  std::size_t pnet_scratch(const PnetBand& band) const;
  void refine_crops(Stage stage, Arithmetic arithmetic, std::span<Crop> crops, ThreadWork& work);

  int threads_for(double work) const;
  template <class F>
  void for_each_image(const F& f);

  const Model& model_;
  Workspace& work_;
  std::span<const ImageView> views_;
  std::span<const Part> parts_;  // empty: whole searches
  std::span<Inspection> seen_;   // empty where nobody watches
};

}  // namespace mtcnn_fast
