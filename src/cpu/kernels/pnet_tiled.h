// P-Net over a band of a pyramid level by Winograd tiles (tiled_planes.h), fused: resize -> conv1, PReLU, pool ->
// conv2, PReLU -> conv3, PReLU, logit, in steps of a few rows of tiles, so that nothing between the image and the
// candidates leaves the second-level cache.
//
// * Tiles begin at multiples of 2 rows and 4 columns of cells, whatever band is asked for, so results do not depend on
//   bands and threads. Rows of the first and last tiles beyond the band are computed and not emitted: bands that begin
//   at even rows cost nothing.
// * What lies beyond the level, or strip, is zeros, never what happens to be in memory.
// * Rows of tiles run into each other (pitch = tiles + 2), so that narrow levels waste few lanes. Wide levels are cut
//   into strips, so that one fixed scratch fits the second-level cache. Strips depend on the level's width alone.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/resample.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/tiled_planes.h"

namespace mtcnn_fast {
namespace {

class TiledPnet {
  using Conv2 = TiledConv<10, 16>;
  using Conv3 = TiledConv<16, 32>;
  static constexpr int kRows = TileRows::tile, kColumns = TileColumns::tile;
  static constexpr int kPlanes = kRows * kColumns;  // of a channel
  static constexpr int kPixels = 2 * kColumns;      // columns of the level that a tile of pooled pixels begins with
  static constexpr int kMostTiles = 62;             // of a row of a strip
  static constexpr int kRowsTogether = 4;           // of the resize
  static constexpr int kGroup = kPixels * kLanes;   // pixels that are dealt to planes together

 public:
  // The strips of a level, and where everything lies in the scratch.
  struct Plan {
    int cells, tiles, strips;  // of a row of the level
    std::ptrdiff_t row_plane;  // floats of a channel's rows as they are resized, before they are dealt to planes
    std::size_t rows_at, natural_at, input_at, pooled_at, conv2_at, inputs_at, sums_at, features_at, total;

    explicit Plan(const PnetBand& band) {
      cells = (band.width - 1) / 2 - 4;
      tiles = (cells + kColumns - 1) / kColumns;
      strips = (tiles + kMostTiles - 1) / kMostTiles;
      int widest = 0;
      for (int s = 0; s < strips; ++s)
        if (begin(s + 1) - begin(s) > widest) widest = begin(s + 1) - begin(s);
      row_plane = kRowsTogether * round_up(kPixels * (widest + 3), kGroup) + 16;
      rows_at = 0;
      natural_at = rows_at + (band.resample ? round_up(resample_scratch(*band.resample), 16) : 0);
      input_at = natural_at + round_up(3 * row_plane + kSlack, 16);
      pooled_at = input_at + TiledConv1::channels * 4 * kPlanes * kPlaneFloats;
      conv2_at = pooled_at + 10 * kPlanes * kPlaneFloats;
      inputs_at = conv2_at + 16 * kPlanes * kPlaneFloats;
      sums_at = inputs_at + Conv3::inputs_floats;
      features_at =
          sums_at + (Conv3::sums_floats > TiledConv1::sums_floats ? Conv3::sums_floats : TiledConv1::sums_floats);
      total = features_at + 32 * kPlanes * Conv3::lanes;
    }

    // The first tile of strip s. Even, so that tables of columns are read by whole vectors (kColumnPad).
    int begin(int s) const { return s == strips ? tiles : tiles * s / strips & ~1; }
  };
  static_assert(2 * kPixels % kColumnPad == 0 && Conv3::inputs_floats >= TiledConv1::inputs_floats &&
                Conv3::inputs_floats >= Conv2::inputs_floats && Conv3::sums_floats >= Conv2::sums_floats);

