// That the emulator finds what it is there to find, and computes what the hardware does.
#include <cuda_fp16.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <set>

#include "check.h"
#include "device.h"
#include "mma.h"
#include "sanitizers.h"
#include "variable.h"

using namespace mtcnn_fast::cuda;

namespace {

constexpr const char* kSchedules[] = {"index", "reverse", "random:1", "random:2"};

// Runs a kernel and waits for it.
template <class... Parameters, class... Arguments>
void run(int blocks, int threads, std::size_t shared_memory, void (*kernel)(Parameters...),
         const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_memory;
  MTCNN_FAST_CHECK(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
  MTCNN_FAST_CHECK(cudaDeviceSynchronize());
}

// Memory of the device's, which the emulator lets the host read where it has waited.
template <class T>
class Array {
 public:
  explicit Array(std::size_t size, const T& value = {}) : size_(size) {
    MTCNN_FAST_CHECK(cudaMalloc(&data_, size * sizeof(T)));
    std::fill(begin(), end(), value);
  }
  ~Array() { cudaFree(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() const { return data_; }
  T* begin() const { return data_; }
  T* end() const { return data_ + size_; }
  T& operator[](std::size_t i) const { return data_[i]; }
  std::vector<T> values() const { return {begin(), end()}; }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

// How a child process ends that runs `body`, and what it says.
struct Death {
  int status;
  std::string said;
  bool by_abort() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT; }
};
Death in_a_child(const std::function<void()>& body) {
  int ends[2];
  if (pipe(ends) != 0) return {0, "no pipe"};
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    body();
    std::exit(0);
  }
  close(ends[1]);
  Death death = {};
  char part[4096];
  for (ssize_t bytes; (bytes = read(ends[0], part, sizeof part)) > 0;) death.said.append(part, bytes);
  close(ends[0]);
  waitpid(child, &death.status, 0);
  return death;
}
void check_stops(const char* what, const std::function<void()>& body) {
  for (const char* schedule : kSchedules) {
    check::context = std::string(schedule) + ": " + what;
    const Variable variable("SIMT_SCHEDULE", schedule);
    const Death death = in_a_child(body);
    CHECK(death.by_abort());
    CHECK(death.said.find(what) != std::string::npos);
    if (death.said.find(what) == std::string::npos) std::fprintf(stderr, "said: %s\n", death.said.c_str());
  }
}

}  // namespace

// --- Barriers --------------------------------------------------------------------------------------------------------

static __global__ void two_barriers() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
static __global__ void barrier_against_shuffle(int* out) {
  if (threadIdx.x == 5)
    __syncthreads();
  else
    out[threadIdx.x] = __shfl_xor_sync(kAllLanes, 1, 1);
}
static __global__ void barrier_in_another_kind() {
  if (threadIdx.x % 2)
    __syncthreads();
  else
    __syncthreads_or(1);
}
TEST(emulator, barriers_that_not_all_reach) {
  check_stops("other threads of the block wait", [] { run(1, 64, 0, two_barriers); });
  check_stops("other threads of the block wait", [] { run(1, 64, 0, barrier_in_another_kind); });
  check_stops("deadlock", [] {
    Array<int> out(32);
    run(1, 32, 0, barrier_against_shuffle, out.data());
  });
}

static __global__ void half_waits(bool wait) {
  if (wait && blockIdx.x == 0) cudaGridDependencySynchronize();
}
TEST(emulator, programmatic_kernels_of_which_a_block_does_not_wait) {
  const Queue queue = {nullptr, 2, 0, true};
  for (const bool wait : {false, true})
    check_stops("did not wait for earlier kernels", [&] {
      launch(queue, half_waits, 32, 0, wait);
      MTCNN_FAST_CHECK(cudaDeviceSynchronize());
    });
}

// Neighbours by way of shared memory, in blocks that are no multiple of a warp.
constexpr int kExchangeBarrier = __LINE__ + 4;
static __global__ void exchange(int* out) {
  MTCNN_FAST_SHARED_MEMORY(memory);
  reinterpret_cast<int*>(memory)[threadIdx.x] = static_cast<int>(threadIdx.x);
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = reinterpret_cast<int*>(memory)[blockDim.x - 1 - threadIdx.x];
}
static bool exchanges() {
  constexpr int kThreads = 77, kBlocks = 3;
  Array<int> out(kThreads * kBlocks);
  run(kBlocks, kThreads, kThreads * sizeof(int), exchange, out.data());
  bool right = true;
  for (int i = 0; i < kThreads * kBlocks; ++i) right &= out[i] == kThreads - 1 - i % kThreads;
  return right;
}
TEST(emulator, a_dropped_barrier_shows) {
  const std::string site = "test_emulator.cpp:" + std::to_string(kExchangeBarrier);
  for (const char* schedule : kSchedules) {
    check::context = schedule;
    const Variable order("SIMT_SCHEDULE", schedule);
    CHECK(exchanges());
    {
      const Variable elsewhere("SIMT_DROP_BARRIER", "test_emulator.cpp:" + std::to_string(kExchangeBarrier + 1));
      CHECK(exchanges());
    }
    // ThreadSanitizer would end the program.
#if !defined(SIMT_THREAD_SANITIZER)
    const Variable here("SIMT_DROP_BARRIER", site);
    CHECK(!exchanges());
#endif
  }
}

// By the lanes of a warp, the warps of a block and the blocks of a grid; each adds one, and one of each block another.
constexpr int kCountingAtomic = __LINE__ + 2;
static __global__ void count(int* lanes, int* warps, int* blocks, int* seen) {
  const auto add = [](int* counter) { return atomicAdd(counter, 1); };
  add(lanes + blockIdx.x);
  if (threadIdx.x % 32 == 0) add(warps + blockIdx.x);
  if (threadIdx.x != 0) return;
  add(blocks);
  const int own = *blocks;  // its own store, whatever other blocks do
  seen[blockIdx.x] = add(blocks) - own;
}
TEST(emulator, a_dropped_atomic_shows) {
  constexpr int kBlocks = 4, kThreads = 96;
  for (const char* schedule : kSchedules)
    for (const char* dropped : {"nothing", "elsewhere", "here"}) {
      check::context = std::string(schedule) + ", " + dropped;
      const Variable order("SIMT_SCHEDULE", schedule);
#if defined(SIMT_THREAD_SANITIZER)
      if (dropped[0] == 'h') continue;  // it would end the program
#endif
      const int line = dropped[0] == 'h' ? kCountingAtomic : kCountingAtomic + 1;
      const Variable site(dropped[0] == 'n' ? "SIMT_UNUSED" : "SIMT_DROP_ATOMIC",
                          "test_emulator.cpp:" + std::to_string(line));
      Array<int> lanes(kBlocks), warps(kBlocks), blocks(1), seen(kBlocks, -1);
      run(kBlocks, kThreads, 0, count, lanes.data(), warps.data(), blocks.data(), seen.data());
      const bool whole = dropped[0] != 'h';
      CHECK(lanes.values() == std::vector<int>(kBlocks, whole ? kThreads : 1));
      CHECK(warps.values() == std::vector<int>(kBlocks, whole ? kThreads / 32 : 1));
      CHECK(blocks[0] == (whole ? 2 * kBlocks : kBlocks + 1));
      CHECK(seen.values() == std::vector<int>(kBlocks, 0));
    }
}
TEST(emulator, barriers_are_listed) {
  char path[] = "/tmp/simt_barriers_XXXXXX";
  close(mkstemp(path));
  const Variable variable("SIMT_LIST_SITES", path);
  for (int run = 0; run < 2; ++run) {
    const Death death = in_a_child([] { exchanges(); });
    // ThreadSanitizer does not see that blocks run one after another, in a child of a process that has had threads.
#if !defined(SIMT_THREAD_SANITIZER)
    CHECK(death.status == 0);
#endif
    static_cast<void>(death);
  }
  std::ifstream file(path);
  const std::string expected = "test_emulator.cpp:" + std::to_string(kExchangeBarrier) + " __syncthreads";
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  CHECK(lines == std::vector<std::string>(2, expected));
  unlink(path);
}

static __global__ void votes(int* out) {
  const int t = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  int right = 0;
  for (int round = 0; round < 3; ++round) {
    right += __syncthreads_count(t % 3 == round) == (n - round + 2) / 3;
    right += __syncthreads_or(t == 40 && round == 1) == (round == 1);
    right += __syncthreads_and(t != 40 || round == 1) == (round == 1);
  }
  out[t] = right;
}
static __global__ void early_end(int* out) {
  // Lanes 8 to 31 of each warp end at once; the others wait for a whole warp that never comes.
  if (threadIdx.x % 32 >= 8) return;
  const int sum = __reduce_add_sync(kAllLanes, 1);
  __syncthreads();
  out[threadIdx.x] = sum;
}
TEST(emulator, votes_and_threads_that_have_ended) {
  for (const char* schedule : kSchedules) {
    check::context = schedule;
    const Variable order("SIMT_SCHEDULE", schedule);
    Array<int> right(100), sums(64);
    run(1, 100, 0, votes, right.data());
    CHECK(right.values() == std::vector<int>(100, 9));
    run(1, 64, 0, early_end, sums.data());
    for (int i = 0; i < 64; ++i) CHECK(sums[i] == (i % 32 < 8 ? 8 : 0));
  }
}

// --- Warps -----------------------------------------------------------------------------------------------------------

static __global__ void foreign_mask() { __syncwarp(threadIdx.x == 3 ? 0xf0u : 0xffffffffu); }
static __global__ void contradicting_masks(int* out) {
  out[threadIdx.x] = __shfl_sync(threadIdx.x < 16 ? 0xffffffffu : 0xfffffffeu, 1, 1);
}
static __global__ void different_intrinsics(int* out) {
  if (threadIdx.x % 2)
    out[threadIdx.x] = __any_sync(kAllLanes, 1);
  else
    out[threadIdx.x] = __all_sync(kAllLanes, 1);
}
static __global__ void odd_width(int* out) { out[threadIdx.x] = __shfl_sync(kAllLanes, 1, 1, 12); }
TEST(emulator, contradictions_within_a_warp) {
  check_stops("is not in its own mask 000000f0", [] { run(1, 32, 0, foreign_mask); });
  const auto with_memory = [](void (*kernel)(int*)) {
    return [kernel] {
      Array<int> out(32);
      run(1, 32, 0, kernel, out.data());
    };
  };
  check_stops("waits for this one", with_memory(contradicting_masks));
  check_stops("waits for this one", with_memory(different_intrinsics));
  check_stops("width is 12", with_memory(odd_width));
}

struct Exchanged {
  int at, up, down, across, narrow_at, narrow_up, narrow_down, narrow_across;
  long long wide;
  double real;
  unsigned ballot, match, sum, least;
  int most, any, all;
};
static __global__ void shuffles(Exchanged* out) {
  const int lane = static_cast<int>(threadIdx.x % 32), v = 100 + static_cast<int>(threadIdx.x);
  out[threadIdx.x] = {.at = __shfl_sync(kAllLanes, v, 35),
                      .up = __shfl_up_sync(kAllLanes, v, 3),
                      .down = __shfl_down_sync(kAllLanes, v, 3),
                      .across = __shfl_xor_sync(kAllLanes, v, 5),
                      .narrow_at = __shfl_sync(kAllLanes, v, 9, 8),
                      .narrow_up = __shfl_up_sync(kAllLanes, v, 3, 8),
                      .narrow_down = __shfl_down_sync(kAllLanes, v, 3, 8),
                      .narrow_across = __shfl_xor_sync(kAllLanes, v, 12, 8),
                      .wide = __shfl_sync(kAllLanes, (1ll << 40) + v, 1),
                      .real = __shfl_sync(kAllLanes, v + 0.5, 2),
                      .ballot = __ballot_sync(kAllLanes, lane % 3 == 0),
                      .match = __match_any_sync(kAllLanes, lane / 5),
                      .sum = __reduce_add_sync(kAllLanes, static_cast<unsigned>(v)),
                      .least = __reduce_min_sync(kAllLanes, static_cast<unsigned>(v ^ 21)),
                      .most = __reduce_max_sync(kAllLanes, lane - 40),
                      .any = __any_sync(kAllLanes, lane == 7),
                      .all = __all_sync(kAllLanes, lane != 7)};
}
TEST(emulator, exchange_within_warps) {
  for (const char* schedule : kSchedules) {
    check::context = schedule;
    const Variable order("SIMT_SCHEDULE", schedule);
    Array<Exchanged> out(96);
    run(1, 96, 0, shuffles, out.data());
    for (int t = 0; t < 96; ++t) {
      const int lane = t % 32, first = 100 + t - lane;
      const Exchanged& e = out[t];
      CHECK(e.at == first + 3);
      CHECK(e.up == first + (lane >= 3 ? lane - 3 : lane));
      CHECK(e.down == first + (lane + 3 < 32 ? lane + 3 : lane));
      CHECK(e.across == first + (lane ^ 5));
      CHECK(e.narrow_at == first + (lane & 24) + 1);
      CHECK(e.narrow_up == first + (lane % 8 >= 3 ? lane - 3 : lane));
      CHECK(e.narrow_down == first + (lane % 8 + 3 < 8 ? lane + 3 : lane));
      CHECK(e.narrow_across == first + ((lane ^ 12) < (lane & 24) + 8 ? lane ^ 12 : lane));
      CHECK(e.wide == (1ll << 40) + first + 1);
      CHECK(e.real == first + 2.5);
      unsigned ballot = 0, match = 0, sum = 0, least = ~0u;
      for (int i = 0; i < 32; ++i) {
        if (i % 3 == 0) ballot |= 1u << i;
        if (i / 5 == lane / 5) match |= 1u << i;
        sum += first + i;
        least = std::min(least, static_cast<unsigned>((first + i) ^ 21));
      }
      CHECK(e.ballot == ballot && e.match == match && e.sum == sum && e.least == least);
      CHECK(e.most == -9 && e.any == 1 && e.all == 0);
    }
  }
}

// The halves of a warp meet apart from each other, one more often than the other, and then together; and a lane of a
// section that has more to do is waited for.
static __global__ void parts(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int v = lane;
  if (lane < 16) {
    for (int i = 0; i < 5; ++i) v = __shfl_xor_sync(0x0000ffffu, v, 1) + 1;
  } else {
    v = __shfl_xor_sync(0xffff0000u, v, 2);
    if (lane >= 24) v += __reduce_add_sync(0xff000000u, 1);
  }
  out[lane] = __shfl_xor_sync(kAllLanes, v, 16);
  out[32 + lane] = lane == 3 ? 0 : __shfl_sync(0xfffffff7u, lane, 3);
}
TEST(emulator, parts_of_a_warp) {
  for (const char* schedule : kSchedules) {
    check::context = schedule;
    const Variable order("SIMT_SCHEDULE", schedule);
    Array<int> out(64);
    run(1, 32, 0, parts, out.data());
    for (int lane = 0; lane < 32; ++lane) {
      const int from = lane ^ 16;
      CHECK(out[lane] == (from < 16 ? (from ^ 1) + 5 : (from ^ 2) + (from >= 24 ? 8 : 0)));
      // Undefined: lane 3 takes no part.
      const int poison = static_cast<int>(simt::schedule().poison() * 0x01010101u);
      CHECK(out[32 + lane] == (lane == 3 ? 0 : poison));
    }
  }
}

// A lane's value by way of shared memory.
constexpr int kWarpBarrier = __LINE__ + 4;
static __global__ void exchange_in_warp(int* out, int first) {
  __shared__ int values[32];
  values[threadIdx.x] = first + static_cast<int>(threadIdx.x);
  __syncwarp();
  out[threadIdx.x] = values[31 - threadIdx.x];
}
static bool exchanges_in_warp(int first) {
  Array<int> out(32);
  run(1, 32, 0, exchange_in_warp, out.data(), first);
  bool right = true;
  for (int i = 0; i < 32; ++i) right &= out[i] == first + 31 - i;
  return right;
}
TEST(emulator, a_dropped_barrier_of_a_warp_shows) {
  for (const char* schedule : kSchedules) {
    check::context = schedule;
    const Variable order("SIMT_SCHEDULE", schedule);
    CHECK(exchanges_in_warp(100));
#if !defined(SIMT_THREAD_SANITIZER)
    const Variable here("SIMT_DROP_BARRIER", "test_emulator.cpp:" + std::to_string(kWarpBarrier));
    CHECK(!exchanges_in_warp(200));
#endif
  }
}

// --- Orders and memory -----------------------------------------------------------------------------------------------

static __global__ void note_order(int* order, int* count) {
  order[atomicAdd(count, 1)] = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}
static std::vector<int> order_of(const char* schedule) {
  const Variable variable("SIMT_SCHEDULE", schedule);
  Array<int> order(5 * 70), count(1);
  run(5, 70, 0, note_order, order.data(), count.data());
  return order.values();
}
TEST(emulator, schedules) {
  std::vector<int> expected(5 * 70);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(order_of("index") == expected);
  std::reverse(expected.begin(), expected.end());
  CHECK(order_of("reverse") == expected);
  const std::vector<int> random = order_of("random:1");
  CHECK(random == order_of("random:1"));
  CHECK(random != order_of("random:2"));
  std::sort(expected.begin(), expected.end());
  CHECK(random != expected && std::set<int>(random.begin(), random.end()).size() == expected.size());
  CHECK(in_a_child([] { order_of("backwards"); }).said.find("'backwards'") != std::string::npos);
}

static __global__ void look_at_shared_memory(std::size_t bytes, int* wrong, int poison) {
  MTCNN_FAST_SHARED_MEMORY(memory);
  if (reinterpret_cast<std::uintptr_t>(memory) % 128 != 0) atomicAdd(wrong, 1);
  for (std::size_t i = threadIdx.x; i < bytes; i += blockDim.x) {
    if (memory[i] != poison) atomicAdd(wrong, 1);
    memory[i] = 1;
  }
}
TEST(emulator, memory_is_poison_at_first) {
  std::set<unsigned char> poisons;
  for (const char* schedule : kSchedules) {
    check::context = schedule;
    const Variable order("SIMT_SCHEDULE", schedule);
    const unsigned char poison = simt::schedule().poison();
    poisons.insert(poison);
    Array<int> wrong(1);
    run(3, 64, 1000, look_at_shared_memory, std::size_t{1000}, wrong.data(), poison);
    CHECK(wrong[0] == 0);
    for (const auto allocate : {+[](void** p) { return cudaMalloc(p, 777); },
                                +[](void** p) { return cudaHostAlloc(p, 777, cudaHostAllocMapped); }}) {
      void* memory = nullptr;
      CHECK(allocate(&memory) == cudaSuccess);
      CHECK(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0);
      const auto* const bytes = static_cast<const unsigned char*>(memory);
      CHECK(std::all_of(bytes, bytes + 777, [&](unsigned char byte) { return byte == poison; }));
      CHECK((cudaFree(memory) == cudaSuccess) != (cudaFreeHost(memory) == cudaSuccess));
    }
  }
  CHECK(poisons.size() == std::size(kSchedules));
}

[[maybe_unused]] static __global__ void overrun() { simt::dynamic_shared_memory()[blockDim.x + threadIdx.x] = 1; }
static __global__ void race(int* out) {
  if (threadIdx.x % 32 == 0) out[0] = static_cast<int>(threadIdx.x);
}
TEST(emulator, sanitizers_see_into_kernels) {
#if defined(SIMT_ADDRESS_SANITIZER)
  CHECK(in_a_child([] { run(1, 8, 15, overrun); }).said.find("heap-buffer-overflow") != std::string::npos);
#elif defined(SIMT_THREAD_SANITIZER)
  const auto races = [](int threads) {
    return in_a_child([=] {
             Array<int> out(1);
             run(1, threads, 0, race, out.data());
           }).said.find("data race") != std::string::npos;
  };
  CHECK(races(33));
  CHECK(!races(32));
#endif
}

TEST(emulator, limits_of_shared_memory) {
  Array<int> wrong(1);
  Queue queue{nullptr, 1, 0};
  const auto try_launch = [&](std::size_t bytes, bool ask) {
    if (ask) {
      const cudaError_t error = cudaFuncSetAttribute(look_at_shared_memory, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                     static_cast<int>(bytes));
      if (error != cudaSuccess) return error;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = 1, config.blockDim = 32, config.dynamicSmemBytes = bytes;
    return cudaLaunchKernelEx(&config, look_at_shared_memory, bytes, wrong.data(), int{simt::schedule().poison()});
  };
  CHECK(try_launch(48 * 1024, false) == cudaSuccess);
  CHECK(try_launch(48 * 1024 + 1, false) == cudaErrorInvalidValue);
  CHECK(try_launch(227 * 1024, true) == cudaSuccess);
  CHECK(try_launch(227 * 1024, false) == cudaSuccess);
  CHECK(try_launch(227 * 1024 + 1, true) == cudaErrorInvalidValue);
  int blocks = 0;
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, race, 64, 227 * 1024) == cudaSuccess && blocks == 1);
  {
    const Variable limit("SIMT_SHARED_MEMORY", "65536");
    int most = 0;
    CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess && most == 65536);
    CHECK(try_launch(65536, true) == cudaSuccess);
    CHECK(try_launch(65537, true) == cudaErrorInvalidValue);
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, race, 64, 65537) == cudaSuccess && blocks == 0);
  }
  cudaDeviceSynchronize();
  CHECK(wrong[0] == 0);
  launch(queue, race, 32, 0, wrong.data());
  cudaDeviceSynchronize();
  CHECK(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
  cudaLaunchConfig_t config = {};
  config.gridDim = 1, config.blockDim = 1025;
  CHECK(cudaLaunchKernelEx(&config, race, wrong.data()) == cudaErrorInvalidConfiguration);
  config.gridDim = 0, config.blockDim = 32;
  CHECK(cudaLaunchKernelEx(&config, race, wrong.data()) == cudaErrorInvalidConfiguration);
}

