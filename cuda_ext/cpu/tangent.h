// SPDX-License-Identifier: Apache-2.0
// Sixteen posed triangles in lanes.
#pragma once

#include "blendsplat/tangent.h"
#include "gather.h"

BS_BEGIN

// Triangles first .. first + count of one image; lanes past them repeat the last one.
BS_FN void gather_corners(const TangentFrames& t, int64_t image, int64_t first, int count, Vector3<Lanes>* corners) {
  float columns[9][kLanes];
  const float* vertices = t.vertices + image * t.vertex_count * 3;
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t* face = t.corners + (first + (lane < count ? lane : count - 1)) * 3;
    for (int corner = 0; corner < 3; ++corner) {
      for (int i = 0; i < 3; ++i) columns[3 * corner + i][lane] = vertices[face[corner] * 3 + i];
    }
  }
  for (int corner = 0; corner < 3; ++corner) {
    corners[corner] = {load(columns[3 * corner]), load(columns[3 * corner + 1]), load(columns[3 * corner + 2])};
  }
}

BS_END
