// SPDX-License-Identifier: Apache-2.0
// Projection of one surfel, a flat Gaussian disc (2D Gaussian splatting, Huang et al. 2024), its bounds on the screen, and
// the derivative. F is float on the device and sixteen lanes on the host.
//
// A disc point (u, v) lies at mean + u t_u + v t_v. Relative to the projected mean it is seen at d = E s / (1 + k.s), with
// s = (u, v), E the 2x2 Jacobian of the projection times (t_u t_v) and k = (t_u.z, t_v.z) / z. Inverted, a pixel at d meets
// the disc's plane at s = G d / (1 + w.d), depth z / (1 + w.d), with G = E^-1 and w = (n_x / f_x, n_y / f_y) z / (n.mean).
// So G and w are the record, and no pixel ever sees a 3x3 matrix.
#pragma once

#include "blendsplat/ellipse.h"
#include "blendsplat/scene.h"

BS_BEGIN

constexpr float kThinnest = 1e-3f;     // px: a disc seen thinner than this is drawn by its low-pass alone
constexpr float kEdgeOn = 1e-5f;       // likewise where |n . ray| (the ray with z = 1) is smaller
constexpr float kLargest = 1e15f;      // px^2: bound of a disc's squared size on the screen
constexpr float kCrossing = 1e-3f;     // a disc whose nearest depth is less than this part of its mean's may fill the image
constexpr float kBoundSlack = 0.02f;   // px added around a disc's bounds, for the rounding of G and w
constexpr float kFillsImage = 1e12f;   // px^2: variance of the bounds of a disc that may fill the image

// One projected surfel: sixteen floats, one cache line. A row of the backward blend has dL/d(slot) in the same places,
// kSurfelOpacity's being dL/d(log opacity).
enum SurfelSlot {
  kSurfelX, kSurfelY,                  // projected mean, pixels
  kSurfelUx, kSurfelUy, kSurfelVx, kSurfelVy,  // G, per pixel
  kSurfelWx, kSurfelWy,                // w, per pixel
  kSurfelOpacity,
  kSurfelRed, kSurfelGreen, kSurfelBlue, kSurfelDepth,
  kSurfelNormalX, kSurfelNormalY, kSurfelNormalZ,  // camera axes, towards the camera
  kSurfelSize
};
static_assert(static_cast<int>(kSurfelSize) == static_cast<int>(kRecordSize), "the CPU's tile walk has one stride");
static_assert(static_cast<int>(kSurfelSize) == static_cast<int>(kGradientSize), "a gradient row mirrors a record");

template <class F>
struct Surfel {
  F mean[3], quat[4], scale[2], opacity, color[3];
};

// Everything of the projection that the derivative needs again.
template <class F>
struct SurfelProjection {
  F camera_mean[3], inverse_z, ratio_x, ratio_y, mean_x, mean_y;
  F quat_scale;                        // 2 / |q|^2
  F axes[9];                           // view rotation times R: its columns are u, v and n in camera axes
  F side;                              // +1 or -1: turns n towards the camera
  F normal[3];
  F screen[4];                         // E: xu xv yu yv
  F inverse_facing;                    // z / (n.mean); 0 where thin
  F inverse[4];                        // G: ux uy vx vy
  F horizon[2];                        // w
};

template <class F>
BS_FN void rotate_columns(const float* view, const F* rotation, F* out) {
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      F sum = F(view[row * 3]) * rotation[column];
      sum = fma(F(view[row * 3 + 1]), rotation[3 + column], sum);
      out[row * 3 + column] = fma(F(view[row * 3 + 2]), rotation[6 + column], sum);
    }
  }
}

