// SPDX-License-Identifier: Apache-2.0
// One step of front-to-back compositing at one pixel (or sixteen), and its derivative. Lanes use the free functions;
// a GPU thread, and the CPU's "scalar" set in the tests, uses the two pixels at the end.
#pragma once

#include "blendsplat/layout.h"

BS_BEGIN

// opacity * exp(-d^T C d / 2), not yet clamped. dx, dy: pixel centre minus splat centre.
template <class F, class S>
BS_FN F splat_alpha(const S& record, F dx, F dy) {
  const F along_x = fma(F(record[kConicA]), dx, F(record[kConicB]) * dy);
  const F power = fma(along_x, dx, F(record[kConicC]) * dy * dy);
  return minimum(F(record[kOpacity]) * exponential2(power), F(kAlphaMax));
}

// The derivative walks back to front. value: a Gaussian's colour, depth and coverage, weighted with the pixel's gradient;
// behind: the same of all that lies behind it, as seen with full transmittance. What a Gaussian adds replaces what it
// hides, so dL/dalpha = T (value - behind), and one step forward "behind" is the mix of the two: no division by 1 - alpha.
template <class F>
BS_FN F alpha_gradient(F transmittance, F alpha, F value, F& behind) {
  const F difference = value - behind;
  behind = fma(alpha, difference, behind);
  return transmittance * difference;
}

// One pixel on its way front to back. take() adds a Gaussian and returns its weight; 0 if it is not drawn here.
struct Pixel {
  float x, y;                        // centre
  float transmittance = 1.0f;
  bool done = false;
  float color[3] = {0.0f, 0.0f, 0.0f};
  float depth = 0.0f;

  BS_FN float take(const float* record) {
    const float alpha = splat_alpha<float>(record, x - record[kMeanX], y - record[kMeanY]);
    if (!(alpha >= kAlphaMin)) return 0.0f;
    const float after = transmittance * (1.0f - alpha);  // as PixelBackward divides
    if (after < kTransmittanceStop) {
      done = true;
      return 0.0f;
    }
    const float weight = transmittance * alpha;
    for (int c = 0; c < 3; ++c) color[c] += weight * record[kRed + c];
    depth += weight * record[kDepth];
    transmittance = after;
    return weight;
  }
};

// The same pixel on its way back: starts from the final transmittance at the last Gaussian that was taken.
struct PixelBackward {
  float x, y;
  float transmittance;               // behind the Gaussian that comes next
  float grad_color[3], grad_depth;
  float grad_coverage;               // dL/d(alpha), the background's share included
  float behind = 0.0f;

  // What this pixel adds to the Gaussian's row (GradientSlot, ten sums); false and zeros if it is not drawn here.
  BS_FN bool take(const float* record, float* sums) {
    for (int slot = 0; slot <= kGradDepth; ++slot) sums[slot] = 0.0f;
    const float dx = x - record[kMeanX], dy = y - record[kMeanY];
    const float alpha = splat_alpha<float>(record, dx, dy);
    if (!(alpha >= kAlphaMin)) return false;
    const float before = transmittance / (1.0f - alpha);
    const float weight = before * alpha;
    float value = grad_coverage + grad_depth * record[kDepth];
    for (int c = 0; c < 3; ++c) {
      value += grad_color[c] * record[kRed + c];
      sums[kGradRed + c] = weight * grad_color[c];
    }
    sums[kGradDepth] = weight * grad_depth;
    const float gradient = alpha_gradient(before, alpha, value, behind);
    const float v = alpha < kAlphaMax ? alpha * gradient : 0.0f;  // the clamp passes no gradient
    sums[kSum] = v;
    sums[kSumX] = v * dx;
    sums[kSumY] = v * dy;
    sums[kSumXX] = v * dx * dx;
    sums[kSumXY] = v * dx * dy;
    sums[kSumYY] = v * dy * dy;
    transmittance = before;
    return true;
  }
};

BS_END
