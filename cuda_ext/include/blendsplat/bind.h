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

struct BindBackward {
  BoundGaussians<const float> grads;
  BoundGaussians<const float> outputs;                 // of the forward pass: colors, scales, opacities
  float *base[3], *deltas[3], *log_scales, *opacity_logits;  // every element is written; deltas only if K > 0
  float* weights;                                      // [B,K]
  float* scratch;                                      // of bind_scratch's size
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

// Gradient of the logit of an opacity.
template <class T>
BS_FN T logistic_gradient(const T& opacity, const T& grad) { return grad * opacity * (T(1.0f) - opacity); }

BS_END
