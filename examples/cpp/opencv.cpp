// Draws a box around every face in a picture that OpenCV reads: opencv picture.jpg drawn.jpg
#include <cmath>
#include <exception>
#include <iostream>
#include <stdexcept>

#include <mtcnn_fast/detector.h>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

namespace {

// The pixels stay the matrix's: it must outlive the view. A row may be longer than its pixels, as in part of a picture.
mtcnn_fast::ImageView view(const cv::Mat& image) {
  using mtcnn_fast::PixelFormat;
  if (image.depth() != CV_8U) throw std::invalid_argument("the matrix is not of 8 bits, wanted CV_8U");
  PixelFormat format;
  switch (image.channels()) {
    case 1:
      format = PixelFormat::gray;
      break;
    case 3:
      format = PixelFormat::bgr;
      break;
    case 4:
      format = PixelFormat::bgra;
      break;
    default:
      throw std::invalid_argument("the matrix has neither 1, 3 nor 4 channels");
  }
  return {.data = image.data,
          .width = image.cols,
          .height = image.rows,
          .stride = static_cast<std::ptrdiff_t>(image.step[0]),
          .format = format};
}

cv::Point pixel(float x, float y) { return {static_cast<int>(std::lround(x)), static_cast<int>(std::lround(y))}; }

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("usage: opencv picture drawn");
  cv::Mat image = cv::imread(argv[1]);  // BGR, upright
  if (image.empty()) throw std::runtime_error("OpenCV cannot read the picture");

  const mtcnn_fast::Detector detector;
  for (const mtcnn_fast::Detection& face : detector.detect(view(image))) {
    cv::rectangle(image, pixel(face.box.x1, face.box.y1), pixel(face.box.x2, face.box.y2), {0, 255, 0}, 2);
    for (const mtcnn_fast::Point& point : face.landmarks)
      cv::circle(image, pixel(point.x, point.y), 2, {0, 0, 255}, cv::FILLED);
  }
  if (!cv::imwrite(argv[2], image)) throw std::runtime_error("OpenCV cannot write the drawn picture");
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
