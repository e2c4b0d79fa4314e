// SPDX-License-Identifier: Apache-2.0
// Projection of one 3D Gaussian to a 2D Gaussian on the screen (EWA splatting, Zwicker et al. 2001) and its derivative.
// F is float on the device and sixteen lanes on the host.
#pragma once

#include "blendsplat/layout.h"

BS_BEGIN

template <class F>
struct Gaussian3 {
  F mean[3], quat[4], scale[3], opacity, color[3];
};

// Everything of the projection that the derivative needs again.
template <class F>
struct Projection {
  F camera_mean[3];
  F inverse_z, ratio_x, ratio_y, clamped_x, clamped_y;
  F jacobian[4];                  // entries 00, 02, 11, 12 of the 2x3 matrix; the others are zero
  F screen_rotation[6];           // T = J W R, 2x3: turns a Gaussian's own axes to the screen
  F rotation[9], screen_world[6]; // R, and J W
  F quat_scale;                   // 2 / |q|^2
  F axes[6];                      // A = T S; covariance = A A^T + low-pass
  F cov_xx, cov_xy, cov_yy, determinant;
  F mean_x, mean_y;
};

template <class F>
BS_FN void quat_rotation(const F* q, F scale, F* out) {
  const F w = q[0], x = q[1], y = q[2], z = q[3];
  out[0] = F(1.0f) - scale * (y * y + z * z);
  out[1] = scale * (x * y - w * z);
  out[2] = scale * (x * z + w * y);
  out[3] = scale * (x * y + w * z);
  out[4] = F(1.0f) - scale * (x * x + z * z);
  out[5] = scale * (y * z - w * x);
  out[6] = scale * (x * z - w * y);
  out[7] = scale * (y * z + w * x);
  out[8] = F(1.0f) - scale * (x * x + y * y);
}

// quat_rotation's derivative: dL/d(rotation) [3x3] -> dL/d(quat).
template <class F>
BS_FN void quat_gradient(const F* q, F scale, const F* r, F* out) {
  const F w = q[0], x = q[1], y = q[2], z = q[3];
  const F yz = r[7] - r[5], zx = r[2] - r[6], xy = r[3] - r[1];
  F grad[4];
  grad[0] = x * yz + y * zx + z * xy;
  grad[1] = w * yz + y * (r[1] + r[3]) + z * (r[2] + r[6]) - F(2.0f) * x * (r[4] + r[8]);
  grad[2] = w * zx + x * (r[1] + r[3]) + z * (r[5] + r[7]) - F(2.0f) * y * (r[0] + r[8]);
  grad[3] = w * xy + x * (r[2] + r[6]) + y * (r[5] + r[7]) - F(2.0f) * z * (r[0] + r[4]);
  // The rotation does not change along q itself; half of scale is 1 / |q|^2.
  const F along = (grad[0] * w + grad[1] * x + grad[2] * y + grad[3] * z) * F(0.5f) * scale;
  for (int i = 0; i < 4; ++i) out[i] = scale * (grad[i] - along * q[i]);
}

// The determinant is |a1 x a2|^2 + l (|a1|^2 + |a2|^2) + l^2 (Cauchy-Binet): a sum of squares, so a needle-shaped
// Gaussian does not lose it to cancellation as c_xx c_yy - c_xy^2 would.
template <class F>
BS_FN F low_passed_determinant(const F* axes, F trace) {
  const F nx = axes[1] * axes[5] - axes[2] * axes[4];
  const F ny = axes[2] * axes[3] - axes[0] * axes[5];
  const F nz = axes[0] * axes[4] - axes[1] * axes[3];
  return nx * nx + ny * ny + nz * nz + F(kLowPass) * trace + F(kLowPass * kLowPass);
}

