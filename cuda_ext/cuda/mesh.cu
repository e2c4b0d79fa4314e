// SPDX-License-Identifier: Apache-2.0
// Triangles to pixels: a thread per face offers its depth to every pixel it covers, the nearest wins, the lower index where
// two are equally near; then a thread per pixel asks the winner where it lies. For heads, whose faces are small and many.
#include "launch.h"
#include "mesh_operations.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

// Greater for a nearer face, then for a lower index; never zero, which means nothing.
__device__ __forceinline__ unsigned long long nearness(float depth, int64_t face) {
  return ~(static_cast<unsigned long long>(__float_as_uint(depth)) << 32 | static_cast<unsigned long long>(face));
}

__global__ void __launch_bounds__(kThreads) offer_faces_kernel(MeshArrays mesh, unsigned long long* nearest) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= mesh.images * mesh.faces) return;
  const int64_t image = index / mesh.faces, face = index % mesh.faces;
  Triangle triangle;
  if (!make_triangle(mesh, image, face, triangle)) return;
  for (int row = triangle.top; row <= triangle.bottom; ++row) {
    for (int column = triangle.left; column <= triangle.right; ++column) {
      TriangleHit hit;
      if (!meet_triangle(triangle, column, row, hit)) continue;
      atomicMax(nearest + (image * mesh.height + row) * mesh.width + column, nearness(hit.depth, face));
    }
  }
}

__global__ void __launch_bounds__(kThreads) show_faces_kernel(MeshArrays mesh, const unsigned long long* nearest, int32_t* face_ids,
                                                              float* barycentrics, float* depth) {
  const int64_t pixel = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t plane = static_cast<int64_t>(mesh.width) * mesh.height;
  if (pixel >= mesh.images * plane) return;
  TriangleHit hit = {};
  int32_t face = -1;
  if (nearest[pixel] != 0) {
    face = static_cast<int32_t>(~nearest[pixel] & 0xffffffffu);
    Triangle triangle;
    make_triangle(mesh, pixel / plane, face, triangle);
    meet_triangle(triangle, static_cast<int>(pixel % mesh.width), static_cast<int>(pixel % plane / mesh.width), hit);
  }
  face_ids[pixel] = face;
  depth[pixel] = hit.depth;
  for (int i = 0; i < 3; ++i) barycentrics[pixel * 3 + i] = hit.barycentrics[i];
}

}  // namespace

void rasterize_mesh(const Mesh& mesh) {
  const int64_t pixels = mesh.images * mesh.width * mesh.height;
  if (pixels == 0) return;
  check(cudaSetDevice(mesh.device), "choosing the CUDA device");
  check(cudaMemsetAsync(mesh.nearest, 0, static_cast<size_t>(pixels) * sizeof(unsigned long long), mesh.stream), "clearing the depths");
  const MeshArrays& arrays = mesh;
  if (mesh.faces > 0) {
    launch("offer_faces", offer_faces_kernel, blocks_for(mesh.images * mesh.faces), kThreads, mesh.stream, arrays, mesh.nearest);
  }
  launch("show_faces", show_faces_kernel, blocks_for(pixels), kThreads, mesh.stream, arrays, mesh.nearest, mesh.face_ids, mesh.barycentrics,
         mesh.depth);
}

}  // namespace cuda
}  // namespace blendsplat
