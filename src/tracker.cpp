// The tracker: which frames are searched, and where O-Net looks in the others. Its constants were chosen on clips made
// of photographs (bench/tracking.py).
#include <mtcnn_fast/tracker.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "backend.h"
#include "boxes.h"
#include "refine.h"

namespace mtcnn_fast {
namespace {

double longer_side(const BoxD& box) { return std::max(box.x2 - box.x1, box.y2 - box.y1); }
double middle_x(const BoxD& box) { return (box.x1 + box.x2) / 2; }
double middle_y(const BoxD& box) { return (box.y1 + box.y2) / 2; }

BoxD corners(const Box& box) { return {box.x1, box.y1, box.x2, box.y2}; }
// A network that was never trained may put corners in the wrong order, which Detector::refine() refuses.
Box to_box(const BoxD& c) {
  return {static_cast<float>(std::min(c.x1, c.x2)), static_cast<float>(std::min(c.y1, c.y2)),
          static_cast<float>(std::max(c.x1, c.x2)), static_cast<float>(std::max(c.y1, c.y2))};
}
BoxD about(double x, double y, double width, double height) {
  return {x - width / 2, y - height / 2, x + width / 2, y + height / 2};
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double iou(const BoxD& a, const BoxD& b) { return overlap(a, b, Overlap::iou, 0); }

// A face that is followed. Velocities are per frame.
struct Followed {
  std::int64_t id;
  Detection face;
  double vx = 0, vy = 0;  // pixels
  double growth = 0;      // of the logarithm of the side
  int age = 0;
  // What counts searches counts a round of parts as one. Times are those of Faces::searched_.
  std::int64_t found_at, counted_at;
  int lost = 0;    // frames in a row without it
  int found = 1;   // searches that found it
  int missed = 0;  // searches in a row, the last ones, that did not

  // O-Net alone believes in many an error of a search. Where another search does not confirm it, O-Net has to be sure.
  bool doubtful() const { return found == 1 || missed > 0; }

  BoxD box() const { return corners(face.box); }

  // Where it should be a frame later.
  BoxD predicted() const {
    constexpr double kMostGrowth = 0.1;
    const double zoom = std::exp(std::clamp(growth, -kMostGrowth, kMostGrowth));
    const BoxD now = box();
    return about(middle_x(now) + vx, middle_y(now) + vy, (now.x2 - now.x1) * zoom, (now.y2 - now.y1) * zoom);
  }

  void see(const Detection& seen) {
    const BoxD before = box(), after = corners(seen.box);
    // After frames without it, the error that these have added up is shared out among them.
    const double share = 1.0 / (1 + lost), half = age == 0 ? 1 : 0.5;
    const auto towards = [&](double velocity, double moved) { return velocity + half * share * (moved - velocity); };
    vx = towards(vx, middle_x(after) - middle_x(before));
    vy = towards(vy, middle_y(after) - middle_y(before));
    // A box trembles more in size than it grows.
    growth = longer_side(before) > 0 && longer_side(after) > 0
                 ? towards(growth, std::log(longer_side(after) / longer_side(before))) / 2
                 : 0;
    face = seen;
    lost = 0;
    ++age;
  }

  void miss() {
    face.box = to_box(predicted());
    vx *= 0.9, vy *= 0.9, growth *= 0.9;
    ++lost;
    ++age;
  }
};

// Where R-Net and O-Net look for a face that is out of O-Net's sight: moved by shares of its side, and zoomed.
struct Glance {
  double dx, dy, zoom;
};
constexpr std::array<Glance, 10> kAround = {{{0.35, 0, 1},
                                             {-0.35, 0, 1},
                                             {0, 0.35, 1},
                                             {0, -0.35, 1},
                                             {0.7, 0, 1},
                                             {-0.7, 0, 1},
                                             {0, 0.7, 1},
                                             {0, -0.7, 1},
                                             {0, 0, 1.5},
                                             {0, 0, 0.67}}};

// A small picture of a frame, to tell a cut by.
constexpr int kThumbnailHeight = 18, kThumbnailWidth = 32;
using Thumbnail = std::array<float, 3 * kThumbnailHeight * kThumbnailWidth>;

void check(const TrackerOptions& options) {
  std::ostringstream message;
  if (options.every < 1)
    message << "every is " << options.every << ", wanted at least 1";
  else if (!(options.keep >= 0 && options.keep <= 1))
    message << "keep is " << options.keep << ", wanted a number in [0, 1]";
  else if (options.patience < 0)
    message << "patience is " << options.patience << ", wanted at least 0";
  else
    return;
  throw std::invalid_argument(message.str());
}

}  // namespace

class Tracker::Faces {
 public:
  Faces(Detector detector, const TrackerOptions& options) : detector_(std::move(detector)), options_(options) {
    check(options);
    reset();
  }
  const Detector& detector() const { return detector_; }

