// Cutting faces out of an image for a recognition network.
#pragma once

#include <array>
#include <cstdint>

#include <mtcnn_fast/types.h>

namespace mtcnn_fast {

// Warps the least-squares similarity (Umeyama, IEEE PAMI 13(4), 1991, without reflection) of `landmarks` onto the
// 112-pixel ArcFace template scaled by size / 112 into `out`: uint8, size x size x 3 in the channel order of the image
// (gray is repeated), bilinear, black outside the image. Throws std::invalid_argument for a size below 1 or above
// 16384, or for landmarks that are not finite or all the same point.
void align(const ImageView& image, const std::array<Point, 5>& landmarks, int size, std::uint8_t* out);

// Cuts `box`, widened by `margin` times its width and height on each side and rounded to whole pixels, and resizes it
// to size x size x 3 (pixel area where both sides shrink, bilinear otherwise), black outside the image. Same order as
// align; throws std::invalid_argument for a size below 1 or above 16384, for a margin that is not above -0.5 and at
// most 2, or for a box that is empty, not finite or beyond 2^22 pixels.
void crop(const ImageView& image, const Box& box, int size, double margin, std::uint8_t* out);

}  // namespace mtcnn_fast
