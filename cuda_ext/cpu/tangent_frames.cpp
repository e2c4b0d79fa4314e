// SPDX-License-Identifier: Apache-2.0
// The tangent frames of a head's triangles in B frames, sixteen triangles at a time.
#include "blendsplat/tangent.h"
#include "gather.h"
#include "threads.h"
#include "training.h"

BS_BEGIN

namespace {

BS_FN void frames_of_block(const TangentFrames& t, int64_t image, int64_t first, int count) {
  float columns[9][kLanes];
  const float* vertices = t.vertices + image * t.vertex_count * 3;
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t* face = t.corners + (first + (lane < count ? lane : count - 1)) * 3;
    for (int corner = 0; corner < 3; ++corner) {
      for (int i = 0; i < 3; ++i) columns[3 * corner + i][lane] = vertices[face[corner] * 3 + i];
    }
  }
  Vector3<Lanes> corners[3];
  for (int corner = 0; corner < 3; ++corner) {
    corners[corner] = {load(columns[3 * corner]), load(columns[3 * corner + 1]), load(columns[3 * corner + 2])};
  }
  Lanes uv_edges[4], frame[9], quat[4];
  gather_rows<4>(t.uv_edges + first * 4, count, uv_edges);
  tangent_frame(corners, uv_edges, frame, quat);
  const Mask all = from_bits(0xffff);
  scatter_rows<9>(t.frames + (image * t.faces + first) * 9, count, frame, all);
  scatter_rows<4>(t.quats + (image * t.faces + first) * 4, count, quat, all);
}

}  // namespace

void tangent_frames(const TangentFrames& t, int threads) {
  const int64_t blocks = (t.faces + kLanes - 1) / kLanes;
  share(threads, t.images * blocks, 64, [&](int64_t index, int) {
    const int64_t first = index % blocks * kLanes;
    const int64_t rest = t.faces - first;
    frames_of_block(t, index / blocks, first, static_cast<int>(rest < kLanes ? rest : kLanes));
  });
}

BS_END
