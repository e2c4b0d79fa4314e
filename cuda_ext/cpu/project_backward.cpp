// SPDX-License-Identifier: Apache-2.0
// Stage 5: gradients of the screen splats back to means, quaternions, scales, opacities and colours.
#include "gather.h"

BS_BEGIN

namespace {

// Calls visit(row) for the rows of a Gaussian in the bands that it touches; index: over all images.
template <class Visit>
BS_FN void each_row(const Scene& scene, const ProjectBackward& b, const int32_t* bands, int64_t index, Visit visit) {
  const float* record = b.records + index * kRecordSize;
  if (!is_drawn(record)) return;
  const TileRange tile_rows = unpack_range(record[kBoxY]);
  const int64_t step = scene.images * scene.gaussians * kGradientSize;
  const float* row = b.sums.rows + bands[tile_rows.first] * step + index * kGradientSize;
  for (int more = bands[tile_rows.last] - bands[tile_rows.first]; more >= 0; --more, row += step) visit(row);
}

// The sums of sixteen Gaussians of one image. Rows lie far apart, so those of the next sixteen are asked for beforehand.
BS_FN void sum_rows(const Scene& scene, const ProjectBackward& b, int64_t image, int64_t start, int count, Lanes* out) {
  const int32_t* bands = b.sums.bands + image * scene.tile_rows();
  const int64_t first = image * scene.gaussians + start;
  for (int64_t ahead = kBlock; ahead < 2 * kBlock && start + ahead < scene.gaussians; ++ahead) {
    each_row(scene, b, bands, first + ahead, [](const float* row) { prefetch(row); });
  }
  Lanes slots[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    slots[lane] = Lanes(0.0f);
    if (lane >= count) continue;
    each_row(scene, b, bands, first + lane, [&](const float* row) {
      if (row[kStamp] == b.sums.stamp) slots[lane] = slots[lane] + load(row);
    });
  }
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
  sum_rows(scene, b, image, start, count, row);
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
