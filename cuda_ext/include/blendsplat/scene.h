// SPDX-License-Identifier: Apache-2.0
// The rasterizer's input as both backends see it, and how a single Gaussian of it is read, projected and written:
// what one GPU thread does, and what the CPU's "scalar" set does in its place for the tests.
#pragma once

#include <cstdint>

namespace blendsplat {

struct SceneArrays {
  int64_t images, gaussians;                                 // B, N
  int width, height;
  float near_plane;
  const float *means, *quats, *scales, *opacities, *colors;  // [B,N,3] [B,N,4] [B,N,3] [B,N] [B,N,3]
  const float *viewmats, *Ks;                                // [B,4,4] [B,3,3]
  bool shared_scales = false, shared_opacities = false;      // then those are [1,N,...]: the same in every image
};

struct GaussianArrays {
  float *means, *quats, *scales, *opacities, *colors;        // shaped like SceneArrays'; shared ones: summed over images
};

}  // namespace blendsplat

#include "blendsplat/ellipse.h"

BS_BEGIN

// Where Gaussian `index` (over all images, image * N + i) lies in an array that images may share.
BS_FN int64_t index_within(const SceneArrays& scene, bool shared, int64_t index) { return shared ? index % scene.gaussians : index; }

// index: over all images.
BS_FN Gaussian3<float> read_gaussian(const SceneArrays& scene, int64_t index) {
  const int64_t sizes = index_within(scene, scene.shared_scales, index);
  Gaussian3<float> g;
  for (int i = 0; i < 3; ++i) {
    g.mean[i] = scene.means[index * 3 + i];
    g.scale[i] = scene.scales[sizes * 3 + i];
    g.color[i] = scene.colors[index * 3 + i];
  }
  for (int i = 0; i < 4; ++i) g.quat[i] = scene.quats[index * 4 + i];
  g.opacity = scene.opacities[index_within(scene, scene.shared_opacities, index)];
  return g;
}

BS_FN Camera camera_of(const SceneArrays& scene, int64_t image) {
  return make_camera(scene.viewmats + image * 16, scene.Ks + image * 9, scene.width, scene.height);
}

BS_FN float pack_range(TileRange range) {
  union {
    uint32_t bits;
    float value;
  } pair;
  pair.bits = static_cast<uint32_t>(range.first) | static_cast<uint32_t>(range.last) << 16;
  return pair.value;
}

BS_FN TileRange unpack_range(float packed) {
  union {
    float value;
    uint32_t bits;
  } pair;
  pair.value = packed;
  return {static_cast<int>(pair.bits & 0xffff), static_cast<int>(pair.bits >> 16)};
}

// Fills the record's box of tiles and returns how many tiles that is; 0 for a Gaussian that is not drawn.
BS_FN int32_t write_box(float extent_x, float extent_y, bool drawn, int width, int height, int shift, float* record) {
  TileRange x = {1, 0}, y = {1, 0};
  if (drawn) {
    x = tile_range(record[kMeanX] - extent_x, record[kMeanX] + extent_x, width, shift);
    y = tile_range(record[kMeanY] - extent_y, record[kMeanY] + extent_y, height, shift);
  }
  if (x.last < x.first || y.last < y.first) x = y = {1, 0};
  record[kBoxX] = pack_range(x);
  record[kBoxY] = pack_range(y);
  return (x.last - x.first + 1) * (y.last - y.first + 1);
}

// Drawn Gaussians lie in front of the camera: the bits of a positive number sort as the number does.
BS_FN uint32_t depth_bits(const float* record) {
  union {
    float value;
    uint32_t bits;
  } depth;
  depth.value = record[kDepth];
  return depth.bits;
}

BS_FN bool is_drawn(const float* record) {
  const TileRange x = unpack_range(record[kBoxX]);
  return x.first <= x.last;
}

