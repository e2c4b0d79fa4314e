// SPDX-License-Identifier: Apache-2.0
// Sixteen Gaussians of one image from the caller's arrays into lanes, and back. Rows past the end repeat the last one.
#pragma once

#include "blendsplat/projection.h"
#include "interleave.h"
#include "operations.h"
#include "simd.h"

BS_BEGIN

constexpr int kBlock = kLanes;
constexpr int64_t kGrain = 64;  // blocks that a thread takes at a time

template <int Size>
BS_FN void gather_rows(const float* base, int count, Lanes* out) {
  if (Size == 1 && count >= kLanes) {
    out[0] = load(base);
    return;
  }
#if defined(BLENDSPLAT_AVX512)
  if (Size == 3 && count >= kLanes) return rows_to_lanes3(base, out);
  if (Size == 4 && count >= kLanes) return rows_to_lanes4(base, out);
#endif
  float columns[Size][kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const float* row = base + (lane < count ? lane : count - 1) * Size;
    for (int i = 0; i < Size; ++i) columns[i][lane] = row[i];
  }
  for (int i = 0; i < Size; ++i) out[i] = load(columns[i]);
}

template <int Size>
BS_FN void scatter_rows(float* base, int count, const Lanes* in) {
#if defined(BLENDSPLAT_AVX512)
  if (Size == 3 && count >= kLanes) return lanes_to_rows3(in, base);
  if (Size == 4 && count >= kLanes) return lanes_to_rows4(in, base);
#endif
  float columns[Size][kLanes];
  for (int i = 0; i < Size; ++i) store(columns[i], in[i]);
  for (int lane = 0; lane < count; ++lane) {
    for (int i = 0; i < Size; ++i) base[lane * Size + i] = columns[i][lane];
  }
}

// Zeros where the mask is off.
template <int Size>
BS_FN void scatter_rows(float* base, int count, const Lanes* in, const Mask& where) {
  Lanes kept[Size];
  for (int i = 0; i < Size; ++i) kept[i] = only(where, in[i]);
  scatter_rows<Size>(base, count, kept);
}

// Gaussians start .. start + count of one image.
BS_FN Gaussian3<Lanes> gather_gaussians(const Scene& scene, int64_t image, int64_t start, int count) {
  const int64_t first = image * scene.gaussians + start;
  Gaussian3<Lanes> g;
  gather_rows<3>(scene.means + first * 3, count, g.mean);
  gather_rows<4>(scene.quats + first * 4, count, g.quat);
  gather_rows<3>(scene.scales + (scene.shared_scales ? start : first) * 3, count, g.scale);
  gather_rows<1>(scene.opacities + (scene.shared_opacities ? start : first), count, &g.opacity);
  gather_rows<3>(scene.colors + first * 3, count, g.color);
  return g;
}

BS_END
