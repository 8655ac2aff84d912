// The half of the Python module mtcnn_fast._core that is about arrays in a GPU's memory: the protocols by which they
// are exchanged, __cuda_array_interface__ (version 3) and DLPack. Nothing here touches the memory itself.
#include "python/device_arrays.h"

#include <pybind11/stl.h>

#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "python/dlpack.h"

namespace py = pybind11;

namespace mtcnn_fast {
namespace {

// Row-major strides, in elements.
std::vector<std::int64_t> dense_strides(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

std::uintptr_t address(const DeviceArray& array) {
  // Both protocols want null for no values.
  return array.size() ? reinterpret_cast<std::uintptr_t>(array.data.get()) : 0;
}

py::dict cuda_array_interface(const DeviceArray& array) {
  using py::literals::operator""_a;
  // No stream to wait for: the values were there before the array was handed out.
  return py::dict("shape"_a = py::tuple(py::cast(array.shape)), "typestr"_a = "<f4",
                  "data"_a = py::make_tuple(address(array), false), "strides"_a = py::none(), "stream"_a = py::none(),
                  "version"_a = 3);
}

// What an exported tensor points to. It holds nothing of Python's: its deleter may be called without the GIL.
template <class Managed>
struct Export {
  Managed managed;
  std::shared_ptr<float> data;
  std::vector<std::int64_t> shape, strides;
};

template <class Managed>
py::capsule export_as(const DeviceArray& array, const char* name) {
  auto owner = std::make_unique<Export<Managed>>();
  owner->data = array.data;
  owner->shape = array.shape;
  owner->strides = dense_strides(array.shape);
  Managed& managed = owner->managed;
  managed = {};
  managed.tensor = {.data = reinterpret_cast<void*>(address(array)),
                    .device = {dlpack::kCuda, array.device},
                    .dimensions = static_cast<std::int32_t>(owner->shape.size()),
                    .type = {dlpack::kFloat, 32, 1},
                    .shape = owner->shape.data(),
                    .strides = owner->strides.data(),
                    .byte_offset = 0};
  managed.context = owner.get();
  managed.deleter = [](Managed* self) { delete static_cast<Export<Managed>*>(self->context); };
  if constexpr (std::is_same_v<Managed, dlpack::ManagedTensorVersioned>) managed.version = {1, 0};
  // A capsule that nobody has taken the tensor out of still has its first name.
  const auto drop = [](PyObject* capsule) {
    constexpr bool versioned = std::is_same_v<Managed, dlpack::ManagedTensorVersioned>;
    const char* const whole = versioned ? dlpack::kVersionedCapsule : dlpack::kCapsule;
    if (!PyCapsule_IsValid(capsule, whole)) return;
    auto* const self = static_cast<Managed*>(PyCapsule_GetPointer(capsule, whole));
    self->deleter(self);
  };
  PyObject* const capsule = PyCapsule_New(&managed, name, drop);
  if (!capsule) throw py::error_already_set();
  static_cast<void>(owner.release());
  return py::reinterpret_steal<py::capsule>(capsule);
}

// The stream of the one who asks is not needed: the values were there before the array was handed out.
py::capsule export_dlpack(const DeviceArray& array, const py::object& /*stream*/,
                          const std::optional<std::pair<int, int>>& max_version,
                          const std::optional<std::pair<int, int>>& dl_device, const std::optional<bool>& copy) {
  if (dl_device && *dl_device != std::pair<int, int>{dlpack::kCuda, array.device}) {
    throw py::buffer_error("the array is on cuda:" + std::to_string(array.device) +
                           " and is not copied to another device");
  }
  if (copy.value_or(false)) throw py::buffer_error("the array is shared, never copied; copy=True is not served");
  if (max_version && max_version->first >= 1)
    return export_as<dlpack::ManagedTensorVersioned>(array, dlpack::kVersionedCapsule);
  return export_as<dlpack::ManagedTensor>(array, dlpack::kCapsule);
}

// What can be shown of a capsule's name, which may be anything.
std::string shown(const char* name) {
  constexpr std::size_t kMost = 40;
  std::string text;
  for (; name && *name && text.size() < kMost; ++name) text += *name >= ' ' && *name <= '~' ? *name : '?';
  return text;
}

// A tensor comes from any package, right or wrong: nothing of it is followed before it is seen to be possible.
void check_tensor(const dlpack::Tensor& tensor) {
  constexpr std::int32_t kMostDimensions = 32;  // NumPy 1's
  if (tensor.dimensions < 0 || tensor.dimensions > kMostDimensions)
    throw py::value_error("the capsule has " + std::to_string(tensor.dimensions) + " dimensions; wanted 0 to " +
                          std::to_string(kMostDimensions));
  if (tensor.dimensions > 0 && !tensor.shape)
    throw py::value_error("the capsule has " + std::to_string(tensor.dimensions) + " dimensions and no shape");
  if (tensor.byte_offset > std::numeric_limits<std::uintptr_t>::max() - reinterpret_cast<std::uintptr_t>(tensor.data))
    throw py::value_error("the capsule has an offset of " + std::to_string(tensor.byte_offset) +
                          " bytes, beyond the end of memory");
}

// Address, shape, strides in elements or None, (type code, bits, lanes) and (device type, index). The tensor stays the
// capsule's, which has to be kept for as long as the memory is read.
py::tuple read_dlpack(const py::object& object) {
  if (!PyCapsule_CheckExact(object.ptr())) throw py::type_error("what it exports is no capsule");
  const auto capsule = py::reinterpret_borrow<py::capsule>(object);
  const char* const name = capsule.name();
  const dlpack::Tensor* tensor = nullptr;
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::kVersionedCapsule)) {
    const auto* const managed =
        static_cast<dlpack::ManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kVersionedCapsule));
    if (managed->version.major != 1)
      throw py::buffer_error("the capsule is of DLPack " + std::to_string(managed->version.major) + "; wanted 1");
    tensor = &managed->tensor;
  } else if (PyCapsule_IsValid(capsule.ptr(), dlpack::kCapsule)) {
    tensor = &static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kCapsule))->tensor;
  } else {
    throw py::type_error("the capsule is named '" + shown(name) + "'; wanted one of DLPack that nobody has used yet");
  }
  check_tensor(*tensor);
  const auto tuple = [&](const std::int64_t* values) {
    py::tuple all(tensor->dimensions);
    for (std::int32_t i = 0; i < tensor->dimensions; ++i) all[i] = values[i];
    return all;
  };
  const py::object strides = tensor->strides ? py::object(tuple(tensor->strides)) : py::none();
  return py::make_tuple(reinterpret_cast<std::uintptr_t>(tensor->data) + tensor->byte_offset, tuple(tensor->shape),
                        strides, py::make_tuple(tensor->type.code, tensor->type.bits, tensor->type.lanes),
                        py::make_tuple(tensor->device.type, tensor->device.index));
}

}  // namespace

std::int64_t DeviceArray::size() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

void bind_device_arrays(py::module_& m) {
  py::class_<DeviceArray>(m, "DeviceArray")
      .def_property_readonly("shape", [](const DeviceArray& array) { return py::tuple(py::cast(array.shape)); })
      .def_property_readonly("device", [](const DeviceArray& array) { return "cuda:" + std::to_string(array.device); })
      .def_property_readonly("__cuda_array_interface__", &cuda_array_interface)
      .def("__dlpack_device__",
           [](const DeviceArray& array) { return py::make_tuple(int{dlpack::kCuda}, array.device); })
      .def("__dlpack__", &export_dlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
      .def("__len__", [](const DeviceArray& array) { return array.shape.at(0); })
      .def("__repr__", [](const DeviceArray& array) {
        return "<float32 array of shape " + py::str(py::tuple(py::cast(array.shape))).cast<std::string>() +
               " on cuda:" + std::to_string(array.device) + ">";
      });
  m.def("read_dlpack", &read_dlpack, py::arg("capsule"));
}

}  // namespace mtcnn_fast
