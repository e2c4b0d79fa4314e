// SPDX-License-Identifier: Apache-2.0
// Sixteen pixels of interleaved RGB as three Lanes, and 8-bit pixels as floats.
#pragma once

#include "rows.h"

BS_BEGIN

#if defined(BLENDSPLAT_AVX512)

BS_FN Lanes load_bytes(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

// Every pixel's value three times, for its three channels.
BS_FN void repeat_for_channels(const Lanes& a, Lanes* out) {
  out[0] = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5), a.v);
  out[1] = _mm512_permutexvar_ps(_mm512_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10), a.v);
  out[2] = _mm512_permutexvar_ps(_mm512_setr_epi32(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15), a.v);
}

#elif defined(BLENDSPLAT_AVX2)

BS_FN __m256 load_eight_bytes(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
BS_FN Lanes load_bytes(const uint8_t* p) { return {load_eight_bytes(p), load_eight_bytes(p + 8)}; }

BS_FN void repeat_for_channels(const Lanes& a, Lanes* out) {
  const __m256i first = _mm256_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2), second = _mm256_setr_epi32(2, 3, 3, 3, 4, 4, 4, 5);
  const __m256i third = _mm256_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7);
  out[0] = {_mm256_permutevar8x32_ps(a.low, first), _mm256_permutevar8x32_ps(a.low, second)};
  out[1] = {_mm256_permutevar8x32_ps(a.low, third), _mm256_permutevar8x32_ps(a.high, first)};
  out[2] = {_mm256_permutevar8x32_ps(a.high, second), _mm256_permutevar8x32_ps(a.high, third)};
}

#else

BS_FN Lanes load_bytes(const uint8_t* p) { Lanes r; BS_EACH r.v[i] = static_cast<float>(p[i]); return r; }

BS_FN void repeat_for_channels(const Lanes& a, Lanes* out) {
  for (int c = 0; c < 3; ++c) BS_EACH out[c].v[i] = a.v[(c * kLanes + i) / 3];
}

#endif

// The first `count` bytes, the other lanes zero.
BS_FN Lanes load_some_bytes(const uint8_t* p, int count) {
  if (count >= kLanes) return load_bytes(p);
  uint8_t padded[kLanes] = {};
  for (int i = 0; i < count; ++i) padded[i] = p[i];
  return load_bytes(padded);
}

// A colour as the three Lanes of sixteen pixels.
BS_FN void repeat_color(const float* color, Lanes* out) {
  float pattern[3 * kLanes];
  for (int i = 0; i < 3 * kLanes; ++i) pattern[i] = color[i % 3];
  for (int c = 0; c < 3; ++c) out[c] = load(pattern + c * kLanes);
}

BS_END
