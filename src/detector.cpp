#include <mtcnn_fast/detector.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "backend.h"
#include "conventions.h"
#include "cpu_quota.h"
#include "numbered.h"
#include "refine.h"
#include "thread_pool.h"

namespace mtcnn_fast {
namespace {

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

void check_probability(const char* name, std::size_t index, double value) {
  if (!(value >= 0 && value <= 1)) refuse(name, "[", index, "] is ", value, ", wanted a number in [0, 1]");
}

void check_options(const Options& o) {
  if (!(o.min_face_size >= 4) || !std::isfinite(o.min_face_size))
    refuse("min_face_size is ", o.min_face_size, ", wanted pixels, at least 4");
  if (o.max_face_size && !(*o.max_face_size >= o.min_face_size))
    refuse("max_face_size is ", *o.max_face_size, ", wanted pixels, at least min_face_size, which is ",
           o.min_face_size);
  if (!(o.scale_factor > 0 && o.scale_factor <= 0.99))
    refuse("scale_factor is ", o.scale_factor, ", wanted a number above 0 and up to 0.99");
  for (std::size_t i = 0; i < o.thresholds.size(); ++i) check_probability("thresholds", i, o.thresholds[i]);
  for (std::size_t i = 0; i < o.nms_thresholds.size(); ++i) check_probability("nms_thresholds", i, o.nms_thresholds[i]);
  if (o.num_threads && *o.num_threads < 1) refuse("num_threads is ", *o.num_threads, ", wanted at least 1");
  if (o.precision != "fp32" && o.precision != "fast")
    refuse("precision is '", o.precision, "', wanted 'fp32' or 'fast'");
  if (o.landmarks != "direct" && o.landmarks != "mirrored")
    refuse("landmarks is '", o.landmarks, "', wanted 'direct' or 'mirrored'");
}

const Conventions& find_profile(const std::string& name) {
  std::string known;
  for (const Conventions& conventions : kProfiles) {
    if (conventions.name == name) return conventions;
    known += (known.empty() ? "'" : ", '") + std::string(conventions.name) + "'";
  }
  refuse("profile is '", name, "', wanted one of ", known);
}

// The GPU that "cuda" or "cuda:N" asks for.
int gpu_index(const std::string& device) {
  if (device == "cuda") return 0;
  const std::string number = device.rfind("cuda:", 0) == 0 ? device.substr(5) : "";
  if (number.empty() || !std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; }))
    refuse("device is '", device, "', wanted 'auto', 'cpu', 'cuda' or 'cuda:N'");
  return number.size() < 10 ? std::stoi(number) : std::numeric_limits<int>::max();
}

std::unique_ptr<Backend> make_backend(const Options& options, const Conventions& conventions, int threads) {
  const std::string& device = options.device;
  if (device == "auto") {
    std::string reason;
    try {
      if (cuda_device_count(reason) > 0) return make_cuda_backend(0, options, conventions, threads);
    } catch (const std::runtime_error&) {
      // A GPU that is there and cannot be used, full or of an unknown kind, is like none.
    }
  }
  if (device == "auto" || device == "cpu") return make_cpu_backend(options, conventions, threads);
  const int index = gpu_index(device);
  try {
    return make_cuda_backend(index, options, conventions, threads);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error("device is '" + device + "', but " + error.what() + "; or use device='cpu' or 'auto'");
  }
}

int resolve_threads(const Options& options) {
  const int processors = available_processors();
  if (options.num_threads) return std::min(*options.num_threads, processors);
  const char* text = std::getenv("MTCNN_FAST_NUM_THREADS");
  if (!text || !*text) return threads_within(cpu_quota(), processors);
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 10);
  if (*end || errno || value < 1 || value > processors)
    refuse("MTCNN_FAST_NUM_THREADS is '", text, "'; this machine can serve 1 to ", processors);
  return static_cast<int>(value);
}

void check_part(const Part& part) {
  if (part.index < 0 || part.index >= part.count)
    refuse("part is (", part.index, ", ", part.count, "), wanted (k, n) with 0 <= k < n");
}

void check_image(const ImageView& image, const Backend& backend) {
  if (!image.data || image.width < 1 || image.height < 1)
    refuse("the image is ", image.width, "x", image.height, image.data ? "" : " without data",
           ", wanted at least one pixel");
  backend.check_image(image);
}

// Where the backend is to give landmarks of Landmarks::mirrored, does so; returns how many crops O-Net looked at.
std::int64_t mirror_if_asked(const Backend& backend, std::span<const ImageView> images,
                             std::span<std::vector<Detection>> faces, void* stream) {
  if (backend.landmarks != Landmarks::mirrored) return 0;
  std::vector<FaceOf> all;
  for (std::size_t i = 0; i < faces.size(); ++i)
    for (Detection& face : faces[i]) all.push_back({static_cast<int>(i), &face});
  return mirror_landmarks(backend, images, all, stream);
}

