// SPDX-License-Identifier: Apache-2.0
// Runs of consecutive floats in lanes, with ends that are no multiple of sixteen.
#pragma once

#include "simd.h"

BS_BEGIN

// The first `count` floats, the other lanes zero; all sixteen if there are more.
BS_FN Lanes load_some(const float* p, int count) {
  if (count >= kLanes) return load(p);
  float padded[kLanes] = {};
  for (int i = 0; i < count; ++i) padded[i] = p[i];
  return load(padded);
}

BS_FN void store_some(float* p, const Lanes& a, int count) {
  if (count >= kLanes) return store(p, a);
  float padded[kLanes];
  store(padded, a);
  for (int i = 0; i < count; ++i) p[i] = padded[i];
}

BS_END
