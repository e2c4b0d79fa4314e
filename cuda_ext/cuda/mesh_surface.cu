// SPDX-License-Identifier: Apache-2.0
// The pixels of mesh pictures, a thread each; and the gradients of all planes by the faces' corners, a thread per face, which
// looks through the pixels that it can cover. For heads, whose faces are small and many. No atomics: the same bits in every run.
#include "blendsplat/mesh_surface.h"
#include "launch.h"
#include "mesh_operations.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

__global__ void __launch_bounds__(kThreads) mesh_surface_kernel(MeshPicture p, MeshPlanes planes) {
  const int64_t pixel = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, plane = static_cast<int64_t>(p.width) * p.height;
  if (pixel >= p.images * plane) return;
  show_pixel(p, planes, pixel / plane, static_cast<int>(pixel % p.width), static_cast<int>(pixel % plane / p.width));
}

__global__ void __launch_bounds__(kThreads) mesh_surface_backward_kernel(MeshPicture p, MeshBackward b) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index < p.images * p.faces) face_backward(p, b, index / p.faces, index % p.faces, kShown | kBordering);
}

}  // namespace

void mesh_surface(const MeshPicture& p, const MeshPlanes& planes, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t pixels = p.images * p.width * p.height;
  if (pixels > 0) launch("mesh_surface", mesh_surface_kernel, blocks_for(pixels), kThreads, queue.stream, p, planes);
}

void mesh_surface_backward(const MeshPicture& p, const MeshBackward& b, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t faces = p.images * p.faces;
  if (faces == 0) return;
  launch("mesh_surface_backward", mesh_surface_backward_kernel, blocks_for(faces), kThreads, queue.stream, p, b);
}

}  // namespace cuda
}  // namespace blendsplat
