// Faces that keep their identity from frame to frame of a video.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <mtcnn_fast/detector.h>

namespace mtcnn_fast {

struct TrackerOptions {
  int every = 10;     // most frames from one search of the whole frame to the next; 1: each frame is searched
  double keep = 0.6;  // O-Net's probability, in [0, 1], that a face needs to be shown between two searches
  int patience = 3;   // frames in a row without it until the face is given up, at least 0
  // Searches a part of each frame, another one in each of `every` frames, instead of the whole of one of them: frames
  // take about equal time. A round of parts counts as one search.
  bool spread = false;
};

// A face in one frame.
struct Track {
  Detection face;
  std::int64_t id;  // the same in every frame of one face; from 0 on, and never given again by this tracker
  bool confirmed;   // whether two searches have found it: an error of one seldom is
  int age;          // frames since it was found first, 0 in that frame
};

// Follows the faces of one stream of frames. Detector::detect() searches the first frame, one that differs from the
// frame before as after a cut, and every N-th frame. In the others O-Net looks where each face should be by now
// (Detector::refine), which takes a small part of the time. Where the faces together move so fast that others may have
// come in, a part of each of these frames is searched too, and with `spread` a larger part. A face that the last search
// did not find, or a single search alone has, is shown only if O-Net gives it 0.9; what a single one has found is given
// up without patience. What a frame gives depends on the frames so far alone. Not safe to use from several threads at
// once; trackers may share a detector that is.
class Tracker {
 public:
  // Throws std::invalid_argument for an option out of its range.
  explicit Tracker(Detector detector, const TrackerOptions& options = {});
  ~Tracker();
  Tracker(Tracker&&) noexcept;
  Tracker& operator=(Tracker&&) noexcept;

  // The faces of the next frame, in the order of their ids. Frames may differ in size. For a frame that
  // Detector::detect() refuses, it throws likewise, and has not taken the frame. `stream` as in Selection.
  std::vector<Track> update(const ImageView& frame, void* stream = nullptr);
  // The same for the next frames of several streams, in common batches. The trackers are different ones, of one
  // detector (copies of a Detector share it); else it throws std::invalid_argument.
  static std::vector<std::vector<Track>> update(std::span<Tracker* const> trackers, std::span<const ImageView> frames,
                                                void* stream = nullptr);

  // Gives all faces up: for the first frame of another stream, or after a seek. Their ids are not given again.
  void reset();

 private:
  class Faces;
  std::unique_ptr<Faces> faces_;
};

}  // namespace mtcnn_fast
