// SPDX-License-Identifier: Apache-2.0
// The tangent frames of a head's triangles in B frames, sixteen triangles at a time.
#include "tangent.h"
#include "threads.h"
#include "training.h"

BS_BEGIN

namespace {

BS_FN void frames_of_block(const TangentFrames& t, int64_t image, int64_t first, int count) {
  Vector3<Lanes> corners[3];
  gather_corners(t, image, first, count, corners);
  Lanes uv_edges[4], frame[9], quat[4];
  gather_rows<4>(t.uv_edges + first * 4, count, uv_edges);
  tangent_frame(corners, uv_edges, frame, quat);
  const Mask all = from_bits(0xffff);
  scatter_rows<9>(t.frames + (image * t.faces + first) * 9, count, frame, all);
  scatter_rows<4>(t.quats + (image * t.faces + first) * 4, count, quat, all);
}

BS_FN void frames_back_of_block(const TangentFrames& t, const TangentFramesBackward& b, int64_t image, int64_t first, int count) {
  Vector3<Lanes> corners[3], grads[3];
  gather_corners(t, image, first, count, corners);
  Lanes uv_edges[4], frame[9], quat[4];
  gather_rows<4>(t.uv_edges + first * 4, count, uv_edges);
  for (Lanes& lane : frame) lane = Lanes(0.0f);
  for (Lanes& lane : quat) lane = Lanes(0.0f);
  const int64_t at = image * t.faces + first;
  if (b.frames) gather_rows<9>(b.frames + at * 9, count, frame);
  if (b.quats) gather_rows<4>(b.quats + at * 4, count, quat);
  tangent_frame_back(corners, uv_edges, frame, quat, grads);
  const Lanes columns[9] = {grads[0].x, grads[0].y, grads[0].z, grads[1].x, grads[1].y, grads[1].z, grads[2].x, grads[2].y, grads[2].z};
  scatter_rows<9>(b.scratch + at * 9, count, columns);
}

// visit(image, first, count) for every sixteen triangles of every image.
template <class Visit>
void each_block(const TangentFrames& t, int threads, Visit visit) {
  const int64_t blocks = (t.faces + kLanes - 1) / kLanes;
  share(threads, t.images * blocks, 64, [&](int64_t index, int) {
    const int64_t first = index % blocks * kLanes;
    const int64_t rest = t.faces - first;
    visit(index / blocks, first, static_cast<int>(rest < kLanes ? rest : kLanes));
  });
}

}  // namespace

void tangent_frames(const TangentFrames& t, int threads) {
  each_block(t, threads, [&](int64_t image, int64_t first, int count) { frames_of_block(t, image, first, count); });
}

void tangent_frames_backward(const TangentFrames& t, const TangentFramesBackward& b, int threads) {
  each_block(t, threads, [&](int64_t image, int64_t first, int count) { frames_back_of_block(t, b, image, first, count); });
  share(threads, t.images * t.vertex_count, 1024, [&](int64_t index, int) {
    gather_corners(t, b, index / t.vertex_count, index % t.vertex_count);
  });
}

BS_END
