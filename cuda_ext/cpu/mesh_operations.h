// SPDX-License-Identifier: Apache-2.0
// The mesh operations of the CPU backend. Every buffer is the caller's, and no result depends on the number of threads.
#pragma once

#include "blendsplat/mesh_picture.h"

namespace blendsplat {

struct Mesh : MeshArrays {
  int threads;
  double* corners;                 // scratch [B,V,3]
  int32_t* rows;                   // scratch [B,F,2]
  int32_t* face_ids;               // [B,H,W]
  float *barycentrics, *depth;     // [B,H,W,3] [B,H,W]
};
void rasterize_mesh(const Mesh&);

// Corners (3 face + corner) of indices [F,3] by the vertex they name: those of v are corners[first_corners[v]] and on.
void vertex_corners(const int32_t* indices, int64_t faces, int64_t vertices, int32_t* first_corners, int32_t* corners);

void mesh_vertices(const MeshPicture&, int threads);
void mesh_borders(const MeshPicture&, int threads);
void mesh_surface(const MeshPicture&, const MeshPlanes&, int threads);
void mesh_surface_backward(const MeshPicture&, const MeshBackward&, int threads);
void mesh_vertices_backward(const MeshPicture&, const MeshBackward&, int threads);

}  // namespace blendsplat
