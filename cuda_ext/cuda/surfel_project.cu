// SPDX-License-Identifier: Apache-2.0
// Stage 1 for surfels: every one of every image to a record for blending and one for binning, a thread each.
#include "bin_entry.cuh"
#include "blendsplat/surfel.h"
#include "surfel_operations.h"

namespace blendsplat {
namespace cuda {

namespace {

__global__ void __launch_bounds__(kThreads) surfel_project_kernel(SceneArrays scene, float* surfels, float* records, BinScratch scratch) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= scene.images * scene.gaussians) return;
  alignas(16) float surfel[kSurfelSize];
  alignas(16) float record[kRecordSize];
  const bool in_box = project_surfel_one(scene, index, kTileShift, surfel, record) > 0;
  write_record(surfel, surfels, index);
  enter_bins(scene, index, in_box, record, records, scratch);
}

}  // namespace

void surfel_project(const Scene& scene, float* surfels, float* records, const BinScratch& scratch) {
  if (scene.images * scene.gaussians == 0) return;
  use_device(scene);
  launch("surfel_project", surfel_project_kernel, blocks_for(scene.images * scene.gaussians), kThreads, scene.stream, scene, surfels,
         records, scratch);
}

}  // namespace cuda
}  // namespace blendsplat
