// SPDX-License-Identifier: Apache-2.0
// CUDA's language and runtime as far as our kernels use them, for an ordinary C++ compiler. It shadows the toolkit's header
// of this name, so that the .cu files compile unchanged and a machine without a GPU runs them, fiber by fiber (scheduler.cpp).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>

// ---- the language ----

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
// One block runs at a time, so its shared memory can be static. In a section of its own: the scheduler poisons it before
// every block, and the checker knows its bounds.
#define __shared__ static __attribute__((section("blendsplat_shared"), used))

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace blendsplat {
namespace emulation {

void vector_access(const void* address, size_t size);  // an error where a device would find the address misaligned

}  // namespace emulation
}  // namespace blendsplat

struct alignas(8) float2 {
  float x, y;
};

// The compiler copies float by float; a device does it at once.
struct alignas(16) float4 {
  float x, y, z, w;
  float4& operator=(const float4& other) {
    blendsplat::emulation::vector_access(&other, sizeof(float4));
    blendsplat::emulation::vector_access(this, sizeof(float4));
    x = other.x, y = other.y, z = other.z, w = other.w;
    return *this;
  }
  float4(const float4&) = default;
  float4(float x_ = 0.0f, float y_ = 0.0f, float z_ = 0.0f, float w_ = 0.0f) : x(x_), y(y_), z(z_), w(w_) {}
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- what a fiber asks of the scheduler; the call's place in the source tells barriers apart ----

namespace blendsplat {
namespace emulation {

struct Place {
  const char* file;
  int line;
  bool operator==(const Place& other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
};

enum class Combine { none, all, any, count };

int block_barrier(Combine combine, int value, Place place);
// Waits for the whole warp; returns what lane `source` offered, all bits set if the block has no such lane.
uint64_t warp_exchange(uint32_t mask, uint64_t value, int source, Place place);
uint32_t warp_ballot(uint32_t mask, bool vote, Place place);
void warp_barrier(uint32_t mask, Place place);
int lane();
void atomic_access(const void* address, size_t size);

// A kernel with its arguments, whose bytes all threads may read.
struct Call {
  void (*run)(const void* itself);
  const void* itself;
  size_t size;
};

void launch(const char* name, dim3 grid, dim3 block, const Call&);
void copy_bytes(void* to, const void* from, size_t size);
void set_bytes(void* to, int value, size_t size);
int last_error();
const char* error_sentence();
void host_waits();

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "shuffles move at most eight bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulation
}  // namespace blendsplat

#define BS_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define BS_HERE blendsplat::emulation::Place{file, line}

inline void __syncthreads(BS_PLACE) { blendsplat::emulation::block_barrier(blendsplat::emulation::Combine::none, 0, BS_HERE); }
inline int __syncthreads_and(int value, BS_PLACE) { return blendsplat::emulation::block_barrier(blendsplat::emulation::Combine::all, value, BS_HERE); }
inline int __syncthreads_or(int value, BS_PLACE) { return blendsplat::emulation::block_barrier(blendsplat::emulation::Combine::any, value, BS_HERE); }
inline int __syncthreads_count(int value, BS_PLACE) { return blendsplat::emulation::block_barrier(blendsplat::emulation::Combine::count, value, BS_HERE); }
inline void __syncwarp(uint32_t mask = 0xffffffffu, BS_PLACE) { blendsplat::emulation::warp_barrier(mask, BS_HERE); }

template <class T>
T shuffle(uint32_t mask, T value, int source, blendsplat::emulation::Place place) {
  using namespace blendsplat::emulation;
  const uint64_t bits = warp_exchange(mask, to_bits(value), source & 31, place);
  return source < 0 || source > 31 ? value : from_bits<T>(bits);
}

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, BS_PLACE) { return shuffle(mask, value, source & 31, BS_HERE); }
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, BS_PLACE) {
  return shuffle(mask, value, blendsplat::emulation::lane() - static_cast<int>(delta), BS_HERE);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, BS_PLACE) {
  return shuffle(mask, value, blendsplat::emulation::lane() + static_cast<int>(delta), BS_HERE);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lanes, BS_PLACE) {
  return shuffle(mask, value, blendsplat::emulation::lane() ^ lanes, BS_HERE);
}

inline uint32_t __ballot_sync(uint32_t mask, int predicate, BS_PLACE) {
  return blendsplat::emulation::warp_ballot(mask, predicate != 0, BS_HERE);
}
inline int __any_sync(uint32_t mask, int predicate, BS_PLACE) { return __ballot_sync(mask, predicate, file, line) != 0; }
inline int __all_sync(uint32_t mask, int predicate, BS_PLACE) { return __ballot_sync(mask, !predicate, file, line) == 0; }

template <class T>
__attribute__((noinline, no_sanitize("thread"))) T atomicAdd(T* address, T value) {
  blendsplat::emulation::atomic_access(address, sizeof(T));
  const T before = *address;
  *address = before + value;
  return before;
}

template <class T>
__attribute__((noinline, no_sanitize("thread"))) T atomicMax(T* address, T value) {
  blendsplat::emulation::atomic_access(address, sizeof(T));
  const T before = *address;
  if (before < value) *address = value;
  return before;
}

inline unsigned __float_as_uint(float value) { return blendsplat::emulation::from_bits<unsigned>(blendsplat::emulation::to_bits(value)); }
inline float __uint_as_float(unsigned value) { return blendsplat::emulation::from_bits<float>(blendsplat::emulation::to_bits(value)); }
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
template <class T>
T __ldg(const T* address) { return *address; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
template <class T>
T min(T a, T b) { return b < a ? b : a; }
template <class T>
T max(T a, T b) { return a < b ? b : a; }

// ---- the runtime: one device, one stream, everything done when it is queued ----

using cudaStream_t = struct CUstream_st*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };

inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return blendsplat::emulation::last_error(); }
inline const char* cudaGetErrorString(cudaError_t) { return blendsplat::emulation::error_sentence(); }

inline cudaError_t cudaMemsetAsync(void* to, int value, size_t size, cudaStream_t) {
  blendsplat::emulation::set_bytes(to, value, size);
  return cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) {
  blendsplat::emulation::copy_bytes(to, from, size);
  return cudaSuccess;
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  blendsplat::emulation::host_waits();
  return cudaSuccess;
}

inline cudaError_t cudaDeviceSynchronize() {
  blendsplat::emulation::host_waits();
  return cudaSuccess;
}

// What launch() in cuda/launch.h becomes here: kernel<<<grid, block>>>(arguments...).
template <class Kernel, class... Arguments>
void emulate_launch(const char* name, Kernel* kernel, dim3 grid, dim3 block, const Arguments&... arguments) {
  using Bound = std::tuple<Kernel*, Arguments...>;
  const Bound bound(kernel, arguments...);
  const auto run = [](const void* itself) {
    std::apply([](Kernel* call, const Arguments&... values) { call(values...); }, *static_cast<const Bound*>(itself));
  };
  blendsplat::emulation::launch(name, grid, block, {run, &bound, sizeof(bound)});
}