  TiledPnet(const PnetWeights& weights, const PnetBand& band, float* scratch)
      : weights_(weights),
        band_(band),
        plan_(band),
        rows_memory_(scratch + plan_.rows_at),
        natural_(scratch + plan_.natural_at),
        inputs_(scratch + plan_.inputs_at),
        sums_(scratch + plan_.sums_at),
        features_(scratch + plan_.features_at),
        input_{scratch + plan_.input_at, 0},
        pooled_{scratch + plan_.pooled_at, 0},
        conv2_{scratch + plan_.conv2_at, 0} {}

  void run() {
    for (int s = 0; s < plan_.strips; ++s) {
      begin_strip(plan_.begin(s), plan_.begin(s + 1) - plan_.begin(s));
      run_strip();
    }
  }

 private:
  const PnetWeights& weights_;
  const PnetBand& band_;
  const Plan plan_;
  float *const rows_memory_, *const natural_, *const inputs_, *const sums_, *const features_;
  TiledConv1::Planes input_;
  Conv2::Planes pooled_, conv2_;
  // Of the strip: its first tile, tiles and cells in a row, positions from row to row, rows of tiles a step; its first
  // column of the level, and columns.
  int first_tile_, tiles_, cells_, pitch_, rows_, first_column_, columns_;
  Resample resample_;
  WeightedRows weighted_;

  void begin_strip(int first, int count) {
    first_tile_ = first, tiles_ = count;
    cells_ = plan_.cells - kColumns * first < kColumns * count ? plan_.cells - kColumns * first : kColumns * count;
    // conv2 is computed up to the tile after the last, of which the first two columns are needed. Its inputs end with
    // the pooled pixels of that position; beyond are zeros.
    pitch_ = tiles_ + 2;
    input_.pitch = pooled_.pitch = conv2_.pitch = pitch_;
    // Rows a step: of the numbers that use at least half of the planes, the one with the fewest empty lanes.
    const int all = (band_.end_row + kRows - 1) / kRows - band_.first_row / kRows, most = kPositions / pitch_ - 1;
    rows_ = most;
    double best = 0;
    for (int n = most; n >= 1 && 2 * n >= most; --n) {
      const std::size_t positions = n * pitch_ - (pitch_ - tiles_);
      const double share = static_cast<double>(n) * tiles_ / static_cast<double>(round_up(positions, Conv3::lanes));
      if (share > best + 0.005) best = share, rows_ = n;
    }
    if (rows_ > all) rows_ = all;
    first_column_ = kPixels * first;
    const int wanted = kPixels * tiles_ + 10, there = band_.width - first_column_;
    columns_ = wanted < there ? wanted : there;
    if (!band_.resample) return;
    resample_ = *band_.resample;
    resample_.x.first += first_column_;
    resample_.x.weights += first_column_;
    resample_.width = columns_;
    resample_.source_first = resample_.x.first[0];
    const int end = resample_.x.first[columns_ - 1] + resample_.x.most_taps;
    if (end < resample_.source_end) resample_.source_end = end;
    weighted_ = prepare_rows(resample_, rows_memory_);
  }

  void run_strip() {
    const int first = band_.first_row / kRows, end = (band_.end_row + kRows - 1) / kRows;
    pool(first, 1, 0, false);
    pool(first + 1, 1, 1, true);
    convolve2(0, 1);
    carry(pooled_.data, 10 * kPlanes, 1);
    // From here on row 0 of conv2's tiles is that of the first cells of the step, and row 0 of the pooled is the next.
    for (int row = first, n; row < end; row += n) {
      n = end - row < rows_ ? end - row : rows_;
      pool(row + 2, n, 1, true);
      convolve2(1, n);
      conv3_and_heads(n, row);
      carry(conv2_.data, 16 * kPlanes, n);
      carry(pooled_.data, 10 * kPlanes, n);
    }
  }

  // Row `from` of the tiles of `count` planes to row 0.
  void carry(float* planes, int count, int from) {
    for (int k = 0; k < count; ++k, planes += kPlaneFloats)
      for (int x = 0; x < pitch_; x += kLanes) store(planes + x, load(planes + from * pitch_ + x));
  }

