// SPDX-License-Identifier: Apache-2.0
// The derivative of bind_forward: to base, blendshapes and weights. What carries the Gaussians gets no gradient.
#include <cstring>

#include "bind.h"

BS_BEGIN

namespace {

template <int Size>
BS_FN void lanes_to_rows(const Lanes* in, float* rows) {
  float columns[Size][kLanes];
  for (int i = 0; i < Size; ++i) store(columns[i], in[i]);
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < Size; ++i) rows[lane * Size + i] = columns[i][lane];
  }
}

// Gradients of sixteen Gaussians in one image, turned back into their triangles' frames; past `count` they are zero.
BS_FN void unbind_lanes(const Bind& bind, int64_t image, int64_t first, int inner, int count, const BindBackward& b, float* local) {
  Lanes mean[3], quat[4], color[3], drawn[3], position[3], turned[4];
  const int64_t at = image * bind.gaussians + first;
  gather_rows<3>(b.grad_means + at * 3, count, mean);
  gather_rows<4>(b.grad_quats + at * 4, count, quat);
  gather_rows<3>(b.grad_colors + at * 3, count, color);
  gather_rows<3>(b.colors + at * 3, count, drawn);
  const BlockFrames frames = gather_frames(bind, image, first, count);
  const Mask inside = from_bits((1u << count) - 1);
  const Lanes zero(0.0f);
  for (int i = 0; i < 3; ++i) {
    const Lanes* m = frames.matrix + i;
    position[i] = only(inside, m[0] * mean[0] + m[3] * mean[1] + m[6] * mean[2]);
    color[i] = only(both(inside, drawn[i] > zero), color[i] * Lanes(kShDc));  // the clamp at zero passes no gradient
  }
  const Lanes conjugate[4] = {frames.quat[0], zero - frames.quat[1], zero - frames.quat[2], zero - frames.quat[3]};
  multiply_quats(conjugate, quat, turned);
  for (int i = 0; i < 4; ++i) turned[i] = only(inside, turned[i]);
  lanes_to_rows<3>(position, local + inner * 3);
  lanes_to_rows<4>(turned, local + kStarts[1] + inner * 4);
  lanes_to_rows<3>(color, local + kStarts[2] + inner * 3);
}

// Sum of the group's local gradients, for the base.
BS_FN void add_base(const float (*local)[kBlockFloats], int start, int floats, bool later, float* out) {
  for (int i = 0; i < floats; i += kLanes) {
    Lanes sum = later ? load_some(out + i, floats - i) : Lanes(0.0f);
    for (int g = 0; g < kGroup; ++g) sum = sum + load(local[g] + start + i);
    store_some(out + i, sum, floats - i);
  }
}

// One basis: its gradient is the weighted sum of the local gradients; its product with them is the weights' gradient.
BS_FN void add_basis(const float (*local)[kBlockFloats], int start, int floats, bool later, const float* weights,
                     const float* delta, float* out, float* weight_sums) {
  Lanes weight[kGroup], product[kGroup];
  for (int g = 0; g < kGroup; ++g) {
    weight[g] = Lanes(weights[g]);
    product[g] = load(weight_sums + g * kLanes);
  }
  for (int i = 0; i < floats; i += kLanes) {
    const Lanes basis = load_some(delta + i, floats - i);
    Lanes sum = later ? load_some(out + i, floats - i) : Lanes(0.0f);
    for (int g = 0; g < kGroup; ++g) {
      const Lanes gradient = load(local[g] + start + i);
      sum = fma(gradient, weight[g], sum);
      product[g] = fma(gradient, basis, product[g]);
    }
    store_some(out + i, sum, floats - i);
  }
  for (int g = 0; g < kGroup; ++g) store(weight_sums + g * kLanes, product[g]);
}

// From the local gradients of a group of images to base and blendshapes (added if `later`) and this part's weight sums.
BS_FN void unblend_block(const Bind& bind, const float* weights, bool later, int64_t first, int count,
                         const float (*local)[kBlockFloats], const BindBackward& b, float* weight_sums) {
  for (int array = 0; array < 3; ++array) {
    const int floats = count * kWidths[array], start = kStarts[array];
    const int64_t offset = first * kWidths[array], stride = bind.gaussians * kWidths[array];
    add_base(local, start, floats, later, b.base[array] + offset);
    for (int64_t k = 0; k < bind.blendshapes; ++k) {
      const int64_t at = k * stride + offset;
      add_basis(local, start, floats, later, weights + k * kGroup, bind.deltas[array] + at, b.deltas[array] + at,
                weight_sums + k * kGroup * kLanes);
    }
  }
}

// weight_sums: [groups,K,kGroup,16], zeroed. Runs the blocks [begin, end).
BS_FN void run_blocks(const Bind& bind, const BindBackward& b, int64_t begin, int64_t end, float* weight_sums) {
  float local[kGroup][kBlockFloats];
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first = block * kBindBlock;
    const int count = gaussians_in(bind, first, kBindBlock);
    for (int64_t group = 0; group * kGroup < bind.images; ++group) {
      for (int g = 0; g < kGroup; ++g) {
        const bool used = group * kGroup + g < bind.images;
        if (!used) std::memset(local[g], 0, sizeof local[g]);
        for (int inner = 0; used && inner < count; inner += kLanes) {
          const int lanes = count - inner < kLanes ? count - inner : kLanes;
          unbind_lanes(bind, group * kGroup + g, first + inner, inner, lanes, b, local[g]);
        }
      }
      unblend_block(bind, group_weights(bind, group), group > 0, first, count, local, b,
                    weight_sums + group * bind.blendshapes * kGroup * kLanes);
    }
  }
}

}  // namespace

void bind_backward(const Bind& bind, const BindBackward& b) {
  const int64_t blocks = bind_blocks(bind);
  const int64_t weights = (bind.images + kGroup - 1) / kGroup * bind.blendshapes * kGroup;
#pragma omp parallel for schedule(static) num_threads(bind.threads)
  for (int64_t part = 0; part < b.parts; ++part) {
    float* scratch = b.weight_scratch + part * weights * kLanes;
    run_blocks(bind, b, blocks * part / b.parts, blocks * (part + 1) / b.parts, scratch);
    for (int64_t i = 0; i < weights; ++i) b.grouped_weights[part * weights + i] = total(load(scratch + i * kLanes));
  }
}

BS_END
