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

}  // namespace blendsplat

BS_BEGIN

template <class T>
struct Vector3 {
  T x, y, z;
};

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

// The unit quaternion wxyz of the rotation with columns x, y, z, by the best conditioned of four formulas.
template <class T>
BS_FN void rotation_quat(const Vector3<T>& x, const Vector3<T>& y, const Vector3<T>& z, T* quat) {
  const T one(1.0f);
  const T sums[4] = {one + x.x + y.y + z.z, one + x.x - y.y - z.z, one - x.x + y.y - z.z, one - x.x - y.y + z.z};
  const T wx = y.z - z.y, wy = z.x - x.z, wz = x.y - y.x;
  const T xy = y.x + x.y, xz = z.x + x.z, yz = z.y + y.z;
  const T rows[4][4] = {{sums[0], wx, wy, wz}, {wx, sums[1], xy, xz}, {wy, xy, sums[2], yz}, {wz, xz, yz, sums[3]}};
  T best = sums[0];
  for (int i = 0; i < 4; ++i) quat[i] = rows[0][i];
  for (int row = 1; row < 4; ++row) {
    const auto better = sums[row] > best;
    best = select(better, sums[row], best);
    for (int i = 0; i < 4; ++i) quat[i] = select(better, rows[row][i], quat[i]);
  }
  const T length = square_root(fma(quat[0], quat[0], fma(quat[1], quat[1], fma(quat[2], quat[2], quat[3] * quat[3]))));
  for (int i = 0; i < 4; ++i) quat[i] = quat[i] / length;
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

BS_END
