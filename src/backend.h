// The interface that every backend implements: the whole cascade, and its stages one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <mtcnn_fast/detector.h>

#include "boxes.h"
#include "conventions.h"
#include "geometry.h"
#include "pyramid.h"

namespace mtcnn_fast {

// Which of O-Net's answers a face's landmarks are from, by Options::landmarks.
enum class Landmarks {
  direct,    // the one that made the face
  mirrored,  // the mean of those for the square about the final box and for its mirror image (refine.h)
};

class Backend : public std::enable_shared_from_this<Backend> {
 public:
  explicit Backend(const Conventions& profile) : conventions(profile) {}
  virtual ~Backend() = default;

  // Throws std::invalid_argument for an image that detect() cannot take: its memory out of reach, its pyramid too
  // large.
  virtual void check_image(const ImageView& image) const = 0;

  // Fills one vector of faces per image, highest score first: all faces, not clipped. The images have passed
  // check_image(). `parts` is empty, for whole searches, or has one entry per image. `inspections` is empty or has one
  // entry per image, which is filled in; its times are those of all images that were worked on together. `stream` as in
  // Selection.
  virtual void detect(std::span<const ImageView> images, std::span<const Part> parts,
                      std::span<std::vector<Detection>> faces, std::span<Inspection> inspections,
                      void* stream) const = 0;

  // A window that a network would look at, and the probability that the network before it gave.
  struct Window {
    Box box;  // 0-based, half-open, square to a pixel but for profiles that cut it at the image's edge
    float score;
  };
  // The windows of one image that the next network, R-Net or O-Net, would look at, best first: hard samples to train
  // it with. Throws std::runtime_error where the stages cannot be parted.
  virtual std::vector<Window> windows(const ImageView& image, Stage next) const = 0;

  // A window of one of several images, in the authors' coordinates; Geometry::has_pixels() says yes to it, of the image
  // or of one that it is a part of.
  struct Place {
    int image;
    BoxD window;
  };
  // Writes kHeadOutputs floats per place: what R-Net or O-Net says of it, in the precision that faces are computed in.
  // Places are in the order of the images, which have passed check_image(). `stream` as in Selection.
  virtual void look(std::span<const ImageView> images, std::span<const Place> places, Stage stage, float* heads,
                    void* stream) const = 0;

  // Stage functions for tests, studies and pipelines. Arrays are dense, row-major float32; an image or level is
  // (height, width, 3) in RGB, crops are (n, side, side, 3), all normalised to (x - 127.5) / 128 unless said otherwise.

  // Pixel values, 0 to 255, of a whole image resized to (height, width); both sizes have passed check_resize().
  // `stream` as in Selection.
  virtual void resize(const ImageView& image, int height, int width, float* out, void* stream) const = 0;
  // probability: (h', w'), offsets: (h', w', 4) with h' = pnet_cells(height).
  virtual void pnet(const float* level, int height, int width, float* probability, float* offsets) const = 0;
  // probability: (n), offsets: (n, 4).
  virtual void rnet(const float* crops, std::int64_t n, float* probability, float* offsets) const = 0;
  // The same, and landmarks: (n, 10) as x1..x5, y1..y5.
  virtual void onet(const float* crops, std::int64_t n, float* probability, float* offsets, float* landmarks) const = 0;

  // Greedy non-maximum suppression of half-open boxes: indices of what is kept, highest score first.
  virtual std::vector<std::int64_t> suppress(std::span<const BoxD> boxes, std::span<const float> scores,
                                             double threshold, Overlap kind) const = 0;

  // The pyramid levels for an image of that size, largest first, by the detector's options.
  virtual std::vector<PyramidLevel> levels(int height, int width) const = 0;

  // A copy of the values in the device's memory, which keeps the backend. Throws std::runtime_error where that memory
  // is the host's.
  virtual std::shared_ptr<float> upload(std::span<const float> values) const = 0;

  // What is queued on `stream` from now on waits for what is queued on `first`; both as Selection::stream. Throws
  // std::runtime_error where there are no streams.
  virtual void order_streams(void* first, void* stream) const = 0;

  const Conventions& conventions;
  Landmarks landmarks = Landmarks::direct;  // what Detector and Tracker make of what the functions above give
  std::string device, isa, precision;
  std::string device_name;  // what a GPU's driver calls it; empty for the CPU
  int num_threads = 1;
};

// Of the CPU backend: the instruction set that its detectors are given, the best that this machine has, or the one that
// the environment variable MTCNN_FAST_ISA names. Throws std::invalid_argument where this machine does not have that.
std::string cpu_isa();

// Of the CUDA backend: the GPUs that it can use. 0 where there is no library, driver or GPU; `reason` then says why.
int cuda_device_count(std::string& reason);
// The GPU, N of cuda:N, whose memory the address is in; -1 for any other memory. Throws std::runtime_error where there
// is no GPU, saying why.
int cuda_device_of(const void* address);

// One factory per device. detector.cpp has checked the options and resolved the profile and the number of threads.
std::unique_ptr<Backend> make_cpu_backend(const Options& options, const Conventions& conventions, int threads);
// Throws std::runtime_error, with the reason alone, where there is no such GPU.
std::unique_ptr<Backend> make_cuda_backend(int index, const Options& options, const Conventions& conventions,
                                           int threads);

}  // namespace mtcnn_fast
