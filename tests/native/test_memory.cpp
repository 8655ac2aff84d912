// What is allocated: in the steady state nothing but the results; what is kept has bounds.
#include <atomic>
#include <cstdlib>
#include <new>

#include "common.h"
#include "cpu/workspace.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MTCNN_FAST_COUNTS 0  // the sanitizers have operators of their own
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MTCNN_FAST_COUNTS 0
#endif
#endif
#ifndef MTCNN_FAST_COUNTS
#define MTCNN_FAST_COUNTS 1
#endif

using mtcnn_fast::Detection;
using mtcnn_fast::Detector;
using mtcnn_fast::ImageView;

#if MTCNN_FAST_COUNTS
namespace {

std::atomic<long> allocations{0};
std::atomic<long> failing{-1};  // the number of the allocation that fails

void* allocate(std::size_t size, std::size_t alignment) {
  if (allocations++ == failing) throw std::bad_alloc();
  // aligned_alloc wants a multiple of the alignment.
  if (void* p = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)) return p;
  throw std::bad_alloc();
}

}  // namespace

// The other forms call these.
void* operator new(std::size_t size) { return allocate(size ? size : 1, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size ? size : 1, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

// Allocations of 3 calls, beyond the lists of faces that they return, after two calls that may allocate.
template <class Detect>
long beyond_the_results(const Detect& detect) {
  long lists = 0;
  for (int call = 0; call < 2; ++call) lists = detect();
  const long before = allocations;
  for (int call = 0; call < 3; ++call) detect();
  return allocations - before - 3 * lists;
}

}  // namespace

TEST(memory, a_steady_stream_allocates_its_results_alone) {
  const Picture picture(80, 64, 3), other(80, 64, 4);
  const ImageView gray{
      .data = picture.pixels.data(), .width = 80, .height = 64, .stride = 240, .format = mtcnn_fast::PixelFormat::gray};
  for (const std::string& profile : profiles())
    for (const int threads : {1, 2}) {
      check::context = std::string(profile) + ", " + std::to_string(threads) + " threads";
      mtcnn_fast::Options options = lenient();
      options.profile = profile;
      options.num_threads = threads;
      const Detector detector(options);
      for (const ImageView& image : {picture.view(), gray})
        CHECK(beyond_the_results([&] { return detector.detect(image).empty() ? 0 : 1; }) == 0);
      const ImageView batch[] = {picture.view(), gray, other.view(), picture.view(), other.view()};
      const auto detect_batch = [&] {
        const auto faces = detector.detect(batch);
        return 1 + std::count_if(faces.begin(), faces.end(), [](const auto& list) { return !list.empty(); });
      };
      CHECK(beyond_the_results(detect_batch) == 0);
    }
}

// Each allocation of a first call fails once: what the call has left half done must not show in the next.
TEST(memory, a_call_that_ran_out_of_memory_leaves_no_trace) {
  const Picture picture(80, 64, 3), other(90, 60, 4);
  const ImageView images[] = {picture.view(), other.view(), picture.view()};
  for (const char* precision : {"fp32", "fast"})
    for (const int threads : {1, 2}) {
      mtcnn_fast::Options options = lenient();
      options.thresholds = {0.5, 0.5, 0.1};  // within the screen's bounds
      options.precision = precision;
      options.num_threads = threads;
      const auto expected = Detector(options).detect(images);
      bool failed = true;
      for (int n = 0; failed; n += 3) {
        check::context =
            std::string(precision) + ", " + std::to_string(threads) + " threads, allocation " + std::to_string(n);
        const Detector detector(options);
        failed = false;
        failing = allocations + n;
        try {
          detector.detect(images);
        } catch (const std::bad_alloc&) {
          failed = true;
        }
        failing = -1;
        const auto faces = detector.detect(images);
        for (std::size_t i = 0; i < expected.size(); ++i) CHECK(same(faces[i], expected[i]));
      }
    }
}

// The same frames again and again, though their candidates differ in number.
TEST(memory, a_video_settles) {
  std::vector<Picture> frames;
  for (unsigned seed = 0; seed < 6; ++seed) frames.emplace_back(72, 64, seed);
  for (const int threads : {1, 2}) {
    mtcnn_fast::Options options = lenient();
    options.num_threads = threads;
    const Detector detector(options);
    CHECK(beyond_the_results([&] {
            long lists = 0;
            for (const Picture& frame : frames) lists += !detector.detect(frame.view()).empty();
            return lists;
          }) == 0);
  }
}
#endif

TEST(memory, what_is_kept_is_bounded) {
  mtcnn_fast::Workspaces workspaces(2);
  const auto kept = [&] {
    const auto loan = workspaces.borrow();
    return loan->bytes();
  };
  const std::size_t empty = kept();
  { workspaces.borrow()->threads[0].floats.get(9 << 20); }  // 36 of 40 MB
  CHECK(kept() > std::size_t{36} << 20);
  { workspaces.borrow()->threads[0].floats.get(11 << 20); }
  CHECK(kept() == empty);

  // Forty calls at once, each with a megabyte: sixteen are remembered.
  using Loans = std::vector<std::unique_ptr<mtcnn_fast::Workspaces::Loan>>;
  const auto borrow_forty = [&] {
    Loans loans;
    for (int i = 0; i < 40; ++i)
      loans.push_back(
          std::unique_ptr<mtcnn_fast::Workspaces::Loan>(new mtcnn_fast::Workspaces::Loan(workspaces.borrow())));
    return loans;
  };
  for (auto& loan : borrow_forty()) (*loan)->threads[0].floats.get(1 << 18);
  int remembered = 0;
  for (auto& loan : borrow_forty()) remembered += (*loan)->bytes() > empty;
  CHECK(remembered == 16);
}
