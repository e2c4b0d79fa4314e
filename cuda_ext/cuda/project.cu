// SPDX-License-Identifier: Apache-2.0
// Stage 1: every Gaussian of every image to a record, a thread each, and how many tiles its ellipse touches.
#include "launch.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

__global__ void project_kernel(SceneArrays scene, float* records, int32_t* tile_counts) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= scene.images * scene.gaussians) return;
  float record[kRecordSize];
  int32_t count = 0;
  if (project_one(scene, index, kTileShift, record) > 0) {
    const TileRange rows = unpack_range(record[kBoxY]);
    for (int row = rows.first; row <= rows.last; ++row) {
      const TileRange span = row_span(record, row, scene.width, kTileShift);
      count += span.last - span.first + 1;
    }
  }
  for (int slot = 0; slot < kRecordSize; ++slot) records[index * kRecordSize + slot] = record[slot];
  tile_counts[index] = count;
}

}  // namespace

void project(const Scene& scene, float* records, int32_t* tile_counts) {
  if (scene.images * scene.gaussians == 0) return;
  use_device(scene);
  project_kernel<<<blocks_for(scene.images * scene.gaussians), kThreads, 0, scene.stream>>>(scene, records, tile_counts);
  check(cudaGetLastError(), "project");
}

}  // namespace cuda
}  // namespace blendsplat
