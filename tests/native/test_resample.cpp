// The resize kernels, beyond the values that test_stages holds to the reference: what must not show in a value, and
// what must not be read.
#include <cmath>
#include <cstring>

#include "common.h"
#include "cpu/crop_tables.h"
#include "cpu/dispatch.h"
#include "cpu/kernels/kernels.h"
#include "memory.h"

using namespace mtcnn_fast;

namespace {

// Pixels whose last byte is the last of the memory that may be read, `channels` - 3 of it left out.
class GuardedImage {
 public:
  GuardedImage(int height, int width, int channels)
      : height(height), width(width), memory_(std::size_t(height) * width * channels - (channels - 3)) {
    const std::ptrdiff_t stride = std::ptrdiff_t(width) * channels, bytes = stride * height - (channels - 3);
    auto* const data = reinterpret_cast<std::uint8_t*>(memory_.data());
    std::mt19937 random(3);
    for (std::ptrdiff_t i = 0; i < bytes; ++i) data[i] = std::uint8_t(random());
    source = {data, data + bytes, stride, channels, channels == 4};
  }

  int height, width;
  Source source;

 private:
  GuardedMemory memory_;
};

std::vector<float> rows(const Kernels& kernels, const Resample& r, int first, int end) {
  std::vector<float> out(std::size_t(end - first) * r.width * 3);
  kernels.resample(r, first, end, out.data(), GuardedFloats(kernels.resample_scratch(r)));
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST(resample, a_row_alone_is_the_row_of_the_whole) {
  struct Case {
    int height, width, to_height, to_width;
  };
  const Case cases[] = {{90, 160, 54, 96}, {90, 161, 39, 69}, {90, 167, 28, 50}, {90, 333, 20, 71}, {97, 700, 12, 81},
                        {40, 33, 40, 33},  {20, 31, 48, 48},  {31, 20, 24, 24},  {60, 9, 24, 24},   {13, 13, 5, 3}};
  for (const Kernels* kernels : available_kernels()) {
    for (const int channels : {3, 4}) {
      for (const Case& c : cases) {
        check::context =
            std::string(kernels->name) + " " + std::to_string(c.width) + " to " + std::to_string(c.to_width);
        const GuardedImage image(c.height, c.width, channels);
        const Filter filter = resize_filter(Resampling::area_or_bilinear, c.height, c.width, c.to_height, c.to_width);
        WindowTable x, y;
        x.make(c.width, c.to_width, filter);
        y.make(c.height, c.to_height, filter);
        const Resample r = {image.source, x.columns(), y.rows(), c.to_width, 0, c.width, Rounding::none, 1, 0};
        const std::vector<float> whole = rows(*kernels, r, 0, c.to_height);
        std::vector<float> single;
        for (int row = 0; row < c.to_height; ++row) {
          const std::vector<float> one = rows(*kernels, r, row, row + 1);
          single.insert(single.end(), one.begin(), one.end());
        }
        CHECK(same_bits(single, whole));
      }
    }
  }
}

TEST(resample, crops_do_not_show_where_their_tables_come_from) {
  const GuardedImage image(150, 200, 3);
  for (const Kernels* kernels : available_kernels()) {
    for (const Stage stage : {Stage::rnet, Stage::onet}) {
      const int side = crop_side(stage);
      const CropTables tables(Resampling::area_or_bilinear, side);
      for (const int size : {1, 7, 16, 23, 24, 25, 41, 48, 60, 97, 128, 140}) {
        check::context = std::string(kernels->name) + " " + std::to_string(size) + " to " + std::to_string(side);
        // Inside, to the last pixel; and beyond two borders, where the outside is black.
        for (const int at : {0, 150 - size, 150 - size / 2, -size / 2}) {
          WindowTable x, y, made_x, made_y;
          const BoxD window{at + 51.0, at + 1.0, at + 50.0 + size, static_cast<double>(at + size)};
          Resample r = tables.resampling(image.source, 150, 200, window, x, y);
          r.scale = 1, r.bias = 0;
          const Filter filter = resize_filter(Resampling::area_or_bilinear, size, size, side, side);
          made_x.make(size, side, filter);
          made_y.make(size, side, filter);
          made_x.place(at + 50, 200);
          made_y.place(at, 150);
          const Resample made = {
              image.source, made_x.columns(), made_y.rows(), side, made_x.first(), made_x.end(), Rounding::none, 1, 0};
          CHECK(kernels->resample_scratch(r) <= crop_scratch(200, 3));
          const std::vector<float> crop = rows(*kernels, r, 0, side);
          CHECK(same_bits(crop, rows(*kernels, made, 0, side)));
          for (const float value : crop) CHECK(value >= 0 && value < 255.001f);
        }
      }
    }
  }
}

// Weights that were never trained can ask for windows far larger than the image.
TEST(resample, crops_fit_the_scratch_of_their_image) {
  const GuardedImage image(12, 5000, 3);
  for (const Kernels* kernels : available_kernels())
    for (const Stage stage : {Stage::rnet, Stage::onet}) {
      const int side = crop_side(stage);
      const CropTables tables(Resampling::area_or_bilinear, side);
      for (const int size : {100, 5000, 40000, 200000, 300001}) {
        check::context = std::string(kernels->name) + " " + std::to_string(size) + " to " + std::to_string(side);
        for (const int left : {-size / 2, 0, 4999}) {
          WindowTable x, y;
          const BoxD window{left + 1.0, 1.0, static_cast<double>(left + size), static_cast<double>(size)};
          const Resample r = tables.resampling(image.source, 12, 5000, window, x, y);
          CHECK(kernels->resample_scratch(r) <= crop_scratch(5000, 3));
          for (const float value : rows(*kernels, r, 0, side)) CHECK(std::isfinite(value));
        }
      }
    }
}

// Tables carry an output's place from the one before, other backends compute it.
TEST(resample, an_output_alone_is_as_in_its_table) {
  std::mt19937 random(4);
  for (int k = 0; k < 300; ++k) {
    const int source = 1 + int(random() % 700), target = 1 + int(random() % 300);
    for (const Filter filter :
         {Filter::area, Filter::cv2_area, Filter::bilinear, Filter::bilinear_of_areas, Filter::adaptive_average}) {
      if ((filter == Filter::area || filter == Filter::cv2_area) && target > source) continue;
      WindowTable table;
      table.make(source, target, filter);
      for (int i = 0; i < target; ++i) {
        const AxisWindow alone = axis_window(filter, source, target, i, axis_place(source, target, i));
        const Taps& window = table.taps[i];
        bool equal = alone.first == window.first && alone.count == window.count;
        for (int t = 0; equal && t < alone.count; ++t) equal = alone.weight(t) == table.weights[window.offset + t];
        CHECK(equal);
      }
    }
  }
}
