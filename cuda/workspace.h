// The workspace of one call on the device, borrowed from its engine: a stream, memory, and the cascade as a graph.
// Counts stay on the device, and the kernels read the work from a description. So one graph serves images of every
// size and number; it is recorded again only when memory has grown.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "../src/cuda_interface.h"
#include "kernels.h"
#include "memory.h"

namespace mtcnn_fast::cuda {

// A detector's networks and decisions. Never changes.
struct Model {
  int device, processors;
  std::size_t shared_memory;  // bytes that one block can have
  Arithmetic arithmetic;
  bool screens_pnet, screens_rnet;
  Settings settings;
  int first_capacity;
  DeviceBuffer pnet;  // packed parameters, as are these
  DeviceBuffer pnet_screen, rnet_screen;
  PerRefineStage<DeviceBuffer> refine;

  explicit Model(const EngineOptions& options);
  const void* refine_weights(Stage stage) const { return refine[stage].as<void>(); }
};

bool any_on_device(std::span<const PlannedImage> images);

class Workspace {
 public:
  explicit Workspace(const Model& model);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  // How many of the images, from the first on, one run should take: enough to fill the card, few enough that the upload
  // of the next overlaps with their work, and that memory stays small.
  static std::size_t images_together(std::span<const PlannedImage> images);

  // A pipeline may come with any number of crops, whose activations take some ten kilobytes each: so many at a time.
  static constexpr int kCropsTogether = 1024;

  // Queues the cascade on those images, and reading them: their memory must stay until the workspace is idle. Where any
  // is on the device, after what `before` has been given to do.
  void start(std::span<const PlannedImage> images, cudaStream_t before, bool timed);
  // Waits for what start() queued, runs it again where a list was too short, and hands over the results.
  void finish(int first_image, Emit emit, void* context);
  // Waits for whatever is queued, after an error.
  void drain() noexcept;

  // As Interface::look, and waits.
  void look(std::span<const PlannedImage> images, cudaStream_t before, Stage stage, std::span<const BoxD> boxes,
            const std::int32_t* of, float* heads);

  // Stage functions.
  void resize(const PlannedImage& image, cudaStream_t before, int height, int width, float* out);
  void pnet(const float* level, int height, int width, float* logits, float* offsets);
  void refine(Stage stage, const float* crops, int n, float* heads);
  void suppress(const BoxD* boxes, const float* scores, int n, double threshold, Overlap kind, double extra,
                std::int32_t* kept, std::int32_t* count);

  // An empty run, which loads every kernel: one that this card cannot run says so now.
  void warm_up();
  std::size_t bytes() const;

  // The cascade, one launcher of kernels.h after the other. Benchmarks queue the steps one by one, on what the last
  // start() was given.
  struct Step {
    const char* name;
    void (*queue)(const Queue&, const Work&, const Model&);
    bool ends_part;  // of those whose times a caller can ask for
  };
  static std::span<const Step> steps();
  // programmatic: whether kernels may begin before those in front of them have ended.
  Queue queue(bool programmatic = true) const {
    return {stream_, model_.processors, model_.shared_memory, programmatic};
  }
  const Work& work() const { return work_; }

 private:
  // How long a list is at most. Grows when a call needed more, and never falls.
  struct Capacities {
    int images = 0, levels = 0;
    std::int64_t pixels = 0, cells = 0;  // of all levels
    int found = 0, cells_left = 0;
    PerRefineStage<int> windows = {};
    int faces = 0;
  };
  struct Times;

  std::size_t element() const { return model_.arithmetic == Arithmetic::fp16 ? 2 : 4; }

  // `pnet`: the arithmetic whose tiles of P-Net are described.
  void describe(std::span<const PlannedImage> images, Arithmetic pnet);
  Image stage(const PlannedImage& image, std::size_t& used);
  void lay_out_found();
  void reserve();
  void upload_description();
  void reserve_pixels(std::span<const PlannedImage> images);
  void run();
  void queue_cascade(Times* times);
  bool overflowed();

  const ImageCounts* image_counts() const {
    return reinterpret_cast<const ImageCounts*>(counts_host_.as<char>() + image_counts_at_);
  }
  const LevelCounts* level_counts() const {
    return reinterpret_cast<const LevelCounts*>(counts_host_.as<char>() + level_counts_at_);
  }

  const Model& model_;
  Stream stream_;
  Event images_written_;
  Graph graph_;
  bool timed_ = false;
  Capacities capacity_;
  int found_share_ = 16;  // room is made for one in so many cells to pass P-Net
  // The description: what the next run is about, and whether the device, and description_host_, have one.
  Job job_ = {};
  std::vector<Image> images_;
  std::vector<Level> levels_;
  bool described_ = false;
  // In the description, and in the counts.
  std::size_t levels_at_ = 0, image_counts_at_ = 0, level_counts_at_ = 0;
  Work work_, recorded_;  // what the next run's kernels are given, and what the graph's are

  HostBuffer staging_, description_host_, counts_host_, faces_;
  DeviceBuffer pixels_, description_, pyramid_, cell_map_, cells_left_, windows_left_, found_, found_boxes_, keys_,
      counts_, boxes_, window_images_, heads_, activations_;
  std::unique_ptr<Times> times_;
};

}  // namespace mtcnn_fast::cuda
