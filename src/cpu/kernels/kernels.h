// The interface of the CPU kernels: one table of functions per instruction set. Plain data only: the units that are
// compiled per instruction set include this file and nothing of the standard library's templates.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa_list.h"
#include "pixel_values.h"
#include "stage.h"

namespace mtcnn_fast {

// Source pixels of one output pixel along one axis: `first` .. `first + count - 1`, weights from `weights[offset]` on.
struct Taps {
  std::int32_t first, count, offset;
};
struct Rows {
  const Taps* taps;  // of each output
  const float* weights;
  int most_taps;
};

// The same for vectors of outputs: every output has `most_taps`, weight t of output x is weights[t * pitch + x], and
// what an output lacks, at its end, is zeros. `first` never falls. There are `pitch` outputs, a multiple of kColumnPad,
// of which the last are padding.
struct Columns {
  const std::int32_t* first;
  const float* weights;
  int pitch, most_taps;
};
constexpr int kColumnPad = 16;

// 8-bit pixels, `channels` (3 or 4) bytes apart; a fourth channel is ignored.
struct Source {
  const std::uint8_t* data;
  const std::uint8_t* end;  // one beyond the image's last byte in memory: nothing is read from there on
  std::ptrdiff_t stride;    // bytes
  int channels;
  bool bgr;  // the first channel is blue; outputs are always RGB
};

// A separable resize: out = (sum of weighted pixels, rounded if asked) * scale + bias.
struct Resample {
  Source source;
  Columns x;
  Rows y;
  int width;                     // outputs in a row
  int source_first, source_end;  // columns that the taps of x cover, whatever they are padded with
  Rounding rounding;
  float scale, bias;
};

// One layer's parameters in the kernels' layout (packed_networks.cpp packs them).
struct Layer {
  const float* weight;
  const float* bias;
  const float* slope;
};

struct PnetWeights {
  // Blocks are those of planar_block(). Direct: [out / block][in][kh][kw][block]. By Winograd tiles:
  // [out / block][point][in][block], points by row and column; conv1, which has points along columns only,
  // [out / block][point][in][kw][block].
  Layer conv1, conv2, conv3;
  const float* face;  // [32] weights, then the bias, of logit(face) - logit(not a face)
  const float* box;   // [32][4] weights, then [4] biases
};

// Outputs are padded with zeros to a multiple of kChannelPad and stand in register tiles, see register_tile_vectors():
// dense layers as [out / tile][in][tile], their inputs by row, column, channel; convolutions as said below.
struct RefineWeights {
  Layer conv1, conv2, conv3, conv4;  // R-Net has no conv4
  Layer fc;
  Layer heads;  // logit difference, 4 box offsets, and in O-Net 10 landmark values; no slope
};
constexpr int kChannelPad = 16;

// P-Net's weights stand in blocks of that many output channels: each block is one register tile. Pixels are lanes, so
// that any number of channels fills the vectors.
constexpr int planar_block(int out_channels, int registers) { return out_channels % 8 ? 5 : registers >= 32 ? 8 : 4; }

// R-Net's and O-Net's lanes are channels; their weights stand in register tiles of that many vectors.
constexpr int register_tile_vectors(int vectors) { return vectors % 2 == 0 ? 2 : vectors % 3 == 0 ? 3 : 1; }

// R-Net's and O-Net's convolutions are computed as winograd.h says, by Winograd tiles of that side, which divides the
// side of the outputs. Weights stand as [out / tile][point][in][tile], where `tile` is a register tile's channels;
// conv1's, with points along rows only, as [out / tile][point][kh][in][tile].
constexpr int kRnetConv2WinogradTile = 3, kRnetConv3WinogradTile = 3;
constexpr int kOnetConv2WinogradTile = 3, kOnetConv3WinogradTile = 4, kOnetConv4WinogradTile = 3;

// Finite points of a Winograd tile along one axis, by its edge: outputs + kernel - 1. Symmetric points other than 1
// have the least rounding error among those whose squares, products and cubes are exact in float32. Root mean square of
// F(3x3, 3x3), relative to a direct convolution: 0.98, and 1.92 with the points 0, 1, -1, 1/2; of F(4x4, 3x3): 1.57,
// and 2.30 with 0, 1, -1, 1/2, -2.
constexpr double kWinogradPoints4[] = {0, 1, -1};
constexpr double kWinogradPoints5[] = {0.375, -0.375, 1.375, -1.375};
constexpr double kWinogradPoints6[] = {0, 0.625, -0.625, 1.5, -1.5};
// Of the first convolutions, with tiles of four along one axis: down P-Net's columns, along the rows of the others.
// Neighbouring pixels are nearly equal, and at 1 and -1 their equal parts cancel before anything is rounded.
constexpr double kWinogradPixelPoints[] = {0, 1, -1, 0.5, -2};

// The same networks in bf16, for processors that multiply tiles of it (AMX): [column / 16][run][step] AMX tiles of 16 x
// 16 pairs, [input / 2][column][2] (packed_networks_bf16.cpp packs them, amx_tiles.h says what runs and steps are).
// Bias and slope go by column. Columns are output channels, filled up with zeros to whole AMX tiles.
struct LayerBf16 {
  const std::uint16_t* amx_tiles;
  const float* bias;
  const float* slope;
};
struct PnetWeightsBf16 {
  // Columns are the channels of several pixels, see pnet_bf16.h. conv1: [pooled pixel][parity][kernel row] AMX tiles.
  LayerBf16 conv1, conv2, conv3;
  LayerBf16 heads;  // logit difference, 4 offsets
};
struct RefineWeightsBf16 {
  LayerBf16 conv1, conv2, conv3, conv4;  // R-Net has no conv4
  LayerBf16 fc, heads;
};
constexpr int kConv1Pixels = 8;  // of P-Net's conv1, one row of a product

// One window of P-Net's that passed.
struct Cell {
  std::int32_t row, column;
  float logit;
  float offsets[4];
};
// May throw. The exception leaves the kernel, which emits nothing more.
using EmitCells = void (*)(void* context, const Cell* cells, int count);

// A band of rows of one pyramid level through P-Net.
struct PnetBand {
  const Resample* resample;  // from the image; or
  const float* level;        // a ready level, (height, width, 3), where resample is null
  int height, width;         // of the level
  int first_row, end_row;    // cell rows to compute
  float threshold;           // emit cells with logit >= threshold, in any order
  EmitCells emit;
  void* context;
};

constexpr int kRnetSide = crop_side(Stage::rnet), kOnetSide = crop_side(Stage::onet);
constexpr int kMaxRefineBatch = 24;

// No crop of an image takes more floats of resample_scratch: a row of its pixels, as much again for the taps of a
// window that reaches far beyond the image, and what a row or the rows that are made together need besides.
constexpr std::size_t crop_scratch(int width, int channels) {
  return 2 * static_cast<std::size_t>(width) * channels + 8192;
}

struct Kernels {
  const char* name;
  int lanes, registers;