  static std::vector<std::vector<Track>> update(std::span<Faces* const> all, std::span<const ImageView> frames,
                                                void* stream);
  void reset() {
    followed_.clear();
    camera_x_ = camera_y_ = 0;
    frame_ = 0;
    has_thumbnail_ = changed_ = false;
  }

 private:
  // What O-Net is asked in one round: of each stream, faces and the boxes at which to look.
  struct Round {
    explicit Round(std::size_t streams) : faces(streams), boxes(streams) {}
    void ask(std::size_t stream, Followed& face, const BoxD& box) {
      faces[stream].push_back(&face);
      boxes[stream].push_back(to_box(box));
    }
    // Landmarks of Landmarks::mirrored are for the answer that a face takes, and for no other.
    std::vector<std::vector<Detection>> answers(const Detector& detector, std::span<const ImageView> frames,
                                                Networks networks, void* stream) const {
      const std::vector<std::span<const Box>> lists(boxes.begin(), boxes.end());
      return refine(detector.backend(), frames, lists, networks, Landmarks::direct, stream);
    }
    std::vector<std::vector<Followed*>> faces;
    std::vector<std::vector<Box>> boxes;
  };

  bool changes(const ImageView& frame, void* stream);
  std::optional<Part> part_to_search(const ImageView& frame, bool cut) const;
  double least_score(const Followed& face) const;
  void take(const std::vector<Detection>& found, const Part& part);
  bool occupied(const BoxD& box, double overlap, const Followed* but = nullptr) const;
  void prune(const ImageView& frame);
  void follow_camera();
  std::vector<Track> shown() const;

