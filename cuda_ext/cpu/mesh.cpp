// SPDX-License-Identifier: Apache-2.0
// Triangles to pixels: nearest face, perspective-correct barycentrics and depth per pixel. Both sides of a face are drawn;
// a face with a corner before the near plane is dropped whole (no clipping).
#include <algorithm>
#include <limits>

#include "mesh_operations.h"
#include "threads.h"

namespace blendsplat {

using namespace generic;

namespace {

constexpr int kBandsPerThread = 4;  // the head is in the middle of the picture, so bands are not alike
constexpr int kLeastRows = 16;

// A corner that is not drawn is NaN, and so is the area of its faces.
void place_corner(const Mesh& mesh, int64_t image, int64_t vertex) {
  Corner& corner = reinterpret_cast<Corner*>(mesh.corners)[image * mesh.vertices + vertex];
  if (project_corner(mesh, image, static_cast<int32_t>(vertex), corner)) return;
  corner.x = corner.y = corner.inverse_z = std::numeric_limits<double>::quiet_NaN();
}

bool place_triangle(const Mesh& mesh, int64_t image, int64_t face, Triangle& triangle) {
  const Corner* corners = reinterpret_cast<const Corner*>(mesh.corners) + image * mesh.vertices;
  for (int i = 0; i < 3; ++i) triangle.corners[i] = corners[mesh.indices[face * 3 + i]];
  return finish_triangle(triangle, mesh.width, mesh.height) && triangle.left <= triangle.right;
}

// First and last row of a face; none, the first behind the last, where it is not drawn.
void find_rows(const Mesh& mesh, int64_t image, int64_t face) {
  int32_t* rows = mesh.rows + (image * mesh.faces + face) * 2;
  Triangle triangle;
  const bool drawn = place_triangle(mesh, image, face, triangle);
  rows[0] = drawn ? triangle.top : 1;
  rows[1] = drawn ? triangle.bottom : 0;
}

void draw_face(const Mesh& mesh, int64_t image, int32_t face, int first_row, int last_row) {
  Triangle triangle;
  if (!place_triangle(mesh, image, face, triangle)) return;
  for (int row = std::max(triangle.top, first_row); row <= std::min(triangle.bottom, last_row); ++row) {
    for (int column = triangle.left; column <= triangle.right; ++column) {
      TriangleHit hit;
      if (!meet_triangle(triangle, column, row, hit)) continue;
      const int64_t pixel = (image * mesh.height + row) * mesh.width + column;
      if (mesh.face_ids[pixel] >= 0 && hit.depth >= mesh.depth[pixel]) continue;
      mesh.face_ids[pixel] = face;
      mesh.depth[pixel] = hit.depth;
      for (int i = 0; i < 3; ++i) mesh.barycentrics[pixel * 3 + i] = hit.barycentrics[i];
    }
  }
}

}  // namespace

void rasterize_mesh(const Mesh& mesh) {
  share(mesh.threads, mesh.images * mesh.vertices, 512, [&](int64_t index, int) {
    place_corner(mesh, index / mesh.vertices, index % mesh.vertices);
  });
  // Whole images where all threads get as many of them; else bands, of which every one has to look at all faces.
  const bool whole = mesh.images % mesh.threads == 0 || mesh.images >= kBandsPerThread * mesh.threads;
  const int bands = whole ? 1 : std::min(kBandsPerThread * mesh.threads, std::max(1, mesh.height / kLeastRows));
  if (bands > 1) {
    share(mesh.threads, mesh.images * mesh.faces, 512, [&](int64_t index, int) {
      find_rows(mesh, index / mesh.faces, index % mesh.faces);
    });
  }
  share(mesh.threads, mesh.images * bands, 1, [&](int64_t item, int) {
    const int64_t image = item / bands, part = item % bands;
    const int first = static_cast<int>(mesh.height * part / bands), last = static_cast<int>(mesh.height * (part + 1) / bands) - 1;
    const int64_t begin = (image * mesh.height + first) * mesh.width;
    const int64_t end = (image * mesh.height + last + 1) * mesh.width;
    std::fill(mesh.face_ids + begin, mesh.face_ids + end, -1);
    std::fill(mesh.depth + begin, mesh.depth + end, 0.0f);
    std::fill(mesh.barycentrics + begin * 3, mesh.barycentrics + end * 3, 0.0f);
    const int32_t* rows = mesh.rows + image * mesh.faces * 2;
    for (int64_t face = 0; face < mesh.faces; ++face) {
      if (bands > 1 && (rows[face * 2] > last || rows[face * 2 + 1] < first || rows[face * 2] > rows[face * 2 + 1])) continue;
      draw_face(mesh, image, static_cast<int32_t>(face), first, last);
    }
  });
}

}  // namespace blendsplat
