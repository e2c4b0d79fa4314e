// SPDX-License-Identifier: Apache-2.0
// Stage 5: gradients of the screen splats back to means, quaternions, scales, opacities and colours.
#include "gather.h"

BS_BEGIN

namespace {

// The sums of sixteen Gaussians of one image over the bands that each touches.
BS_FN void sum_rows(const Scene& scene, const ProjectBackward& b, int64_t image, int64_t first, int count, Lanes* out) {
  alignas(64) float columns[kLanes][kGradientSize] = {};
  const int32_t* bands = b.sums.bands + image * scene.tile_rows();
  for (int lane = 0; lane < count; ++lane) {
    const float* record = b.records + (first + lane) * kRecordSize;
    if (!is_drawn(record)) continue;
    const TileRange rows = unpack_range(record[kBoxY]);
    Lanes sum(0.0f);
    for (int part = bands[rows.first]; part <= bands[rows.last]; ++part) {
      const float* row = b.sums.rows + (part * scene.images * scene.gaussians + first + lane) * kGradientSize;
      if (row[kStamp] == b.sums.stamp) sum = sum + load(row);
    }
    store(columns[lane], sum);
  }
  Lanes slots[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) slots[lane] = load(columns[lane]);
  transpose(slots);
  for (int slot = 0; slot <= kGradDepth; ++slot) out[slot] = slots[slot];
}

BS_FN Mask drawn_lanes(const float* records, int count) {
  unsigned drawn = 0;
  for (int lane = 0; lane < count; ++lane) drawn |= static_cast<unsigned>(is_drawn(records + lane * kRecordSize)) << lane;
  return from_bits(drawn);
}

// Gradients of sixteen Gaussians of one image; zeros where they are not drawn.
BS_FN Gaussian3Gradient<Lanes> image_gradient(const Scene& scene, const ProjectBackward& b, int64_t image, int64_t start, int count) {
  const int64_t first = image * scene.gaussians + start;
  const Camera camera = camera_of(scene, image);
  const Gaussian3<Lanes> g = gather_gaussians(scene, image, start, count);
  const Projection<Lanes> p = project_gaussian(g, camera);
  Lanes row[kGradDepth + 1];
  sum_rows(scene, b, image, first, count, row);
  Gaussian3Gradient<Lanes> grad = project_gaussian_backward(g, p, camera, row);
  const Mask drawn = drawn_lanes(b.records + first * kRecordSize, count);
  for (int i = 0; i < 3; ++i) {
    grad.mean[i] = only(drawn, grad.mean[i]);
    grad.scale[i] = only(drawn, grad.scale[i]);
    grad.color[i] = only(drawn, grad.color[i]);
  }
  for (int i = 0; i < 4; ++i) grad.quat[i] = only(drawn, grad.quat[i]);
  grad.opacity = only(drawn, grad.opacity);
  return grad;
}

}  // namespace

void project_backward(const Scene& scene, const ProjectBackward& b, int64_t from, int64_t total) {
  for (int64_t start = from; start < from + total; start += kBlock) {
    const int count = static_cast<int>(from + total - start < kBlock ? from + total - start : kBlock);
    Lanes scale[3] = {Lanes(0.0f), Lanes(0.0f), Lanes(0.0f)}, opacity(0.0f);  // sums over the images, for what they share
    for (int64_t image = 0; image < scene.images; ++image) {
      const Gaussian3Gradient<Lanes> grad = image_gradient(scene, b, image, start, count);
      const int64_t first = image * scene.gaussians + start;
      scatter_rows<3>(b.out.means + first * 3, count, grad.mean);
      scatter_rows<4>(b.out.quats + first * 4, count, grad.quat);
      scatter_rows<3>(b.out.colors + first * 3, count, grad.color);
      if (!scene.shared_scales) scatter_rows<3>(b.out.scales + first * 3, count, grad.scale);
      if (!scene.shared_opacities) scatter_rows<1>(b.out.opacities + first, count, &grad.opacity);
      for (int i = 0; i < 3; ++i) scale[i] = scale[i] + grad.scale[i];
      opacity = opacity + grad.opacity;
    }
    if (scene.shared_scales) scatter_rows<3>(b.out.scales + start * 3, count, scale);
    if (scene.shared_opacities) scatter_rows<1>(b.out.opacities + start, count, &opacity);
  }
}

BS_END