  Detector detector_;
  TrackerOptions options_;
  std::vector<Followed> followed_;  // by id
  std::vector<bool> renewed_;       // those that this frame's search found
  std::int64_t next_id_ = 0;
  std::int64_t searched_ = 0;  // parts of frames, of which a whole frame has `every`
  std::int64_t frame_;
  bool changed_;  // whether a frame since the last whole search differed from the one before as after a cut
  double camera_x_, camera_y_;  // pixels per frame, as the faces move together
  Thumbnail thumbnail_{};
  bool has_thumbnail_;
};

std::vector<std::vector<Track>> Tracker::Faces::update(std::span<Faces* const> all, std::span<const ImageView> frames,
                                                       void* stream) {
  const Detector& detector = all.front()->detector_;
  const std::size_t streams = all.size();

  // A cut, or a fast camera? O-Net says: if it sees half of the faces where they should be, they stay.
  Round still_there(streams);
  std::vector<bool> cut(streams);
  for (std::size_t s = 0; s < streams; ++s) {
    cut[s] = all[s]->changes(frames[s], stream);
    if (!cut[s]) continue;
    all[s]->changed_ = true;
    for (Followed& face : all[s]->followed_) still_there.ask(s, face, face.predicted());
  }
  const auto seen = still_there.answers(detector, frames, Networks::onet, stream);
  for (std::size_t s = 0; s < streams; ++s) {
    if (!cut[s]) continue;
    const auto kept = std::count_if(seen[s].begin(), seen[s].end(),
                                    [&](const Detection& face) { return face.score >= all[s]->options_.keep; });
    if (2 * kept < std::ssize(seen[s])) all[s]->followed_.clear();
    cut[s] = all[s]->followed_.empty();
  }

  std::vector<std::optional<Part>> parts(streams);
  for (std::size_t s = 0; s < streams; ++s) {
    Faces& faces = *all[s];
    faces.renewed_.assign(faces.followed_.size(), false);
    parts[s] = faces.part_to_search(frames[s], cut[s]);
    ++faces.frame_;
  }
  // Streams of which the same part is searched share a batch.
  for (std::size_t first = 0; first < streams; ++first) {
    if (!parts[first]) continue;
    const Selection selection{.stream = stream, .part = *parts[first]};
    std::vector<ImageView> searched;
    std::vector<Faces*> searching;
    for (std::size_t s = first; s < streams; ++s)
      if (parts[s] && parts[s]->index == selection.part.index && parts[s]->count == selection.part.count) {
        searched.push_back(frames[s]);
        searching.push_back(all[s]);
        parts[s].reset();
      }
    const auto found = detector.detect(searched, selection);
    for (std::size_t i = 0; i < searching.size(); ++i) searching[i]->take(found[i], selection.part);
  }

  Round first(streams);
  for (std::size_t s = 0; s < streams; ++s)
    for (std::size_t i = 0; i < all[s]->followed_.size(); ++i)
      if (Followed& face = all[s]->followed_[i]; !all[s]->renewed_[i]) first.ask(s, face, face.predicted());
  auto answers = first.answers(detector, frames, Networks::onet, stream);

  // Where O-Net is unsure, or moved its box far, it looks once more, from there.
  Round second(streams);
  std::vector<std::vector<Detection*>> unsure(streams);
  for (std::size_t s = 0; s < streams; ++s)
    for (std::size_t i = 0; i < answers[s].size(); ++i) {
      const BoxD before = corners(first.boxes[s][i]), after = corners(answers[s][i].box);
      const double side = longer_side(before),
                   grown = std::abs(std::log(std::max(longer_side(after), 1.0) / std::max(side, 1.0)));
      const double moved =
          std::max(std::abs(middle_x(after) - middle_x(before)), std::abs(middle_y(after) - middle_y(before)));
      const float score = answers[s][i].score;
      if (score <= 0.15f || !(moved > 0.12 * side || grown > 0.2 || score < 0.9f)) continue;
      second.ask(s, *first.faces[s][i], after);
      unsure[s].push_back(&answers[s][i]);
    }
  const auto again = second.answers(detector, frames, Networks::onet, stream);
  for (std::size_t s = 0; s < streams; ++s)
    for (std::size_t i = 0; i < again[s].size(); ++i)
      if (again[s][i].score >= 0.9f * unsure[s][i]->score) *unsure[s][i] = again[s][i];

  // A face that moved out of O-Net's sight: R-Net and O-Net look around.
  Round around(streams);
  std::vector<FaceOf> seen_again;
  const auto see = [&](std::size_t stream, Followed& face, const Detection& answer) {
    face.see(answer);
    seen_again.push_back({static_cast<int>(stream), &face.face});
  };
  for (std::size_t s = 0; s < streams; ++s)
    for (std::size_t i = 0; i < answers[s].size(); ++i) {
      Followed& face = *first.faces[s][i];
      const BoxD expected = face.predicted();
      if (answers[s][i].score >= all[s]->least_score(face) && iou(corners(answers[s][i].box), expected) > 0.2) {
        see(s, face, answers[s][i]);
        continue;
      }
      const double side = longer_side(expected);
      for (const auto& [dx, dy, zoom] : kAround)
        around.ask(s, face,
                   about(middle_x(expected) + dx * side, middle_y(expected) + dy * side, zoom * side, zoom * side));
    }
  const auto elsewhere = around.answers(detector, frames, Networks::both, stream);
  for (std::size_t s = 0; s < streams; ++s)
    for (std::size_t i = 0; i < elsewhere[s].size(); i += kAround.size()) {
      Followed& face = *around.faces[s][i];
      const BoxD expected = face.predicted();
      const Detection* best = nullptr;
      double nearest = std::numeric_limits<double>::infinity();
      for (std::size_t k = i; k < i + kAround.size(); ++k) {
        const Detection& candidate = elsewhere[s][k];
        const BoxD box = corners(candidate.box);
        if (candidate.score < all[s]->least_score(face) || all[s]->occupied(box, 0.3, &face)) continue;
        const double away =
            std::max(std::abs(middle_x(box) - middle_x(expected)), std::abs(middle_y(box) - middle_y(expected)));
        if (away < nearest) nearest = away, best = &candidate;
      }
      best ? see(s, face, *best) : face.miss();
    }
  if (detector.backend().landmarks == Landmarks::mirrored)
    mirror_landmarks(detector.backend(), frames, seen_again, stream);

  std::vector<std::vector<Track>> tracks;
  for (std::size_t s = 0; s < streams; ++s) {
    all[s]->prune(frames[s]);
    all[s]->follow_camera();
    tracks.push_back(all[s]->shown());
  }
  return tracks;
}

// Whether the frame differs from the one before as after a cut. The mean difference of thumbnails, of 255, was 46 to 71
// at cuts, and up to 31 in fast pans.
bool Tracker::Faces::changes(const ImageView& frame, void* stream) {
  constexpr double kCut = 28;
  Thumbnail now;
  detector_.backend().resize(frame, kThumbnailHeight, kThumbnailWidth, now.data(), stream);
  double sum = 0;
  for (std::size_t i = 0; i < now.size(); ++i) sum += std::abs(now[i] - thumbnail_[i]);
  thumbnail_ = now;
  return std::exchange(has_thumbnail_, true) && sum > kCut * static_cast<double>(now.size());
}

// What is searched of the frame. A camera that moves brings new faces in, and so may a picture that changes while O-Net
// still sees the faces: the frames between two searches are then searched in parts.
std::optional<Part> Tracker::Faces::part_to_search(const ImageView& frame, bool cut) const {
  constexpr double kNewPicture = 0.15;  // of the picture, from one search of the whole to the next
  const int place = static_cast<int>(frame_ % options_.every);
  if (cut || frame_ == 0 || (place == 0 && !options_.spread)) return Part{};
  const double moves = std::abs(camera_x_) / frame.width + std::abs(camera_y_) / frame.height;
  const bool new_picture = changed_ || moves * options_.every > kNewPicture;
  if (!options_.spread && !new_picture) return std::nullopt;
  const int parts = options_.spread && new_picture ? (options_.every - 1) / 2 + 1 : options_.every;
  return Part{static_cast<int>(frame_ % parts), parts};
}

double Tracker::Faces::least_score(const Followed& face) const {
  constexpr double kSure = 0.9;
  return face.doubtful() ? std::max(kSure, options_.keep) : options_.keep;
}

// Gives what a search found to the faces that are followed, the best pair first, and follows the rest. Pairs that
// overlap come before those that are only near, as where a fast camera begins to move.
void Tracker::Faces::take(const std::vector<Detection>& found, const Part& part) {
  constexpr double kLeastOverlap = 0.3, kSameFace = 0.5, kFarthest = 1, kMostGrown = 1.4;
  searched_ += (std::int64_t{options_.every} + part.count - 1) / part.count;
  struct Pair {
    double gain;
    std::size_t face, detection;
  };
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < followed_.size(); ++i) {
    const Followed& face = followed_[i];
    const BoxD expected = face.predicted();
    for (std::size_t j = 0; j < found.size(); ++j) {
      const BoxD box = corners(found[j].box);
      const double overlap = iou(expected, box);
      if (!(overlap > kLeastOverlap)) {
        const double away =
            std::hypot(middle_x(box) - middle_x(expected), middle_y(box) - middle_y(expected)) / longer_side(expected);
        const double grown = longer_side(box) / longer_side(expected);
        if (away < kFarthest && grown < kMostGrown && 1 / grown < kMostGrown) pairs.push_back({-1 - away, i, j});
        continue;
      }
      // Of the landmarks from where they should be, in sides: faces that cross overlap, and look elsewhere.
      double away = 0;
      for (int k = 0; k < 5; ++k)
        away += std::abs(face.face.landmarks[k].x + face.vx - found[j].landmarks[k].x) +
                std::abs(face.face.landmarks[k].y + face.vy - found[j].landmarks[k].y);
      pairs.push_back({overlap - 0.5 * std::min(away / 10 / longer_side(expected), 1.0), i, j});
    }
  }
  std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
    return std::tuple(-a.gain, a.face, a.detection) < std::tuple(-b.gain, b.face, b.detection);
  });
  std::vector<bool> taken(found.size());
  for (const Pair& pair : pairs) {
    if (renewed_[pair.face] || taken[pair.detection]) continue;
    renewed_[pair.face] = taken[pair.detection] = true;
    Followed& face = followed_[pair.face];
    face.see(found[pair.detection]);
    face.found_at = searched_;
    // Two parts of one round may find the same, a face or an error: the round counts once.
    if (searched_ - face.counted_at < options_.every) continue;
    face.counted_at = searched_;
    ++face.found;
  }
  for (Followed& face : followed_) face.missed = static_cast<int>((searched_ - face.found_at) / options_.every);
  if (part.index == 0) {  // a whole frame, or a round begins
    changed_ = false;
    if (followed_.empty()) camera_x_ = camera_y_ = 0;
  }
  for (std::size_t j = 0; j < found.size(); ++j) {
    if (taken[j] || occupied(corners(found[j].box), kSameFace)) continue;
    followed_.push_back({.id = next_id_++,
                         .face = found[j],
                         .vx = camera_x_,
                         .vy = camera_y_,
                         .found_at = searched_,
                         .counted_at = searched_});
    renewed_.push_back(true);
  }
}

