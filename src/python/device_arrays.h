// Arrays in a GPU's memory, as Python sees them: results that stay there, and other packages' arrays by DLPack. Part of
// the Python module (bindings.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <pybind11/pybind11.h>

namespace mtcnn_fast {

// Dense float32 values, row-major. The memory is given back with the last array or DLPack tensor that lies in it.
struct DeviceArray {
  std::shared_ptr<float> data;
  std::vector<std::int64_t> shape;
  int device;  // N of cuda:N

  std::int64_t size() const;
};

// Defines the class DeviceArray and the function read_dlpack.
void bind_device_arrays(pybind11::module_& m);

}  // namespace mtcnn_fast
