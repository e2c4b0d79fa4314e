// SPDX-License-Identifier: Apache-2.0
// A vertex of a mesh picture: its place on the screen and its normal, and their derivatives. Sums over the faces around it
// go through lists of corners by vertex, so nothing is added to from two sides.
#pragma once

#include "blendsplat/mesh_picture.h"

BS_BEGIN

struct Vector3d {
  double x, y, z;
};

BS_FN Vector3d operator+(const Vector3d& a, const Vector3d& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
BS_FN Vector3d operator-(const Vector3d& a, const Vector3d& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
BS_FN Vector3d operator*(double s, const Vector3d& a) { return {s * a.x, s * a.y, s * a.z}; }
BS_FN double dot(const Vector3d& a, const Vector3d& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
BS_FN Vector3d cross(const Vector3d& a, const Vector3d& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
// A NaN or infinity survives this sum of zeros.
BS_FN bool finite(const Vector3d& a) { return (a.x + a.y + a.z) * 0.0 == 0.0; }

constexpr double kShortest = 1e-20;  // a normal shorter than this has no direction, and no gradient

BS_FN Vector3d vertex_at(const MeshArrays& mesh, int64_t image, int64_t vertex) {
  const float* p = mesh.positions + (image * mesh.vertices + vertex) * 3;
  return {p[0], p[1], p[2]};
}

BS_FN Vector3d rotate(const float* view, const Vector3d& v) {
  return {view[0] * v.x + view[1] * v.y + view[2] * v.z, view[4] * v.x + view[5] * v.y + view[6] * v.z,
          view[8] * v.x + view[9] * v.y + view[10] * v.z};
}
BS_FN Vector3d rotate_back(const float* view, const Vector3d& v) {
  return {view[0] * v.x + view[4] * v.y + view[8] * v.z, view[1] * v.x + view[5] * v.y + view[9] * v.z,
          view[2] * v.x + view[6] * v.y + view[10] * v.z};
}

// False for what is not finite or behind the camera: it is part of no face that is drawn, and has no gradient.
BS_FN bool in_camera(const MeshArrays& mesh, int64_t image, int64_t vertex, Vector3d& camera) {
  const float* view = mesh.viewmats + image * 16;
  camera = rotate(view, vertex_at(mesh, image, vertex)) + Vector3d{view[3], view[7], view[11]};
  return camera.z > 0.0 && finite(camera);
}

// A vertex that is not in front lies at the picture's centre, as in project_vertices of silhouettes.py, with 1/z = 0.
BS_FN void project_vertex(const MeshPicture& p, int64_t image, int64_t vertex) {
  const float* K = p.Ks + image * 9;
  Vector3d camera;
  Corner corner = {K[2], K[5], 0.0};
  if (in_camera(p, image, vertex, camera)) {
    corner.inverse_z = 1.0 / camera.z;
    corner.x = K[0] * camera.x * corner.inverse_z + K[2];
    corner.y = K[4] * camera.y * corner.inverse_z + K[5];
  }
  reinterpret_cast<Corner*>(p.screen)[image * p.vertices + vertex] = corner;
}

// The edges from a face's first corner.
struct FaceEdges {
  Vector3d first, second;
};

BS_FN FaceEdges face_edges(const MeshArrays& mesh, int64_t image, int64_t face) {
  const int32_t* c = mesh.indices + face * 3;
  const Vector3d origin = vertex_at(mesh, image, c[0]);
  return {vertex_at(mesh, image, c[1]) - origin, vertex_at(mesh, image, c[2]) - origin};
}

// The area-weighted normal of a vertex. Faces with a corner that is not finite do not count.
BS_FN void vertex_normal(const MeshPicture& p, int64_t image, int64_t vertex) {
  Vector3d sum = {0.0, 0.0, 0.0};
  for (int32_t i = p.first_corners[vertex]; i < p.first_corners[vertex + 1]; ++i) {
    const FaceEdges edges = face_edges(p, image, p.corners[i] / 3);
    const Vector3d normal = cross(edges.first, edges.second);
    if (finite(normal)) sum = sum + normal;
  }
  const double length = sqrt(dot(sum, sum));
  const Vector3d unit = rotate(p.viewmats + image * 16, (length > kShortest ? 1.0 / length : 0.0) * sum);
  const int64_t row = (image * p.vertices + vertex) * 3;
  p.normal_sums[row] = sum.x;
  p.normal_sums[row + 1] = sum.y;
  p.normal_sums[row + 2] = sum.z;
  p.normals[row] = static_cast<float>(unit.x);
  p.normals[row + 1] = static_cast<float>(unit.y);
  p.normals[row + 2] = static_cast<float>(unit.z);
}

// From rows of the faces around a vertex to the gradients of its position and, where there is room for it, its normal sum.
BS_FN void vertex_backward(const MeshPicture& p, const MeshBackward& b, int64_t image, int64_t vertex) {
  double sums[kGeometryRow] = {};
  for (int32_t i = p.first_corners[vertex]; i < p.first_corners[vertex + 1]; ++i) {
    const int64_t corner = p.corners[i];
    if (!b.seen[image * p.faces + corner / 3]) continue;
    const float* row = b.geometry_rows + (image * p.faces * 3 + corner) * kGeometryRow;
    for (int k = 0; k < kGeometryRow; ++k) sums[k] += row[k];
  }
  const float* view = p.viewmats + image * 16;
  const float* K = p.Ks + image * 9;
  const int64_t out = (image * p.vertices + vertex) * 3;
  Vector3d camera, grad = {0.0, 0.0, 0.0};
  if (in_camera(p, image, vertex, camera)) {
    const double inverse_z = 1.0 / camera.z, x = K[0] * sums[0] * inverse_z, y = K[4] * sums[1] * inverse_z;
    grad = rotate_back(view, {x, y, -(x * camera.x + y * camera.y + sums[2] * inverse_z) * inverse_z});
  }
  b.grad_vertices[out] = static_cast<float>(grad.x);
  b.grad_vertices[out + 1] = static_cast<float>(grad.y);
  b.grad_vertices[out + 2] = static_cast<float>(grad.z);
  if (!b.grad_sums) return;
  const Vector3d sum = {p.normal_sums[out], p.normal_sums[out + 1], p.normal_sums[out + 2]};
  const double length = sqrt(dot(sum, sum));
  Vector3d grad_sum = {0.0, 0.0, 0.0};
  if (length > kShortest) {
    const Vector3d unit = (1.0 / length) * sum, grad_unit = rotate_back(view, {sums[3], sums[4], sums[5]});
    grad_sum = (1.0 / length) * (grad_unit - dot(unit, grad_unit) * unit);
  }
  b.grad_sums[out] = grad_sum.x;
  b.grad_sums[out + 1] = grad_sum.y;
  b.grad_sums[out + 2] = grad_sum.z;
}

// Adds what reaches a vertex through the normals of its faces.
BS_FN void vertex_normal_backward(const MeshPicture& p, const MeshBackward& b, int64_t image, int64_t vertex) {
  Vector3d grad = {0.0, 0.0, 0.0};
  for (int32_t i = p.first_corners[vertex]; i < p.first_corners[vertex + 1]; ++i) {
    const int64_t face = p.corners[i] / 3, corner = p.corners[i] % 3;
    Vector3d normal = {0.0, 0.0, 0.0};
    for (int k = 0; k < 3; ++k) {
      const double* row = b.grad_sums + (image * p.vertices + p.indices[face * 3 + k]) * 3;
      normal = normal + Vector3d{row[0], row[1], row[2]};
    }
    if (normal.x == 0.0 && normal.y == 0.0 && normal.z == 0.0) continue;  // most faces are hidden
    const FaceEdges edges = face_edges(p, image, face);
    if (!finite(cross(edges.first, edges.second))) continue;
    // Of cross(first, second), by its edges; the first corner is where both begin.
    const Vector3d first = cross(edges.second, normal), second = cross(normal, edges.first);
    grad = corner == 1 ? grad + first : corner == 2 ? grad + second : grad - first - second;
  }
  float* out = b.grad_vertices + (image * p.vertices + vertex) * 3;
  out[0] += static_cast<float>(grad.x);
  out[1] += static_cast<float>(grad.y);
  out[2] += static_cast<float>(grad.z);
}

// The gradient of one attribute of a vertex: over its corners, and over the images where all share it.
BS_FN void attribute_backward(const MeshPicture& p, const MeshBackward& b, int64_t image, int64_t vertex, int64_t channel) {
  double sum = 0.0;
  const int64_t last = p.shared_attributes ? p.images : image + 1;
  for (int64_t from = p.shared_attributes ? 0 : image; from < last; ++from) {
    for (int32_t i = p.first_corners[vertex]; i < p.first_corners[vertex + 1]; ++i) {
      const int64_t corner = p.corners[i];
      if (b.seen[from * p.faces + corner / 3]) sum += b.attribute_rows[(from * p.faces * 3 + corner) * p.channels + channel];
    }
  }
  b.grad_attributes[(image * p.vertices + vertex) * p.channels + channel] = static_cast<float>(sum);
}

BS_END
