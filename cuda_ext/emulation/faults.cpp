// SPDX-License-Identifier: Apache-2.0
// Kernels that are wrong on purpose, and their right twins: what the emulation must find, and must not.
#include <stdexcept>

#include "emulator.h"
#include "launch.h"

namespace blendsplat {
namespace emulation {

namespace {

using cuda::launch;

constexpr int kCount = 64;

// The first argument of each is true in the right twin. Each thread passes its index to its neighbour through shared memory.
__global__ void neighbour_kernel(bool with_barrier, float* out) {
  __shared__ float values[kCount];
  const unsigned i = threadIdx.x;
  values[i] = static_cast<float>(i);
  if (with_barrier) __syncthreads();
  out[i] = values[(i + 1) % kCount];
}

__global__ void warp_neighbour_kernel(bool with_barrier, float* out) {
  __shared__ float values[kCount];
  const unsigned i = threadIdx.x;
  values[i] = static_cast<float>(i);
  if (with_barrier) __syncwarp();
  out[i] = values[i ^ 1u];
}

__global__ void divergent_kernel(bool together, float* out) {
  if (!together && threadIdx.x == 3) return;
  __syncthreads();
  out[threadIdx.x] = 1.0f;
}

__global__ void sum_kernel(bool atomic, float* out) {
  if (atomic) {
    atomicAdd(out, 1.0f);
  } else {
    out[0] += 1.0f;
  }
}

__global__ void blocks_kernel(bool apart, float* out) {
  if (threadIdx.x == 0) out[apart ? blockIdx.x : 0] = 1.0f;
}

__global__ void warp_sum_kernel(bool whole, float* out) {
  float value = 1.0f;
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(whole ? 0xffffffffu : 0xffffu, value, offset);
  if (threadIdx.x % 32 == 0) out[threadIdx.x / 32] = value;
}

__global__ void unwritten_kernel(bool written, float* out) {
  __shared__ float value;
  if (written && threadIdx.x == 0) value = 2.0f;
  __syncthreads();
  if (threadIdx.x == 1) out[0] = value;
}

__global__ void vector_kernel(bool aligned, float* out) {
  if (threadIdx.x == 0) *reinterpret_cast<float4*>(out + (aligned ? 4 : 5)) = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
}

using Kernel = void (*)(bool, float*);

struct Fault {
  const char* name;
  Kernel kernel;
  unsigned blocks;
};

constexpr Fault kFaults[] = {
    {"shared race", neighbour_kernel, 1}, {"warp race", warp_neighbour_kernel, 1}, {"divergent barrier", divergent_kernel, 1},
    {"global race", sum_kernel, 1},       {"race of blocks", blocks_kernel, 2},    {"partial warp", warp_sum_kernel, 1},
    {"unwritten", unwritten_kernel, 1},   {"misaligned", vector_kernel, 1},
};

}  // namespace

void run_fault(const std::string& name, bool right, float* out) {
  for (const Fault& fault : kFaults) {
    if (name == fault.name) return launch(fault.name, fault.kernel, fault.blocks, kCount, nullptr, right, out);
  }
  throw std::invalid_argument("no such fault: " + name);
}

}  // namespace emulation
}  // namespace blendsplat