// G and w. The determinant of E is s_u s_v f_x f_y (n.ray) / z^2: a dot product, where the difference of E's products would
// cancel for a disc seen at a grazing angle. Thin discs get a G under which the low-pass always wins (see meet_surfel).
template <class F>
BS_FN void invert_screen(const Surfel<F>& s, const Camera& camera, SurfelProjection<F>& p) {
  const F facing = p.normal[0] * p.ratio_x + p.normal[1] * p.ratio_y + p.normal[2];
  const F area = s.scale[0] * s.scale[1] * (F(camera.fx) * p.inverse_z) * (F(camera.fy) * p.inverse_z);
  const F determinant = p.side * area * facing;
  const F* e = p.screen;
  const F size = square_root(e[0] * e[0] + e[1] * e[1] + e[2] * e[2] + e[3] * e[3]);
  const F zero(0.0f);
  const auto sharp = both(maximum(determinant, zero - determinant) > F(kThinnest) * size, F(-kEdgeOn) > facing);
  const F inverse_determinant = F(1.0f) / determinant;
  p.inverse[0] = select(sharp, e[3] * inverse_determinant, F(2.0f));
  p.inverse[1] = select(sharp, (zero - e[1]) * inverse_determinant, zero);
  p.inverse[2] = select(sharp, (zero - e[2]) * inverse_determinant, zero);
  p.inverse[3] = select(sharp, e[0] * inverse_determinant, F(2.0f));
  p.inverse_facing = select(sharp, F(1.0f) / facing, zero);
  p.horizon[0] = p.normal[0] * p.inverse_facing * F(1.0f / camera.fx);
  p.horizon[1] = p.normal[1] * p.inverse_facing * F(1.0f / camera.fy);
}

template <class F>
BS_FN SurfelProjection<F> project_surfel(const Surfel<F>& s, const Camera& camera) {
  SurfelProjection<F> p;
  for (int row = 0; row < 3; ++row) {
    p.camera_mean[row] = s.mean[0] * F(camera.rotation[row * 3]) + s.mean[1] * F(camera.rotation[row * 3 + 1]) +
                         s.mean[2] * F(camera.rotation[row * 3 + 2]) + F(camera.translation[row]);
  }
  p.inverse_z = F(1.0f) / p.camera_mean[2];
  p.ratio_x = p.camera_mean[0] * p.inverse_z;
  p.ratio_y = p.camera_mean[1] * p.inverse_z;
  p.mean_x = p.ratio_x * F(camera.fx) + F(camera.cx);
  p.mean_y = p.ratio_y * F(camera.fy) + F(camera.cy);

  p.quat_scale = F(2.0f) / (s.quat[0] * s.quat[0] + s.quat[1] * s.quat[1] + s.quat[2] * s.quat[2] + s.quat[3] * s.quat[3]);
  F rotation[9];
  quat_rotation(s.quat, p.quat_scale, rotation);
  rotate_columns(camera.rotation, rotation, p.axes);
  const F towards = p.axes[2] * p.ratio_x + p.axes[5] * p.ratio_y + p.axes[8];
  p.side = select(towards > F(0.0f), F(-1.0f), F(1.0f));
  for (int row = 0; row < 3; ++row) p.normal[row] = p.side * p.axes[row * 3 + 2];
  const F per_x = p.inverse_z * F(camera.fx), per_y = p.inverse_z * F(camera.fy);
  for (int axis = 0; axis < 2; ++axis) {
    p.screen[axis] = per_x * s.scale[axis] * (p.axes[axis] - p.ratio_x * p.axes[6 + axis]);
    p.screen[2 + axis] = per_y * s.scale[axis] * (p.axes[3 + axis] - p.ratio_y * p.axes[6 + axis]);
  }
  invert_screen(s, camera, p);
  return p;
}

// True where the surfel may be drawn: as drawable() of projection.h.
template <class F>
BS_FN auto drawable(const Surfel<F>& s, const SurfelProjection<F>& p, float near_plane) {
  F parameters = s.opacity;  // any NaN or infinity survives this sum of zeros
  for (int i = 0; i < 3; ++i) parameters = parameters + (s.mean[i] + s.color[i]) * F(0.0f);
  for (int i = 0; i < 4; ++i) parameters = parameters + s.quat[i] * F(0.0f);
  parameters = parameters + (s.scale[0] + s.scale[1]) * F(0.0f);
  const F* e = p.screen;
  auto ok = both(finite(parameters), both(p.quat_scale < F(kLongest), p.quat_scale > F(1.0f / kLongest)));
  ok = both(ok, both(p.camera_mean[2] > F(near_plane), p.camera_mean[2] < F(kFarthest)));
  ok = both(ok, both(finite(p.mean_x), finite(p.mean_y)));
  ok = both(ok, e[0] * e[0] + e[1] * e[1] + e[2] * e[2] + e[3] * e[3] < F(kLargest));
  return both(ok, s.opacity >= F(kAlphaMin));
}