  // Scratch is 64-byte aligned and holds at least what the matching function says, in floats. Its contents do not
  // matter, and nothing is kept there from one call to the next.
  std::size_t (*resample_scratch)(const Resample&);
  std::size_t (*pnet_scratch)(const PnetBand&);
  std::size_t (*refine_scratch)();

  // Rows first_row .. end_row - 1 of the output, interleaved: out is (end_row - first_row, width, 3).
  void (*resample)(const Resample&, int first_row, int end_row, float* out, float* scratch);
  void (*pnet)(const PnetWeights&, const PnetBand&, float* scratch);
  // crops: (n, 24, 24, 3) or (n, 48, 48, 3), n <= kMaxRefineBatch; out: (n, kHeadOutputs). 64-byte aligned crops.
  void (*rnet)(const RefineWeights&, const float* crops, int n, float* out, float* scratch);
  void (*onet)(const RefineWeights&, const float* crops, int n, float* out, float* scratch);

  bool pnet_by_winograd = true;  // which of its two layouts PnetWeights has

  // In bf16; null where the processor has no AMX tiles. The scratch is what pnet_bf16_scratch() and
  // refine_bf16_scratch() say.
  std::size_t (*pnet_bf16_scratch)(const PnetBand&) = nullptr;
  std::size_t (*refine_bf16_scratch)() = nullptr;
  void (*pnet_bf16)(const PnetWeightsBf16&, const PnetBand&, float* scratch) = nullptr;
  void (*rnet_bf16)(const RefineWeightsBf16&, const float* crops, int n, float* out, float* scratch) = nullptr;
  void (*onet_bf16)(const RefineWeightsBf16&, const float* crops, int n, float* out, float* scratch) = nullptr;
  // Emits what pnet() does, to the bit, of the cells whose bf16 logit is at least `least`; returns how many these are.
  int (*pnet_screened)(const PnetWeightsBf16&, const PnetWeights&, const PnetBand&, float least,
                       float* scratch) = nullptr;
};

#define MTCNN_FAST_DECLARE_KERNELS(isa) extern const Kernels kernels_##isa;
MTCNN_FAST_FOR_EACH_ISA(MTCNN_FAST_DECLARE_KERNELS)
#undef MTCNN_FAST_DECLARE_KERNELS

}  // namespace mtcnn_fast
