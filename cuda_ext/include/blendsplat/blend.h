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

// The derivative walks back to front. value: a Gaussian's colour, depth and coverage, weighted with the pixel's gradient;
// behind: the same of all that lies behind it, as seen with full transmittance. What a Gaussian adds replaces what it
// hides, so dL/dalpha = T (value - behind), and one step forward "behind" is the mix of the two: no division by 1 - alpha.
template <class F>
BS_FN F alpha_gradient(F transmittance, F alpha, F value, F& behind) {
  const F difference = value - behind;
  behind = fma(alpha, difference, behind);
  return transmittance * difference;
}

BS_END
