// SPDX-License-Identifier: Apache-2.0
// The tangent frame of a triangle and its rotation, from three vertices and the triangle's edges in UV space. It is
// heads/tangent_frames.py's definition, which docs/formats.md explains; T is float or sixteen lanes.
#pragma once

#include "blendsplat/target.h"

namespace blendsplat {

// Tangent frames of F triangles in B frames, and their rotations.
struct TangentFrames {
  int64_t images, vertex_count, faces;                 // B, V, F
  const float* vertices;                               // [B,V,3]
  const int64_t* corners;                              // [F,3]
  const float* uv_edges;                               // [F,4], see tangent_frame
  float *frames, *quats;                               // [B,F,3,3] [B,F,4] wxyz
};

// Back to the vertices. Null gradients count as zero. A triangle's share goes through scratch to its three corners, and a
// vertex gathers from there, in the order of a list of the corners (3 f + c: corner c of face f) that lie at it.
struct TangentFramesBackward {
  const float *frames, *quats;                         // gradients [B,F,3,3] [B,F,4]
  const int64_t *by_vertex, *vertex_starts;            // [3F] [V+1]
  float* scratch;                                      // [B,F,3,3]
  float* vertices;                                     // [B,V,3], every element is written
};

}  // namespace blendsplat

BS_BEGIN

template <class T>
struct Vector3 {
  T x, y, z;
};

