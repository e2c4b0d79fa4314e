// SPDX-License-Identifier: Apache-2.0
// The CUDA operations on meshes. As in operations.h all pointers are the device's and the caller's, everything is queued on
// the given stream, and nothing waits.
#pragma once

#include "blendsplat/mesh_picture.h"
#include "training.h"

namespace blendsplat {
namespace cuda {

struct Mesh : MeshArrays {
  int device;
  cudaStream_t stream;
  unsigned long long* nearest;                     // scratch [B,H,W]
  int32_t* face_ids;                               // [B,H,W]
  float *barycentrics, *depth;                     // [B,H,W,3] [B,H,W]
};
void rasterize_mesh(const Mesh&);

void mesh_vertices(const MeshPicture&, const Queue&);
void mesh_borders(const MeshPicture&, const Queue&);
void mesh_surface(const MeshPicture&, const MeshPlanes&, const Queue&);
void mesh_surface_backward(const MeshPicture&, const MeshBackward&, const Queue&);
void mesh_vertices_backward(const MeshPicture&, const MeshBackward&, const Queue&);

}  // namespace cuda
}  // namespace blendsplat
