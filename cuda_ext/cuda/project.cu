// SPDX-License-Identifier: Apache-2.0
// Stage 1: every Gaussian of every image to a record, a thread each, and how many tiles its ellipse touches.
#include "bin_entry.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__global__ void __launch_bounds__(kThreads) project_kernel(SceneArrays scene, float* records, BinScratch scratch) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= scene.images * scene.gaussians) return;
  alignas(16) float record[kRecordSize];
  const bool in_box = project_one(scene, index, kTileShift, record) > 0;
  enter_bins(scene, index, in_box, record, records, scratch);
}

}  // namespace

void project(const Scene& scene, float* records, const BinScratch& scratch) {
  if (scene.images * scene.gaussians == 0) return;
  use_device(scene);
  launch("project", project_kernel, blocks_for(scene.images * scene.gaussians), kThreads, scene.stream, scene, records, scratch);
}

}  // namespace cuda
}  // namespace blendsplat
