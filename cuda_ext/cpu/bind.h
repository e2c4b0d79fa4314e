// SPDX-License-Identifier: Apache-2.0
// Blendshapes and binding of an avatar's Gaussians: blocks of them for the blending, in which every basis is read in
// runs of consecutive floats, and sixteen of a block in lanes for the binding.
#pragma once

#include "gather.h"
#include "rows.h"
#include "training.h"

BS_BEGIN

constexpr int kWidths[3] = {3, 4, 3};       // floats per Gaussian: position, quaternion, colour feature
constexpr int kBindBlock = 64;              // Gaussians blended at once
constexpr int kStarts[3] = {0, 3 * kBindBlock, 7 * kBindBlock};  // of each array within a block's floats
constexpr int kBlockFloats = 10 * kBindBlock;
constexpr int kGroup = 8;                   // images blended at once

BS_FN int64_t bind_blocks(const Bind& bind) { return (bind.gaussians + kBindBlock - 1) / kBindBlock; }

BS_FN int gaussians_in(const Bind& bind, int64_t first, int block) {
  const int64_t rest = bind.gaussians - first;
  return static_cast<int>(rest < block ? rest : block);
}

// Weights [K,kGroup] of a group of images.
BS_FN const float* group_weights(const Bind& bind, int64_t group) { return bind.grouped_weights + group * bind.blendshapes * kGroup; }

// The tangent frames of sixteen Gaussians' triangles in one image: matrices, row by row, and rotations wxyz.
struct BlockFrames {
  Lanes matrix[9], quat[4];
};

BS_FN BlockFrames gather_frames(const Bind& bind, int64_t image, int64_t first, int count) {
  float matrix[9][kLanes], quat[4][kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t face = image * bind.faces + bind.triangle[first + (lane < count ? lane : count - 1)];
    for (int i = 0; i < 9; ++i) matrix[i][lane] = bind.frames[face * 9 + i];
    for (int i = 0; i < 4; ++i) quat[i][lane] = bind.frame_quats[face * 4 + i];
  }
  BlockFrames out;
  for (int i = 0; i < 9; ++i) out.matrix[i] = load(matrix[i]);
  for (int i = 0; i < 4; ++i) out.quat[i] = load(quat[i]);
  return out;
}

// Hamilton product a b of quaternions wxyz.
BS_FN void multiply_quats(const Lanes* a, const Lanes* b, Lanes* out) {
  out[0] = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3];
  out[1] = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2];
  out[2] = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1];
  out[3] = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0];
}

constexpr float kShDc = 0.28209479177387814f;  // the constant spherical harmonic: rgb = max(0, kShDc * feature + 0.5)

BS_END
