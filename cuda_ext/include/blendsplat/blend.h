// SPDX-License-Identifier: Apache-2.0
// One step of front-to-back compositing at one pixel (or sixteen), and its derivative.
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

// dL/dalpha for a Gaussian with weight T * alpha: what it adds itself, less what it hides behind it.
// value: its colour, depth and coverage weighted with the pixel's gradient; behind: the same summed over all behind it.
template <class F>
BS_FN F alpha_gradient(F transmittance, F alpha, F value, F behind) {
  return transmittance * value - behind / (F(1.0f) - alpha);
}

BS_END
