// SPDX-License-Identifier: Apache-2.0
// Blend and bind for playing, without gradients: what an avatar's Gaussians are made of lies packed in the order in which it
// is read, sixteen Gaussians at a time, and bases may be half precision. A posed triangle is two cache lines.
#pragma once

#include "blendsplat/bind.h"
#include "blendsplat/half.h"
#include "blendsplat/tangent.h"

namespace blendsplat {

constexpr int kPackWidth = 16;               // Gaussians of a pack
constexpr int kPackFloats = 10;              // of a Gaussian: position, quaternion, colour feature

// G packs of N Gaussians, the last one filled up with zeros, which are bound to triangle 0.
struct Playback {
  int64_t images, gaussians, blendshapes, faces;       // B, N, K, F
  const float* base;                                   // [G,10,16]
  const void* bases;                                   // [G,10,K,16] float or half
  bool half;
  const float* weights;                                // [B,K]; null: the base alone
  const int32_t* triangle;                             // [G,16]
  const float* barycentrics;                           // [G,3,16]
  const float* triangles;                              // [B,F,32], see PosedTriangleSlot
  float *means, *quats, *colors;                       // [B,N,3] [B,N,4] [B,N,3]
};

// A posed triangle: its frame row by row, its rotation, its corners.
enum PosedTriangleSlot { kPosedFrame = 0, kPosedQuat = 9, kPosedCorners = 13, kPosedTriangleSize = 32 };

}  // namespace blendsplat
