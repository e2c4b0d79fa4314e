// SPDX-License-Identifier: Apache-2.0
// Stage 5 for surfels: gradients of the records back to means, quaternions, scales, opacities and colours, a thread each.
#include "blendsplat/surfel.h"
#include "launch.h"
#include "surfel_operations.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

__global__ void __launch_bounds__(kThreads) surfel_project_backward_kernel(SceneArrays scene, const float* rows, GaussianArrays out) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= scene.images * scene.gaussians) return;
  project_surfel_backward_one(scene, index, rows + index * kSurfelSize, out);
}

}  // namespace

void surfel_project_backward(const Scene& scene, const float* rows, const GaussianArrays& out) {
  if (scene.images * scene.gaussians == 0) return;
  use_device(scene);
  launch("surfel_project_backward", surfel_project_backward_kernel, blocks_for(scene.images * scene.gaussians), kThreads, scene.stream,
         scene, rows, out);
}

}  // namespace cuda
}  // namespace blendsplat
