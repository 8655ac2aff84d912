#include "workspace.h"

#include <algorithm>
#include <cstring>

namespace mtcnn_fast::cuda {
namespace {

// A run takes that many pixels of pyramids at most, unless one image has more: eight frames of 1920x1080 at 20 px, 0.15
// GB in float32.
constexpr std::int64_t kPixelsTogether = 12 << 20;
constexpr std::size_t kImagesTogether = 64;
constexpr std::size_t kAlignment = 256;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// In the description, behind the job.
constexpr std::size_t kImagesAt = round_up(sizeof(Job), kAlignment);

// Rows of pixels that the cells of a level see. Cells are two pixels apart and see twelve; at the bottom of a level of
// odd height the last one sees eleven.
int pixel_rows(const PlannedLevel& level) {
  if (level.first_row >= level.end_row) return 0;
  return std::min(level.height, 2 * level.end_row + 10) - 2 * level.first_row;
}

std::int64_t level_pixels(const PlannedLevel& level) {
  return static_cast<std::int64_t>(pixel_rows(level)) * round_up(level.width, 2);
}

std::int64_t all_cells(const Level& level) { return static_cast<std::int64_t>(level.rows) * level.columns; }

// Whether rows of an image are runs of bytes, to be copied as they are.
bool packed(const PlannedImage& image) { return image.pixel >= 1 && image.pixel <= 4; }

// The first byte of a packed image's first pixel, whichever channel that is.
const std::uint8_t* first_byte(const PlannedImage& image) {
  return image.data + std::min<std::int64_t>(0, 2 * image.channel);
}

std::size_t row_bytes(const PlannedImage& image) {
  if (!packed(image)) return std::size_t{3} * image.width;
  // A view of three of four channels may end before the last pixel's fourth.
  return static_cast<std::size_t>(image.pixel * (image.width - 1) + 2 * std::abs(image.channel) + 1);
}

// Rows on the device begin at multiples of four bytes.
std::size_t staged_stride(const PlannedImage& image) { return round_up(row_bytes(image), 4); }

// Whether the device can read an image where it lies, without its rows being copied to pinned memory first.
bool pinned(const PlannedImage& image) {
  if (!packed(image) || image.stride < static_cast<std::int64_t>(row_bytes(image))) return false;
  cudaPointerAttributes attributes = {};
  MTCNN_FAST_CHECK(cudaPointerGetAttributes(&attributes, image.data));
  return attributes.type == cudaMemoryTypeHost;
}

// For what follows a copy, or the kernels of the call before: it begins when these have ended.
Queue plain(Queue queue) {
  queue.programmatic = false;
  return queue;
}

template <class T>
T* at(const DeviceBuffer& buffer, std::size_t offset) {
  return reinterpret_cast<T*>(buffer.as<char>() + offset);
}

}  // namespace

bool any_on_device(std::span<const PlannedImage> images) {
  return std::any_of(images.begin(), images.end(), [](const PlannedImage& image) { return image.on_device; });
}

// Between the cascade's parts, where a caller wants to know how long each takes.
struct Workspace::Times {
  static constexpr int kMarks = 7;
  Event marks[kMarks] = {Event(cudaEventDefault), Event(cudaEventDefault), Event(cudaEventDefault),
                         Event(cudaEventDefault), Event(cudaEventDefault), Event(cudaEventDefault),
                         Event(cudaEventDefault)};

