// SPDX-License-Identifier: Apache-2.0
// Stage 5 for surfels: gradients of the records back to means, quaternions, scales, opacities and colours.
#include "surfel_gather.h"
#include "surfel_operations.h"
#include "threads.h"

BS_BEGIN

namespace {

BS_FN void sum_rows(const Scene& scene, const float* rows, int parts, int64_t first, int count, Lanes* out) {
  for (int lane = 0; lane < kLanes; ++lane) {
    out[lane] = Lanes(0.0f);
    for (int part = 0; part < parts && lane < count; ++part) {
      out[lane] = out[lane] + load(rows + (part * scene.images * scene.gaussians + first + lane) * kSurfelSize);
    }
  }
  transpose(out);
}

}  // namespace

void surfel_project_backward(const Scene& scene, const float* rows, int parts, const GaussianArrays& out) {
  const int64_t blocks = (scene.gaussians + kBlock - 1) / kBlock;
  share(scene.threads, blocks * scene.images, kGrain, [&](int64_t item, int) {
    const int64_t image = item / blocks, start = item % blocks * kBlock;
    const int64_t first = image * scene.gaussians + start;
    const int count = static_cast<int>(scene.gaussians - start < kBlock ? scene.gaussians - start : kBlock);
    const Camera camera = camera_of(scene, image);
    const Surfel<Lanes> s = gather_surfels(scene, first, count);
    const SurfelProjection<Lanes> p = project_surfel(s, camera);
    Lanes row[kLanes];
    sum_rows(scene, rows, parts, first, count, row);
    const SurfelGradient<Lanes> grad = project_surfel_backward(s, p, camera, row);
    const Mask drawn = drawable(s, p, scene.near_plane);
    scatter_rows<3>(out.means + first * 3, count, grad.mean, drawn);
    scatter_rows<4>(out.quats + first * 4, count, grad.quat, drawn);
    scatter_rows<2>(out.scales + first * 2, count, grad.scale, drawn);
    scatter_rows<1>(out.opacities + first, count, &grad.opacity, drawn);
    scatter_rows<3>(out.colors + first * 3, count, grad.color, drawn);
  });
}

BS_END