  // Pooled rows of tiles `origin` .. `origin + n - 1` of the level, to rows from `to` on. The first two rows of pixels
  // that they look at are there already if `kept`.
  void pool(int origin, int n, int to, bool kept) {
    const int all = ((band_.height - 1) / 2 + kRows - 1) / kRows, below = all - origin;
    const int real = below < 0 ? 0 : below < n ? below : n;
    if (real > 0) {
      const int from = kept ? 2 : 0;
      read(2 * kRows * origin + from, 2 * kRows * real + 2 - from, from);
      conv1_and_pool(to, real, origin);
      for (int c = 0; c < TiledConv1::channels; ++c)
        for (int y = 0; y < 2; ++y) carry(input_.at(c, y, 0), kPixels, real);
    }
    for (int k = to + real; k < to + n; ++k)
      for (int p = 0; p < 10 * kPlanes; ++p)
        std::memset(pooled_.data + p * kPlaneFloats + k * pitch_, 0, sizeof(float) * pitch_);
  }

  // Rows y .. y + n - 1 of the level into the input's planes, from row `to` on.
  __attribute__((noinline)) void read(int y, int n, int to) {
    for (int here; n > 0; y += here, n -= here, to += here) {
      here = n < kRowsTogether ? n : kRowsTogether;
      const bool real = y < band_.height;
      if (real && here > band_.height - y) here = band_.height - y;
      if (real) read_natural(y, here);
      for (int k = 0; k < here; ++k)
        for (int c = 0; c < TiledConv1::channels; ++c)
          deal(natural_ + c * plan_.row_plane + k * columns_, real ? columns_ : 0, input_.at(c, to + k, 0));
    }
  }

  // Rows y .. y + n - 1 of the level, as they lie.
  void read_natural(int y, int n) {
    if (band_.resample) return resample_planar_rows(resample_, weighted_, y, n, natural_, plan_.row_plane);
    for (int k = 0; k < n; ++k) {
      const float* pixel = band_.level + (static_cast<std::ptrdiff_t>(y + k) * band_.width + first_column_) * 3;
      for (int x = 0; x < columns_; ++x)
        for (int c = 0; c < 3; ++c) natural_[c * plan_.row_plane + k * columns_ + x] = pixel[3 * x + c];
    }
  }

  // `count` pixels of a row to its planes, and zeros beyond.
  void deal(const float* from, int count, float* out) {
    for (int x = 0; x < kPixels * pitch_; x += kGroup) {
      float padded[kGroup] = {};
      const bool whole = x + kGroup <= count;
      if (!whole && x < count) std::memcpy(padded, from + x, sizeof(float) * (count - x));
      F32 v[kPixels];
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) v[p] = load((whole ? from + x : padded) + p * kLanes);
      split_phases(v);
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) store(out + p * kPlaneFloats + x / kPixels, v[p]);
    }
  }

  // `n` rows of tiles, from row 0 of the input's on, to pooled rows from `to` on; `origin` is the first one's row in
  // the level.
  __attribute__((noinline)) void conv1_and_pool(int to, int n, int origin) {
    // Where a side of conv1's map is odd, the pixel, its tile and its place in it that only the border's row or column
    // makes.
    const int conv_rows = band_.height - 2, conv_columns = band_.width - 2 - first_column_;
    const int cut_y = conv_rows % 2 ? conv_rows / 2 : -1, cut_x = conv_columns % 2 ? conv_columns / 2 : -1;
    for (int q = 0; q < n * pitch_; q += kLanes) {
      bool any[kColumns] = {};
      TiledConv1::Cut cut[kColumns] = {};
      if (cut_y >= 0 && (q + kLanes) / pitch_ >= cut_y / kRows - origin) {
        for (int lane = 0; lane < kLanes; ++lane)
          if (origin + (q + lane) / pitch_ == cut_y / kRows)
            for (int x = 0; x < kColumns; ++x) cut[x].row[cut_y % kRows][lane] = -1, any[x] = true;
      }
      if (cut_x >= 0 && cut_x / kColumns < pitch_) {
        const int x = cut_x % kColumns, position = q % pitch_;
        int lane = cut_x / kColumns - position;
        if (lane < 0) lane += pitch_;
        for (; lane < kLanes; lane += pitch_) cut[x].column[lane] = -1, any[x] = true;
      }
      TiledConv1::run(input_, q, weights_.conv1, pooled_, to * pitch_ + q, cut, any, inputs_, sums_);
    }
    // Beyond the last tile's right neighbour's first columns.
    for (int k = to; k < to + n; ++k)
      for (int c = 0; c < 10; ++c)
        for (int y = 0; y < kRows; ++y)
          for (int x = 0; x < 2; ++x) pooled_.at(c, y, x)[k * pitch_ + tiles_ + 1] = 0;
  }

