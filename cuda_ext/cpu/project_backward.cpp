// SPDX-License-Identifier: Apache-2.0
// Stage 5: gradients of the screen splats back to means, quaternions, scales, opacities and colours.
#include "gather.h"

BS_BEGIN

namespace {

BS_FN void sum_rows(const Scene& scene, const ProjectBackward& b, int64_t first, int count, Lanes* out) {
  float columns[kGradDepth + 1][kLanes] = {};
  for (int part = 0; part < b.parts; ++part) {
    const float* rows = b.rows + (part * scene.images * scene.gaussians + first) * kGradientSize;
    for (int lane = 0; lane < count; ++lane) {
      for (int slot = 0; slot <= kGradDepth; ++slot) columns[slot][lane] += rows[lane * kGradientSize + slot];
    }
  }
  for (int slot = 0; slot <= kGradDepth; ++slot) out[slot] = load(columns[slot]);
}

BS_FN Mask drawn_lanes(const float* records, int count) {
  unsigned drawn = 0;
  for (int lane = 0; lane < count; ++lane) drawn |= static_cast<unsigned>(is_drawn(records + lane * kRecordSize)) << lane;
  return from_bits(drawn);
}

}  // namespace

void project_backward(const Scene& scene, const ProjectBackward& b) {
  const int64_t blocks = (scene.gaussians + kBlock - 1) / kBlock;
#pragma omp parallel for schedule(static) num_threads(scene.threads)
  for (int64_t item = 0; item < blocks * scene.images; ++item) {
    const int64_t image = item / blocks, start = item % blocks * kBlock;
    const int64_t first = image * scene.gaussians + start;
    const int count = static_cast<int>(scene.gaussians - start < kBlock ? scene.gaussians - start : kBlock);
    const Camera camera = camera_of(scene, image);
    const Gaussian3<Lanes> g = gather_gaussians(scene, first, count);
    const Projection<Lanes> p = project_gaussian(g, camera);
    Lanes row[kGradDepth + 1];
    sum_rows(scene, b, first, count, row);
    const Gaussian3Gradient<Lanes> grad = project_gaussian_backward(g, p, camera, row);
    const Mask drawn = drawn_lanes(b.records + first * kRecordSize, count);
    scatter_rows<3>(b.out.means + first * 3, count, grad.mean, drawn);
    scatter_rows<4>(b.out.quats + first * 4, count, grad.quat, drawn);
    scatter_rows<3>(b.out.scales + first * 3, count, grad.scale, drawn);
    scatter_rows<1>(b.out.opacities + first, count, &grad.opacity, drawn);
    scatter_rows<3>(b.out.colors + first * 3, count, grad.color, drawn);
  }
}

BS_END
