// SPDX-License-Identifier: Apache-2.0
// The derivative of bind_forward: to base, blendshapes and weights. What carries the Gaussians gets no gradient.
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

// Gradients of one block in one image, turned back into the triangle's frame; rows past `count` are zero.
BS_FN void unbind_block(const Bind& bind, int64_t image, int64_t first, int count, const BindBackward& b, float* local) {
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
  lanes_to_rows<3>(position, local);
  lanes_to_rows<4>(turned, local + kStarts[1] * kLanes);
  lanes_to_rows<3>(color, local + kStarts[2] * kLanes);
}

// From the local gradients of `images` images to base and blendshapes (added if `later`) and this thread's weight sums.
BS_FN void unblend_block(const Bind& bind, const float (*weights)[kGroup], int images, bool later, int64_t first, int count,
                         const float (*local)[kBlockFloats], const BindBackward& b, float* weight_sums) {
  for (int v = 0; v < kBlockVectors; ++v) {
    const int array = array_of(v), floats = floats_in(v, count);
    const int64_t offset = offset_of(v, first), stride = bind.gaussians * kWidths[array];
    Lanes gradient[kGroup];
    Lanes base = later ? load_some(b.base[array] + offset, floats) : Lanes(0.0f);
    for (int g = 0; g < kGroup; ++g) {
      gradient[g] = g < images ? load(local[g] + v * kLanes) : Lanes(0.0f);
      base = base + gradient[g];
    }
    store_some(b.base[array] + offset, base, floats);
    for (int64_t k = 0; k < bind.blendshapes; ++k) {
      float* out = b.deltas[array] + k * stride + offset;
      Lanes sum = later ? load_some(out, floats) : Lanes(0.0f);
      for (int g = 0; g < kGroup; ++g) sum = fma(gradient[g], Lanes(weights[k][g]), sum);
      store_some(out, sum, floats);
      const Lanes delta = load_some(bind.deltas[array] + k * stride + offset, floats);
      float* sums = weight_sums + k * kGroup * kLanes;
      for (int g = 0; g < images; ++g) store(sums + g * kLanes, fma(gradient[g], delta, load(sums + g * kLanes)));
    }
  }
}

// scratch: [groups,K,kGroup,16], zeroed. Runs the blocks [begin, end).
BS_FN void run_blocks(const Bind& bind, const BindBackward& b, int64_t begin, int64_t end, float* scratch) {
  const int64_t groups = (bind.images + kGroup - 1) / kGroup;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first = block * kBlock;
    const int count = static_cast<int>(bind.gaussians - first < kBlock ? bind.gaussians - first : kBlock);
    float local[kGroup][kBlockFloats];
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t rest = bind.images - group * kGroup;
      const int images = static_cast<int>(rest < kGroup ? rest : kGroup);
      for (int g = 0; g < images; ++g) unbind_block(bind, group * kGroup + g, first, count, b, local[g]);
      const auto* weights = reinterpret_cast<const float(*)[kGroup]>(bind.grouped_weights) + group * bind.blendshapes;
      unblend_block(bind, weights, images, group > 0, first, count, local, b, scratch + group * bind.blendshapes * kGroup * kLanes);
    }
  }
}

}  // namespace

void bind_backward(const Bind& bind, const BindBackward& b) {
  const int64_t blocks = (bind.gaussians + kBlock - 1) / kBlock;
  const int64_t weights = (bind.images + kGroup - 1) / kGroup * bind.blendshapes * kGroup;
#pragma omp parallel for schedule(static) num_threads(bind.threads)
  for (int64_t part = 0; part < b.parts; ++part) {
    float* scratch = b.weight_scratch + part * weights * kLanes;
    run_blocks(bind, b, blocks * part / b.parts, blocks * (part + 1) / b.parts, scratch);
    for (int64_t i = 0; i < weights; ++i) b.grouped_weights[part * weights + i] = total(load(scratch + i * kLanes));
  }
}

BS_END
