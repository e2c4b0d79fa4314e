// SPDX-License-Identifier: Apache-2.0
// The tangent frames of a head's triangles in B frames, a thread per triangle, and back: a thread per triangle, then one
// per vertex.
#include "blendsplat/tangent.h"
#include "launch.h"
#include "training.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

// Corners and UV edges of triangle `index` (over all images).
__device__ void read_triangle(const TangentFrames& t, int64_t index, Vector3<float>* corners, float* uv_edges) {
  const int64_t image = index / t.faces, face = index % t.faces;
  const float* vertices = t.vertices + image * t.vertex_count * 3;
  for (int corner = 0; corner < 3; ++corner) {
    const float* v = vertices + t.corners[face * 3 + corner] * 3;
    corners[corner] = {v[0], v[1], v[2]};
  }
  for (int i = 0; i < 4; ++i) uv_edges[i] = t.uv_edges[face * 4 + i];
}

__global__ void tangent_frames_kernel(TangentFrames t) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= t.images * t.faces) return;
  Vector3<float> corners[3];
  float uv_edges[4], frame[9], quat[4];
  read_triangle(t, index, corners, uv_edges);
  tangent_frame(corners, uv_edges, frame, quat);
  for (int i = 0; i < 9; ++i) t.frames[index * 9 + i] = frame[i];
  for (int i = 0; i < 4; ++i) t.quats[index * 4 + i] = quat[i];
}

__global__ void tangent_frames_backward_kernel(TangentFrames t, TangentFramesBackward b) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= t.images * t.faces) return;
  Vector3<float> corners[3], grads[3];
  float uv_edges[4], frame[9], quat[4];
  read_triangle(t, index, corners, uv_edges);
  for (int i = 0; i < 9; ++i) frame[i] = b.frames ? b.frames[index * 9 + i] : 0.0f;
  for (int i = 0; i < 4; ++i) quat[i] = b.quats ? b.quats[index * 4 + i] : 0.0f;
  tangent_frame_back(corners, uv_edges, frame, quat, grads);
  for (int corner = 0; corner < 3; ++corner) {
    float* out = b.scratch + index * 9 + corner * 3;
    out[0] = grads[corner].x;
    out[1] = grads[corner].y;
    out[2] = grads[corner].z;
  }
}

__global__ void gather_corners_kernel(TangentFrames t, TangentFramesBackward b) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index < t.images * t.vertex_count) gather_corners(t, b, index / t.vertex_count, index % t.vertex_count);
}

}  // namespace

void tangent_frames_backward(const TangentFrames& t, const TangentFramesBackward& b, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t triangles = t.images * t.faces, vertices = t.images * t.vertex_count;
  if (triangles) launch("tangent_frames_backward", tangent_frames_backward_kernel, dim3(blocks_for(triangles)), dim3(kThreads), queue.stream, t, b);
  if (vertices) launch("tangent_frames_backward's vertices", gather_corners_kernel, dim3(blocks_for(vertices)), dim3(kThreads), queue.stream, t, b);
}

void tangent_frames(const TangentFrames& t, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t items = t.images * t.faces;
  if (items == 0) return;
  launch("tangent_frames", tangent_frames_kernel, dim3(blocks_for(items)), dim3(kThreads), queue.stream, t);
}

}  // namespace cuda
}  // namespace blendsplat