  void fill(Report& report) const {
    const auto between = [this](int from, int to) {
      float ms = 0;
      MTCNN_FAST_CHECK(cudaEventElapsedTime(&ms, marks[from], marks[to]));
      return ms;
    };
    report.pnet_ms = between(0, 1);
    report.nms_ms = between(1, 2) + between(3, 4) + between(5, 6);
    report.rnet_ms = between(2, 3);
    report.onet_ms = between(4, 5);
    report.total_ms = between(0, 6);
  }
};

Workspace::Workspace(const Model& model) : model_(model), work_{}, recorded_{} {
  work_.settings = model.settings;
  const int least = model.first_capacity;
  capacity_.windows[Stage::rnet] = least ? least : 1024;
  capacity_.windows[Stage::onet] = least ? least : 128;
  capacity_.faces = least ? least : 64;
  capacity_.cells_left = model.screens_pnet ? least : 0;
}

Workspace::~Workspace() { drain(); }

void Workspace::drain() noexcept { cudaStreamSynchronize(stream_); }

std::size_t Workspace::images_together(std::span<const PlannedImage> images) {
  std::int64_t pixels = 0;
  std::size_t count = 0;
  for (; count < std::min(images.size(), kImagesTogether); ++count) {
    for (int k = 0; k < images[count].level_count; ++k) pixels += level_pixels(images[count].levels[k]);
    if (count > 0 && pixels > kPixelsTogether) break;
  }
  return count;
}

void Workspace::start(std::span<const PlannedImage> images, cudaStream_t before, bool timed) {
  timed_ = timed;
  if (timed && !times_) times_ = std::make_unique<Times>();
  if (any_on_device(images)) images_written_.order(before, stream_);
  reserve_pixels(images);
  describe(images, model_.screens_pnet ? Arithmetic::fp16 : model_.arithmetic);
  run();
}

// Room for the images' bytes, in pinned memory and on the device.
void Workspace::reserve_pixels(std::span<const PlannedImage> images) {
  std::size_t bytes = 0;
  for (const PlannedImage& image : images)
    if (!image.on_device) bytes += round_up(staged_stride(image) * image.height, kAlignment);
  staging_.reserve(bytes);
  pixels_.reserve(bytes);
}

// Queues the upload of an image of the host's, by way of pinned memory from `used` on, unless it lies in such already.
Image Workspace::stage(const PlannedImage& image, std::size_t& used) {
  Image staged = {};
  staged.height = image.height, staged.width = image.width;
  if (image.on_device) {
    staged.data = image.data;
    staged.stride = image.stride, staged.pixel = image.pixel, staged.channel = image.channel;
    return staged;
  }
  const std::size_t stride = staged_stride(image), bytes = stride * image.height;
  std::uint8_t* const staged_from = staging_.as<std::uint8_t>() + used;
  std::uint8_t* out = staged_from;
  std::uint8_t* const device = pixels_.as<std::uint8_t>() + used;
  used += round_up(bytes, kAlignment);
  staged.stride = static_cast<std::int64_t>(stride);
  if (packed(image)) {
    staged.pixel = image.pixel, staged.channel = image.channel;
    staged.data = device + (image.data - first_byte(image));
    if (pinned(image)) {
      MTCNN_FAST_CHECK(cudaMemcpy2DAsync(device, stride, first_byte(image), static_cast<std::size_t>(image.stride),
                                         row_bytes(image), static_cast<std::size_t>(image.height),
                                         cudaMemcpyHostToDevice, stream_));
      return staged;
    }
    for (int y = 0; y < image.height; ++y, out += stride)
      std::memcpy(out, first_byte(image) + y * image.stride, row_bytes(image));
  } else {
    staged.pixel = 3, staged.channel = 1;
    staged.data = device;
    for (int y = 0; y < image.height; ++y, out += stride) {
      const std::uint8_t* in = image.data + y * image.stride;
      for (int x = 0; x < image.width; ++x, in += image.pixel)
        for (int c = 0; c < 3; ++c) out[3 * x + c] = in[c * image.channel];
    }
  }
  // Image by image: the upload of one overlaps with the copying of the next.
  MTCNN_FAST_CHECK(cudaMemcpyAsync(device, staged_from, bytes, cudaMemcpyHostToDevice, stream_));
  return staged;
}

// Writes what there is to do, and makes room for it.
void Workspace::describe(std::span<const PlannedImage> planned, Arithmetic pnet) {
  Capacities wanted;
  wanted.images = static_cast<int>(planned.size());
  for (const PlannedImage& image : planned) wanted.levels += image.level_count;
  images_.clear();
  levels_.clear();
  const PnetTile tile = pnet_tile(pnet, model_.shared_memory);
  job_ = {.images = wanted.images,
          .levels = wanted.levels,
          .strips = 0,
          .tiles = 0,
          .tile_height = tile.height,
          .tile_width = tile.width};
  std::size_t used = 0;
  int next = 0;
  const auto ceil_div = [](int a, int b) { return (a + b - 1) / b; };
  for (int i = 0; i < wanted.images; ++i) {
    Image& image = images_.emplace_back(stage(planned[i], used));
    image.first_level = next, image.levels = planned[i].level_count;
    image.first_cell = wanted.cells;
    image.across = planned[i].across;
    for (int k = 0; k < image.levels; ++k, ++next) {
      const PlannedLevel& plan = planned[i].levels[k];
      Level& level = levels_.emplace_back();
      level.scale = plan.scale;
      level.image = i;
      level.height = pixel_rows(plan), level.width = plan.width;
      level.whole_height = plan.height;
      level.first_row = plan.first_row;
      level.pitch = static_cast<int>(round_up(plan.width, 2));
      level.first_pixel = wanted.pixels;
      level.rows = plan.end_row - plan.first_row, level.columns = pnet_cells(plan.width);
      level.first_cell = wanted.cells;
      level.lanes = resize_lanes(image.height, image.width, plan.height, plan.width);
      const Strip strip = resize_strip(level.lanes);
      level.first_strip = job_.strips;
      level.first_tile = job_.tiles;
      level.reach = plan.reach;
      job_.strips += ceil_div(level.height, strip.height) * ceil_div(plan.width, strip.width);
      job_.tiles += ceil_div(level.rows, tile.height) * ceil_div(level.columns, tile.width);
      wanted.pixels += level_pixels(plan);
      wanted.cells += all_cells(level);
    }
  }
  lay_out_found();
  capacity_.images = std::max(capacity_.images, wanted.images);
  capacity_.levels = std::max(capacity_.levels, wanted.levels);
  capacity_.pixels = std::max(capacity_.pixels, wanted.pixels);
  capacity_.cells = std::max(capacity_.cells, wanted.cells);
}

// Gives each level its part of the list of cells that pass P-Net.
void Workspace::lay_out_found() {
  const std::int64_t least = model_.first_capacity ? model_.first_capacity : 64;
  int found = 0;
  for (int i = 0; i < job_.images; ++i) {
    images_[i].first_found = found;
    for (int k = 0; k < images_[i].levels; ++k) {
      Level& level = levels_[images_[i].first_level + k];
      const std::int64_t all = all_cells(level);
      level.found = found;
      level.capacity = static_cast<int>(std::min(all, std::max(all / found_share_, least)));
      found += level.capacity;
    }
  }
  capacity_.found = std::max(capacity_.found, found);
  // The screen leaves few more cells than pass.
  if (model_.screens_pnet && !model_.first_capacity) capacity_.cells_left = std::max(capacity_.cells_left, found);
}

// Gives every list its room.
void Workspace::reserve() {
  const Capacities& c = capacity_;
  levels_at_ = kImagesAt + round_up(sizeof(Image) * c.images, kAlignment);
  const std::size_t description = levels_at_ + sizeof(Level) * c.levels;
  if (description_host_.reserve(description)) described_ = false;
  if (description_.reserve(description)) described_ = false;
  pyramid_.reserve(static_cast<std::size_t>(c.pixels) * 3 * element());
  const std::size_t map = static_cast<std::size_t>(c.cells) * sizeof(std::int32_t);
  if (cell_map_.reserve(map)) MTCNN_FAST_CHECK(cudaMemsetAsync(cell_map_.as<void>(), 0, cell_map_.bytes(), stream_));
  cells_left_.reserve(c.cells_left * sizeof(PlacedCell));
  if (model_.screens_rnet) windows_left_.reserve(c.windows[Stage::rnet] * sizeof(int));
  found_.reserve(c.found * sizeof(Cell));
  found_boxes_.reserve(c.found * sizeof(BoxD));
  keys_.reserve(std::max({c.found, c.windows[Stage::rnet], c.windows[Stage::onet]}) * sizeof(std::uint64_t));
  image_counts_at_ = kAlignment;
  level_counts_at_ = image_counts_at_ + round_up(c.images * sizeof(ImageCounts), kAlignment);
  const std::size_t counts = level_counts_at_ + c.levels * sizeof(LevelCounts);
  counts_.reserve(counts);
  counts_host_.reserve(counts);
  faces_.reserve(c.faces * sizeof(Detection));

  const int windows = c.windows[Stage::rnet] + c.windows[Stage::onet];
  boxes_.reserve(windows * sizeof(BoxD));
  window_images_.reserve(windows * sizeof(int));
  heads_.reserve(windows * kHeadOutputs * sizeof(float));
  constexpr void* Activations::*kMembers[] = {&Activations::crops, &Activations::maps, &Activations::maps3,
                                              &Activations::features, &Activations::hidden};
  PerRefineStage<std::size_t[std::size(kMembers)]> places;
  std::size_t activations = 0;
  for (const Stage stage : {Stage::rnet, Stage::onet}) {
    const ActivationBytes bytes = activation_bytes(stage, model_.arithmetic);
    std::size_t used = 0, *place = places[stage];
    for (const std::size_t one : {bytes.crops, bytes.maps, bytes.maps3, bytes.features, bytes.hidden}) {
      *place++ = used;
      used += round_up(one * c.windows[stage], kAlignment);
    }
    activations = std::max(activations, used);
  }
  activations_.reserve(activations);
  for (const Stage stage : {Stage::rnet, Stage::onet})
    for (std::size_t k = 0; k < std::size(kMembers); ++k)
      work_.activations[stage].*kMembers[k] = at<void>(activations_, places[stage][k]);

  work_.job = description_.as<Job>();
  work_.images = at<Image>(description_, kImagesAt);
  work_.levels = at<Level>(description_, levels_at_);
  work_.image_capacity = c.images, work_.level_capacity = c.levels;
  work_.pyramid = pyramid_.as<void>();
  work_.cell_map = cell_map_.as<std::int32_t>();
  work_.cells_left = cells_left_.as<PlacedCell>();
  work_.cells_left_capacity = c.cells_left;
  work_.windows_left = windows_left_.as<int>();
  work_.found = found_.as<Cell>();
  work_.found_boxes = found_boxes_.as<BoxD>();
  work_.keys = keys_.as<std::uint64_t>();
  work_.counts = counts_.as<Counts>();
  work_.image_counts = at<ImageCounts>(counts_, image_counts_at_);
  work_.level_counts = at<LevelCounts>(counts_, level_counts_at_);
  int first = 0;
  for (const Stage stage : {Stage::rnet, Stage::onet}) {
    work_.windows[stage] = {boxes_.as<BoxD>() + first, window_images_.as<int>() + first,
                            heads_.as<float>() + std::size_t{kHeadOutputs} * first, c.windows[stage]};
    first += c.windows[stage];
  }
  const auto mapped = [](const HostBuffer& buffer) {
    void* device = nullptr;
    MTCNN_FAST_CHECK(cudaHostGetDevicePointer(&device, buffer.as<void>(), 0));
    return static_cast<char*>(device);
  };
  char* const host = mapped(counts_host_);
  work_.host_counts = reinterpret_cast<Counts*>(host);
  work_.host_image_counts = reinterpret_cast<ImageCounts*>(host + image_counts_at_);
  work_.host_level_counts = reinterpret_cast<LevelCounts*>(host + level_counts_at_);
  work_.faces = reinterpret_cast<Detection*>(mapped(faces_));
  work_.face_capacity = c.faces;
}

// Brings the description to the device, unless it is there: the frames of a video have the same.
void Workspace::upload_description() {
  char* const host = description_host_.as<char>();
  Job* const job = reinterpret_cast<Job*>(host);
  Image* const images = reinterpret_cast<Image*>(host + kImagesAt);
  Level* const levels = reinterpret_cast<Level*>(host + levels_at_);
  if (described_ && *job == job_ && std::equal(images_.begin(), images_.end(), images) &&
      std::equal(levels_.begin(), levels_.end(), levels))
    return;
  *job = job_;
  std::copy(images_.begin(), images_.end(), images);
  std::copy(levels_.begin(), levels_.end(), levels);
  MTCNN_FAST_CHECK(cudaMemcpyAsync(description_.as<void>(), host, levels_at_ + sizeof(Level) * levels_.size(),
                                   cudaMemcpyHostToDevice, stream_));
  described_ = true;
}

void Workspace::run() {
  reserve();
  upload_description();
  if (timed_) return queue_cascade(times_.get());
  // The kernels' parameters are in the graph.
  if (!graph_ || !(recorded_ == work_)) {
    graph_.record(stream_, [this] { queue_cascade(nullptr); });
    recorded_ = work_;
  }
  graph_.launch(stream_);
}

// In the order of a picture's way through it.
std::span<const Workspace::Step> Workspace::steps() {
  static constexpr Step kSteps[] = {
      {"pyramid", [](const Queue& q, const Work& w, const Model& m) { pyramid(plain(q), w, m.arithmetic); }, false},
      {"pnet",
       [](const Queue& q, const Work& w, const Model& m) {
         if (m.screens_pnet) {
           screen_cells(q, w, m.pnet_screen.as<void>());
           confirm_cells(q, w, m.pnet.as<void>());
         } else {
           cuda::pnet(q, w, m.arithmetic, m.pnet.as<void>());
         }
         if (m.settings.conventions.mirrors_lone_cell) mirror_lone_cells(q, w, m.arithmetic, m.pnet.as<void>());
       },
       true},
      {"suppress_levels", [](const Queue& q, const Work& w, const Model&) { suppress_levels(q, w); }, false},
      {"suppress_cells", [](const Queue& q, const Work& w, const Model&) { suppress_cells(q, w); }, true},
      {"rnet_crops", [](const Queue& q, const Work& w, const Model& m) { crops(q, w, Stage::rnet, m.arithmetic); },
       false},
      {"rnet",
       [](const Queue& q, const Work& w, const Model& m) {
         if (m.screens_rnet) {
           screen_windows(q, w, m.rnet_screen.as<void>());
           confirm_windows(q, w, m.refine_weights(Stage::rnet));
         } else {
           cuda::refine(q, w, Stage::rnet, m.arithmetic, m.refine_weights(Stage::rnet));
         }
       },
       true},
      {"suppress_rnet", [](const Queue& q, const Work& w, const Model&) { suppress_rnet(q, w); }, true},
      {"onet_crops", [](const Queue& q, const Work& w, const Model& m) { crops(q, w, Stage::onet, m.arithmetic); },
       false},
      {"onet",
       [](const Queue& q, const Work& w, const Model& m) {
         cuda::refine(q, w, Stage::onet, m.arithmetic, m.refine_weights(Stage::onet));
       },
       true},
      {"suppress_onet", [](const Queue& q, const Work& w, const Model&) { suppress_onet(q, w); }, true},
  };
  return kSteps;
}

void Workspace::queue_cascade(Times* times) {
  int marks = 0;
  const auto mark = [&] {
    if (times) MTCNN_FAST_CHECK(cudaEventRecord(times->marks[marks++], stream_));
  };
  mark();
  for (const Step& step : steps()) {
    // A time between two kernels wants the first ended before the second begins.
    step.queue(queue(!times), work_, model_);
    if (step.ends_part) mark();
  }
}

// Whether a list was too short; then its room is enough for what was counted.
bool Workspace::overflowed() {
  const Counts& counts = *counts_host_.as<Counts>();
  const LevelCounts* const level_counts = this->level_counts();
  bool any = false;
  const auto fit = [&any](int& capacity, int count) {
    if (count <= capacity) return;
    capacity = count + count / 4;
    any = true;
  };
  fit(capacity_.cells_left, counts.cells_left);
  fit(capacity_.windows[Stage::rnet], counts.windows[Stage::rnet]);
  fit(capacity_.windows[Stage::onet], counts.windows[Stage::onet]);
  fit(capacity_.faces, counts.faces);
  bool cells = false;
  for (int k = 0; k < job_.levels; ++k) {
    if (level_counts[k].found <= levels_[k].capacity) continue;
    cells = true;
    while (level_counts[k].found > all_cells(levels_[k]) / found_share_) found_share_ /= 2;
  }
  if (cells) lay_out_found();
  return any || cells;
}

void Workspace::finish(int first_image, Emit emit, void* context) {
  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));
  while (overflowed()) {
    // The images are on the device still.
    run();
    MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));
  }
  std::vector<LevelReport> reports;
  for (int i = 0; i < job_.images; ++i) {
    const ImageCounts& c = image_counts()[i];
    reports.clear();
    for (int k = 0; k < images_[i].levels; ++k) {
      const LevelCounts& level = level_counts()[images_[i].first_level + k];
      reports.push_back({level.found, level.kept, level.cells_left});
    }
    Report report = {};
    report.levels = reports.data();
    report.rnet = c.windows[Stage::rnet], report.onet = c.windows[Stage::onet];
    report.rnet_left = c.windows_left;
    if (timed_) times_->fill(report);
    emit(context, first_image + i, faces_.as<Detection>() + c.first_face, c.faces, report);
  }
}

void Workspace::warm_up() {
  describe({}, model_.arithmetic);
  reserve();
  upload_description();
  queue_cascade(nullptr);
  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));
}

std::size_t Workspace::bytes() const {
  std::size_t bytes = 0;
  for (const DeviceBuffer* buffer :
       {&pixels_, &description_, &pyramid_, &cell_map_, &cells_left_, &windows_left_, &found_, &found_boxes_, &keys_,
        &counts_, &boxes_, &window_images_, &heads_, &activations_})
    bytes += buffer->bytes();
  for (const HostBuffer* buffer : {&staging_, &description_host_, &counts_host_, &faces_}) bytes += buffer->bytes();
  return bytes;
}

}  // namespace mtcnn_fast::cuda
