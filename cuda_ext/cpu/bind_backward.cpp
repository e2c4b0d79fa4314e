// SPDX-License-Identifier: Apache-2.0
// The derivative of bind_forward: to base, blendshapes, weights and activations, and where it is asked for to the surface
// that carries the Gaussians. Runs of Gaussians are cut the same way for any number of threads, so sums do not depend on it.
#include <algorithm>
#include <cstring>

#include "bind.h"
#include "threads.h"

BS_BEGIN

namespace {

constexpr int64_t kParts = 64;               // runs of Gaussians, each with sums of its own for the weights

// Gradients of sixteen Gaussians in one image, turned back into their triangles' frames; past `count` they are zero.
BS_FN void unbind_lanes(const Bind& bind, int64_t image, int64_t first, int inner, int count, const BindBackward& b, float* rows) {
  Lanes mean[3], quat[4], color[3], drawn[3];
  const int64_t at = image * bind.gaussians + first;
  gather_rows<3>(b.grads.means + at * 3, count, mean);
  gather_rows<4>(b.grads.quats + at * 4, count, quat);
  gather_rows<3>(b.grads.colors + at * 3, count, color);
  gather_rows<3>(b.outputs.colors + at * 3, count, drawn);
  LocalGaussian<Lanes> local = carry_back(gather_frames(bind, image, first, count), drawn, mean, quat, color);
  const Mask inside = from_bits((1u << count) - 1);
  for (Lanes& lane : local.position) lane = only(inside, lane);
  for (Lanes& lane : local.quat) lane = only(inside, lane);
  for (Lanes& lane : local.color) lane = only(inside, lane);
  scatter_rows<3>(rows + inner * 3, kLanes, local.position);
  scatter_rows<4>(rows + kStarts[1] + inner * 4, kLanes, local.quat);
  scatter_rows<3>(rows + kStarts[2] + inner * 3, kLanes, local.color);
}

// Sum of the group's local gradients, for the base.
template <int Size>
BS_FN void add_base(const float (*local)[kBlockFloats], int start, int floats, bool later, float* out) {
  for (int i = 0; i < floats; i += kLanes) {
    Lanes sum = later ? load_some(out + i, floats - i) : Lanes(0.0f);
    for (int g = 0; g < Size; ++g) sum = sum + load(local[g] + start + i);
    store_some(out + i, sum, floats - i);
  }
}

// One basis: its gradient is the weighted sum of the local gradients; its product with them is the weights' gradient.
// weights, weight_sums: of the group's first image and this basis; images are `stride` weights apart.
template <int Size>
BS_FN void add_basis(const float (*local)[kBlockFloats], int start, int floats, bool later, const float* weights, int64_t stride,
                     const float* delta, float* out, float* weight_sums) {
  Lanes weight[Size], product[Size];
  for (int g = 0; g < Size; ++g) {
    weight[g] = Lanes(weights[g * stride]);
    product[g] = load(weight_sums + g * stride * kLanes);
  }
  for (int i = 0; i < floats; i += kLanes) {
    const Lanes basis = load_some(delta + i, floats - i);
    Lanes sum = later ? load_some(out + i, floats - i) : Lanes(0.0f);
    for (int g = 0; g < Size; ++g) {
      const Lanes gradient = load(local[g] + start + i);
      sum = fma(gradient, weight[g], sum);
      product[g] = fma(gradient, basis, product[g]);
    }
    store_some(out + i, sum, floats - i);
  }
  for (int g = 0; g < Size; ++g) store(weight_sums + g * stride * kLanes, product[g]);
}

// From the local gradients of Size images from `image` on to base and blendshapes (added to those of the images before)
// and to this part's weight sums.
template <int Size>
BS_FN void unblend_block(const Bind& bind, int64_t image, int64_t first, int count, const float (*local)[kBlockFloats],
                         const BindBackward& b, float* weight_sums) {
  for (int array = 0; array < 3; ++array) {
    const int floats = count * kWidths[array], start = kStarts[array];
    const int64_t offset = first * kWidths[array], stride = bind.gaussians * kWidths[array];
    add_base<Size>(local, start, floats, image > 0, b.base[array] + offset);
    for (int64_t k = 0; k < bind.blendshapes; ++k) {
      const int64_t at = k * stride + offset, weight = image * bind.blendshapes + k;
      add_basis<Size>(local, start, floats, image > 0, bind.weights + weight, bind.blendshapes, bind.deltas[array] + at,
                      b.deltas[array] + at, weight_sums + weight * kLanes);
    }
  }
}

BS_FN void activations_block(const BindBackward& b, int64_t first, int count) {
  for (int i = 0; i < 3 * count; i += kLanes) {
    const int64_t at = 3 * first + i;
    const int rest = 3 * count - i;
    store_some(b.log_scales + at, load_some(b.grads.scales + at, rest) * load_some(b.outputs.scales + at, rest), rest);
  }
  for (int i = 0; i < count; i += kLanes) {
    const int64_t at = first + i;
    const int rest = count - i;
    const Lanes opacity = load_some(b.outputs.opacities + at, rest);
    store_some(b.opacity_logits + at, logistic_gradient(opacity, load_some(b.grads.opacities + at, rest)), rest);
  }
}

// What the frames' gradients need of the block's blended floats.
BS_FN void keep_blended(const Bind& bind, const BindSurface& s, int64_t image, int64_t first, int count, const float* blended) {
  const int64_t at = image * bind.gaussians + first;
  std::memcpy(s.positions + at * 3, blended + kStarts[0], count * 3 * sizeof(float));
  std::memcpy(s.quats + at * 4, blended + kStarts[1], count * 4 * sizeof(float));
}

// The blocks [begin, end). weight_sums: [B,K,16].
void run_blocks(const Bind& bind, const BindBackward& b, int64_t begin, int64_t end, float* weight_sums) {
  std::fill_n(weight_sums, bind.images * bind.blendshapes * kLanes, 0.0f);  // none without blendshapes: memset takes no null
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first = block * kBindBlock;
    const int count = gaussians_in(bind, first, kBindBlock);
    if (b.log_scales) activations_block(b, first, count);
    each_group(bind.images, [&](int64_t image, auto size) {
      float local[size][kBlockFloats];
      if (b.surface.positions) {
        blend_block<size>(bind, image, first, count, local);
        for (int g = 0; g < size; ++g) keep_blended(bind, b.surface, image + g, first, count, local[g]);
      }
      for (int g = 0; g < size; ++g) {
        for (int inner = 0; inner < count; inner += kLanes) {
          const int lanes = count - inner < kLanes ? count - inner : kLanes;
          unbind_lanes(bind, image + g, first + inner, inner, lanes, b, local[g]);
        }
      }
      unblend_block<size>(bind, image, first, count, local, b, weight_sums);
    });
  }
}

