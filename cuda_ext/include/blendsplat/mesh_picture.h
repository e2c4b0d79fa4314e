// SPDX-License-Identifier: Apache-2.0
// What a mesh picture is drawn from and where it goes, for host and device: the picture of rasterize_mesh (which face a
// pixel shows, and where on it) made attributes, coverage and normals, mixed where silhouettes pass; and all of it back.
#pragma once

#include "blendsplat/triangle.h"

namespace blendsplat {

// B pictures of F faces, V vertices; P = B H W pixels.
struct MeshPicture : MeshArrays {
  int64_t channels;                                        // C, of attributes
  bool shared_attributes;
  const float* attributes;                                 // [B,V,C], or [V,C] where shared
  const int64_t *neighbour_faces, *neighbour_vertices;     // [F,3] beyond the edge opposite each corner, -1: none
  const int32_t *first_corners, *corners;                  // [V+1] [3F]: corners (3 face + corner) by vertex, see vertex_corners
  const int32_t* face_ids;                                 // [B,H,W] of rasterize_mesh, as the next two
  const float *barycentrics, *depth;                       // [B,H,W,3] [B,H,W]
  // Written by mesh_vertices:
  double* screen;                                          // [B,V,3]: Corner
  double* normal_sums;                                     // [B,V,3] cross products of the faces' edges, summed, world
  float* normals;                                          // [B,V,3] unit, camera axes
  // Written by mesh_borders:
  float* mixes;                                            // [B,H,W,2]: see mix_of_pair
};

struct MeshPlanes {
  float *image, *alpha, *normals;                          // [B,H,W,C] [B,H,W] [B,H,W,3]
};

struct MeshBackward {
  const float *grad_image, *grad_alpha, *grad_depth, *grad_normals;  // as the outputs; each may be null
  // Scratch, written by mesh_surface_backward: gradients by corner of a face, where there are any.
  int32_t* seen;                                           // [B,F]: not 0 where there are
  float* geometry_rows;                                    // [B,F,3,6]: pixel x y, 1/z, unit normal in camera axes; or null
  float* attribute_rows;                                   // [B,F,3,C], or null
  double* grad_sums;                                       // scratch [B,V,3]: of normal_sums; null without grad_normals
  float* grad_vertices;                                    // [B,V,3], null where nobody asks
  float* grad_attributes;                                  // as attributes, or null
};

constexpr int kGeometryRow = 6;

enum FaceMark { kShown = 1, kBordering = 2 };    // pixels may show the face; silhouettes may be edges of it

}  // namespace blendsplat

BS_BEGIN

BS_FN const Corner* screen_of(const MeshPicture& p, int64_t image) {
  return reinterpret_cast<const Corner*>(p.screen) + image * p.vertices;
}

BS_FN const float* attributes_of(const MeshPicture& p, int64_t image, int64_t vertex) {
  return p.attributes + ((p.shared_attributes ? 0 : image * p.vertices) + vertex) * p.channels;
}

BS_END
