// SPDX-License-Identifier: Apache-2.0
// What every kernel launch needs: a grid for a number of items, the device made current, errors made exceptions.
#pragma once

#include <stdexcept>
#include <string>

#include "operations.h"

namespace blendsplat {
namespace cuda {

constexpr int kThreads = 256;

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

inline void use_device(const Scene& scene) { check(cudaSetDevice(scene.device), "choosing the CUDA device"); }

// kernel<<<grid, block, 0, stream>>>(arguments...), in words that the emulation understands too. `what` names it in errors.
template <class... Parameters, class... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), dim3 grid, dim3 block, cudaStream_t stream, const Arguments&... arguments) {
#if defined(BLENDSPLAT_EMULATION)
  static_cast<void>(stream);
  emulate_launch(what, kernel, grid, block, arguments...);
#elif defined(__CUDACC__)
  kernel<<<grid, block, 0, stream>>>(arguments...);
#endif
  check(cudaGetLastError(), what);
}

inline unsigned blocks_for(int64_t items) { return static_cast<unsigned>((items + kThreads - 1) / kThreads); }

// A block per tile of all images.
inline unsigned tile_blocks(const Scene& scene) { return static_cast<unsigned>(scene.images * scene.tiles()); }

}  // namespace cuda
}  // namespace blendsplat