// The slots up to kSpanTurn, in the order of RecordSlot.
template <class F>
BS_FN void record_columns(const Gaussian3<F>& g, const Projection<F>& p, const Ellipse<F>& e, F* out) {
  const F scale = F(-0.5f * kLog2E) / p.determinant;
  const F columns[kSpanTurn + 1] = {
      p.mean_x, p.mean_y, scale * p.cov_yy, scale * p.cov_xy * F(-2.0f), scale * p.cov_xx, g.opacity,
      g.color[0], g.color[1], g.color[2], p.camera_mean[2], e.span_p, e.span_q, e.slope, e.turn};
  for (int slot = 0; slot <= kSpanTurn; ++slot) out[slot] = columns[slot];
}

// Projects Gaussian `index` and writes its record; returns the number of tiles in its box.
BS_FN int32_t project_one(const SceneArrays& scene, int64_t index, int shift, float* record) {
  const Gaussian3<float> g = read_gaussian(scene, index);
  const Projection<float> p = project_gaussian(g, camera_of(scene, index / scene.gaussians));
  const Ellipse<float> e = make_ellipse(p, g.opacity);
  record_columns(g, p, e, record);
  return write_box(e.extent_x, e.extent_y, drawable(g, p, scene.near_plane), scene.width, scene.height, shift, record);
}

// row: see GradientSlot. The gradients of Gaussian `index`; zeros if it is not drawn.
BS_FN Gaussian3Gradient<float> gradient_of_one(const SceneArrays& scene, int64_t index, const float* record, const float* row) {
  if (!is_drawn(record)) return {};
  const Gaussian3<float> g = read_gaussian(scene, index);
  const Camera camera = camera_of(scene, index / scene.gaussians);
  return project_gaussian_backward(g, project_gaussian(g, camera), camera, row);
}

// Writes the gradients of what is each image's own. The caller writes, or sums, scales and opacities that are shared.
BS_FN void write_gradient(const SceneArrays& scene, int64_t index, const Gaussian3Gradient<float>& grad, const GaussianArrays& out) {
  for (int i = 0; i < 3; ++i) {
    out.means[index * 3 + i] = grad.mean[i];
    out.colors[index * 3 + i] = grad.color[i];
    if (!scene.shared_scales) out.scales[index * 3 + i] = grad.scale[i];
  }
  for (int i = 0; i < 4; ++i) out.quats[index * 4 + i] = grad.quat[i];
  if (!scene.shared_opacities) out.opacities[index] = grad.opacity;
}

// Every gradient of Gaussian `index`, for scenes that share nothing between images.
BS_FN void project_backward_one(const SceneArrays& scene, int64_t index, const float* record, const float* row, const GaussianArrays& out) {
  write_gradient(scene, index, gradient_of_one(scene, index, record, row), out);
}

// Every gradient of Gaussian i of all images; records: [B,N,16], row_of(index) gives a gradient row. What the images share
// gets the sum over them.
template <class RowOf>
BS_FN void project_backward_summed(const SceneArrays& scene, int64_t i, const float* records, RowOf row_of, const GaussianArrays& out) {
  float scale[3] = {0.0f, 0.0f, 0.0f}, opacity = 0.0f;
  for (int64_t index = i; index < scene.images * scene.gaussians; index += scene.gaussians) {
    const Gaussian3Gradient<float> grad = gradient_of_one(scene, index, records + index * kRecordSize, row_of(index));
    write_gradient(scene, index, grad, out);
    for (int c = 0; c < 3; ++c) scale[c] += grad.scale[c];
    opacity += grad.opacity;
  }
  for (int c = 0; c < 3 && scene.shared_scales; ++c) out.scales[i * 3 + c] = scale[c];
  if (scene.shared_opacities) out.opacities[i] = opacity;
}

struct RowsOfImages {
  const float* rows;                 // [B,N,16]

  BS_FN const float* operator()(int64_t index) const { return rows + index * kGradientSize; }
};

BS_FN void project_backward_images(const SceneArrays& scene, int64_t i, const float* records, const float* rows, const GaussianArrays& out) {
  project_backward_summed(scene, i, records, RowsOfImages{rows}, out);
}

BS_END
