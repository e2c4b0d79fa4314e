// SPDX-License-Identifier: Apache-2.0
// An avatar's Gaussians for B frames: base + sum_k weight_k delta_k, in the tangent frame of the triangle that carries
// each (RGBAvatar's equations 1 and 4), with the activations of colour, scale and opacity. Per Gaussian what both
// backends compute; in which order they read the blendshapes is their own.
#pragma once

#include "blendsplat/target.h"

namespace blendsplat {

// base and deltas: positions [N,3] [K,N,3], quaternions wxyz [N,4] [K,N,4], colour features [N,3] [K,N,3].
struct Bind {
  int64_t images, gaussians, blendshapes, vertex_count, faces;  // B, N, K (0: the base alone), V, F
  const float *base[3], *deltas[3];
  const float *log_scales, *opacity_logits;            // [N,3] [N]; null together: no activations
  const float* weights;                                // [B,K]
  const float *vertices, *frames, *frame_quats;        // [B,V,3] [B,F,3,3] [B,F,4]
  const int64_t *triangle, *corners;                   // [N] [N,3]: face, and its vertices
  const float* barycentrics;                           // [N,3]
};

// Gaussians as the rasterizer takes them, or gradients with respect to them; scales and opacities hold for all frames.
template <class Float>
struct BoundGaussians {
  Float *means, *quats, *colors;                       // [B,N,3] [B,N,4] [B,N,3]; colours are rgb >= 0
  Float *scales, *opacities;                           // [N,3] [N]
};

// Gradients of what carries the Gaussians; null: not asked for. They are gathered, by whoever writes them, from the
// Gaussians in the order of two lists: those of a triangle, and the corners (3 i + c: corner c of Gaussian i) at a vertex.
struct BindSurface {
  float *vertices, *frames, *frame_quats;              // [B,V,3] [B,F,3,3] [B,F,4]; every element is written
  const int64_t *by_triangle, *triangle_starts;        // [N] [F+1]
  const int64_t *by_vertex, *vertex_starts;            // [3N] [V+1]
  float *positions, *quats;                            // [B,N,3] [B,N,4], scratch: blended; needed for the frames
};

struct BindBackward {
  BoundGaussians<const float> grads;
  BoundGaussians<const float> outputs;                 // of the forward pass: colors, scales, opacities
  float *base[3], *deltas[3], *log_scales, *opacity_logits;  // every element is written; deltas only if K > 0
  float* weights;                                      // [B,K]
  float* scratch;                                      // of bind_scratch's size
  BindSurface surface;
};

}  // namespace blendsplat

BS_BEGIN

constexpr int kWidths[3] = {3, 4, 3};                  // floats per Gaussian: position, quaternion, colour feature
constexpr float kShDc = 0.28209479177387814f;          // the constant spherical harmonic: rgb = max(0, kShDc * feature + 0.5)

BS_FN float exponential(float x) { return expf(x); }

template <class T>
BS_FN T logistic(const T& x) { return T(1.0f) / (T(1.0f) + exponential(T(0.0f) - x)); }

// Hamilton product a b of quaternions wxyz.
template <class T>
BS_FN void multiply_quats(const T* a, const T* b, T* out) {
  out[0] = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3];
  out[1] = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2];
  out[2] = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1];
  out[3] = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0];
}

// A Gaussian's floats in the order of kWidths, and the frame of its triangle: matrix row by row, rotation wxyz.
template <class T>
struct LocalGaussian {
  T position[3], quat[4], color[3];
};
template <class T>
struct TriangleFrame {
  T matrix[9], quat[4];
};

