// SPDX-License-Identifier: Apache-2.0
// The vertices of mesh pictures: which faces are around them, where they lie on the screen, their normals; and back.
#include "blendsplat/mesh_vertex.h"
#include "mesh_operations.h"
#include "threads.h"

namespace blendsplat {

using namespace generic;

namespace {

constexpr int64_t kGrain = 256;  // vertices that a thread takes at a time

}  // namespace

void vertex_corners(const int32_t* indices, int64_t faces, int64_t vertices, int32_t* first_corners, int32_t* corners) {
  for (int64_t vertex = 0; vertex <= vertices; ++vertex) first_corners[vertex] = 0;
  for (int64_t corner = 0; corner < faces * 3; ++corner) ++first_corners[indices[corner]];
  int32_t total = 0;
  for (int64_t vertex = 0; vertex <= vertices; ++vertex) first_corners[vertex] = total += first_corners[vertex];
  // From behind, so that what counted down to the first corner is where the vertex begins.
  for (int64_t corner = faces * 3; corner-- > 0;) corners[--first_corners[indices[corner]]] = static_cast<int32_t>(corner);
}

void mesh_vertices(const MeshPicture& p, int threads) {
  share(threads, p.images * p.vertices, kGrain, [&](int64_t index, int) {
    project_vertex(p, index / p.vertices, index % p.vertices);
    vertex_normal(p, index / p.vertices, index % p.vertices);
  });
}

void mesh_vertices_backward(const MeshPicture& p, const MeshBackward& b, int threads) {
  const int64_t count = p.images * p.vertices;
  if (b.grad_vertices) {
    share(threads, count, kGrain, [&](int64_t index, int) { vertex_backward(p, b, index / p.vertices, index % p.vertices); });
  }
  if (b.grad_sums) {
    share(threads, count, kGrain, [&](int64_t index, int) { vertex_normal_backward(p, b, index / p.vertices, index % p.vertices); });
  }
  if (b.grad_attributes) {
    share(threads, p.shared_attributes ? p.vertices : count, kGrain, [&](int64_t index, int) {
      for (int64_t c = 0; c < p.channels; ++c) attribute_backward(p, b, index / p.vertices, index % p.vertices, c);
    });
  }
}

}  // namespace blendsplat
