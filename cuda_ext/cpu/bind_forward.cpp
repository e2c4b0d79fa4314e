// SPDX-License-Identifier: Apache-2.0
// An avatar's Gaussians for a batch of frames: base plus weighted blendshapes, then carried by the triangles' frames.
// Every basis is read once for all frames of the batch.
#include "bind.h"

BS_BEGIN

namespace {

// blended[g] = base + sum_k weights[k][g] delta_k for up to kGroup images; weights past the group are zero.
BS_FN void blend_block(const Bind& bind, const float (*weights)[kGroup], int64_t first, int count, float (*blended)[kBlockFloats]) {
  for (int v = 0; v < kBlockVectors; ++v) {
    const int array = array_of(v), floats = floats_in(v, count);
    const int64_t offset = offset_of(v, first), stride = bind.gaussians * kWidths[array];
    const Lanes base = load_some(bind.base[array] + offset, floats);
    Lanes sums[kGroup];
    for (int g = 0; g < kGroup; ++g) sums[g] = base;
    for (int64_t k = 0; k < bind.blendshapes; ++k) {
      const Lanes delta = load_some(bind.deltas[array] + k * stride + offset, floats);
      for (int g = 0; g < kGroup; ++g) sums[g] = fma(delta, Lanes(weights[k][g]), sums[g]);
    }
    for (int g = 0; g < kGroup; ++g) store(blended[g] + v * kLanes, sums[g]);
  }
}

BS_FN void gather_anchors(const Bind& bind, int64_t image, int64_t first, int count, Lanes* anchors) {
  float columns[3][kLanes] = {};
  const float* vertices = bind.vertices + image * bind.vertex_count * 3;
  for (int lane = 0; lane < count; ++lane) {
    for (int corner = 0; corner < 3; ++corner) {
      const float* vertex = vertices + bind.corners[(first + lane) * 3 + corner] * 3;
      const float share = bind.barycentrics[(first + lane) * 3 + corner];
      for (int i = 0; i < 3; ++i) columns[i][lane] += share * vertex[i];
    }
  }
  for (int i = 0; i < 3; ++i) anchors[i] = load(columns[i]);
}

BS_FN void bind_block(const Bind& bind, int64_t image, int64_t first, int count, const float* blended, const BindForward& out) {
  Lanes position[3], quat[4], feature[3], anchors[3], means[3], quats[4], colors[3];
  gather_rows<3>(blended, kLanes, position);
  gather_rows<4>(blended + kStarts[1] * kLanes, kLanes, quat);
  gather_rows<3>(blended + kStarts[2] * kLanes, kLanes, feature);
  gather_anchors(bind, image, first, count, anchors);
  const BlockFrames frames = gather_frames(bind, image, first, count);
  for (int row = 0; row < 3; ++row) {
    const Lanes* m = frames.matrix + 3 * row;
    means[row] = fma(m[0], position[0], fma(m[1], position[1], fma(m[2], position[2], anchors[row])));
    colors[row] = maximum(fma(Lanes(kShDc), feature[row], Lanes(0.5f)), Lanes(0.0f));
  }
  multiply_quats(frames.quat, quat, quats);
  const int64_t at = image * bind.gaussians + first;
  const Mask all = from_bits(0xffff);
  scatter_rows<3>(out.means + at * 3, count, means, all);
  scatter_rows<4>(out.quats + at * 4, count, quats, all);
  scatter_rows<3>(out.colors + at * 3, count, colors, all);
}

}  // namespace

void bind_forward(const Bind& bind, const BindForward& out) {
  const int64_t blocks = (bind.gaussians + kBlock - 1) / kBlock;
  const int64_t groups = (bind.images + kGroup - 1) / kGroup;
#pragma omp parallel for schedule(static) num_threads(bind.threads)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = block * kBlock;
    const int count = static_cast<int>(bind.gaussians - first < kBlock ? bind.gaussians - first : kBlock);
    float blended[kGroup][kBlockFloats];
    for (int64_t group = 0; group < groups; ++group) {
      const auto* weights = reinterpret_cast<const float(*)[kGroup]>(bind.grouped_weights) + group * bind.blendshapes;
      blend_block(bind, weights, first, count, blended);
      for (int64_t g = 0; g < kGroup && group * kGroup + g < bind.images; ++g) {
        bind_block(bind, group * kGroup + g, first, count, blended[g], out);
      }
    }
  }
}

BS_END