// --- Arithmetic ------------------------------------------------------------------------------------------------------

TEST(emulator, integers_and_conversions) {
  CHECK(__clz(0) == 32 && __clz(1) == 31 && __clzll(0) == 64 && __ffs(0) == 0 && __ffs(8) == 4 &&
        __ffsll(1ll << 40) == 41);
  CHECK(__popc(0xf0f0u) == 8 && __popcll(~0ull) == 64 && __brev(1) == 0x80000000u && __umulhi(~0u, ~0u) == ~0u - 1);
  CHECK(__byte_perm(0x33221100, 0x77665544, 0x7410) == 0x77441100);
  CHECK(__byte_perm(0x00008000, 0, 0x0009) == 0x000000ff);
  CHECK(__dp4a(0xff010203u, 0xff010101u, 7u) == 255 * 255 + 6 + 7);
  CHECK(__dp4a(static_cast<int>(0xff010203), static_cast<int>(0x02010101), 7) == -2 + 6 + 7);
  CHECK(__funnelshift_l(0x80000000u, 1, 1) == 3 && __funnelshift_r(1, 3, 1) == 0x80000000u);
  CHECK(__float2int_rn(2.5f) == 2 && __float2int_rn(3.5f) == 4 && __float2int_rz(-2.9f) == -2);
  CHECK(__float2int_rn(NAN) == 0 && __float2int_rn(1e20f) == 2147483647 && __double2int_rd(-0.5) == -1);
  CHECK(__float2uint_rz(-3.0f) == 0 && min(NAN, 2.0f) == 2 && max(2.0, double{NAN}) == 2);
  int i = 5;
  unsigned long long u = 5;
  CHECK(atomicAdd(&i, 2) == 5 && atomicMax(&i, 3) == 7 && atomicMin(&i, 3) == 7 && atomicExch(&i, 9) == 3);
  CHECK(atomicCAS(&i, 8, 1) == 9 && atomicCAS(&i, 9, 1) == 9 && atomicOr(&i, 6) == 1 && atomicAnd(&i, 3) == 7 &&
        i == 3);
  CHECK(atomicMax(&u, 1ull << 50) == 5 && u == 1ull << 50);
}

