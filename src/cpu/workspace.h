// Memory that a task works in, borrowed from a list, so that a steady stream of images allocates none.
#pragma once

#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "../pyramid.h"

namespace mtcnn_fast {

struct Workspace {
  WindowTable x, y;

  // At least that many floats, 64-byte aligned, of no particular value; valid until the next call.
  float* floats(std::size_t count) {
    if (count > size_) {
      memory_.reset();
      size_ = 0;
      memory_.reset(static_cast<float*>(::operator new[](count * sizeof(float), std::align_val_t{64})));
      size_ = count;
    }
    return memory_.get();
  }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<float[], Free> memory_;
  std::size_t size_ = 0;
};

class Workspaces {
 public:
  class Loan {
   public:
    Loan(Workspaces& owner, std::unique_ptr<Workspace> workspace) : owner_(owner), workspace_(std::move(workspace)) {}
    ~Loan() { owner_.give_back(std::move(workspace_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Workspace* operator->() const { return workspace_.get(); }

   private:
    Workspaces& owner_;
    std::unique_ptr<Workspace> workspace_;
  };

  Loan borrow() {
    std::unique_ptr<Workspace> workspace;
    // A child forked while another thread held the lock never gets it: it makes new ones instead of waiting.
    if (const std::unique_lock lock(guard_, std::try_to_lock); lock.owns_lock() && !free_.empty()) {
      workspace = std::move(free_.back());
      free_.pop_back();
    }
    if (!workspace) workspace = std::make_unique<Workspace>();
    return Loan(*this, std::move(workspace));
  }

 private:
  // What is kept is bounded: as many as there are likely to be tasks at a time, none larger than an 8K frame needs.
  static constexpr std::size_t kMostKept = 32, kLargestKept = std::size_t{4} << 20;

  void give_back(std::unique_ptr<Workspace> workspace) noexcept {
    const std::unique_lock lock(guard_, std::try_to_lock);
    if (!lock.owns_lock() || free_.size() == free_.capacity() || workspace->size() > kLargestKept) return;
    free_.push_back(std::move(workspace));
  }

  std::mutex guard_;
  std::vector<std::unique_ptr<Workspace>> free_ = [] {
    std::vector<std::unique_ptr<Workspace>> list;
    list.reserve(kMostKept);
    return list;
  }();
};

}  // namespace mtcnn_fast
