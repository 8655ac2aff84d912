// The structs that one call's kernels read and write. Counts stay on the device: every kernel has the same grid
// however much work there is, and reads the amount from these structs.
#pragma once

#include <cstdint>

#include "../src/axis_window.h"
#include "../src/cuda_interface.h"
#include "../src/geometry.h"

namespace mtcnn_fast::cuda {

// How a detector decides. Constant for its lifetime.
struct Settings {
  Conventions conventions;
  float cell_logit;               // P-Net's cells pass from this on
  float screen_logit;             // of P-Net's screen, if there is one: what is below in fp16 is dropped
  float rnet_screen_logit;        // of R-Net's
  PerRefineStage<double> logits;  // candidates pass above these
  double nms[4];                  // greatest overlap left: per level, across levels, after R-Net, after O-Net

  bool operator==(const Settings&) const = default;
};

// An image's pixels in device memory: channel c (RGB) of pixel x in row y is data[y * stride + x * pixel + c *
// channel].
struct Image {
  const std::uint8_t* data;
  std::int64_t stride, pixel, channel;
  int height, width;
  int first_level, levels;  // in Work::levels
  int first_found;          // in Work::found: all levels' room is contiguous
  bool across;              // whether suppression across levels can drop anything
  std::int64_t first_cell;  // in Work::cell_map

  bool operator==(const Image&) const = default;
};

// One level of one image's pyramid.
struct Level {
  double scale;
  int image;
  int height, width;         // pixels that are there, of those of the whole level
  int whole_height;          // pixels
  int first_row;             // of the cells that are there; pixels begin at twice that
  int pitch;                 // pixels from one row to the next, even
  std::int64_t first_pixel;  // in Work::pyramid
  int rows, columns;         // cells of P-Net's map that are there; what counts rows counts from the first of them
  std::int64_t first_cell;   // in Work::cell_map
  int lanes, first_strip;    // of the pyramid's tasks, see resize_strip(); they go row by row
  int first_tile;            // of P-Net's tiles, which go row by row
  int found, capacity;       // Work::found from here on, and how many fit
  int reach;  // cells of the level that are further apart, in rows or columns, overlap by no more than nms[0]

  bool operator==(const Level&) const = default;
};

// What a call is about; written by the host before the first kernel.
struct Job {
  int images, levels;
  int strips, tiles;            // of all levels
  int tile_height, tile_width;  // cells of a tile of P-Net's

  bool operator==(const Job&) const = default;
};

// A cell of P-Net's that passed.
struct Cell {
  float logit;  // from the suppression within the level on, the rank that Geometry makes of it
  float offsets[4];
  int row, column;
  unsigned rivals;  // of the suppression within the level: see suppress.cu
};

// A cell of some level.
struct PlacedCell {
  int level, row, column;
};

// What is counted in a call. Zeroed by the first kernel; may exceed the room there is, and then the host makes room and
// runs the call again.
struct Counts {
  PerRefineStage<int> windows;
  int faces;
  int blocks_done;   // of the last kernel
  int cells_left;    // by P-Net's screen
  int windows_left;  // by R-Net's
};
struct ImageCounts {
  int candidates;                      // left by the suppression within levels
  PerRefineStage<int> first, windows;  // of the network's windows: from where on, and how many
  int first_face, faces;
  int windows_left;  // by R-Net's screen
};
struct LevelCounts {
  int found, kept, cells_left;
};

// The windows that R-Net or O-Net looks at, of all images; those of one image stand together, best first.
struct Windows {
  BoxD* boxes;
  int* images;
  float* heads;  // [window][kHeadOutputs]
  int capacity;

  bool operator==(const Windows&) const = default;
};
// Activations of R-Net or O-Net, [window] first; elements are float, or half where the detector's precision is "fast".
// R-Net is done when O-Net begins: both use the same memory.
struct Activations {
  void* crops;     // [side][side][3], normalised RGB
  void* maps;      // of all windows after the first pooling, then of all after the second: refine.h has their sizes
  void* maps3;     // O-Net's third pooling, 4 x 4 x 64
  void* features;  // of the 2 x 2 convolution, 3 x 3 x 64 or 128
  void* hidden;    // 128 or 256, always float

  bool operator==(const Activations&) const = default;
};

struct Work {
  Settings settings;
  const Job* job;
  const Image* images;
  const Level* levels;
  int image_capacity, level_capacity;  // no call has more, so that kernels by image or level need no more blocks
  void* pyramid;                       // [pixel][3], normalised RGB; float or half
  std::int32_t* cell_map;  // per cell of all levels: 1 + its index in found, or 0 (see suppress.cu); 0 between calls
  PlacedCell* cells_left;  // what P-Net's screen leaves to be computed in float32, of all levels in any order
  int cells_left_capacity;
  int* windows_left;  // of R-Net's windows, those that its screen leaves to be computed in float32, in any order
  Cell* found;
  BoxD* found_boxes;    // parallel to found
  std::uint64_t* keys;  // as many as there is room in found, in either Windows, and as ops.nms takes boxes
  Counts* counts;
  ImageCounts* image_counts;
  LevelCounts* level_counts;
  PerRefineStage<Windows> windows;
  PerRefineStage<Activations> activations;
  // In host memory that the device can write: what the host reads after its one wait.
  Counts* host_counts;
  ImageCounts* host_image_counts;
  LevelCounts* host_level_counts;
  Detection* faces;  // of all images; those of one image stand together, best first
  int face_capacity;

  bool operator==(const Work&) const = default;
};

}  // namespace mtcnn_fast::cuda