// An ellipse around every pixel that the surfel can reach.
template <class F>
struct SurfelBounds {
  F center_x, center_y;
  Ellipse<F> ellipse;
};

// The disc |s|^2 <= level is seen as the ellipse {(d - o)^T S^-1 (d - o) <= 1}: with D = 1 - level |k|^2, the offset is
// o = -level E k / D and S = level E E^T / D + o o^T. The low-pass adds a circle about the mean, so both half axes are made
// at least as long as that circle reaches from o. A disc that comes near the camera's plane may be seen anywhere.
template <class F>
BS_FN SurfelBounds<F> bound_surfel(const Surfel<F>& s, const SurfelProjection<F>& p, int width, int height) {
  const F zero(0.0f), tiny(1e-20f);
  const F level = cut_off_level(s.opacity);
  const F tilt_u = s.scale[0] * p.axes[6] * p.inverse_z, tilt_v = s.scale[1] * p.axes[7] * p.inverse_z;
  const F rest = F(1.0f) - level * (tilt_u * tilt_u + tilt_v * tilt_v);
  const auto thin = p.inverse_facing == zero;
  const F stretch = select(thin, zero, level / maximum(rest, F(kCrossing)));
  const F* e = p.screen;
  const F offset_x = zero - stretch * (e[0] * tilt_u + e[1] * tilt_v);
  const F offset_y = zero - stretch * (e[2] * tilt_u + e[3] * tilt_v);
  const F s_xx = stretch * (e[0] * e[0] + e[1] * e[1]) + offset_x * offset_x;
  const F s_xy = stretch * (e[0] * e[2] + e[1] * e[3]) + offset_x * offset_y;
  const F s_yy = stretch * (e[2] * e[2] + e[3] * e[3]) + offset_y * offset_y;
  // S = B B^T with B = (sqrt(stretch) E | o): its determinant is the sum of B's squared minors.
  const F minor = e[0] * e[3] - e[1] * e[2];
  const F minor_u = e[0] * offset_y - e[2] * offset_x, minor_v = e[1] * offset_y - e[3] * offset_x;
  const F determinant = stretch * (stretch * minor * minor + minor_u * minor_u + minor_v * minor_v);

  const F half = F(0.5f) * (s_xx - s_yy);
  const F spread = square_root(half * half + s_xy * s_xy);
  const F major = F(0.5f) * (s_xx + s_yy) + spread;
  const F lesser = determinant / maximum(major, tiny);
  const F circle = square_root(F(0.5f) * level) + square_root(offset_x * offset_x + offset_y * offset_y);
  const F axis1 = maximum(square_root(major), circle) + F(kBoundSlack);
  const F axis2 = maximum(square_root(lesser), circle) + F(kBoundSlack);
  const F new1 = axis1 * axis1, new2 = axis2 * axis2;
  const F keep = minimum((new1 - new2) / maximum(spread + spread, tiny), F(1.5f));
  const auto fills = both(p.inverse_facing < zero, F(kCrossing) > rest);
  const F fill(kFillsImage);
  SurfelBounds<F> b;
  b.center_x = select(fills, F(0.5f * static_cast<float>(width)), p.mean_x + offset_x);
  b.center_y = select(fills, F(0.5f * static_cast<float>(height)), p.mean_y + offset_y);
  const F xx = new2 + keep * maximum(s_xx - lesser, zero), yy = new2 + keep * maximum(s_yy - lesser, zero);
  b.ellipse = level_set(select(fills, fill, xx), select(fills, zero, keep * s_xy), select(fills, fill, yy),
                        select(fills, fill * fill, new1 * new2), F(1.0f));
  return b;
}

