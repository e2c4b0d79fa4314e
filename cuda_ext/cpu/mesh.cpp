// SPDX-License-Identifier: Apache-2.0
// Triangles to pixels: nearest face, perspective-correct barycentrics and depth per pixel. Forward only. Both sides of
// a face are drawn; a face with a corner before the near plane is dropped whole (no clipping).
#include <algorithm>
#include <cmath>
#include <limits>

#include "operations.h"

namespace blendsplat {

namespace {

struct Corner {
  double x, y, inverse_z;
};

struct Band {
  int first, last;  // rows
};

bool project_corner(const Mesh& mesh, int64_t image, int32_t vertex, Corner& corner) {
  const float* p = mesh.positions + (image * mesh.vertices + vertex) * 3;
  const float* view = mesh.viewmats + image * 16;
  const float* K = mesh.Ks + image * 9;
  double camera[3];
  for (int row = 0; row < 3; ++row) {
    camera[row] = double(view[row * 4]) * p[0] + double(view[row * 4 + 1]) * p[1] + double(view[row * 4 + 2]) * p[2] + view[row * 4 + 3];
  }
  if (!(camera[2] > mesh.near_plane) || !std::isfinite(camera[0] + camera[1] + camera[2])) return false;
  corner.inverse_z = 1.0 / camera[2];
  corner.x = K[0] * camera[0] * corner.inverse_z + K[2];
  corner.y = K[4] * camera[1] * corner.inverse_z + K[5];
  return true;
}

// First and last pixel of [0, size) whose centre lies in [low, high].
Band pixel_range(double low, double high, int size) {
  return {static_cast<int>(std::ceil(std::clamp(low - 0.5, 0.0, double(size)))),
          static_cast<int>(std::floor(std::clamp(high - 0.5, -1.0, size - 1.0)))};
}

double edge(const Corner& a, const Corner& b, double x, double y) {
  return (b.x - a.x) * (y - a.y) - (b.y - a.y) * (x - a.x);
}

void draw_face(const Mesh& mesh, int64_t image, int32_t face, const Band& band) {
  Corner c[3];
  for (int i = 0; i < 3; ++i) {
    if (!project_corner(mesh, image, mesh.indices[face * 3LL + i], c[i])) return;
  }
  const double area = edge(c[0], c[1], c[2].x, c[2].y);
  if (!(std::abs(area) > 1e-12)) return;
  const auto [low_x, high_x] = std::minmax({c[0].x, c[1].x, c[2].x});
  const auto [low_y, high_y] = std::minmax({c[0].y, c[1].y, c[2].y});
  const Band columns = pixel_range(low_x, high_x, mesh.width), rows = pixel_range(low_y, high_y, mesh.height);
  for (int row = std::max(rows.first, band.first); row <= std::min(rows.last, band.last); ++row) {
    for (int column = columns.first; column <= columns.last; ++column) {
      const double x = column + 0.5, y = row + 0.5;
      const double screen[3] = {edge(c[1], c[2], x, y) / area, edge(c[2], c[0], x, y) / area, edge(c[0], c[1], x, y) / area};
      if (screen[0] < 0 || screen[1] < 0 || screen[2] < 0) continue;
      const double inverse_z = screen[0] * c[0].inverse_z + screen[1] * c[1].inverse_z + screen[2] * c[2].inverse_z;
      const float depth = static_cast<float>(1.0 / inverse_z);
      const int64_t pixel = (image * mesh.height + row) * mesh.width + column;
      if (mesh.face_ids[pixel] >= 0 && depth >= mesh.depth[pixel]) continue;
      mesh.face_ids[pixel] = face;
      mesh.depth[pixel] = depth;
      for (int i = 0; i < 3; ++i) mesh.barycentrics[pixel * 3 + i] = static_cast<float>(screen[i] * c[i].inverse_z * depth);
    }
  }
}

}  // namespace

void rasterize_mesh(const Mesh& mesh) {
  const int64_t bands = mesh.images >= mesh.threads ? 1 : std::min(mesh.threads, std::max(1, mesh.height / 16));
#pragma omp parallel for schedule(dynamic) num_threads(mesh.threads)
  for (int64_t item = 0; item < mesh.images * bands; ++item) {
    const int64_t image = item / bands, part = item % bands;
    const Band band = {static_cast<int>(mesh.height * part / bands), static_cast<int>(mesh.height * (part + 1) / bands) - 1};
    const int64_t begin = (image * mesh.height + band.first) * mesh.width;
    const int64_t end = (image * mesh.height + band.last + 1) * mesh.width;
    std::fill(mesh.face_ids + begin, mesh.face_ids + end, -1);
    std::fill(mesh.depth + begin, mesh.depth + end, 0.0f);
    std::fill(mesh.barycentrics + begin * 3, mesh.barycentrics + end * 3, 0.0f);
    for (int64_t face = 0; face < mesh.faces; ++face) draw_face(mesh, image, static_cast<int32_t>(face), band);
  }
}

}  // namespace blendsplat
