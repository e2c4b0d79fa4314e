// SPDX-License-Identifier: Apache-2.0
// Blendshapes and binding on the CPU: blocks of Gaussians for the blending, in which every basis is read in runs of
// consecutive floats, and sixteen of a block in lanes for the binding.
#pragma once

#include <type_traits>

#include "blendsplat/bind.h"
#include "gather.h"
#include "rows.h"
#include "training.h"

BS_BEGIN

constexpr int kBindBlock = 64;              // Gaussians blended at once
constexpr int kStarts[3] = {0, 3 * kBindBlock, 7 * kBindBlock};  // of each array within a block's floats
constexpr int kBlockFloats = 10 * kBindBlock;
constexpr int kTogether = 8;                // most images blended at once

BS_FN int64_t bind_blocks(const Bind& bind) { return (bind.gaussians + kBindBlock - 1) / kBindBlock; }

BS_FN int gaussians_in(const Bind& bind, int64_t first, int block) {
  const int64_t rest = bind.gaussians - first;
  return static_cast<int>(rest < block ? rest : block);
}

// Cuts the batch into groups of nearly equal size and calls visit(first image, integral_constant<int, size>): with the
// size known, a group's sums stay in registers.
template <class Visit>
BS_FN void each_group(int64_t images, Visit visit) {
  const int64_t groups = (images + kTogether - 1) / kTogether;
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = images * group / groups;
    switch (images * (group + 1) / groups - first) {
      case 1: visit(first, std::integral_constant<int, 1>()); break;
      case 2: visit(first, std::integral_constant<int, 2>()); break;
      case 3: visit(first, std::integral_constant<int, 3>()); break;
      case 4: visit(first, std::integral_constant<int, 4>()); break;
      case 5: visit(first, std::integral_constant<int, 5>()); break;
      case 6: visit(first, std::integral_constant<int, 6>()); break;
      case 7: visit(first, std::integral_constant<int, 7>()); break;
      default: visit(first, std::integral_constant<int, 8>()); break;
    }
  }
}

constexpr float kLn2High = 0.693145751953125f, kLn2Low = 1.42860682030941723e-6f;  // the first has zeros to spare

// e^x to 2e-7 relative, between e^-86 and e^88: outside the result stays at these ends. NaN stays NaN.
BS_FN Lanes exponential(const Lanes& x) {
  const Lanes bounded = maximum(Lanes(-86.0f), minimum(Lanes(88.0f), x));
  const Lanes whole = round_nearest(bounded * Lanes(kLog2E));
  const Lanes rest = fma(whole, Lanes(-kLn2Low), fma(whole, Lanes(-kLn2High), bounded));
  return select(x == x, times_power_of_two(exponential2(rest * Lanes(kLog2E)), whole), x);
}

// blended[g] = base + sum_k weight_k delta_k for Size images from `image` on.
template <int Size>
BS_FN void blend_block(const Bind& bind, int64_t image, int64_t first, int count, float (*blended)[kBlockFloats]) {
  const float* weights = bind.weights + image * bind.blendshapes;
  for (int array = 0; array < 3; ++array) {
    const int floats = count * kWidths[array];
    const int64_t offset = first * kWidths[array], stride = bind.gaussians * kWidths[array];
    for (int i = 0; i < floats; i += kLanes) {
      const Lanes base = load_some(bind.base[array] + offset + i, floats - i);
      Lanes sums[Size];
      for (Lanes& sum : sums) sum = base;
      for (int64_t k = 0; k < bind.blendshapes; ++k) {
        const Lanes basis = load_some(bind.deltas[array] + k * stride + offset + i, floats - i);
        for (int g = 0; g < Size; ++g) sums[g] = fma(basis, Lanes(weights[g * bind.blendshapes + k]), sums[g]);
      }
      for (int g = 0; g < Size; ++g) store(blended[g] + kStarts[array] + i, sums[g]);
    }
  }
}

// The frames of sixteen Gaussians' triangles in one image.
BS_FN TriangleFrame<Lanes> gather_frames(const Bind& bind, int64_t image, int64_t first, int count) {
  float matrix[9][kLanes], quat[4][kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t face = image * bind.faces + bind.triangle[first + (lane < count ? lane : count - 1)];
    for (int i = 0; i < 9; ++i) matrix[i][lane] = bind.frames[face * 9 + i];
    for (int i = 0; i < 4; ++i) quat[i][lane] = bind.frame_quats[face * 4 + i];
  }
  TriangleFrame<Lanes> out;
  for (int i = 0; i < 9; ++i) out.matrix[i] = load(matrix[i]);
  for (int i = 0; i < 4; ++i) out.quat[i] = load(quat[i]);
  return out;
}

BS_END
