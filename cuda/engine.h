// A detector on one device: its networks there, and the workspaces of its calls.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <vector>

#include "context.h"
#include "result_memory.h"
#include "workspace.h"

namespace mtcnn_fast::cuda {

constexpr const char* kCapturedStream =
    "a stream is being captured into a CUDA graph (as by torch.cuda.graph), and a detector's calls cannot be part of "
    "one; "
    "make them before the capture or after it";

// Safe to use from many threads at once.
class Engine {
 public:
  explicit Engine(const EngineOptions& options);
  ~Engine();

  void detect(std::span<const PlannedImage> images, cudaStream_t stream, bool timed, Emit emit, void* context);
  void look(std::span<const PlannedImage> images, cudaStream_t stream, Stage stage, std::span<const BoxD> boxes,
            const std::int32_t* of, float* heads);
  void resize(const PlannedImage& image, cudaStream_t stream, int height, int width, float* out);
  float* upload(const float* values, std::size_t count);
  void release(float* device) noexcept;
  void order_streams(cudaStream_t first, cudaStream_t stream);
  const char* name() const { return name_; }

  // f(workspace), a workspace that nobody else uses meanwhile.
  template <class F>
  void with_workspace(const F& f) {
    check_process();
    DeviceGuard guard(device_);
    Loan workspace(*this);
    f(*workspace);
    workspace.done();
  }

 private:
  // A workspace whose call failed is waited for and given up: what it holds is not known.
  class Loan {
   public:
    explicit Loan(Engine& engine) : engine_(engine), workspace_(engine.borrow()) {}
    ~Loan() {
      if (done_) engine_.give_back(std::move(workspace_));
    }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Workspace& operator*() const { return *workspace_; }
    Workspace* operator->() const { return workspace_.get(); }
    void done() { done_ = true; }

   private:
    Engine& engine_;
    std::unique_ptr<Workspace> workspace_;
    bool done_ = false;
  };

  void check_process() const;
  // What serves the caller's streams and arrays, and no workspace.
  struct Exchange {
    Stream uploads;
    ResultMemory results;
    std::mutex mutex;
    Event order;
  };
  std::unique_ptr<Workspace> borrow();
  void give_back(std::unique_ptr<Workspace> workspace) noexcept;

  int device_;
  pid_t process_;
  char name_[256] = {};
  std::size_t most_kept_ = 0;  // bytes of workspaces
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<Model> model_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> workspaces_;
};

}  // namespace mtcnn_fast::cuda
