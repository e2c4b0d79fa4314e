// SPDX-License-Identifier: Apache-2.0
// One triangle of a mesh on the screen, for host and device: its corners, the pixels it can cover, and where a pixel meets
// it. In double precision, so that which face a pixel shows does not depend on the backend.
#pragma once

#include <cmath>
#include <cstdint>

#include "blendsplat/target.h"

namespace blendsplat {

struct MeshArrays {
  int64_t images, vertices, faces;
  int width, height;
  float near_plane;
  const float* positions;          // [B,V,3]
  const int32_t* indices;          // [F,3]
  const float *viewmats, *Ks;      // [B,4,4] [B,3,3]
};

}  // namespace blendsplat

BS_BEGIN

struct Corner {
  double x, y, inverse_z;
};

struct Triangle {
  Corner corners[3];
  double area;                     // twice, signed
  int left, right, top, bottom;    // pixels whose centres it can cover: first and last
};

struct TriangleHit {
  float depth, barycentrics[3];    // perspective-correct
};

// False before the near plane or where not finite.
BS_FN bool project_corner(const MeshArrays& mesh, int64_t image, int32_t vertex, Corner& corner) {
  const float* p = mesh.positions + (image * mesh.vertices + vertex) * 3;
  const float* view = mesh.viewmats + image * 16;
  const float* K = mesh.Ks + image * 9;
  double camera[3];
  for (int row = 0; row < 3; ++row) {
    camera[row] = double(view[row * 4]) * p[0] + double(view[row * 4 + 1]) * p[1] + double(view[row * 4 + 2]) * p[2] + view[row * 4 + 3];
  }
  // A NaN or infinity survives this sum of zeros.
  if (!(camera[2] > mesh.near_plane) || !((camera[0] + camera[1] + camera[2]) * 0.0 == 0.0)) return false;
  corner.inverse_z = 1.0 / camera[2];
  corner.x = K[0] * camera[0] * corner.inverse_z + K[2];
  corner.y = K[4] * camera[1] * corner.inverse_z + K[5];
  return true;
}

BS_FN double edge_function(const Corner& a, const Corner& b, double x, double y) {
  return (b.x - a.x) * (y - a.y) - (b.y - a.y) * (x - a.x);
}

// First pixel of [0, size) whose centre is not before `low`, and last whose centre is not behind `high`. Whole numbers are
// cut off by hand, and the least of three chosen: without SSE4 the library's functions are calls.
BS_FN int first_pixel(double low, int size) {
  const double centre = low - 0.5;
  if (centre <= 0.0) return 0;
  if (centre >= size) return size;
  const int whole = static_cast<int>(centre);
  return whole < centre ? whole + 1 : whole;
}
BS_FN int last_pixel(double high, int size) {
  const double centre = high - 0.5;
  return centre < 0.0 ? -1 : centre >= size - 1 ? size - 1 : static_cast<int>(centre);
}
BS_FN double least(double a, double b) { return a < b ? a : b; }
BS_FN double greatest(double a, double b) { return a > b ? a : b; }

// The area of a triangle whose corners are known, and its pixels; false where it has no area.
BS_FN bool finish_triangle(Triangle& t, int width, int height) {
  const Corner* c = t.corners;
  t.area = edge_function(c[0], c[1], c[2].x, c[2].y);
  if (!(fabs(t.area) > 1e-12)) return false;
  t.left = first_pixel(least(c[0].x, least(c[1].x, c[2].x)), width);
  t.right = last_pixel(greatest(c[0].x, greatest(c[1].x, c[2].x)), width);
  t.top = first_pixel(least(c[0].y, least(c[1].y, c[2].y)), height);
  t.bottom = last_pixel(greatest(c[0].y, greatest(c[1].y, c[2].y)), height);
  return true;
}

// False for a face that is not drawn: a corner before the near plane or not finite, or no area.
BS_FN bool make_triangle(const MeshArrays& mesh, int64_t image, int64_t face, Triangle& t) {
  for (int i = 0; i < 3; ++i) {
    if (!project_corner(mesh, image, mesh.indices[face * 3 + i], t.corners[i])) return false;
  }
  return finish_triangle(t, mesh.width, mesh.height);
}

// False where the pixel's centre lies outside. Both sides of a face are drawn. The corners' shares of the area, each over its
// corner's z, are to their sum as the barycentrics are to 1: one division is enough.
BS_FN bool meet_triangle(const Triangle& t, int column, int row, TriangleHit& hit) {
  const double x = column + 0.5, y = row + 0.5;
  const Corner* c = t.corners;
  double parts[3] = {edge_function(c[1], c[2], x, y), edge_function(c[2], c[0], x, y), edge_function(c[0], c[1], x, y)};
  // One branch instead of three that nothing predicts.
  const double inside = t.area > 0 ? least(parts[0], least(parts[1], parts[2])) : -greatest(parts[0], greatest(parts[1], parts[2]));
  if (inside < 0) return false;
  for (int i = 0; i < 3; ++i) parts[i] *= c[i].inverse_z;
  const double inverse_sum = 1.0 / (parts[0] + parts[1] + parts[2]);
  hit.depth = static_cast<float>(t.area * inverse_sum);
  for (int i = 0; i < 3; ++i) hit.barycentrics[i] = static_cast<float>(parts[i] * inverse_sum);
  return true;
}

BS_END
