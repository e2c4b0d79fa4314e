// SPDX-License-Identifier: Apache-2.0
// The tangent frames of a head's triangles in B frames, a thread per triangle.
#include "blendsplat/tangent.h"
#include "launch.h"
#include "training.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

__global__ void tangent_frames_kernel(TangentFrames t) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= t.images * t.faces) return;
  const int64_t image = index / t.faces, face = index % t.faces;
  const float* vertices = t.vertices + image * t.vertex_count * 3;
  Vector3<float> corners[3];
  for (int corner = 0; corner < 3; ++corner) {
    const float* v = vertices + t.corners[face * 3 + corner] * 3;
    corners[corner] = {v[0], v[1], v[2]};
  }
  float uv_edges[4], frame[9], quat[4];
  for (int i = 0; i < 4; ++i) uv_edges[i] = t.uv_edges[face * 4 + i];
  tangent_frame(corners, uv_edges, frame, quat);
  for (int i = 0; i < 9; ++i) t.frames[index * 9 + i] = frame[i];
  for (int i = 0; i < 4; ++i) t.quats[index * 4 + i] = quat[i];
}

}  // namespace

void tangent_frames(const TangentFrames& t, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t items = t.images * t.faces;
  if (items == 0) return;
  launch("tangent_frames", tangent_frames_kernel, dim3(blocks_for(items)), dim3(kThreads), queue.stream, t);
}

}  // namespace cuda
}  // namespace blendsplat
