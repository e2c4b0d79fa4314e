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

inline unsigned blocks_for(int64_t items) { return static_cast<unsigned>((items + kThreads - 1) / kThreads); }

inline dim3 tile_grid(const Scene& scene) {
  return dim3(static_cast<unsigned>(scene.tile_columns()), static_cast<unsigned>(scene.tile_rows()), static_cast<unsigned>(scene.images));
}

// The pixel of one thread in a launch of tile_grid() x (kTileSize, kTileSize).
struct ThreadPixel {
  int64_t image, index, tile;
  float x, y;
  int rank;                                        // of the thread in its block
  bool inside;
};

#if defined(__CUDACC__)
__device__ __forceinline__ ThreadPixel thread_pixel(const SceneArrays& scene) {
  const int column = static_cast<int>(blockIdx.x) * kTileSize + static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.y) * kTileSize + static_cast<int>(threadIdx.y);
  ThreadPixel p;
  p.image = blockIdx.z;
  p.index = (p.image * scene.height + row) * scene.width + column;
  p.tile = (static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  p.x = static_cast<float>(column) + 0.5f;
  p.y = static_cast<float>(row) + 0.5f;
  p.rank = static_cast<int>(threadIdx.y) * kTileSize + static_cast<int>(threadIdx.x);
  p.inside = column < scene.width && row < scene.height;
  return p;
}
#endif

}  // namespace cuda
}  // namespace blendsplat