// Whether a face that is in sight has that place.
bool Tracker::Faces::occupied(const BoxD& box, double overlap, const Followed* but) const {
  return std::any_of(followed_.begin(), followed_.end(), [&](const Followed& face) {
    return &face != but && face.lost == 0 && iou(face.box(), box) > overlap;
  });
}

void Tracker::Faces::prune(const ImageView& frame) {
  std::erase_if(followed_, [&](const Followed& face) {
    const BoxD box = face.box();
    const bool inside =
        middle_x(box) >= 0 && middle_x(box) < frame.width && middle_y(box) >= 0 && middle_y(box) < frame.height;
    // What one search found the next must find, else it goes: O-Net alone would believe in its own errors for ever.
    const int searches = face.found == 1 ? 1 : 3, patience = face.found == 1 ? 0 : options_.patience;
    return !inside || face.lost > patience || face.missed >= searches;
  });
  // Of two that have come upon one face, the one that is in sight stays, or the older one.
  std::vector<Followed> kept = followed_;
  std::stable_sort(kept.begin(), kept.end(), [](const Followed& a, const Followed& b) {
    return std::tuple(a.lost, -a.age) < std::tuple(b.lost, -b.age);
  });
  std::size_t n = 0;
  for (const Followed& face : kept)
    if (std::none_of(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(n),
                     [&](const Followed& other) { return iou(face.box(), other.box()) >= 0.5; }))
      kept[n++] = face;
  kept.resize(n);
  std::sort(kept.begin(), kept.end(), [](const Followed& a, const Followed& b) { return a.id < b.id; });
  followed_ = std::move(kept);
}

