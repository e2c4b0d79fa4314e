// SPDX-License-Identifier: Apache-2.0
// Stage 1: every Gaussian of every image to a record, a thread each, and how many tiles its ellipse touches.
#include "launch.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

__device__ int32_t count_tiles(const SceneArrays& scene, const float* record) {
  const TileRange rows = unpack_range(record[kBoxY]);
  int32_t count = 0;
  for (int row = rows.first; row <= rows.last; ++row) {
    const TileRange span = row_span(record, row, scene.width, kTileShift);
    count += span.last - span.first + 1;
  }
  return count;
}

__global__ void __launch_bounds__(kThreads) project_kernel(SceneArrays scene, float* records, BinScratch scratch) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= scene.images * scene.gaussians) return;
  alignas(16) float record[kRecordSize];
  scratch.tile_counts[index] = project_one(scene, index, kTileShift, record) > 0 ? count_tiles(scene, record) : 0;
  float4* out = reinterpret_cast<float4*>(records + index * kRecordSize);
  for (int i = 0; i < kRecordSize / 4; ++i) out[i] = make_float4(record[i * 4], record[i * 4 + 1], record[i * 4 + 2], record[i * 4 + 3]);
  // Depths of drawn Gaussians are positive, so their bits sort as they do; where the others sort does not matter.
  scratch.depth_keys[index] = static_cast<uint64_t>(index / scene.gaussians) << 32 | __float_as_uint(record[kDepth]);
  scratch.indices[index] = static_cast<uint32_t>(index);
}

}  // namespace

void project(const Scene& scene, float* records, const BinScratch& scratch) {
  if (scene.images * scene.gaussians == 0) return;
  use_device(scene);
  launch("project", project_kernel, blocks_for(scene.images * scene.gaussians), kThreads, scene.stream, scene, records, scratch);
}

}  // namespace cuda
}  // namespace blendsplat