void clip(std::vector<Detection>& faces, const ImageView& image) {
  const auto width = static_cast<float>(image.width), height = static_cast<float>(image.height);
  for (Detection& face : faces)
    face.box = {std::clamp(face.box.x1, 0.0f, width), std::clamp(face.box.y1, 0.0f, height),
                std::clamp(face.box.x2, 0.0f, width), std::clamp(face.box.y2, 0.0f, height)};
}

}  // namespace

Detector::Detector(const Options& options) {
  check_options(options);
  const Conventions& conventions = find_profile(options.profile);
  auto backend = make_backend(options, conventions, resolve_threads(options));
  backend->landmarks = options.landmarks == "mirrored" ? Landmarks::mirrored : Landmarks::direct;
  backend_ = std::move(backend);
}

std::vector<Detection> Detector::detect(const ImageView& image, const Selection& selection) const {
  check_part(selection.part);
  check_image(image, *backend_);
  std::vector<Detection> faces;
  detect_into(std::span(&image, 1), std::span(&faces, 1), selection);
  return faces;
}

std::vector<std::vector<Detection>> Detector::detect(std::span<const ImageView> images,
                                                     const Selection& selection) const {
  check_part(selection.part);
  check(images);
  std::vector<std::vector<Detection>> faces(images.size());
  detect_into(images, faces, selection);
  return faces;
}

std::vector<Detection> Detector::refine(const ImageView& image, std::span<const Box> boxes, Networks networks,
                                        void* stream) const {
  check_image(image, *backend_);
  check_boxes(boxes);
  return std::move(
      mtcnn_fast::refine(*backend_, std::span(&image, 1), std::span(&boxes, 1), networks, backend_->landmarks, stream)
          .front());
}

std::vector<std::vector<Detection>> Detector::refine(std::span<const ImageView> images,
                                                     std::span<const std::span<const Box>> boxes, Networks networks,
                                                     void* stream) const {
  if (images.size() != boxes.size())
    refuse("there are ", images.size(), " images, and boxes for ", boxes.size(),
           "; wanted one list of boxes per image");
  check(images);
  for (std::size_t i = 0; i < boxes.size(); ++i) numbered("image", i, [&] { check_boxes(boxes[i]); });
  return mtcnn_fast::refine(*backend_, images, boxes, networks, backend_->landmarks, stream);
}

void Detector::check(const ImageView& image) const { check_image(image, *backend_); }

void Detector::check(std::span<const ImageView> images) const {
  for (std::size_t i = 0; i < images.size(); ++i) numbered("image", i, [&] { check_image(images[i], *backend_); });
}

void Detector::detect_into(std::span<const ImageView> images, std::span<std::vector<Detection>> faces,
                           const Selection& selection) const {
  if (selection.max_faces < 0) refuse("max_faces is ", selection.max_faces, ", wanted at least 0");
  const bool whole = selection.part.count == 1;
  const std::vector<Part> parts(whole ? 0 : images.size(), selection.part);
  backend_->detect(images, parts, faces, {}, selection.stream);
  for (std::vector<Detection>& found : faces)
    if (found.size() > static_cast<std::size_t>(selection.max_faces)) found.resize(selection.max_faces);
  mirror_if_asked(*backend_, images, faces, selection.stream);
  if (!selection.clip) return;
  for (std::size_t i = 0; i < images.size(); ++i) clip(faces[i], images[i]);
}

Inspection Detector::inspect(const ImageView& image) const {
  check_image(image, *backend_);
  std::vector<Detection> faces;
  Inspection inspection;
  backend_->detect(std::span(&image, 1), {}, std::span(&faces, 1), std::span(&inspection, 1), nullptr);
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t crops = mirror_if_asked(*backend_, std::span(&image, 1), std::span(&faces, 1), nullptr);
  if (crops == 0) return inspection;
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  inspection.onet += crops;
  if (backend_->precision == "fp32") inspection.confirmed_onet += crops;
  inspection.onet_ms += ms;
  inspection.total_ms += ms;
  return inspection;
}

const std::string& Detector::device() const { return backend_->device; }
const std::string& Detector::isa() const { return backend_->isa; }
const std::string& Detector::precision() const { return backend_->precision; }
int Detector::num_threads() const { return backend_->num_threads; }

std::vector<std::string> available_devices() {
  std::vector<std::string> devices = {"cpu"};
  std::string reason;
  const int count = cuda_device_count(reason);
  for (int i = 0; i < count; ++i) devices.push_back("cuda:" + std::to_string(i));
  return devices;
}

std::string version() { return MTCNN_FAST_VERSION; }

}  // namespace mtcnn_fast
