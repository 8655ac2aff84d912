// Errors that name one of several images or faces by its number.
#pragma once

#include <stdexcept>
#include <string>

namespace mtcnn_fast {

// Calls f. An argument that it refuses is named in the message: "image 3: ...".
template <class F>
void numbered(const char* kind, std::size_t index, const F& f) {
  try {
    f();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string(kind) + " " + std::to_string(index) + ": " + error.what());
  }
}

}  // namespace mtcnn_fast