  // `n` rows of tiles, from pooled row 0 on, to rows from `to` on.
  __attribute__((noinline)) void convolve2(int to, int n) {
    const int positions = n * pitch_ - 1;
    for (int q = 0; q < positions; q += Conv2::lanes)
      Conv2::run<kPlaneFloats>(pooled_, q, weights_.conv2, conv2_.at(0, 0, 0) + to * pitch_ + q, inputs_, sums_);
  }

  // The cells that pass, of rows of tiles 0 .. n - 1, which are those from `origin` on in the level.
  __attribute__((noinline)) void conv3_and_heads(int n, int origin) {
    const int positions = n * pitch_ - 2;
    for (int q = 0; q < positions; q += Conv3::lanes) {
      Conv3::run<Conv3::lanes>(conv2_, q, weights_.conv3, features_, inputs_, sums_);
      heads(q, n, origin);
    }
  }

  // Of the tiles from position q on, whose features stand as [channel][row][column][lane].
  __attribute__((noinline)) void heads(int q, int n, int origin) {
    constexpr int kVectors = Conv3::kVectors, kChannel = kPlanes * Conv3::lanes;
    for (int k = 0; k < kPlanes; ++k) {
      const float* const from = features_ + k * Conv3::lanes;
      F32 logit[kVectors];
      for (int v = 0; v < kVectors; ++v) logit[v] = splat(weights_.face[32]);
      for (int c = 0; c < 32; ++c)
        for (int v = 0; v < kVectors; ++v)
          logit[v] = fma(splat(weights_.face[c]), load(from + c * kChannel + v * kLanes), logit[v]);
      I32 passes = logit[0] >= splat(band_.threshold);
      for (int v = 1; v < kVectors; ++v) passes |= logit[v] >= splat(band_.threshold);
      if (!any_lane(passes)) continue;
      float logits[Conv3::lanes];
      for (int v = 0; v < kVectors; ++v) store(logits + v * kLanes, logit[v]);
      Cell passed[Conv3::lanes];
      int count = 0;
      for (int lane = 0; lane < Conv3::lanes; ++lane) {
        if (!(logits[lane] >= band_.threshold)) continue;
        const int tile_row = (q + lane) / pitch_, tile = (q + lane) % pitch_;
        const int row = kRows * (origin + tile_row) + k / kColumns, column = kColumns * tile + k % kColumns;
        if (tile_row >= n || column >= cells_ || row < band_.first_row || row >= band_.end_row) continue;
        Cell& cell = passed[count++] = {row, kColumns * first_tile_ + column, logits[lane], {}};
        F32x4 offsets = load<F32x4>(weights_.box + 32 * 4);
        for (int c = 0; c < 32; ++c)
          offsets = fma4(splat<F32x4>(from[c * kChannel + lane]), load<F32x4>(weights_.box + c * 4), offsets);
        store(cell.offsets, offsets);
      }
      if (count > 0) band_.emit(band_.context, passed, count);
    }
  }
};

std::size_t pnet_scratch(const PnetBand& band) { return TiledPnet::Plan(band).total; }

void pnet(const PnetWeights& weights, const PnetBand& band, float* scratch) { TiledPnet(weights, band, scratch).run(); }

}  // namespace
}  // namespace mtcnn_fast