template <class F>
BS_FN Projection<F> project_gaussian(const Gaussian3<F>& g, const Camera& camera) {
  Projection<F> p;
  for (int row = 0; row < 3; ++row) {
    p.camera_mean[row] = g.mean[0] * F(camera.rotation[row * 3]) + g.mean[1] * F(camera.rotation[row * 3 + 1]) +
                         g.mean[2] * F(camera.rotation[row * 3 + 2]) + F(camera.translation[row]);
  }
  p.inverse_z = F(1.0f) / p.camera_mean[2];
  p.ratio_x = p.camera_mean[0] * p.inverse_z;
  p.ratio_y = p.camera_mean[1] * p.inverse_z;
  p.clamped_x = minimum(maximum(p.ratio_x, F(camera.left)), F(camera.right));
  p.clamped_y = minimum(maximum(p.ratio_y, F(camera.up)), F(camera.down));
  p.mean_x = p.ratio_x * F(camera.fx) + F(camera.cx);
  p.mean_y = p.ratio_y * F(camera.fy) + F(camera.cy);

  p.jacobian[0] = p.inverse_z * F(camera.fx);
  p.jacobian[1] = F(0.0f) - p.jacobian[0] * p.clamped_x;
  p.jacobian[2] = p.inverse_z * F(camera.fy);
  p.jacobian[3] = F(0.0f) - p.jacobian[2] * p.clamped_y;
  for (int column = 0; column < 3; ++column) {
    const F depth_row = F(camera.rotation[6 + column]);
    p.screen_world[column] = p.jacobian[0] * F(camera.rotation[column]) + p.jacobian[1] * depth_row;
    p.screen_world[3 + column] = p.jacobian[2] * F(camera.rotation[3 + column]) + p.jacobian[3] * depth_row;
  }
  p.quat_scale = F(2.0f) / (g.quat[0] * g.quat[0] + g.quat[1] * g.quat[1] + g.quat[2] * g.quat[2] + g.quat[3] * g.quat[3]);
  quat_rotation(g.quat, p.quat_scale, p.rotation);
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 3; ++column) {
      F sum = p.screen_world[row * 3] * p.rotation[column];
      sum = fma(p.screen_world[row * 3 + 1], p.rotation[3 + column], sum);
      sum = fma(p.screen_world[row * 3 + 2], p.rotation[6 + column], sum);
      p.screen_rotation[row * 3 + column] = sum;
      p.axes[row * 3 + column] = sum * g.scale[column];
    }
  }
  const F* a = p.axes;
  const F bare_xx = a[0] * a[0] + a[1] * a[1] + a[2] * a[2];
  const F bare_yy = a[3] * a[3] + a[4] * a[4] + a[5] * a[5];
  p.cov_xx = bare_xx + F(kLowPass);
  p.cov_yy = bare_yy + F(kLowPass);
  p.cov_xy = a[0] * a[3] + a[1] * a[4] + a[2] * a[5];
  p.determinant = low_passed_determinant(a, bare_xx + bare_yy);
  return p;
}

// True where the Gaussian may be drawn: finite, in front of the near plane, of a usable rotation, not too faint.
template <class F>
BS_FN auto drawable(const Gaussian3<F>& g, const Projection<F>& p, float near_plane) {
  F parameters = g.opacity;  // any NaN or infinity survives this sum of zeros
  for (int i = 0; i < 3; ++i) parameters = parameters + (g.mean[i] + g.scale[i] + g.color[i]) * F(0.0f);
  for (int i = 0; i < 4; ++i) parameters = parameters + g.quat[i] * F(0.0f);
  auto ok = both(finite(parameters), both(p.quat_scale < F(kLongest), p.quat_scale > F(1.0f / kLongest)));
  ok = both(ok, both(p.camera_mean[2] > F(near_plane), p.camera_mean[2] < F(kFarthest)));
  ok = both(ok, both(finite(p.mean_x), finite(p.mean_y)));
  ok = both(ok, both(finite(p.determinant), p.cov_xx * p.cov_yy < F(kWidest)));
  return both(ok, g.opacity >= F(kAlphaMin));
}

template <class F>
struct Gaussian3Gradient {
  F mean[3], quat[4], scale[3], opacity, color[3];
};

// Q B with Q the inverse covariance and B = screen_rotation, 2x3. Written with 2x2 minors: Q shrinks a needle's long axis,
// and the product of the rounded matrices would leave little but rounding of it.
template <class F>
BS_FN void inverse_times_rotation(const Projection<F>& p, F inverse_determinant, F* out) {
  for (int j = 0; j < 3; ++j) {
    const F top = p.screen_rotation[j], bottom = p.screen_rotation[3 + j];
    F sum_top = F(kLowPass) * top, sum_bottom = F(kLowPass) * bottom;
    for (int step = 1; step < 3; ++step) {
      const int k = (j + step) % 3;
      const F minor = top * p.axes[3 + k] - bottom * p.axes[k];
      sum_top = sum_top + p.axes[3 + k] * minor;
      sum_bottom = sum_bottom - p.axes[k] * minor;
    }
    out[j] = sum_top * inverse_determinant;
    out[3 + j] = sum_bottom * inverse_determinant;
  }
}

