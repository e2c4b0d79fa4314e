// SPDX-License-Identifier: Apache-2.0
// One step of front-to-back compositing of surfels at one pixel (or sixteen), and its derivative: blend.h for discs.
#pragma once

#include "blendsplat/blend.h"
#include "blendsplat/surfel.h"

BS_BEGIN

template <class F>
using Truth = decltype(F(0.0f) > F(0.0f));

// Where a pixel meets a surfel. The Gaussian falls off with |s|^2 on the disc or with 2 |d|^2 on the screen (a low-pass of
// sqrt(2)/2 px), whichever is nearer; the plane counts only where it is met behind the near plane.
template <class F>
struct SurfelHit {
  F dx, dy, u, v, inverse;             // inverse: 1 / (1 + w.d)
  F depth, power;                      // power: exponent of 2
  Truth<F> on_disc;
};

template <class F, class S>
BS_FN SurfelHit<F> meet_surfel(const S& record, F x, F y, float near_plane) {
  SurfelHit<F> h;
  h.dx = x - F(record[kSurfelX]);
  h.dy = y - F(record[kSurfelY]);
  h.inverse = F(1.0f) / fma(F(record[kSurfelWx]), h.dx, fma(F(record[kSurfelWy]), h.dy, F(1.0f)));
  h.u = fma(F(record[kSurfelUx]), h.dx, F(record[kSurfelUy]) * h.dy) * h.inverse;
  h.v = fma(F(record[kSurfelVx]), h.dx, F(record[kSurfelVy]) * h.dy) * h.inverse;
  const F depth = F(record[kSurfelDepth]) * h.inverse;
  const F on_disc = fma(h.u, h.u, h.v * h.v);
  const F on_screen = F(2.0f) * fma(h.dx, h.dx, h.dy * h.dy);
  h.on_disc = both(on_screen > on_disc, depth > F(near_plane));  // false for a NaN of a ray in the disc's plane
  h.power = F(-0.5f * kLog2E) * select(h.on_disc, on_disc, on_screen);
  h.depth = select(h.on_disc, depth, F(record[kSurfelDepth]));
  return h;
}

template <class F, class S>
BS_FN F surfel_alpha(const S& record, const SurfelHit<F>& h) {
  return minimum(F(record[kSurfelOpacity]) * exponential2(h.power), F(kAlphaMax));
}

// dL/d(log alpha) = v and dL/d(depth of the hit), as derivatives of what the record's slots enter by.
template <class F>
struct SurfelHitGradient {
  F u, v, w;                           // of U.d, V.d and w.d; zero where the low-pass won
  F screen;                            // v where the low-pass won: dL/d(mean) = 2 screen d
  F depth;                             // of the record's depth
};

template <class F>
BS_FN SurfelHitGradient<F> surfel_hit_gradient(const SurfelHit<F>& h, F v, F grad_depth) {
  const F zero(0.0f);
  SurfelHitGradient<F> g;
  const F scaled = v * h.inverse;
  g.u = select(h.on_disc, zero - scaled * h.u, zero);
  g.v = select(h.on_disc, zero - scaled * h.v, zero);
  g.w = select(h.on_disc, (v * fma(h.u, h.u, h.v * h.v) - grad_depth * h.depth) * h.inverse, zero);
  g.screen = select(h.on_disc, zero, v);
  g.depth = select(h.on_disc, grad_depth * h.inverse, grad_depth);
  return g;
}

// One pixel on its way front to back. take() adds a surfel and returns its weight; 0 if it is not drawn here.
struct SurfelPixel {
  float x, y, near_plane;
  float transmittance = 1.0f;
  bool done = false;
  float color[3] = {0.0f, 0.0f, 0.0f};
  float depth = 0.0f;
  float normal[3] = {0.0f, 0.0f, 0.0f};

  BS_FN float take(const float* record) {
    const SurfelHit<float> hit = meet_surfel(record, x, y, near_plane);
    const float alpha = surfel_alpha(record, hit);
    if (!(alpha >= kAlphaMin)) return 0.0f;
    const float after = transmittance - transmittance * alpha;
    if (after < kTransmittanceStop) {
      done = true;
      return 0.0f;
    }
    const float weight = transmittance * alpha;
    for (int c = 0; c < 3; ++c) {
      color[c] += weight * record[kSurfelRed + c];
      normal[c] += weight * record[kSurfelNormalX + c];
    }
    depth += weight * hit.depth;
    transmittance = after;
    return weight;
  }
};

// The same pixel on its way back: starts from the final transmittance at the last surfel that was taken.
struct SurfelPixelBackward {
  float x, y, near_plane;
  float transmittance;                 // behind the surfel that comes next
  float grad_color[3], grad_depth, grad_normal[3];
  float grad_coverage;                 // dL/d(alpha), the background's share included
  float behind = 0.0f;

  // What this pixel adds to the surfel's row; false and zeros if it is not drawn here.
  BS_FN bool take(const float* record, float* sums) {
    for (int slot = 0; slot < kSurfelSize; ++slot) sums[slot] = 0.0f;
    const SurfelHit<float> hit = meet_surfel(record, x, y, near_plane);
    const float alpha = surfel_alpha(record, hit);
    if (!(alpha >= kAlphaMin)) return false;
    const float before = transmittance / (1.0f - alpha);
    const float weight = before * alpha;
    float value = grad_coverage + grad_depth * hit.depth;
    for (int c = 0; c < 3; ++c) {
      value += grad_color[c] * record[kSurfelRed + c] + grad_normal[c] * record[kSurfelNormalX + c];
      sums[kSurfelRed + c] = weight * grad_color[c];
      sums[kSurfelNormalX + c] = weight * grad_normal[c];
    }
    const float gradient = alpha_gradient(before, alpha, value, behind);
    const float v = alpha < kAlphaMax ? alpha * gradient : 0.0f;  // the clamp passes no gradient
    const SurfelHitGradient<float> g = surfel_hit_gradient(hit, v, weight * grad_depth);
    sums[kSurfelX] = 2.0f * g.screen * hit.dx - (g.u * record[kSurfelUx] + g.v * record[kSurfelVx] + g.w * record[kSurfelWx]);
    sums[kSurfelY] = 2.0f * g.screen * hit.dy - (g.u * record[kSurfelUy] + g.v * record[kSurfelVy] + g.w * record[kSurfelWy]);
    sums[kSurfelUx] = g.u * hit.dx;
    sums[kSurfelUy] = g.u * hit.dy;
    sums[kSurfelVx] = g.v * hit.dx;
    sums[kSurfelVy] = g.v * hit.dy;
    sums[kSurfelWx] = g.w * hit.dx;
    sums[kSurfelWy] = g.w * hit.dy;
    sums[kSurfelOpacity] = v;
    sums[kSurfelDepth] = g.depth;
    transmittance = before;
    return true;
  }
};

BS_END