template <class T>
BS_FN Vector3<T> operator+(const Vector3<T>& a, const Vector3<T>& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
template <class T>
BS_FN Vector3<T> operator-(const Vector3<T>& a, const Vector3<T>& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
template <class T>
BS_FN Vector3<T> scaled(const Vector3<T>& a, const T& s) { return {a.x * s, a.y * s, a.z * s}; }
template <class T>
BS_FN T dot(const Vector3<T>& a, const Vector3<T>& b) { return fma(a.x, b.x, fma(a.y, b.y, a.z * b.z)); }
template <class T>
BS_FN Vector3<T> cross(const Vector3<T>& a, const Vector3<T>& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
template <class T, class M>
BS_FN Vector3<T> choose(const M& where, const Vector3<T>& yes, const Vector3<T>& no) {
  return {select(where, yes.x, no.x), select(where, yes.y, no.y), select(where, yes.z, no.z)};
}
template <class T>
BS_FN T magnitude(const T& x) { return maximum(x, T(0.0f) - x); }

// Zero for what has no length. Divided by its largest entry first: the square of a tiny vector would vanish.
template <class T>
BS_FN Vector3<T> unit(const Vector3<T>& v) {
  const T size = maximum(magnitude(v.x), maximum(magnitude(v.y), magnitude(v.z)));
  const auto long_enough = size > T(1e-18f);
  const T safe = select(long_enough, size, T(1.0f));
  const Vector3<T> near_one = {v.x / safe, v.y / safe, v.z / safe};
  const T length = square_root(select(long_enough, dot(near_one, near_one), T(1.0f)));
  const Vector3<T> zero = {T(0.0f), T(0.0f), T(0.0f)};
  return choose(long_enough, scaled(near_one, T(1.0f) / length), zero);
}

// Some unit vector perpendicular to v, or any for a zero vector.
template <class T>
BS_FN Vector3<T> any_perpendicular(const Vector3<T>& v) {
  const T zero(0.0f), one(1.0f);
  const auto flat = magnitude(v.x) < T(0.9f);
  const Vector3<T> other = {select(flat, zero, zero - v.y), select(flat, v.z, v.x), select(flat, zero - v.y, zero)};
  const Vector3<T> fallback = {one, zero, zero};
  return choose(dot(other, other) > T(1e-12f), unit(other), fallback);
}

// A quaternion wxyz along that of the rotation with columns x, y, z, not normalised: the best conditioned of four formulas.
// chosen: 1 for the one it is, else 0.
template <class T>
BS_FN void best_quat(const Vector3<T>& x, const Vector3<T>& y, const Vector3<T>& z, T* quat, T* chosen) {
  const T zero(0.0f), one(1.0f);
  const T sums[4] = {one + x.x + y.y + z.z, one + x.x - y.y - z.z, one - x.x + y.y - z.z, one - x.x - y.y + z.z};
  const T wx = y.z - z.y, wy = z.x - x.z, wz = x.y - y.x;
  const T xy = y.x + x.y, xz = z.x + x.z, yz = z.y + y.z;
  const T rows[4][4] = {{sums[0], wx, wy, wz}, {wx, sums[1], xy, xz}, {wy, xy, sums[2], yz}, {wz, xz, yz, sums[3]}};
  T best = sums[0];
  for (int i = 0; i < 4; ++i) {
    quat[i] = rows[0][i];
    chosen[i] = i == 0 ? one : zero;
  }
  for (int row = 1; row < 4; ++row) {
    const auto better = sums[row] > best;
    best = select(better, sums[row], best);
    for (int i = 0; i < 4; ++i) {
      quat[i] = select(better, rows[row][i], quat[i]);
      chosen[i] = select(better, i == row ? one : zero, chosen[i]);
    }
  }
}

template <class T>
BS_FN T inverse_length(const T* quat) {
  return T(1.0f) / square_root(fma(quat[0], quat[0], fma(quat[1], quat[1], fma(quat[2], quat[2], quat[3] * quat[3]))));
}

// The unit quaternion wxyz of the rotation with columns x, y, z.
template <class T>
BS_FN void rotation_quat(const Vector3<T>& x, const Vector3<T>& y, const Vector3<T>& z, T* quat) {
  T chosen[4];
  best_quat(x, y, z, quat, chosen);
  const T inverse = inverse_length(quat);
  for (int i = 0; i < 4; ++i) quat[i] = quat[i] * inverse;
}

// corners: 3 vertices; uv_edges: d1.x, d1.y, d2.x, d2.y, of unit size, both turned where the triangle is mirrored in UV.
// frame: [3,3], columns t, b, n; quat wxyz of the frame made orthonormal, normal first.
template <class T>
BS_FN void tangent_frame(const Vector3<T>* corners, const T* uv_edges, T* frame, T* quat) {
  const Vector3<T> edge1 = corners[1] - corners[0], edge2 = corners[2] - corners[0];
  const Vector3<T> tangent = unit(scaled(edge1, uv_edges[3]) - scaled(edge2, uv_edges[1]));
  const Vector3<T> bitangent = unit(scaled(edge2, uv_edges[0]) - scaled(edge1, uv_edges[2]));
  const Vector3<T> normal = unit(cross(edge1, edge2));
  const Vector3<T> across = tangent - scaled(normal, dot(normal, tangent));
  const Vector3<T> x = choose(dot(across, across) > T(1e-12f), unit(across), any_perpendicular(normal));
  const Vector3<T> z = choose(dot(normal, normal) > T(0.25f), normal, any_perpendicular(x));
  rotation_quat(x, cross(z, x), z, quat);
  const Vector3<T> columns[3] = {tangent, bitangent, normal};
  for (int column = 0; column < 3; ++column) {
    frame[column] = columns[column].x;
    frame[3 + column] = columns[column].y;
    frame[6 + column] = columns[column].z;
  }
}

// The derivative of `unit`: v and its unit vector u.
template <class T>
BS_FN Vector3<T> unit_back(const Vector3<T>& v, const Vector3<T>& u, const Vector3<T>& grad) {
  const T size = maximum(magnitude(v.x), maximum(magnitude(v.y), magnitude(v.z)));
  const auto long_enough = size > T(1e-18f);
  const T safe = select(long_enough, size, T(1.0f));
  const Vector3<T> near_one = {v.x / safe, v.y / safe, v.z / safe};
  const T length = safe * square_root(select(long_enough, dot(near_one, near_one), T(1.0f)));
  const Vector3<T> zero = {T(0.0f), T(0.0f), T(0.0f)};
  return choose(long_enough, scaled(grad - scaled(u, dot(u, grad)), T(1.0f) / length), zero);
}

// The derivative of rotation_quat: to the columns, through the formula that was chosen.
template <class T>
BS_FN void rotation_quat_back(const Vector3<T>& x, const Vector3<T>& y, const Vector3<T>& z, const T* grad, Vector3<T>* grads) {
  T quat[4], c[4], g[4], along(0.0f);
  best_quat(x, y, z, quat, c);
  const T inverse = inverse_length(quat);
  for (int i = 0; i < 4; ++i) along = fma(quat[i] * inverse, grad[i], along);
  for (int i = 0; i < 4; ++i) g[i] = (grad[i] - quat[i] * inverse * along) * inverse;
  const T diagonal[4] = {c[0] * g[0], c[1] * g[1], c[2] * g[2], c[3] * g[3]};
  const T gwx = c[0] * g[1] + c[1] * g[0], gwy = c[0] * g[2] + c[2] * g[0], gwz = c[0] * g[3] + c[3] * g[0];
  const T gxy = c[1] * g[2] + c[2] * g[1], gxz = c[1] * g[3] + c[3] * g[1], gyz = c[2] * g[3] + c[3] * g[2];
  grads[0] = {diagonal[0] + diagonal[1] - diagonal[2] - diagonal[3], gxy + gwz, gxz - gwy};
  grads[1] = {gxy - gwz, diagonal[0] - diagonal[1] + diagonal[2] - diagonal[3], gyz + gwx};
  grads[2] = {gxz + gwy, gyz - gwx, diagonal[0] - diagonal[1] - diagonal[2] + diagonal[3]};
}

// The derivative of tangent_frame: to the three corners. What a degenerate triangle got in place of an axis is constant.
template <class T>
BS_FN void tangent_frame_back(const Vector3<T>* corners, const T* uv_edges, const T* grad_frame, const T* grad_quat, Vector3<T>* grads) {
  const Vector3<T> zero = {T(0.0f), T(0.0f), T(0.0f)};
  const Vector3<T> edge1 = corners[1] - corners[0], edge2 = corners[2] - corners[0];
  const Vector3<T> along_u = scaled(edge1, uv_edges[3]) - scaled(edge2, uv_edges[1]);
  const Vector3<T> along_v = scaled(edge2, uv_edges[0]) - scaled(edge1, uv_edges[2]);
  const Vector3<T> upright = cross(edge1, edge2);
  const Vector3<T> tangent = unit(along_u), bitangent = unit(along_v), normal = unit(upright);
  const Vector3<T> across = tangent - scaled(normal, dot(normal, tangent));
  const auto crosses = dot(across, across) > T(1e-12f);
  const auto stands = dot(normal, normal) > T(0.25f);
  const Vector3<T> x = choose(crosses, unit(across), any_perpendicular(normal));
  const Vector3<T> z = choose(stands, normal, any_perpendicular(x));

  Vector3<T> columns[3];
  rotation_quat_back(x, cross(z, x), z, grad_quat, columns);
  const Vector3<T> to_x = columns[0] + cross(columns[1], z), to_z = columns[2] + cross(x, columns[1]);
  const Vector3<T> to_across = choose(crosses, unit_back(across, x, to_x), zero);
  Vector3<T> to_tangent = {grad_frame[0], grad_frame[3], grad_frame[6]};
  const Vector3<T> to_bitangent = {grad_frame[1], grad_frame[4], grad_frame[7]};
  Vector3<T> to_normal = {grad_frame[2], grad_frame[5], grad_frame[8]};
  const T leaning = dot(normal, to_across);
  to_tangent = to_tangent + to_across - scaled(normal, leaning);
  to_normal = to_normal + choose(stands, to_z, zero) - scaled(to_across, dot(normal, tangent)) - scaled(tangent, leaning);

  const Vector3<T> to_u = unit_back(along_u, tangent, to_tangent), to_v = unit_back(along_v, bitangent, to_bitangent);
  const Vector3<T> to_upright = unit_back(upright, normal, to_normal);
  grads[1] = scaled(to_u, uv_edges[3]) - scaled(to_v, uv_edges[2]) + cross(edge2, to_upright);
  grads[2] = scaled(to_v, uv_edges[0]) - scaled(to_u, uv_edges[1]) + cross(to_upright, edge1);
  grads[0] = zero - grads[1] - grads[2];
}

// The gradient of one vertex in one image, from the corners of its faces.
BS_FN void gather_corners(const TangentFrames& t, const TangentFramesBackward& b, int64_t image, int64_t vertex) {
  float sum[3] = {};
  for (int64_t entry = b.vertex_starts[vertex]; entry < b.vertex_starts[vertex + 1]; ++entry) {
    const float* corner = b.scratch + (image * t.faces * 3 + b.by_vertex[entry]) * 3;
    for (int i = 0; i < 3; ++i) sum[i] += corner[i];
  }
  for (int i = 0; i < 3; ++i) b.vertices[(image * t.vertex_count + vertex) * 3 + i] = sum[i];
}

BS_END