// row: the sums of GradientSlot for this Gaussian. dL/d(covariance) = Q M Q / 2 with Q the inverse covariance and
// M the second moments of v, so dL/dA = Q M Q A; from there it is the product rule back through A = J W R S.
template <class F>
BS_FN Gaussian3Gradient<F> project_gaussian_backward(const Gaussian3<F>& g, const Projection<F>& p, const Camera& camera, const F* row) {
  Gaussian3Gradient<F> out;
  const F inverse_determinant = F(1.0f) / p.determinant;
  const F qa = p.cov_yy * inverse_determinant;
  const F qb = F(0.0f) - p.cov_xy * inverse_determinant;
  const F qc = p.cov_xx * inverse_determinant;
  const F grad_mean_x = qa * row[kSumX] + qb * row[kSumY];
  const F grad_mean_y = qb * row[kSumX] + qc * row[kSumY];

  F shrunk[6], grad_screen_rotation[6];
  inverse_times_rotation(p, inverse_determinant, shrunk);
  for (int column = 0; column < 3; ++column) {
    const F top = row[kSumXX] * shrunk[column] + row[kSumXY] * shrunk[3 + column];
    const F bottom = row[kSumXY] * shrunk[column] + row[kSumYY] * shrunk[3 + column];
    out.scale[column] = g.scale[column] * (shrunk[column] * top + shrunk[3 + column] * bottom);
    const F variance = g.scale[column] * g.scale[column];
    grad_screen_rotation[column] = variance * (qa * top + qb * bottom);
    grad_screen_rotation[3 + column] = variance * (qb * top + qc * bottom);
  }

  F grad_rotation[9], grad_screen_world[6];
  for (int row_index = 0; row_index < 3; ++row_index) {
    for (int column = 0; column < 3; ++column) {
      grad_rotation[row_index * 3 + column] = p.screen_world[row_index] * grad_screen_rotation[column] +
                                              p.screen_world[3 + row_index] * grad_screen_rotation[3 + column];
    }
    for (int half = 0; half < 2; ++half) {
      const F* grad = grad_screen_rotation + 3 * half;
      const F* rotation = p.rotation + 3 * row_index;
      grad_screen_world[3 * half + row_index] = grad[0] * rotation[0] + grad[1] * rotation[1] + grad[2] * rotation[2];
    }
  }

  quat_gradient(g.quat, p.quat_scale, grad_rotation, out.quat);

  F grad_jacobian[4];
  const float* view = camera.rotation;
  const F* t = grad_screen_world;
  grad_jacobian[0] = t[0] * F(view[0]) + t[1] * F(view[1]) + t[2] * F(view[2]);
  grad_jacobian[1] = t[0] * F(view[6]) + t[1] * F(view[7]) + t[2] * F(view[8]);
  grad_jacobian[2] = t[3] * F(view[3]) + t[4] * F(view[4]) + t[5] * F(view[5]);
  grad_jacobian[3] = t[3] * F(view[6]) + t[4] * F(view[7]) + t[5] * F(view[8]);

  const F zero = F(0.0f);
  const F through_x = zero - p.jacobian[0] * grad_jacobian[1];
  const F through_y = zero - p.jacobian[2] * grad_jacobian[3];
  const F grad_ratio_x = grad_mean_x * F(camera.fx) + select(p.ratio_x == p.clamped_x, through_x, zero);
  const F grad_ratio_y = grad_mean_y * F(camera.fy) + select(p.ratio_y == p.clamped_y, through_y, zero);
  const F grad_inverse_z = F(camera.fx) * (grad_jacobian[0] - p.clamped_x * grad_jacobian[1]) +
                           F(camera.fy) * (grad_jacobian[2] - p.clamped_y * grad_jacobian[3]) +
                           grad_ratio_x * p.camera_mean[0] + grad_ratio_y * p.camera_mean[1];
  const F grad_x = grad_ratio_x * p.inverse_z;
  const F grad_y = grad_ratio_y * p.inverse_z;
  const F grad_z = row[kGradDepth] - p.inverse_z * p.inverse_z * grad_inverse_z;
  for (int column = 0; column < 3; ++column) {
    out.mean[column] = F(view[column]) * grad_x + F(view[3 + column]) * grad_y + F(view[6 + column]) * grad_z;
  }
  out.opacity = row[kSum] / g.opacity;
  out.color[0] = row[kGradRed];
  out.color[1] = row[kGradGreen];
  out.color[2] = row[kGradBlue];
  return out;
}

BS_END