void Tracker::Faces::follow_camera() {
  std::vector<double> vx, vy;
  for (const Followed& face : followed_)
    if (face.lost == 0) vx.push_back(face.vx), vy.push_back(face.vy);
  if (vx.empty()) return;
  camera_x_ = median(std::move(vx));
  camera_y_ = median(std::move(vy));
}

std::vector<Track> Tracker::Faces::shown() const {
  std::vector<Track> tracks;
  for (const Followed& face : followed_)
    if (face.lost == 0) tracks.push_back({face.face, face.id, face.found > 1, face.age});
  return tracks;
}

Tracker::Tracker(Detector detector, const TrackerOptions& options)
    : faces_(std::make_unique<Faces>(std::move(detector), options)) {}
Tracker::~Tracker() = default;
Tracker::Tracker(Tracker&&) noexcept = default;
Tracker& Tracker::operator=(Tracker&&) noexcept = default;

std::vector<Track> Tracker::update(const ImageView& frame, void* stream) {
  const ImageView frames[] = {frame};
  Faces* const all[] = {faces_.get()};
  faces_->detector().check(frame);
  return std::move(Faces::update(all, frames, stream).front());
}

std::vector<std::vector<Track>> Tracker::update(std::span<Tracker* const> trackers, std::span<const ImageView> frames,
                                                void* stream) {
  if (trackers.size() != frames.size())
    throw std::invalid_argument("there are " + std::to_string(trackers.size()) + " trackers, and " +
                                std::to_string(frames.size()) + " frames; wanted one frame per tracker");
  std::vector<Faces*> all;
  for (const Tracker* tracker : trackers) {
    if (std::find(all.begin(), all.end(), tracker->faces_.get()) != all.end())
      throw std::invalid_argument("a tracker is given twice; it takes one frame at a time");
    all.push_back(tracker->faces_.get());
    if (&all.back()->detector().backend() != &all.front()->detector().backend())
      throw std::invalid_argument("the trackers have different detectors; those of one call share one");
  }
  if (all.empty()) return {};
  all.front()->detector().check(frames);
  return Faces::update(all, frames, stream);
}

void Tracker::reset() { faces_->reset(); }

}  // namespace mtcnn_fast
