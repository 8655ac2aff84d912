// Prints "x1 y1 x2 y2 score" for every face in a binary PPM picture: detect picture.ppm
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <mtcnn_fast/detector.h>

int main(int argc, char** argv) try {
  if (argc != 2) throw std::runtime_error("usage: detect picture.ppm");
  std::ifstream file(argv[1], std::ios::binary);
  std::string magic;
  int width = 0, height = 0, maximum = 0;
  file >> magic >> width >> height >> maximum;
  file.get();  // the one white space before the pixels
  if (!file || magic != "P6" || maximum != 255)
    throw std::runtime_error("not an 8-bit binary PPM (P6) without comments");
  std::vector<unsigned char> pixels(std::size_t{3} * width * height);
  if (!file.read(reinterpret_cast<char*>(pixels.data()), pixels.size()))
    throw std::runtime_error("picture is cut short");

  const mtcnn_fast::Detector detector;
  for (const mtcnn_fast::Detection& face : detector.detect({.data = pixels.data(), .width = width, .height = height}))
    std::printf("%.9g %.9g %.9g %.9g %.9g\n", face.box.x1, face.box.y1, face.box.x2, face.box.y2, face.score);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
