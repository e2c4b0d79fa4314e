// SPDX-License-Identifier: Apache-2.0
// The vertices of mesh pictures, a thread each: where they lie on the screen, their normals; and back.
#include "blendsplat/mesh_vertex.h"
#include "launch.h"
#include "mesh_operations.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

__device__ __forceinline__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

__global__ void __launch_bounds__(kThreads) mesh_vertices_kernel(MeshPicture p) {
  const int64_t index = thread_index();
  if (index >= p.images * p.vertices) return;
  project_vertex(p, index / p.vertices, index % p.vertices);
  vertex_normal(p, index / p.vertices, index % p.vertices);
}

__global__ void __launch_bounds__(kThreads) mesh_places_backward_kernel(MeshPicture p, MeshBackward b) {
  const int64_t index = thread_index();
  if (index < p.images * p.vertices) vertex_backward(p, b, index / p.vertices, index % p.vertices);
}

__global__ void __launch_bounds__(kThreads) mesh_normals_backward_kernel(MeshPicture p, MeshBackward b) {
  const int64_t index = thread_index();
  if (index < p.images * p.vertices) vertex_normal_backward(p, b, index / p.vertices, index % p.vertices);
}

__global__ void __launch_bounds__(kThreads) mesh_attributes_backward_kernel(MeshPicture p, MeshBackward b, int64_t rows) {
  const int64_t index = thread_index();
  if (index >= rows * p.channels) return;
  const int64_t row = index / p.channels;
  attribute_backward(p, b, row / p.vertices, row % p.vertices, index % p.channels);
}

}  // namespace

void mesh_vertices(const MeshPicture& p, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t count = p.images * p.vertices;
  if (count > 0) launch("mesh_vertices", mesh_vertices_kernel, blocks_for(count), kThreads, queue.stream, p);
}

void mesh_vertices_backward(const MeshPicture& p, const MeshBackward& b, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t count = p.images * p.vertices, rows = p.shared_attributes ? p.vertices : count;
  if (b.grad_vertices && count > 0) {
    launch("mesh_places_backward", mesh_places_backward_kernel, blocks_for(count), kThreads, queue.stream, p, b);
  }
  if (b.grad_sums && count > 0) {
    launch("mesh_normals_backward", mesh_normals_backward_kernel, blocks_for(count), kThreads, queue.stream, p, b);
  }
  if (b.grad_attributes && rows * p.channels > 0) {
    launch("mesh_attributes_backward", mesh_attributes_backward_kernel, blocks_for(rows * p.channels), kThreads, queue.stream, p, b, rows);
  }
}

}  // namespace cuda
}  // namespace blendsplat
