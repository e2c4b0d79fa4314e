// SPDX-License-Identifier: Apache-2.0
// Blend and bind for playing on a GPU: a thread per Gaussian and four images; the lanes of a pack are neighbouring threads,
// so that every basis is read in whole sectors.
#include "blendsplat/playback.h"
#include "launch.h"
#include "training.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

constexpr int kImagesTogether = 4;

__device__ __forceinline__ float basis_at(const Playback& p, int64_t place) {
  return p.half ? widen(static_cast<const uint16_t*>(p.bases)[place]) : static_cast<const float*>(p.bases)[place];
}

__device__ void carry_one(const Playback& p, int64_t image, int64_t gaussian, const float* blended) {
  const int64_t pack = gaussian / kPackWidth, lane = gaussian % kPackWidth;
  const float* posed = p.triangles + (image * p.faces + p.triangle[gaussian]) * kPosedTriangleSize;
  TriangleFrame<float> frame;
  for (int i = 0; i < 9; ++i) frame.matrix[i] = posed[kPosedFrame + i];
  for (int i = 0; i < 4; ++i) frame.quat[i] = posed[kPosedQuat + i];
  float anchor[3] = {}, mean[3], quat[4], color[3];
  for (int corner = 0; corner < 3; ++corner) {
    const float share = p.barycentrics[(pack * 3 + corner) * kPackWidth + lane];
    for (int i = 0; i < 3; ++i) anchor[i] = fma(share, posed[kPosedCorners + 3 * corner + i], anchor[i]);
  }
  LocalGaussian<float> local;
  for (int i = 0; i < 3; ++i) local.position[i] = blended[i];
  for (int i = 0; i < 4; ++i) local.quat[i] = blended[3 + i];
  for (int i = 0; i < 3; ++i) local.color[i] = blended[7 + i];
  carry(local, frame, anchor, mean, quat, color);
  const int64_t at = image * p.gaussians + gaussian;
  for (int i = 0; i < 3; ++i) p.means[at * 3 + i] = mean[i];
  for (int i = 0; i < 4; ++i) p.quats[at * 4 + i] = quat[i];
  for (int i = 0; i < 3; ++i) p.colors[at * 3 + i] = color[i];
}

__global__ void play_kernel(Playback p) {
  const int64_t gaussian = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (gaussian >= p.gaussians) return;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kImagesTogether;
  const int images = static_cast<int>(p.images - first < kImagesTogether ? p.images - first : kImagesTogether);
  const int64_t pack = gaussian / kPackWidth, lane = gaussian % kPackWidth;
  float blended[kImagesTogether][kPackFloats];
  for (int channel = 0; channel < kPackFloats; ++channel) {
    const float base = p.base[(pack * kPackFloats + channel) * kPackWidth + lane];
    for (int g = 0; g < kImagesTogether; ++g) blended[g][channel] = base;
    for (int64_t k = 0; p.weights && k < p.blendshapes; ++k) {
      const float basis = basis_at(p, ((pack * kPackFloats + channel) * p.blendshapes + k) * kPackWidth + lane);
      for (int g = 0; g < kImagesTogether; ++g) {
        if (g < images) blended[g][channel] = fma(basis, p.weights[(first + g) * p.blendshapes + k], blended[g][channel]);
      }
    }
  }
  for (int g = 0; g < images; ++g) carry_one(p, first + g, gaussian, blended[g]);
}

// A thread per triangle and image.
__global__ void pose_triangles_kernel(TangentFrames t, float* triangles) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= t.images * t.faces) return;
  const int64_t image = index / t.faces, face = index % t.faces;
  Vector3<float> corners[3];
  float uv_edges[4];
  float* out = triangles + index * kPosedTriangleSize;
  for (int corner = 0; corner < 3; ++corner) {
    const float* v = t.vertices + (image * t.vertex_count + t.corners[face * 3 + corner]) * 3;
    corners[corner] = {v[0], v[1], v[2]};
    for (int i = 0; i < 3; ++i) out[kPosedCorners + 3 * corner + i] = v[i];
  }
  for (int i = 0; i < 4; ++i) uv_edges[i] = t.uv_edges[face * 4 + i];
  float frame[9], quat[4];
  tangent_frame(corners, uv_edges, frame, quat);
  for (int i = 0; i < 9; ++i) out[kPosedFrame + i] = frame[i];
  for (int i = 0; i < 4; ++i) out[kPosedQuat + i] = quat[i];
}

}  // namespace

void pose_triangles(const TangentFrames& t, float* triangles, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t items = t.images * t.faces;
  if (items) launch("pose_triangles", pose_triangles_kernel, dim3(blocks_for(items)), dim3(kThreads), queue.stream, t, triangles);
}

void play(const Playback& p, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  if (p.images == 0 || p.gaussians == 0) return;
  const unsigned chunks = static_cast<unsigned>((p.images + kImagesTogether - 1) / kImagesTogether);
  launch("play", play_kernel, dim3(blocks_for(p.gaussians), chunks), dim3(kThreads), queue.stream, p);
}

}  // namespace cuda
}  // namespace blendsplat
