// The cascade's steps on the device, in the order of a picture's way through it. Each queues one kernel or a few, and
// none waits for another's result on the host.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "device.h"
#include "work.h"

namespace mtcnn_fast::cuda {

// Parameters by name, as in docs/weights.md: "pnet.conv1.weight", ...
using NamedTensors = std::map<std::string, std::span<const float>>;

enum class Arithmetic {
  fp32,  // multiply-adds in float32, in an order that depends on nothing but the network
  fp16,  // tensor cores: inputs in fp16, sums in float32
};

// --- Resizing (resize.cu) --------------------------------------------------------------------------------------------

// Lanes of a warp that share one output, by how many source pixels it is made of: 1, 8 or 32.
int resize_lanes(int height, int width, int target_height, int target_width);
// Outputs of a task of the pyramid, which one block works on at a time.
struct Strip {
  int height, width;
};
__host__ __device__ constexpr Strip resize_strip(int lanes) {
  return lanes == 1 ? Strip{16, 32} : lanes == 8 ? Strip{4, 16} : Strip{1, 8};
}
// Zeroes the counts, and fills Work::pyramid with all levels of all images.
void pyramid(const Queue& queue, const Work& work, Arithmetic arithmetic);
// Fills the crops of R-Net or O-Net (`stage`: Stage::rnet or Stage::onet) from the images, by Windows::boxes.
void crops(const Queue& queue, const Work& work, Stage stage, Arithmetic arithmetic);
// One image resized to height x width, pixel values, (height, width, 3), for the stage function.
void resize(const Queue& queue, const Image& image, const Conventions& conventions, int height, int width, float* out);

// --- P-Net (pnet.cu, pnet_fp16.cu, pnet_cells.cu) --------------------------------------------------------------------

// Cells of a tile, by the shared memory that a block can have.
struct PnetTile {
  int height, width;
};
PnetTile pnet_tile(Arithmetic arithmetic, std::size_t shared_memory);
std::vector<unsigned char> pack_pnet(const NamedTensors& tensors, Arithmetic arithmetic);
// Appends the cells of every level whose logit reaches the threshold to Work::found, counts them, and marks them in
// Work::cell_map.
void pnet(const Queue& queue, const Work& work, Arithmetic arithmetic, const void* weights);
// The same in float32 in two steps. Tensor cores list the cells whose fp16 logit reaches Settings::screen_logit in
// Work::cells_left, and count them; `weights` and the tiles are those of fp16, the pyramid is of floats.
void screen_cells(const Queue& queue, const Work& work, const void* weights);
// And the cells of that list are computed in float32: what they append is the same to the bit as what pnet() appends.
void confirm_cells(const Queue& queue, const Work& work, const void* weights);
// Gives the only cell that passed in a level the offsets of the cell that mirrors it in its row (see Conventions).
void mirror_lone_cells(const Queue& queue, const Work& work, Arithmetic arithmetic, const void* weights);

// --- Suppression (suppress.cu) ---------------------------------------------------------------------------------------

// Within levels: what is kept of Work::cell_map, Work::found_boxes, the counts, and the keys of what is kept.
void suppress_levels(const Queue& queue, const Work& work);
// Across levels: sorts what is kept of each image, and makes R-Net's windows of it. Leaves Work::cell_map zero.
void suppress_cells(const Queue& queue, const Work& work);
// After R-Net: O-Net's windows.
void suppress_rnet(const Queue& queue, const Work& work);
// After O-Net: the faces, and the counts for the host.
void suppress_onet(const Queue& queue, const Work& work);
// Non-maximum suppression alone, for the stage function: indices of what is kept, best first, of n boxes. `keys` has
// room for n; count is one integer. All in device memory.
void suppress_boxes(const Queue& queue, const BoxD* boxes, const float* scores, int n, double threshold, Overlap kind,
                    double extra, std::uint64_t* keys, int* kept, int* count);

// --- R-Net and O-Net (refine.cu, refine_fp16.cu) ---------------------------------------------------------------------

std::vector<unsigned char> pack_refine(const NamedTensors& tensors, Stage stage, Arithmetic arithmetic);
// Bytes of one window's activations, in the order of struct Activations.
struct ActivationBytes {
  std::size_t crops, maps, maps3, features, hidden;
};
ActivationBytes activation_bytes(Stage stage, Arithmetic arithmetic);
// Windows::heads of all windows, from Activations::crops.
void refine(const Queue& queue, const Work& work, Stage stage, Arithmetic arithmetic, const void* weights);
// R-Net in float32 in two steps. Tensor cores list the windows whose fp16 logit reaches Settings::rnet_screen_logit in
// Work::windows_left, count them, and give the others a logit of -infinity; `weights` are those of fp16, crops are of
// floats, and the activations' memory is that of float32.
void screen_windows(const Queue& queue, const Work& work, const void* weights);
// And the windows of that list are computed in float32: their heads are the same to the bit as those of refine().
void confirm_windows(const Queue& queue, const Work& work, const void* weights);

}  // namespace mtcnn_fast::cuda
