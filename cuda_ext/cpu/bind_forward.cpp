// SPDX-License-Identifier: Apache-2.0
// An avatar's Gaussians for a batch of frames: base plus weighted blendshapes, then carried by the triangles' frames.
// Every basis is read once for all frames of the batch.
#include "bind.h"

BS_BEGIN

namespace {

// sums[g] += weights[g] delta + weights[kGroup + g] delta2 over a run of consecutive floats. Two bases at a time: the sums
// go to memory half as often.
BS_FN void add_bases(const float* delta, const float* delta2, const float* weights, int floats, float (*sums)[kBlockFloats], int start) {
  Lanes first[kGroup], second[kGroup];
  for (int g = 0; g < kGroup; ++g) {
    first[g] = Lanes(weights[g]);
    second[g] = delta2 ? Lanes(weights[kGroup + g]) : Lanes(0.0f);
  }
  for (int i = 0; i < floats; i += kLanes) {
    const Lanes a = load_some(delta + i, floats - i);
    const Lanes b = delta2 ? load_some(delta2 + i, floats - i) : Lanes(0.0f);
    for (int g = 0; g < kGroup; ++g) {
      float* sum = sums[g] + start + i;
      store(sum, fma(b, second[g], fma(a, first[g], load(sum))));
    }
  }
}

// blended[g] = base + sum_k weights[k][g] delta_k for the images of a group; weights of images past the last are zero.
BS_FN void blend_block(const Bind& bind, const float* weights, int64_t first, int count, float (*blended)[kBlockFloats]) {
  for (int array = 0; array < 3; ++array) {
    const int floats = count * kWidths[array], start = kStarts[array];
    const int64_t offset = first * kWidths[array], stride = bind.gaussians * kWidths[array];
    for (int i = 0; i < floats; i += kLanes) {
      const Lanes base = load_some(bind.base[array] + offset + i, floats - i);
      for (int g = 0; g < kGroup; ++g) store(blended[g] + start + i, base);
    }
    for (int64_t k = 0; k < bind.blendshapes; k += 2) {
      const float* delta = bind.deltas[array] + k * stride + offset;
      add_bases(delta, k + 1 < bind.blendshapes ? delta + stride : nullptr, weights + k * kGroup, floats, blended, start);
    }
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

// blended: the block's floats from its Gaussian `inner` on; first: that Gaussian's index.
BS_FN void bind_lanes(const Bind& bind, int64_t image, int64_t first, int inner, int count, const float* blended, const BindForward& out) {
  Lanes position[3], quat[4], feature[3], anchors[3], means[3], quats[4], colors[3];
  gather_rows<3>(blended + inner * 3, kLanes, position);
  gather_rows<4>(blended + kStarts[1] + inner * 4, kLanes, quat);
  gather_rows<3>(blended + kStarts[2] + inner * 3, kLanes, feature);
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
#pragma omp parallel for schedule(static) num_threads(bind.threads)
  for (int64_t block = 0; block < bind_blocks(bind); ++block) {
    const int64_t first = block * kBindBlock;
    const int count = gaussians_in(bind, first, kBindBlock);
    float blended[kGroup][kBlockFloats];
    for (int64_t group = 0; group * kGroup < bind.images; ++group) {
      blend_block(bind, group_weights(bind, group), first, count, blended);
      for (int64_t g = 0; g < kGroup && group * kGroup + g < bind.images; ++g) {
        for (int inner = 0; inner < count; inner += kLanes) {
          const int lanes = count - inner < kLanes ? count - inner : kLanes;
          bind_lanes(bind, group * kGroup + g, first + inner, inner, lanes, blended[g], out);
        }
      }
    }
  }
}

BS_END