// Every triangle and vertex gathers from its Gaussians, in the order of the lists: nothing is written by two.
void surface_back(const Bind& bind, const BindBackward& b, int threads) {
  const BindSurface& s = b.surface;
  if (s.frames || s.frame_quats) {
    share(threads, bind.images * bind.faces, 1024, [&](int64_t index, int) { gather_triangle(bind, b, index / bind.faces, index % bind.faces); });
  }
  if (!s.vertices) return;
  share(threads, bind.images * bind.vertex_count, 1024, [&](int64_t index, int) {
    gather_vertex(bind, b, index / bind.vertex_count, index % bind.vertex_count);
  });
}

}  // namespace

int64_t bind_scratch(int64_t images, int64_t blendshapes) { return kParts * images * blendshapes * kLanes; }

void bind_backward(const Bind& bind, const BindBackward& b, int threads) {
  const int64_t blocks = bind_blocks(bind), weights = bind.images * bind.blendshapes;
  share(threads, kParts, 1, [&](int64_t part, int) {
    run_blocks(bind, b, blocks * part / kParts, blocks * (part + 1) / kParts, b.scratch + part * weights * kLanes);
  });
  for (int64_t i = 0; i < weights; ++i) {
    Lanes sum(0.0f);
    for (int64_t part = 0; part < kParts; ++part) sum = sum + load(b.scratch + (part * weights + i) * kLanes);
    b.weights[i] = total(sum);
  }
  surface_back(bind, b, threads);
}

BS_END
