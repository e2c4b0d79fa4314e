// SPDX-License-Identifier: Apache-2.0
// A head's vertices for playing: template + directions, then linear blend skinning, packed like a Playback. CPU only: a
// GPU does it with torch.
#pragma once

#include <cstdint>

namespace blendsplat {

constexpr int kSkinJoints = 5;

// G packs of V vertices, the last one filled up with zeros.
struct Posing {
  int64_t images, vertices, directions;                // B, V, D
  const float* rest;                                   // [G,3,16]
  const float* offsets;                                // [G,3,D,16]
  const float* skin;                                   // [G,5,16]
  const float* coefficients;                           // [B,D]
  const float* transforms;                             // [B,5,3,4]
  const float* translation;                            // [B,3]
  float* out;                                          // [B,V,3]
};

}  // namespace blendsplat
