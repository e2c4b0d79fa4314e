// SPDX-License-Identifier: Apache-2.0
// Stage 5: gradients of the screen splats back to means, quaternions, scales, opacities and colours. A thread per Gaussian
// and image; where the images share scales or opacities, a thread per Gaussian sums over them in a fixed order.
#include "launch.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

__global__ void __launch_bounds__(kThreads) project_backward_kernel(SceneArrays scene, const float* records, const float* rows, GaussianArrays out) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= scene.images * scene.gaussians) return;
  project_backward_one(scene, index, records + index * kRecordSize, rows + index * kGradientSize, out);
}

__global__ void __launch_bounds__(kThreads) project_backward_shared_kernel(SceneArrays scene, const float* records, const float* rows,
                                                                           GaussianArrays out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < scene.gaussians) project_backward_images(scene, i, records, rows, out);
}

}  // namespace

void project_backward(const Scene& scene, const float* records, const float* rows, const GaussianArrays& out) {
  const bool shared = scene.shared_scales || scene.shared_opacities;
  const int64_t threads = shared ? scene.gaussians : scene.images * scene.gaussians;
  if (threads == 0) return;
  use_device(scene);
  launch("project_backward", shared ? project_backward_shared_kernel : project_backward_kernel, blocks_for(threads), kThreads, scene.stream,
         scene, records, rows, out);
}

}  // namespace cuda
}  // namespace blendsplat