template <class F>
BS_FN void surfel_columns(const Surfel<F>& s, const SurfelProjection<F>& p, F* out) {
  const F columns[kSurfelSize] = {
      p.mean_x, p.mean_y, p.inverse[0], p.inverse[1], p.inverse[2], p.inverse[3], p.horizon[0], p.horizon[1], s.opacity,
      s.color[0], s.color[1], s.color[2], p.camera_mean[2], p.normal[0], p.normal[1], p.normal[2]};
  for (int slot = 0; slot < kSurfelSize; ++slot) out[slot] = columns[slot];
}

// The slots that binning reads, so that surfels are sorted by the code that sorts Gaussians; the others are zero.
template <class F>
BS_FN void bin_columns(const SurfelBounds<F>& b, F depth, F* out) {
  for (int slot = 0; slot <= kSpanTurn; ++slot) out[slot] = F(0.0f);
  out[kMeanX] = b.center_x;
  out[kMeanY] = b.center_y;
  out[kDepth] = depth;
  out[kSpanP] = b.ellipse.span_p;
  out[kSpanQ] = b.ellipse.span_q;
  out[kSpanSlope] = b.ellipse.slope;
  out[kSpanTurn] = b.ellipse.turn;
}

template <class F>
struct SurfelGradient {
  F mean[3], quat[4], scale[2], opacity, color[3];
};

// dL/dE = -G^T (dL/dG) G^T.
template <class F>
BS_FN void screen_gradient(const F* G, const F* grad, F* out) {
  for (int row = 0; row < 2; ++row) {
    const F left_x = G[row] * grad[0] + G[2 + row] * grad[2];
    const F left_y = G[row] * grad[1] + G[2 + row] * grad[3];
    for (int column = 0; column < 2; ++column) {
      out[row * 2 + column] = F(0.0f) - (left_x * G[column * 2] + left_y * G[column * 2 + 1]);
    }
  }
}

// row: dL/d(record), see SurfelSlot.
template <class F>
BS_FN SurfelGradient<F> project_surfel_backward(const Surfel<F>& s, const SurfelProjection<F>& p, const Camera& camera, const F* row) {
  SurfelGradient<F> out;
  const F zero(0.0f);
  F grad_screen[4];
  screen_gradient(p.inverse, row + kSurfelUx, grad_screen);
  const F grad_wx = row[kSurfelWx], grad_wy = row[kSurfelWy];
  const F grad_facing = zero - (grad_wx * p.horizon[0] + grad_wy * p.horizon[1]) * p.inverse_facing;
  const F grad_normal[3] = {
      row[kSurfelNormalX] + grad_wx * p.inverse_facing * F(1.0f / camera.fx) + grad_facing * p.ratio_x,
      row[kSurfelNormalY] + grad_wy * p.inverse_facing * F(1.0f / camera.fy) + grad_facing * p.ratio_y,
      row[kSurfelNormalZ] + grad_facing};

  const F per_x = p.inverse_z * F(camera.fx), per_y = p.inverse_z * F(camera.fy);
  F grad_ratio_x = F(camera.fx) * row[kSurfelX] + grad_facing * p.normal[0];
  F grad_ratio_y = F(camera.fy) * row[kSurfelY] + grad_facing * p.normal[1];
  F grad_axes[9];
  F shrink = zero;                     // dL/d(log E): E is proportional to 1 / z
  for (int axis = 0; axis < 2; ++axis) {
    const F grad_x = per_x * grad_screen[axis], grad_y = per_y * grad_screen[2 + axis];
    const F grad_z = zero - (grad_x * p.ratio_x + grad_y * p.ratio_y);
    const F* a = p.axes;
    out.scale[axis] = grad_x * a[axis] + grad_y * a[3 + axis] + grad_z * a[6 + axis];
    grad_axes[axis] = s.scale[axis] * grad_x;
    grad_axes[3 + axis] = s.scale[axis] * grad_y;
    grad_axes[6 + axis] = s.scale[axis] * grad_z;
    grad_ratio_x = grad_ratio_x - grad_x * s.scale[axis] * a[6 + axis];
    grad_ratio_y = grad_ratio_y - grad_y * s.scale[axis] * a[6 + axis];
    shrink = shrink + grad_screen[axis] * p.screen[axis] + grad_screen[2 + axis] * p.screen[2 + axis];
  }
  for (int i = 0; i < 3; ++i) grad_axes[i * 3 + 2] = p.side * grad_normal[i];

  const float* view = camera.rotation;
  F grad_rotation[9];
  for (int i = 0; i < 3; ++i) {
    for (int column = 0; column < 3; ++column) {
      grad_rotation[i * 3 + column] = F(view[i]) * grad_axes[column] + F(view[3 + i]) * grad_axes[3 + column] +
                                      F(view[6 + i]) * grad_axes[6 + column];
    }
  }
  quat_gradient(s.quat, p.quat_scale, grad_rotation, out.quat);

  const F grad_x = grad_ratio_x * p.inverse_z, grad_y = grad_ratio_y * p.inverse_z;
  const F grad_z = row[kSurfelDepth] - p.inverse_z * (shrink + grad_ratio_x * p.ratio_x + grad_ratio_y * p.ratio_y);
  for (int column = 0; column < 3; ++column) {
    out.mean[column] = F(view[column]) * grad_x + F(view[3 + column]) * grad_y + F(view[6 + column]) * grad_z;
  }
  out.opacity = row[kSurfelOpacity] / s.opacity;
  for (int c = 0; c < 3; ++c) out.color[c] = row[kSurfelRed + c];
  return out;
}

