// The Python module mtcnn_fast._core: arrays in, arrays out. Checks with a user's words are made in python/mtcnn_fast;
// what is checked here keeps a wrong call from reading beyond an array. The GIL is released around the C++ work, after
// all pointers have been taken: the arguments' references keep the arrays alive. Arrays in a GPU's memory are in
// device_arrays.cpp; no other file knows Python.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <variant>

#include <mtcnn_fast/align.h>
#include <mtcnn_fast/detector.h>
#include <mtcnn_fast/tracker.h>

#include "align_checks.h"
#include "backend.h"
#include "numbered.h"
#include "python/device_arrays.h"
#include "weights.h"

namespace py = pybind11;

namespace mtcnn_fast {
namespace {

using Floats = py::array_t<float, py::array::c_style>;
using Bytes = py::array_t<std::uint8_t>;
using HostImage = std::pair<Bytes, std::string>;  // pixels with any strides, and their format
// Address, (height, width), strides of rows, pixels and channels in bytes, format, and what keeps the memory.
using DeviceImage =
    std::tuple<std::uintptr_t, std::array<py::ssize_t, 2>, std::array<py::ssize_t, 3>, std::string, py::object>;
using Image = std::variant<HostImage, DeviceImage>;

int to_side(py::ssize_t pixels) {
  if (pixels < 1 || pixels > std::numeric_limits<int>::max()) {
    throw std::invalid_argument("an image side of " + std::to_string(pixels) + " pixels is out of range");
  }
  return static_cast<int>(pixels);
}

PixelFormat to_format(const std::string& name) {
  if (name == "rgb") return PixelFormat::rgb;
  if (name == "bgr") return PixelFormat::bgr;
  if (name == "rgba") return PixelFormat::rgba;
  if (name == "bgra") return PixelFormat::bgra;
  if (name == "gray") return PixelFormat::gray;
  throw std::invalid_argument("unknown pixel format '" + name + "'");
}

// An ImageView takes a stride of zero for "packed"; in NumPy that of an axis of one is arbitrary.
ImageView to_view(const std::uint8_t* data, std::array<py::ssize_t, 2> shape, std::array<py::ssize_t, 3> strides,
                  PixelFormat format, Memory memory) {
  const int height = to_side(shape[0]), width = to_side(shape[1]);
  if ((height > 1 && strides[0] == 0) || (width > 1 && strides[1] == 0)) {
    throw std::invalid_argument("rows and columns of stride zero are not taken");
  }
  return {.data = data,
          .width = width,
          .height = height,
          .stride = height > 1 ? strides[0] : 0,
          .format = format,
          .pixel_stride = width > 1 ? strides[1] : 0,
          .channel_stride = strides[2],
          .memory = memory};
}

ImageView to_view(const HostImage& image) {
  const auto& [pixels, name] = image;
  const PixelFormat format = to_format(name);
  const bool plane = pixels.ndim() == 2;
  if (!(plane && format == PixelFormat::gray) && !(pixels.ndim() == 3 && pixels.shape(2) == channels(format))) {
    throw std::invalid_argument("the array's shape does not fit the pixel format " + name);
  }
  return to_view(pixels.data(), {pixels.shape(0), pixels.shape(1)},
                 {pixels.strides(0), pixels.strides(1), plane ? 0 : pixels.strides(2)}, format, Memory::host);
}

ImageView to_view(const DeviceImage& image) {
  const auto& [address, shape, strides, name, owner] = image;
  return to_view(reinterpret_cast<const std::uint8_t*>(address), shape, strides, to_format(name), Memory::device);
}

ImageView to_view(const Image& image) {
  return std::visit([](const auto& known) { return to_view(known); }, image);
}

std::vector<ImageView> to_views(const std::vector<Image>& images) {
  std::vector<ImageView> views;
  for (std::size_t i = 0; i < images.size(); ++i) numbered("image", i, [&] { views.push_back(to_view(images[i])); });
  return views;
}

void check_shape(const py::array& array, std::initializer_list<py::ssize_t> shape, const char* name) {
  if (!std::equal(shape.begin(), shape.end(), array.shape(), array.shape() + array.ndim(),
                  [](py::ssize_t wanted, py::ssize_t side) { return wanted < 0 || wanted == side; })) {
    throw std::invalid_argument(std::string(name) + " has the wrong shape");
  }
}

py::tuple to_arrays(const std::vector<Detection>& faces) {
  const auto n = static_cast<py::ssize_t>(faces.size());
  Floats boxes({n, py::ssize_t{4}}), scores(n), landmarks({n, py::ssize_t{5}, py::ssize_t{2}});
  float *box = boxes.mutable_data(), *score = scores.mutable_data(), *landmark = landmarks.mutable_data();
  for (const Detection& face : faces) {
    for (const float side : {face.box.x1, face.box.y1, face.box.x2, face.box.y2}) *box++ = side;
    *score++ = face.score;
    for (const Point& point : face.landmarks) {
      *landmark++ = point.x;
      *landmark++ = point.y;
    }
  }
  return py::make_tuple(boxes, scores, landmarks);
}

py::dict to_dict(const Inspection& inspection) {
  using py::literals::operator""_a;
  py::list levels;
  for (const Inspection::Level& level : inspection.levels) {
    levels.append(py::dict("scale"_a = level.scale, "height"_a = level.height, "width"_a = level.width,
                           "windows"_a = level.windows, "candidates"_a = level.candidates,
                           "after_nms"_a = level.after_nms));
  }
  return py::dict("levels"_a = levels,
                  "candidates"_a = py::dict("cells"_a = inspection.candidates, "rnet"_a = inspection.rnet,
                                            "onet"_a = inspection.onet, "faces"_a = inspection.faces),
                  "confirmed"_a = py::dict("windows"_a = inspection.confirmed_windows,
                                           "rnet"_a = inspection.confirmed_rnet, "onet"_a = inspection.confirmed_onet),
                  "milliseconds"_a = py::dict("pnet"_a = inspection.pnet_ms, "nms"_a = inspection.nms_ms,
                                              "rnet"_a = inspection.rnet_ms, "onet"_a = inspection.onet_ms,
                                              "total"_a = inspection.total_ms));
}

std::unique_ptr<Detector> make_detector(double min_face_size, std::optional<double> max_face_size, double scale_factor,
                                        std::array<double, 3> thresholds, std::array<double, 4> nms_thresholds,
                                        std::string device, std::string profile, std::string precision,
                                        std::string landmarks,
                                        const std::optional<std::map<std::string, Floats>>& weights,
                                        std::optional<int> num_threads) {
  Options options{.min_face_size = min_face_size,
                  .max_face_size = max_face_size,
                  .scale_factor = scale_factor,
                  .thresholds = thresholds,
                  .nms_thresholds = nms_thresholds,
                  .device = std::move(device),
                  .profile = std::move(profile),
                  .precision = std::move(precision),
                  .landmarks = std::move(landmarks),
                  .weights = std::nullopt,
                  .num_threads = num_threads};
  if (weights) {
    Tensors& tensors = options.weights.emplace();
    for (const auto& [name, array] : *weights) {
      tensors[name] = {.shape = {array.shape(), array.shape() + array.ndim()},
                       .data = {array.data(), array.data() + array.size()}};
    }
  }
  py::gil_scoped_release release;
  return std::make_unique<Detector>(options);
}

std::vector<std::vector<Detection>> find(const Detector& detector, const std::vector<Image>& images, int max_faces,
                                         bool clip, std::uintptr_t stream, std::pair<int, int> part) {
  const Selection selection{.max_faces = max_faces,
                            .clip = clip,
                            .stream = reinterpret_cast<void*>(stream),
                            .part = {part.first, part.second}};
  if (images.size() == 1) {  // of which an error need not give the number
    const ImageView view = to_view(images[0]);
    py::gil_scoped_release release;
    return {detector.detect(view, selection)};
  }
  const std::vector<ImageView> views = to_views(images);
  py::gil_scoped_release release;
  return detector.detect(views, selection);
}

void check(const Detector& detector, const std::vector<Image>& images) { detector.check(to_views(images)); }

py::list detect(const Detector& detector, const std::vector<Image>& images, int max_faces, bool clip,
                std::uintptr_t stream, std::pair<int, int> part) {
  py::list results;
  for (const auto& faces : find(detector, images, max_faces, clip, stream, part)) results.append(to_arrays(faces));
  return results;
}

int device_index(const Detector& detector) { return std::stoi(detector.device().substr(sizeof "cuda:" - 1)); }

// One piece of device memory holds the results of all images of the call.
py::list detect_on_device(const Detector& detector, const std::vector<Image>& images, int max_faces, bool clip,
                          std::uintptr_t stream, std::pair<int, int> part) {
  constexpr std::size_t kAlignment = 64;  // in floats: DLPack asks for 256 bytes
  const auto padded = [](std::size_t count) { return (count + kAlignment - 1) / kAlignment * kAlignment; };
  const auto found = find(detector, images, max_faces, clip, stream, part);
  std::vector<float> values;
  for (const auto& faces : found) {
    const std::size_t boxes = values.size(), scores = boxes + padded(4 * faces.size());
    const std::size_t landmarks = scores + padded(faces.size());
    values.resize(landmarks + padded(10 * faces.size()));
    for (std::size_t i = 0; i < faces.size(); ++i) {
      const auto& [box, score, points] = faces[i];
      float* const corner = values.data() + boxes + 4 * i;
      corner[0] = box.x1, corner[1] = box.y1, corner[2] = box.x2, corner[3] = box.y2;
      values[scores + i] = score;
      for (std::size_t k = 0; k < points.size(); ++k) {
        values[landmarks + 10 * i + 2 * k] = points[k].x;
        values[landmarks + 10 * i + 2 * k + 1] = points[k].y;
      }
    }
  }
  std::shared_ptr<float> memory;
  {
    py::gil_scoped_release release;
    memory = detector.backend().upload(values);
  }
  py::list results;
  std::size_t used = 0;
  for (const auto& faces : found) {
    const auto n = static_cast<std::int64_t>(faces.size());
    const auto take = [&](std::vector<std::int64_t> shape) {
      DeviceArray array{{memory, memory.get() + used}, std::move(shape), device_index(detector)};
      used += padded(static_cast<std::size_t>(array.size()));
      return array;
    };
    DeviceArray boxes = take({n, 4}), scores = take({n}), landmarks = take({n, 5, 2});
    results.append(py::make_tuple(std::move(boxes), std::move(scores), std::move(landmarks)));
  }
  return results;
}

DeviceArray upload(const Detector& detector, const Floats& values) {
  const std::span data(values.data(), static_cast<std::size_t>(values.size()));
  std::shared_ptr<float> memory;
  {
    py::gil_scoped_release release;
    memory = detector.backend().upload(data);
  }
  return {std::move(memory), {values.shape(), values.shape() + values.ndim()}, device_index(detector)};
}

void order_streams(const Detector& detector, std::uintptr_t first, std::uintptr_t stream) {
  detector.backend().order_streams(reinterpret_cast<void*>(first), reinterpret_cast<void*>(stream));
}

// Why there is no GPU to use; none where there is one.
std::optional<std::string> cuda_status() {
  std::string reason;
  if (cuda_device_count(reason) > 0) return std::nullopt;
  return reason;
}

py::dict inspect(const Detector& detector, const Image& image) {
  const ImageView view = to_view(image);
  Inspection inspection;
  {
    py::gil_scoped_release release;
    inspection = detector.inspect(view);
  }
  return to_dict(inspection);
}

py::tuple windows(const Detector& detector, const Image& image, const std::string& network) {
  if (network != "rnet" && network != "onet")
    throw std::invalid_argument("network is '" + network + "'; wanted 'rnet' or 'onet'");
  const ImageView view = to_view(image);
  std::vector<Backend::Window> found;
  {
    py::gil_scoped_release release;
    detector.backend().check_image(view);
    found = detector.backend().windows(view, network == "rnet" ? Stage::rnet : Stage::onet);
  }
  const auto n = static_cast<py::ssize_t>(found.size());
  Floats boxes({n, py::ssize_t{4}}), scores(n);
  float *corner = boxes.mutable_data(), *score = scores.mutable_data();
  for (const Backend::Window& window : found) {
    for (const float side : {window.box.x1, window.box.y1, window.box.x2, window.box.y2}) *corner++ = side;
    *score++ = window.score;
  }
  return py::make_tuple(boxes, scores);
}

// One array of boxes (N, 4) per image.
py::list refine(const Detector& detector, const std::vector<Image>& images, const std::vector<Floats>& boxes,
                const std::string& network, std::uintptr_t stream) {
  if (network != "onet" && network != "both")
    throw std::invalid_argument("network is '" + network + "'; wanted 'onet' or 'both'");
  const Networks networks = network == "onet" ? Networks::onet : Networks::both;
  std::vector<std::vector<Box>> corners;
  for (const Floats& array : boxes) {
    check_shape(array, {-1, 4}, "boxes");
    std::vector<Box>& list = corners.emplace_back();
    for (const float* box = array.data(); box != array.data() + array.size(); box += 4)
      list.push_back({box[0], box[1], box[2], box[3]});
  }
  std::vector<std::vector<Detection>> answers;
  void* const queue = reinterpret_cast<void*>(stream);
  if (images.size() == 1 && corners.size() == 1) {  // of which an error need not give the number
    const ImageView view = to_view(images[0]);
    py::gil_scoped_release release;
    answers = {detector.refine(view, corners[0], networks, queue)};
  } else {
    const std::vector<ImageView> views = to_views(images);
    const std::vector<std::span<const Box>> lists(corners.begin(), corners.end());
    py::gil_scoped_release release;
    answers = detector.refine(views, lists, networks, queue);
  }
  py::list results;
  for (const auto& faces : answers) results.append(to_arrays(faces));
  return results;
}

// Boxes, scores, landmarks, ids, confirmed and ages of each stream's faces.
py::list update_tracks(const std::vector<Tracker*>& trackers, const std::vector<Image>& frames, std::uintptr_t stream) {
  std::vector<std::vector<Track>> tracks;
  void* const queue = reinterpret_cast<void*>(stream);
  if (trackers.size() == 1 && frames.size() == 1) {  // of which an error need not give the number
    const ImageView view = to_view(frames[0]);
    py::gil_scoped_release release;
    tracks = {trackers[0]->update(view, queue)};
  } else {
    const std::vector<ImageView> views = to_views(frames);
    py::gil_scoped_release release;
    tracks = Tracker::update(trackers, views, queue);
  }
  py::list results;
  for (const auto& list : tracks) {
    std::vector<Detection> faces;
    const auto n = static_cast<py::ssize_t>(list.size());
    py::array_t<std::int64_t> ids(n), ages(n);
    py::array_t<bool> confirmed(n);
    for (py::ssize_t i = 0; i < n; ++i) {
      const Track& track = list[static_cast<std::size_t>(i)];
      faces.push_back(track.face);
      ids.mutable_at(i) = track.id;
      confirmed.mutable_at(i) = track.confirmed;
      ages.mutable_at(i) = track.age;
    }
    const py::tuple arrays = to_arrays(faces);
    results.append(py::make_tuple(arrays[0], arrays[1], arrays[2], ids, confirmed, ages));
  }
  return results;
}

py::dict embedded() {
  py::dict tensors;
  for (const auto& [name, tensor] : embedded_weights())
    tensors[py::str(name)] = Floats(tensor.shape, tensor.data.data());
  return tensors;
}

py::list levels(const Detector& detector, py::ssize_t height, py::ssize_t width) {
  py::list list;
  for (const PyramidLevel& level : detector.backend().levels(to_side(height), to_side(width))) {
    list.append(py::make_tuple(level.scale, level.height, level.width));
  }
  return list;
}

Floats resize(const Detector& detector, const Image& image, py::ssize_t height, py::ssize_t width) {
  const ImageView view = to_view(image);
  check_resize(view.height, view.width, to_side(height), to_side(width));
  Floats out({height, width, py::ssize_t{3}});
  float* const data = out.mutable_data();
  {
    py::gil_scoped_release release;
    detector.backend().resize(view, static_cast<int>(height), static_cast<int>(width), data, nullptr);
  }
  return out;
}

py::tuple pnet(const Detector& detector, const Floats& level) {
  check_shape(level, {-1, -1, 3}, "level");
  const int height = to_side(level.shape(0)), width = to_side(level.shape(1));
  const py::ssize_t rows = pnet_cells(height), columns = pnet_cells(width);
  Floats probability({rows, columns}), offsets({rows, columns, py::ssize_t{4}});
  const float* const in = level.data();
  float *const p = probability.mutable_data(), *const o = offsets.mutable_data();
  if (probability.size() > 0) {
    py::gil_scoped_release release;
    detector.backend().pnet(in, height, width, p, o);
  }
  return py::make_tuple(probability, offsets);
}

py::tuple rnet(const Detector& detector, const Floats& crops) {
  check_shape(crops, {-1, 24, 24, 3}, "crops");
  const py::ssize_t n = crops.shape(0);
  Floats probability(n), offsets({n, py::ssize_t{4}});
  const float* const in = crops.data();
  float *const p = probability.mutable_data(), *const o = offsets.mutable_data();
  {
    py::gil_scoped_release release;
    detector.backend().rnet(in, n, p, o);
  }
  return py::make_tuple(probability, offsets);
}

py::tuple onet(const Detector& detector, const Floats& crops) {
  check_shape(crops, {-1, 48, 48, 3}, "crops");
  const py::ssize_t n = crops.shape(0);
  Floats probability(n), offsets({n, py::ssize_t{4}}), landmarks({n, py::ssize_t{10}});
  const float* const in = crops.data();
  float *const p = probability.mutable_data(), *const o = offsets.mutable_data(), *const l = landmarks.mutable_data();
  {
    py::gil_scoped_release release;
    detector.backend().onet(in, n, p, o, l);
  }
  return py::make_tuple(probability, offsets, landmarks);
}

py::array_t<std::int64_t> suppress(const Detector& detector, const py::array_t<double, py::array::c_style>& boxes,
                                   const Floats& scores, double threshold, const std::string& mode) {
  check_shape(boxes, {-1, 4}, "boxes");
  check_shape(scores, {boxes.shape(0)}, "scores");
  if (mode != "union" && mode != "min") throw std::invalid_argument("mode is '" + mode + "'; wanted 'union' or 'min'");
  const auto n = static_cast<std::size_t>(boxes.shape(0));
  std::vector<BoxD> corners;
  corners.reserve(n);
  for (const double* box = boxes.data(); corners.size() < n; box += 4)
    corners.push_back({box[0], box[1], box[2], box[3]});
  const std::span values(scores.data(), n);
  std::vector<std::int64_t> kept;
  {
    py::gil_scoped_release release;
    kept = detector.backend().suppress(corners, values, threshold, mode == "union" ? Overlap::iou : Overlap::iom);
  }
  return py::array_t<std::int64_t>(static_cast<py::ssize_t>(kept.size()), kept.data());
}

// Both kinds of cut fill one size x size x 3 patch a face by `cut(face, out)`.
template <typename Cut>
Bytes cut_faces(py::ssize_t n, int size, const Cut& cut) {
  check_cuts(n, size);
  const py::ssize_t side = size;
  Bytes out({n, side, side, py::ssize_t{3}});
  std::uint8_t* const data = out.mutable_data();
  {
    py::gil_scoped_release release;
    for (py::ssize_t i = 0; i < n; ++i) numbered("face", i, [&] { cut(i, data + i * side * side * 3); });
  }
  return out;
}

Bytes align_faces(const HostImage& image, const Floats& landmarks, int size) {
  check_shape(landmarks, {-1, 5, 2}, "landmarks");
  const ImageView view = to_view(image);
  const float* const data = landmarks.data();
  return cut_faces(landmarks.shape(0), size, [&](py::ssize_t i, std::uint8_t* out) {
    std::array<Point, 5> points;
    for (int k = 0; k < 5; ++k) points[k] = {data[i * 10 + k * 2], data[i * 10 + k * 2 + 1]};
    align(view, points, size, out);
  });
}

Bytes crop_faces(const HostImage& image, const Floats& boxes, int size, double margin) {
  check_shape(boxes, {-1, 4}, "boxes");
  check_margin(margin);
  const ImageView view = to_view(image);
  const float* const data = boxes.data();
  return cut_faces(boxes.shape(0), size, [&](py::ssize_t i, std::uint8_t* out) {
    const float* const box = data + i * 4;
    crop(view, {box[0], box[1], box[2], box[3]}, size, margin, out);
  });
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.attr("__version__") = version();
  m.def("available_devices", &available_devices);
  m.def("available_isas", &available_isas);
  m.def("cuda_status", &cuda_status);
  m.def("embedded_weights", &embedded);
  m.def("cuda_device_of", [](std::uintptr_t address) { return cuda_device_of(reinterpret_cast<void*>(address)); });
  bind_device_arrays(m);
  m.def("align", &align_faces, py::arg("image").noconvert(), py::arg("landmarks").noconvert(), py::arg("size"));
  m.def("crop", &crop_faces, py::arg("image").noconvert(), py::arg("boxes").noconvert(), py::arg("size"),
        py::arg("margin"));

  py::class_<Detector>(m, "Detector")
      .def(py::init(&make_detector), py::kw_only(), py::arg("min_face_size"), py::arg("max_face_size"),
           py::arg("scale_factor"), py::arg("thresholds"), py::arg("nms_thresholds"), py::arg("device"),
           py::arg("profile"), py::arg("precision"), py::arg("landmarks"), py::arg("weights").noconvert(),
           py::arg("num_threads"))
      .def_property_readonly("device", &Detector::device)
      .def_property_readonly("device_name", [](const Detector& detector) { return detector.backend().device_name; })
      .def_property_readonly("isa", &Detector::isa)
      .def_property_readonly("precision", &Detector::precision)
      .def_property_readonly("num_threads", &Detector::num_threads)
      .def("check", &check, py::arg("images").noconvert())
      .def("detect", &detect, py::arg("images").noconvert(), py::arg("max_faces"), py::arg("clip"), py::arg("stream"),
           py::arg("part") = std::pair(0, 1))
      .def("detect_on_device", &detect_on_device, py::arg("images").noconvert(), py::arg("max_faces"), py::arg("clip"),
           py::arg("stream"), py::arg("part") = std::pair(0, 1))
      .def("upload", &upload, py::arg("values").noconvert())
      .def("order_streams", &order_streams, py::arg("first"), py::arg("stream"))
      .def("inspect", &inspect, py::arg("image").noconvert())
      .def("windows", &windows, py::arg("image").noconvert(), py::arg("network"))
      .def("refine", &refine, py::arg("images").noconvert(), py::arg("boxes").noconvert(), py::arg("network"),
           py::arg("stream"))
      .def("levels", &levels, py::arg("height"), py::arg("width"))
      .def("resize", &resize, py::arg("image").noconvert(), py::arg("height"), py::arg("width"))
      .def("pnet", &pnet, py::arg("level").noconvert())
      .def("rnet", &rnet, py::arg("crops").noconvert())
      .def("onet", &onet, py::arg("crops").noconvert())
      .def("nms", &suppress, py::arg("boxes").noconvert(), py::arg("scores").noconvert(), py::arg("threshold"),
           py::arg("mode"));

  py::class_<Tracker>(m, "Tracker")
      .def(py::init([](const Detector& detector, int every, double keep, int patience, bool spread) {
             return std::make_unique<Tracker>(
                 detector, TrackerOptions{.every = every, .keep = keep, .patience = patience, .spread = spread});
           }),
           py::arg("detector"), py::kw_only(), py::arg("every"), py::arg("keep"), py::arg("patience"),
           py::arg("spread"))
      .def("reset", &Tracker::reset);
  m.def("update_tracks", &update_tracks, py::arg("trackers"), py::arg("frames").noconvert(), py::arg("stream"));
}

}  // namespace mtcnn_fast
