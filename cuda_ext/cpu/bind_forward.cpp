// SPDX-License-Identifier: Apache-2.0
// An avatar's Gaussians for a batch of frames: base plus weighted blendshapes, then carried by the triangles' frames.
// Every basis is read from memory once for all frames of the batch.
#include "bind.h"
#include "threads.h"

BS_BEGIN

namespace {

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
BS_FN void bind_lanes(const Bind& bind, int64_t image, int64_t first, int inner, int count, const float* blended, const BoundGaussians<float>& out) {
  LocalGaussian<Lanes> local;
  Lanes anchors[3], mean[3], quat[4], color[3];
  gather_rows<3>(blended + inner * 3, kLanes, local.position);
  gather_rows<4>(blended + kStarts[1] + inner * 4, kLanes, local.quat);
  gather_rows<3>(blended + kStarts[2] + inner * 3, kLanes, local.color);
  gather_anchors(bind, image, first, count, anchors);
  carry(local, gather_frames(bind, image, first, count), anchors, mean, quat, color);
  const int64_t at = image * bind.gaussians + first;
  scatter_rows<3>(out.means + at * 3, count, mean);
  scatter_rows<4>(out.quats + at * 4, count, quat);
  scatter_rows<3>(out.colors + at * 3, count, color);
}

BS_FN void activate_block(const Bind& bind, int64_t first, int count, const BoundGaussians<float>& out) {
  for (int i = 0; i < 3 * count; i += kLanes) {
    const int64_t at = 3 * first + i;
    store_some(out.scales + at, exponential(load_some(bind.log_scales + at, 3 * count - i)), 3 * count - i);
  }
  for (int i = 0; i < count; i += kLanes) {
    store_some(out.opacities + first + i, logistic(load_some(bind.opacity_logits + first + i, count - i)), count - i);
  }
}

}  // namespace

void bind_forward(const Bind& bind, const BoundGaussians<float>& out, int threads) {
  share(threads, bind_blocks(bind), 4, [&](int64_t block, int) {
    const int64_t first = block * kBindBlock;
    const int count = gaussians_in(bind, first, kBindBlock);
    if (bind.log_scales) activate_block(bind, first, count, out);
    each_group(bind.images, [&](int64_t image, auto size) {
      float blended[size][kBlockFloats];
      blend_block<size>(bind, image, first, count, blended);
      for (int g = 0; g < size; ++g) {
        for (int inner = 0; inner < count; inner += kLanes) {
          const int lanes = count - inner < kLanes ? count - inner : kLanes;
          bind_lanes(bind, image + g, first + inner, inner, lanes, blended[g], out);
        }
      }
    });
  });
}

BS_END