// What one GPU thread, and the CPU's "scalar" set, does with surfel `index` over all images, image * N + i.
BS_FN Surfel<float> read_surfel(const SceneArrays& scene, int64_t index) {
  Surfel<float> s;
  for (int i = 0; i < 3; ++i) {
    s.mean[i] = scene.means[index * 3 + i];
    s.color[i] = scene.colors[index * 3 + i];
  }
  for (int i = 0; i < 4; ++i) s.quat[i] = scene.quats[index * 4 + i];
  for (int i = 0; i < 2; ++i) s.scale[i] = scene.scales[index * 2 + i];
  s.opacity = scene.opacities[index];
  return s;
}

// Writes the surfel's record and what binning needs; returns the number of tiles in its box.
BS_FN int32_t project_surfel_one(const SceneArrays& scene, int64_t index, int shift, float* surfel, float* record) {
  const Surfel<float> s = read_surfel(scene, index);
  const SurfelProjection<float> p = project_surfel(s, camera_of(scene, index / scene.gaussians));
  const SurfelBounds<float> b = bound_surfel(s, p, scene.width, scene.height);
  surfel_columns(s, p, surfel);
  bin_columns(b, p.camera_mean[2], record);
  return write_box(b.ellipse.extent_x, b.ellipse.extent_y, drawable(s, p, scene.near_plane), scene.width, scene.height, shift, record);
}

// Writes every gradient of surfel `index`; zeros if it is not drawn.
BS_FN void project_surfel_backward_one(const SceneArrays& scene, int64_t index, const float* row, const GaussianArrays& out) {
  const Surfel<float> s = read_surfel(scene, index);
  const Camera camera = camera_of(scene, index / scene.gaussians);
  const SurfelProjection<float> p = project_surfel(s, camera);
  SurfelGradient<float> grad = {};
  if (drawable(s, p, scene.near_plane)) grad = project_surfel_backward(s, p, camera, row);
  for (int i = 0; i < 3; ++i) {
    out.means[index * 3 + i] = grad.mean[i];
    out.colors[index * 3 + i] = grad.color[i];
  }
  for (int i = 0; i < 4; ++i) out.quats[index * 4 + i] = grad.quat[i];
  for (int i = 0; i < 2; ++i) out.scales[index * 2 + i] = grad.scale[i];
  out.opacities[index] = grad.opacity;
}

BS_END