TEST(emulator, half_precision) {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const float value = __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
    if (value == value) CHECK(__half_as_ushort(__float2half_rn(value)) == bits);
  }
  CHECK(__half_as_ushort(__float2half(1 + 0x1p-11f)) == 0x3c00);
  CHECK(__half_as_ushort(__float2half(1 + 0x3p-11f)) == 0x3c02);
  CHECK(__half2float(__float2half(65519)) == 65504 && std::isinf(__half2float(__float2half(65520))));
  CHECK(__half2float(__float2half(0x1p-24f)) == 0x1p-24f && __half2float(__float2half(0x1p-25f)) == 0);
  CHECK(to_half2(1, -2) == 0xc0003c00u);
  const __half2 both = __floats2half2_rn(3, 4);
  CHECK(__low2float(both) == 3 && __high2float(both) == 4 && sizeof both == 4 && __half22float2(both).y == 4);
}

// One matrix product a warp: D = A * B + D.
static __global__ void product(const float* a, const float* b, float* d) {
  MTCNN_FAST_SHARED_MEMORY(memory);
  constexpr int kPitch = 24;
  auto* const rows = reinterpret_cast<__half*>(memory);
  const int lane = static_cast<int>(threadIdx.x), group = lane / 4, pair = lane % 4 * 2;
  for (int i = lane; i < 256; i += 32) rows[i / 16 * kPitch + i % 16] = __float2half_rn(a[i]);
  __syncwarp();
  unsigned fragment[4];
  load_a(fragment, rows + lane % 16 * kPitch + lane / 16 * 8);
  const auto b_at = [&](int row) { return to_half2(b[row * 8 + group], b[(row + 1) * 8 + group]); };
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[(group + i / 2 * 8) * 8 + pair + i % 2];
  multiply_add(sums, fragment, b_at(pair), b_at(pair + 8));
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + pair + i % 2] = sums[i];
}
static __global__ void load_unaligned() {
  MTCNN_FAST_SHARED_MEMORY(memory);
  unsigned fragment[4];
  load_a(fragment, reinterpret_cast<__half*>(memory) + threadIdx.x % 16 * 24 + 4);
}
static __global__ void half_a_product(float* d) {
  float sums[4] = {};
  if (threadIdx.x < 16) multiply_add(sums, {1, 2, 3, 4}, 5, 6);
  d[threadIdx.x] = sums[0];
}
TEST(emulator, matrix_products) {
  // Whole numbers, of which every sum is exact.
  Array<float> a(256), b(128), d(128);
  for (int i = 0; i < 256; ++i) a[i] = static_cast<float>(i * 37 % 101 - 50);
  for (int i = 0; i < 128; ++i) b[i] = static_cast<float>(i * 53 % 89 - 44), d[i] = static_cast<float>(i);
  std::vector<float> expected = d.values();
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column)
      for (int k = 0; k < 16; ++k) expected[row * 8 + column] += a[row * 16 + k] * b[k * 8 + column];
  run(1, 32, 16 * 24 * sizeof(__half), product, a.data(), b.data(), d.data());
  CHECK(d.values() == expected);
  check_stops("not a multiple of 16", [] { run(1, 32, 1024, load_unaligned); });
  check_stops("a matrix product of 16 lanes", [] {
    Array<float> out(32);
    run(1, 32, 0, half_a_product, out.data());
  });
}
