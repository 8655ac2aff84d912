// MTCNN face detection: an image pyramid and a cascade of three networks (Zhang, Zhang, Li, Qiao, "Joint Face Detection
// and Alignment using Multi-task Cascaded Convolutional Networks", 2016).
#pragma once

#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <mtcnn_fast/types.h>

namespace mtcnn_fast {

struct Options {
  double min_face_size = 20;                        // pixels, shorter side of the smallest face looked for; at least 4
  std::optional<double> max_face_size{};            // pixels; none: as large as the image
  double scale_factor = 0.709;                      // between pyramid levels, in (0, 0.99]
  std::array<double, 3> thresholds{0.6, 0.7, 0.7};  // face probability for P-Net, R-Net, O-Net, in [0, 1]
  std::array<double, 4> nms_thresholds{0.5, 0.7, 0.7, 0.7};  // per level, across levels, after R-Net, after O-Net
  std::string device = "auto";                               // "auto", "cpu", "cuda", "cuda:N"
  std::string profile = "reference";                         // "reference", "facenet-pytorch", "mtcnn"
  std::string precision = "fp32";  // or "fast": fp16 on a GPU, bf16 on a CPU with AMX, else fp32
  // "direct": as O-Net's answer has them that made the face. "mirrored": the mean of its answer for the square about
  // the final box and of that for the square's mirror image; nearer, for two more crops through O-Net per face.
  std::string landmarks = "direct";
  std::optional<Tensors> weights{};  // none: the embedded networks; names and shapes as in docs/weights.md
  // At most the processors of the affinity mask. None: MTCNN_FAST_NUM_THREADS, else as many as the mask and the CPU
  // quota of the control group leave, rounded up.
  std::optional<int> num_threads{};
};

// Part `index`, from 0 on, of the `count` parts of a search. Each of P-Net's windows belongs to one part, and the parts
// take about equal time. Which windows a part has follows from the image's size and the detector's options alone.
struct Part {
  int index = 0, count = 1;
};

struct Selection {
  int max_faces = std::numeric_limits<int>::max();  // keep those with the highest scores
  bool clip = false;                                // cut boxes to the image
  // A cudaStream_t whose work the reading of images in device memory waits for; null: the legacy default stream. What
  // is queued on it later need not wait: when a call returns, it has read its images. One that is being captured into a
  // CUDA graph is refused.
  void* stream = nullptr;
  // Searches this part alone: what it does not have of the pyramid is not resized either. Suppression, R-Net and O-Net
  // see what P-Net finds in the part.
  Part part{};
};

// Which networks refine() asks.
enum class Networks {
  onet,  // O-Net alone: for boxes as near as those of R-Net or of the frame before
  both,  // R-Net first: for rougher boxes, such as a user's click or another detector's
};

class Backend;

// Immutable and safe to share between threads; a copy shares the networks. Results do not depend on the number of
// threads, nor on how images are grouped into calls.
class Detector {
 public:
  // Throws std::invalid_argument for an option or a weight out of its range, std::runtime_error for a device that is
  // not there, saying why. Reads the environment variables MTCNN_FAST_ISA, MTCNN_FAST_NUM_THREADS and
  // MTCNN_FAST_SCREEN, and where CUDA may be used MTCNN_FAST_CUDA_LIBRARY.
  explicit Detector(const Options& options = {});

  // Faces by score, highest first. An image too small for any pyramid level has none. Throws std::invalid_argument
  // for a view without pixels or in memory that the detector cannot read, for a pyramid of more than 2^31 pixels, and
  // for a part that is none.
  std::vector<Detection> detect(const ImageView& image, const Selection& selection = {}) const;

  // The same for each of several images, which may differ in size and format. An error that is one image's names it:
  // "image 3: ...". It is thrown before any image is worked on.
  std::vector<std::vector<Detection>> detect(std::span<const ImageView> images, const Selection& selection = {}) const;

  // Looks only where the boxes are: no pyramid, no P-Net, no threshold, no suppression. Answer i is what O-Net says of
  // the square about box i, computed as detect() computes it: to the bit, for a window that detect()'s own O-Net looks
  // at. Options::landmarks counts here too. Boxes are in the coordinates of detections. A box whose square has no pixel
  // in the image, or is further from it than 16 of its sides, has score 0, the box as it was given and all landmarks at
  // its centre. Throws std::invalid_argument as detect() does, and for a box that is not finite or whose corners are in
  // the wrong order, with its index.
  std::vector<Detection> refine(const ImageView& image, std::span<const Box> boxes, Networks networks = Networks::onet,
                                void* stream = nullptr) const;
  // The same for several images, in batches of all their boxes: frames of many cameras. `boxes` has one entry per
  // image.
  std::vector<std::vector<Detection>> refine(std::span<const ImageView> images,
                                             std::span<const std::span<const Box>> boxes,
                                             Networks networks = Networks::onet, void* stream = nullptr) const;

  // Throws that error, and does nothing else: for programs that detect in their images a part at a time.
  void check(const ImageView& image) const;
  void check(std::span<const ImageView> images) const;

  // Detects, and tells what was done: levels, candidates after each step, milliseconds a stage.
  Inspection inspect(const ImageView& image) const;

  const std::string& device() const;     // what it really runs on: "cpu" or "cuda:0"
  const std::string& isa() const;        // instruction set of its CPU kernels: one of available_isas()
  const std::string& precision() const;  // what it really computes in: "fp32", "bf16" or "fp16"
  int num_threads() const;

  // The stages one by one, for tests and benchmarks of this library (src/backend.h, not installed).
  const Backend& backend() const { return *backend_; }

 private:
  void detect_into(std::span<const ImageView> images, std::span<std::vector<Detection>> faces,
                   const Selection& selection) const;

  std::shared_ptr<const Backend> backend_;
};

std::vector<std::string> available_devices();  // {"cpu"}, or {"cpu", "cuda:0"}
std::vector<std::string> available_isas();     // of this machine's processor, best first
std::string version();

}  // namespace mtcnn_fast
