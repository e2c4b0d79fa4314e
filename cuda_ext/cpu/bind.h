// SPDX-License-Identifier: Apache-2.0
// Blendshapes and binding of an avatar's Gaussians: the views of the caller's buffers, and sixteen Gaussians of them in
// lanes. Positions, quaternions and colours of a Gaussian lie in three arrays; a block of sixteen is ten vectors of them.
#pragma once

#include "gather.h"

BS_BEGIN

constexpr int kWidths[3] = {3, 4, 3};       // floats per Gaussian: position, quaternion, colour feature
constexpr int kStarts[3] = {0, 3, 7};       // of each array among the block's vectors
constexpr int kBlockVectors = 10;
constexpr int kBlockFloats = kBlockVectors * kLanes;
constexpr int kGroup = 8;                   // images blended at once, each in a register

// Vector v of a block holds floats [16 (v - start), ...) of its array's sixteen rows.
BS_FN int array_of(int v) { return v < kStarts[1] ? 0 : v < kStarts[2] ? 1 : 2; }

// The first float of vector v in an array of rows, for the block that starts at Gaussian `first`.
BS_FN int64_t offset_of(int v, int64_t first) {
  const int array = array_of(v);
  return first * kWidths[array] + static_cast<int64_t>(v - kStarts[array]) * kLanes;
}

// How many of vector v's floats belong to the block's first `count` Gaussians.
BS_FN int floats_in(int v, int count) {
  const int array = array_of(v);
  const int rest = count * kWidths[array] - (v - kStarts[array]) * kLanes;
  return rest < 0 ? 0 : rest < kLanes ? rest : kLanes;
}

BS_FN Lanes load_some(const float* p, int count) {
  if (count == kLanes) return load(p);
  float padded[kLanes] = {};
  for (int i = 0; i < count; ++i) padded[i] = p[i];
  return load(padded);
}

BS_FN void store_some(float* p, const Lanes& a, int count) {
  if (count == kLanes) return store(p, a);
  float padded[kLanes];
  store(padded, a);
  for (int i = 0; i < count; ++i) p[i] = padded[i];
}

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
