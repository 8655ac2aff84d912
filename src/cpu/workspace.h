// Memory that a call works in, borrowed from a list, so that a steady stream of images allocates none.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "cpu/candidates.h"
#include "cpu/kernels/kernels.h"
#include "cpu/plan.h"
#include "cpu/reuse.h"
#include "cpu/source.h"

namespace mtcnn_fast {

class Floats {
 public:
  // At least that many, 64-byte aligned, of no particular value; valid until the next call.
  float* get(std::size_t count) {
    if (count > size_) {
      memory_.reset();
      size_ = 0;
      memory_.reset(static_cast<float*>(::operator new[](count * sizeof(float), std::align_val_t{64})));
      size_ = count;
    }
    return memory_.get();
  }
  std::size_t bytes() const { return size_ * sizeof(float); }

 private:
  struct Free {
    void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<float[], Free> memory_;
  std::size_t size_ = 0;
};

// What the tasks of one thread use, one after the other. Which task comes to which thread is chance: room is made for
// the largest before a loop starts. Its lists grow at every push: no two threads' share a cache line.
struct alignas(64) ThreadWork {
  Floats floats;
  Resize resize;
  Suppression suppression;
};

struct ImageWork {
  int height = 0, width = 0;
  SourceImage source;
  PyramidPlan plan;
  std::vector<Candidate> candidates;
  std::vector<BoxD> boxes;  // the windows that the next network looks at
};

// Rows of one level of one image, and the cells in them that passed P-Net.
struct Band {
  int image, level, first_row, end_row;
  double work;
  std::int64_t confirmed;  // cells computed in float32
  std::vector<Cell> cells;
};
struct LevelBands {
  int image, level, first, end;  // bands
};
// A window on its way through R-Net or O-Net.
struct Crop {
  int image;
  Candidate* candidate;
  BoxD window;
  bool confirmed;  // computed in float32
};

// All that one call needs. What it holds is what the largest of its images so far needed: a 1920x1080 photograph with a
// thousand crops at min_face_size 20 leaves 1 MB and another 1.2 MB per thread.
struct Workspace {
  explicit Workspace(int threads) : threads(static_cast<std::size_t>(threads)) {}

  std::vector<ThreadWork> threads;
  Recycled<ImageWork> images;
  Recycled<Band> bands;
  std::vector<int> order;  // of the bands
  std::vector<LevelBands> levels;
  std::vector<Crop> crops;

  std::size_t bytes() const {
    std::size_t bytes = order.capacity() * sizeof(int) + levels.capacity() * sizeof(LevelBands) +
                        crops.capacity() * sizeof(Crop) + bands.items().capacity() * sizeof(Band);
    for (const ThreadWork& thread : threads)
      bytes += sizeof thread + thread.floats.bytes() + thread.resize.x.bytes() + thread.resize.y.bytes() +
               thread.suppression.bytes();
    for (const ImageWork& image : images.items())
      bytes += sizeof image + image.source.bytes() + image.plan.bytes() +
               image.candidates.capacity() * sizeof(Candidate) + image.boxes.capacity() * sizeof(BoxD);
    for (const Band& band : bands.items()) bytes += band.cells.capacity() * sizeof(Cell);
    return bytes;
  }
};

// Keeps as many workspaces as calls were in progress at a time, up to 16, and of each up to 32 MB and 4 MB per thread:
// one that has grown beyond, by an image or thresholds out of the common, is freed when its call ends. No lock, but one
// slot per workspace: a thread never waits here, nor does a child that was forked while another thread was here.
class Workspaces {
 public:
  explicit Workspaces(int threads) : threads_(threads) {}
  ~Workspaces() {
    for (auto& slot : slots_) delete slot.load();
  }
  Workspaces(const Workspaces&) = delete;
  Workspaces& operator=(const Workspaces&) = delete;

  class Loan {
   public:
    Loan(Workspaces& owner, std::unique_ptr<Workspace> workspace) : owner_(owner), workspace_(std::move(workspace)) {}
    ~Loan() { owner_.give_back(std::move(workspace_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Workspace& operator*() const { return *workspace_; }
    Workspace* operator->() const { return workspace_.get(); }

   private:
    Workspaces& owner_;
    std::unique_ptr<Workspace> workspace_;
  };

  Loan borrow() {
    for (auto& slot : slots_)
      if (slot.load(std::memory_order_relaxed))
        if (Workspace* kept = slot.exchange(nullptr, std::memory_order_acquire))
          return Loan(*this, std::unique_ptr<Workspace>(kept));
    return Loan(*this, std::make_unique<Workspace>(threads_));
  }

 private:
  static constexpr std::size_t kMostKept = 16, kLargestKept = std::size_t{32} << 20, kPerThread = std::size_t{4} << 20;

  void give_back(std::unique_ptr<Workspace> workspace) noexcept {
    if (workspace->bytes() > kLargestKept + kPerThread * workspace->threads.size()) return;
    for (auto& slot : slots_) {
      Workspace* none = nullptr;
      if (slot.compare_exchange_strong(none, workspace.get(), std::memory_order_release, std::memory_order_relaxed)) {
        static_cast<void>(workspace.release());
        return;
      }
    }
  }

  int threads_;
  std::array<std::atomic<Workspace*>, kMostKept> slots_{};
};

}  // namespace mtcnn_fast