// Out of the triangle's frame into the world; anchor: the point of the triangle.
template <class T>
BS_FN void carry(const LocalGaussian<T>& local, const TriangleFrame<T>& frame, const T* anchor, T* mean, T* quat, T* color) {
  for (int row = 0; row < 3; ++row) {
    const T* m = frame.matrix + 3 * row;
    mean[row] = fma(m[0], local.position[0], fma(m[1], local.position[1], fma(m[2], local.position[2], anchor[row])));
    color[row] = maximum(fma(T(kShDc), local.color[row], T(0.5f)), T(0.0f));
  }
  multiply_quats(frame.quat, local.quat, quat);
}

// The derivative of `carry`: gradients turned back into the triangle's frame. drawn: the colours that came out.
template <class T>
BS_FN LocalGaussian<T> carry_back(const TriangleFrame<T>& frame, const T* drawn, const T* grad_mean, const T* grad_quat, const T* grad_color) {
  LocalGaussian<T> local;
  const T zero(0.0f);
  for (int i = 0; i < 3; ++i) {
    const T* m = frame.matrix + i;
    local.position[i] = m[0] * grad_mean[0] + m[3] * grad_mean[1] + m[6] * grad_mean[2];
    local.color[i] = select(drawn[i] > zero, grad_color[i] * T(kShDc), zero);  // the clamp at zero passes no gradient
  }
  const T conjugate[4] = {frame.quat[0], zero - frame.quat[1], zero - frame.quat[2], zero - frame.quat[3]};
  multiply_quats(conjugate, grad_quat, local.quat);
  return local;
}

// What Gaussian `at` (over all images) adds to the gradients of its triangle's frame and rotation. mean = M position + ...
// and quat = q local, so they are products of the outer gradient with what is blended.
BS_FN void add_frame_gradient(const float* grad_mean, const float* position, float* sums) {
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) sums[3 * row + column] += grad_mean[row] * position[column];
  }
}

BS_FN void add_rotation_gradient(const float* grad_quat, const float* local, float* sums) {
  const float conjugate[4] = {local[0], -local[1], -local[2], -local[3]};
  float product[4];
  multiply_quats(grad_quat, conjugate, product);
  for (int i = 0; i < 4; ++i) sums[i] += product[i];
}

// The gradients of one triangle's frame in one image.
BS_FN void gather_triangle(const Bind& bind, const BindBackward& b, int64_t image, int64_t face) {
  const BindSurface& s = b.surface;
  float frame[9] = {}, quat[4] = {};
  for (int64_t entry = s.triangle_starts[face]; entry < s.triangle_starts[face + 1]; ++entry) {
    const int64_t at = image * bind.gaussians + s.by_triangle[entry];
    if (s.frames) add_frame_gradient(b.grads.means + at * 3, s.positions + at * 3, frame);
    if (s.frame_quats) add_rotation_gradient(b.grads.quats + at * 4, s.quats + at * 4, quat);
  }
  const int64_t out = image * bind.faces + face;
  for (int i = 0; s.frames && i < 9; ++i) s.frames[out * 9 + i] = frame[i];
  for (int i = 0; s.frame_quats && i < 4; ++i) s.frame_quats[out * 4 + i] = quat[i];
}

// The gradient of one vertex in one image.
BS_FN void gather_vertex(const Bind& bind, const BindBackward& b, int64_t image, int64_t vertex) {
  const BindSurface& s = b.surface;
  float sum[3] = {};
  for (int64_t entry = s.vertex_starts[vertex]; entry < s.vertex_starts[vertex + 1]; ++entry) {
    const int64_t corner = s.by_vertex[entry];
    const float* grad = b.grads.means + (image * bind.gaussians + corner / 3) * 3;
    for (int i = 0; i < 3; ++i) sum[i] = fma(bind.barycentrics[corner], grad[i], sum[i]);
  }
  for (int i = 0; i < 3; ++i) s.vertices[(image * bind.vertex_count + vertex) * 3 + i] = sum[i];
}

// Gradient of the logit of an opacity.
template <class T>
BS_FN T logistic_gradient(const T& opacity, const T& grad) { return grad * opacity * (T(1.0f) - opacity); }

BS_END
