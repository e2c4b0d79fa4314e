// SPDX-License-Identifier: Apache-2.0
// Sixteen floats that behave like one: the lane type of the CPU backend. A 4x4 tile of pixels is one Lanes, a block of
// sixteen Gaussians too. AVX-512 holds it in one register, AVX2 in two, anything else in an array that compilers
// vectorise; the file that includes this is compiled once for each (see CMakeLists.txt) and chosen at run time.
#pragma once

#include "blendsplat/target.h"

#if defined(BLENDSPLAT_AVX512) || defined(BLENDSPLAT_AVX2)
#include <immintrin.h>
#endif

BS_BEGIN

constexpr int kLanes = 16;

#if defined(BLENDSPLAT_AVX512)

struct Mask {
  __mmask16 bits;
};
struct Lanes {
  __m512 v;
  Lanes() = default;
  BS_FN Lanes(float x) : v(_mm512_set1_ps(x)) {}
  BS_FN Lanes(__m512 x) : v(x) {}
};
BS_FN Lanes load(const float* p) { return _mm512_loadu_ps(p); }
BS_FN void store(float* p, Lanes a) { _mm512_storeu_ps(p, a.v); }
BS_FN Lanes operator+(Lanes a, Lanes b) { return _mm512_add_ps(a.v, b.v); }
BS_FN Lanes operator-(Lanes a, Lanes b) { return _mm512_sub_ps(a.v, b.v); }
BS_FN Lanes operator*(Lanes a, Lanes b) { return _mm512_mul_ps(a.v, b.v); }
BS_FN Lanes operator/(Lanes a, Lanes b) { return _mm512_div_ps(a.v, b.v); }
BS_FN Lanes fma(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
BS_FN Lanes minimum(Lanes a, Lanes b) { return _mm512_min_ps(a.v, b.v); }
BS_FN Lanes maximum(Lanes a, Lanes b) { return _mm512_max_ps(a.v, b.v); }
BS_FN Lanes square_root(Lanes a) { return _mm512_sqrt_ps(a.v); }
BS_FN Mask operator<(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
BS_FN Mask operator>(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
BS_FN Mask operator>=(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
BS_FN Mask operator==(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
BS_FN Mask both(Mask a, Mask b) { return {static_cast<__mmask16>(a.bits & b.bits)}; }
BS_FN Mask without(Mask a, Mask b) { return {static_cast<__mmask16>(a.bits & ~b.bits)}; }
BS_FN bool any(Mask a) { return a.bits != 0; }
BS_FN unsigned bits(Mask a) { return a.bits; }
BS_FN Mask from_bits(unsigned b) { return {static_cast<__mmask16>(b)}; }
BS_FN Lanes select(Mask m, Lanes yes, Lanes no) { return _mm512_mask_blend_ps(m.bits, no.v, yes.v); }
BS_FN Lanes only(Mask m, Lanes a) { return _mm512_maskz_mov_ps(m.bits, a.v); }
BS_FN float total(Lanes a) { return _mm512_reduce_add_ps(a.v); }
BS_FN void store_whole(int32_t* p, Lanes a) { _mm512_storeu_si512(p, _mm512_cvttps_epi32(a.v)); }
BS_FN Lanes pack_whole(Lanes low, Lanes high) {
  return _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvttps_epi32(low.v), _mm512_slli_epi32(_mm512_cvttps_epi32(high.v), 16)));
}
BS_FN Lanes round_nearest(Lanes a) { return _mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
BS_FN Lanes round_down(Lanes a) { return _mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
BS_FN Lanes times_power_of_two(Lanes a, Lanes whole) { return _mm512_scalef_ps(a.v, whole.v); }
BS_FN Lanes exponent_of(Lanes a) { return _mm512_getexp_ps(a.v); }
BS_FN Lanes significand_of(Lanes a) { return _mm512_getmant_ps(a.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src); }

// Rows become columns: pairs, then quadruples, then the four 128-bit quarters.
BS_FN void transpose(Lanes* m) {
  __m512 a[16];
  for (int i = 0; i < 16; i += 4) {
    const __m512 low01 = _mm512_unpacklo_ps(m[i].v, m[i + 1].v), high01 = _mm512_unpackhi_ps(m[i].v, m[i + 1].v);
    const __m512 low23 = _mm512_unpacklo_ps(m[i + 2].v, m[i + 3].v), high23 = _mm512_unpackhi_ps(m[i + 2].v, m[i + 3].v);
    a[i] = _mm512_shuffle_ps(low01, low23, 0x44);
    a[i + 1] = _mm512_shuffle_ps(low01, low23, 0xee);
    a[i + 2] = _mm512_shuffle_ps(high01, high23, 0x44);
    a[i + 3] = _mm512_shuffle_ps(high01, high23, 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    const __m512 even0 = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), odd0 = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd);
    const __m512 even1 = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88), odd1 = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xdd);
    m[i].v = _mm512_shuffle_f32x4(even0, even1, 0x88);
    m[i + 4].v = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
    m[i + 8].v = _mm512_shuffle_f32x4(even0, even1, 0xdd);
    m[i + 12].v = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
  }
}

#elif defined(BLENDSPLAT_AVX2)

struct Mask {
  __m256 low, high;
};
struct Lanes {
  __m256 low, high;
  Lanes() = default;
  BS_FN Lanes(float x) : low(_mm256_set1_ps(x)), high(low) {}
  BS_FN Lanes(__m256 l, __m256 h) : low(l), high(h) {}
};
BS_FN Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
BS_FN void store(float* p, Lanes a) { _mm256_storeu_ps(p, a.low); _mm256_storeu_ps(p + 8, a.high); }
BS_FN Lanes operator+(Lanes a, Lanes b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
BS_FN Lanes operator-(Lanes a, Lanes b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
BS_FN Lanes operator*(Lanes a, Lanes b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
BS_FN Lanes operator/(Lanes a, Lanes b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
BS_FN Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)}; }
BS_FN Lanes minimum(Lanes a, Lanes b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
BS_FN Lanes maximum(Lanes a, Lanes b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
BS_FN Lanes square_root(Lanes a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
BS_FN Mask operator<(Lanes a, Lanes b) { return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)}; }
BS_FN Mask operator>(Lanes a, Lanes b) { return b < a; }
BS_FN Mask operator>=(Lanes a, Lanes b) { return {_mm256_cmp_ps(a.low, b.low, _CMP_GE_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_GE_OQ)}; }
BS_FN Mask operator==(Lanes a, Lanes b) { return {_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ)}; }
BS_FN Mask both(Mask a, Mask b) { return {_mm256_and_ps(a.low, b.low), _mm256_and_ps(a.high, b.high)}; }
BS_FN Mask without(Mask a, Mask b) { return {_mm256_andnot_ps(b.low, a.low), _mm256_andnot_ps(b.high, a.high)}; }
BS_FN bool any(Mask a) { const __m256 either = _mm256_or_ps(a.low, a.high); return !_mm256_testz_ps(either, either); }
BS_FN unsigned bits(Mask a) {
  return static_cast<unsigned>(_mm256_movemask_ps(a.low)) | static_cast<unsigned>(_mm256_movemask_ps(a.high)) << 8;
}
BS_FN __m256 spread_bits(unsigned b) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i chosen = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(b)), bit);
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(chosen, bit));
}
BS_FN Mask from_bits(unsigned b) { return {spread_bits(b), spread_bits(b >> 8)}; }
BS_FN Lanes select(Mask m, Lanes yes, Lanes no) {
  return {_mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high)};
}
BS_FN Lanes only(Mask m, Lanes a) { return {_mm256_and_ps(m.low, a.low), _mm256_and_ps(m.high, a.high)}; }
BS_FN float total(Lanes a) {
  const __m256 sum = _mm256_add_ps(a.low, a.high);
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}
BS_FN void store_whole(int32_t* p, Lanes a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvttps_epi32(a.low));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), _mm256_cvttps_epi32(a.high));
}
BS_FN __m256 pack_half(__m256 low, __m256 high) {
  return _mm256_castsi256_ps(_mm256_or_si256(_mm256_cvttps_epi32(low), _mm256_slli_epi32(_mm256_cvttps_epi32(high), 16)));
}
BS_FN Lanes pack_whole(Lanes low, Lanes high) { return {pack_half(low.low, high.low), pack_half(low.high, high.high)}; }
BS_FN Lanes round_nearest(Lanes a) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, mode), _mm256_round_ps(a.high, mode)};
}
BS_FN Lanes round_down(Lanes a) { return {_mm256_floor_ps(a.low), _mm256_floor_ps(a.high)}; }
BS_FN __m256 shift_exponent(__m256 a, __m256 whole) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23)));
}
BS_FN Lanes times_power_of_two(Lanes a, Lanes whole) { return {shift_exponent(a.low, whole.low), shift_exponent(a.high, whole.high)}; }
BS_FN __m256 exponent_half(__m256 a) {
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(_mm256_castps_si256(a), 23), _mm256_set1_epi32(127)));
}
BS_FN Lanes exponent_of(Lanes a) { return {exponent_half(a.low), exponent_half(a.high)}; }
BS_FN __m256 significand_half(__m256 a) {
  return _mm256_or_ps(_mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x007fffff))), _mm256_set1_ps(1.0f));
}
BS_FN Lanes significand_of(Lanes a) { return {significand_half(a.low), significand_half(a.high)}; }

BS_FN void transpose8(__m256* m) {
  __m256 a[8];
  for (int i = 0; i < 8; i += 4) {
    const __m256 low01 = _mm256_unpacklo_ps(m[i], m[i + 1]), high01 = _mm256_unpackhi_ps(m[i], m[i + 1]);
    const __m256 low23 = _mm256_unpacklo_ps(m[i + 2], m[i + 3]), high23 = _mm256_unpackhi_ps(m[i + 2], m[i + 3]);
    a[i] = _mm256_shuffle_ps(low01, low23, 0x44);
    a[i + 1] = _mm256_shuffle_ps(low01, low23, 0xee);
    a[i + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
    a[i + 3] = _mm256_shuffle_ps(high01, high23, 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    m[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
    m[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
  }
}

// Four 8x8 blocks, the two off the diagonal exchanged.
BS_FN void transpose(Lanes* m) {
  __m256 block[4][8];
  for (int i = 0; i < 8; ++i) {
    block[0][i] = m[i].low;
    block[1][i] = m[i].high;
    block[2][i] = m[i + 8].low;
    block[3][i] = m[i + 8].high;
  }
  for (int b = 0; b < 4; ++b) transpose8(block[b]);
  for (int i = 0; i < 8; ++i) {
    m[i] = {block[0][i], block[2][i]};
    m[i + 8] = {block[1][i], block[3][i]};
  }
}

#else

#define BS_EACH for (int i = 0; i < kLanes; ++i)

struct Mask {
  int32_t on[kLanes];
};
struct Lanes {
  float v[kLanes];
  Lanes() = default;
  BS_FN Lanes(float x) { BS_EACH v[i] = x; }
};
BS_FN Lanes load(const float* p) { Lanes r; BS_EACH r.v[i] = p[i]; return r; }
BS_FN void store(float* p, const Lanes& a) { BS_EACH p[i] = a.v[i]; }
BS_FN Lanes operator+(const Lanes& a, const Lanes& b) { Lanes r; BS_EACH r.v[i] = a.v[i] + b.v[i]; return r; }
BS_FN Lanes operator-(const Lanes& a, const Lanes& b) { Lanes r; BS_EACH r.v[i] = a.v[i] - b.v[i]; return r; }
BS_FN Lanes operator*(const Lanes& a, const Lanes& b) { Lanes r; BS_EACH r.v[i] = a.v[i] * b.v[i]; return r; }
BS_FN Lanes operator/(const Lanes& a, const Lanes& b) { Lanes r; BS_EACH r.v[i] = a.v[i] / b.v[i]; return r; }
BS_FN Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) { Lanes r; BS_EACH r.v[i] = a.v[i] * b.v[i] + c.v[i]; return r; }
BS_FN Lanes minimum(const Lanes& a, const Lanes& b) { Lanes r; BS_EACH r.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i]; return r; }
BS_FN Lanes maximum(const Lanes& a, const Lanes& b) { Lanes r; BS_EACH r.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i]; return r; }
BS_FN Lanes square_root(const Lanes& a) { Lanes r; BS_EACH r.v[i] = sqrtf(a.v[i]); return r; }
BS_FN Mask operator<(const Lanes& a, const Lanes& b) { Mask r; BS_EACH r.on[i] = -(a.v[i] < b.v[i]); return r; }
BS_FN Mask operator>(const Lanes& a, const Lanes& b) { return b < a; }
BS_FN Mask operator>=(const Lanes& a, const Lanes& b) { Mask r; BS_EACH r.on[i] = -(a.v[i] >= b.v[i]); return r; }
BS_FN Mask operator==(const Lanes& a, const Lanes& b) { Mask r; BS_EACH r.on[i] = -(a.v[i] == b.v[i]); return r; }
BS_FN Mask both(const Mask& a, const Mask& b) { Mask r; BS_EACH r.on[i] = a.on[i] & b.on[i]; return r; }
BS_FN Mask without(const Mask& a, const Mask& b) { Mask r; BS_EACH r.on[i] = a.on[i] & ~b.on[i]; return r; }
BS_FN bool any(const Mask& a) { int32_t sum = 0; BS_EACH sum |= a.on[i]; return sum != 0; }
BS_FN unsigned bits(const Mask& a) { unsigned r = 0; BS_EACH r |= static_cast<unsigned>(a.on[i] & 1) << i; return r; }
BS_FN Mask from_bits(unsigned b) { Mask r; BS_EACH r.on[i] = -static_cast<int32_t>(b >> i & 1); return r; }
BS_FN Lanes select(const Mask& m, const Lanes& yes, const Lanes& no) { Lanes r; BS_EACH r.v[i] = m.on[i] ? yes.v[i] : no.v[i]; return r; }
BS_FN Lanes only(const Mask& m, const Lanes& a) { Lanes r; BS_EACH r.v[i] = m.on[i] ? a.v[i] : 0.0f; return r; }
BS_FN float total(const Lanes& a) { float sum = 0; BS_EACH sum += a.v[i]; return sum; }
BS_FN Lanes round_nearest(const Lanes& a) {  // adding and taking away 1.5 * 2^23 rounds what is smaller than 2^22
  Lanes r; BS_EACH r.v[i] = (a.v[i] + 12582912.0f) - 12582912.0f; return r;
}
BS_FN Lanes round_down(const Lanes& a) {
  Lanes r;
  BS_EACH {
    const float whole = static_cast<float>(static_cast<int32_t>(a.v[i]));
    r.v[i] = whole > a.v[i] ? whole - 1.0f : whole;
  }
  return r;
}
BS_FN int32_t bits_of(float x) { union { float f; int32_t i; } u; u.f = x; return u.i; }
BS_FN float float_of(int32_t x) { union { float f; int32_t i; } u; u.i = x; return u.f; }
BS_FN void store_whole(int32_t* p, const Lanes& a) { BS_EACH p[i] = static_cast<int32_t>(a.v[i]); }
// As the vector units do it, whatever NaN became: bits that leave at the top are lost.
BS_FN int32_t shifted(float whole, int by) { return static_cast<int32_t>(static_cast<uint32_t>(static_cast<int32_t>(whole)) << by); }
BS_FN int32_t sum_of(int32_t a, int32_t b) { return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b)); }
BS_FN Lanes pack_whole(const Lanes& low, const Lanes& high) {
  Lanes r; BS_EACH r.v[i] = float_of(static_cast<int32_t>(low.v[i]) | shifted(high.v[i], 16)); return r;
}
BS_FN Lanes times_power_of_two(const Lanes& a, const Lanes& whole) {
  Lanes r; BS_EACH r.v[i] = float_of(sum_of(bits_of(a.v[i]), shifted(whole.v[i], 23))); return r;
}
BS_FN Lanes exponent_of(const Lanes& a) { Lanes r; BS_EACH r.v[i] = static_cast<float>((bits_of(a.v[i]) >> 23) - 127); return r; }
BS_FN Lanes significand_of(const Lanes& a) { Lanes r; BS_EACH r.v[i] = float_of((bits_of(a.v[i]) & 0x007fffff) | 0x3f800000); return r; }
BS_FN void transpose(Lanes* m) {
  for (int row = 0; row < kLanes; ++row) {
    for (int column = 0; column < row; ++column) {
      const float kept = m[row].v[column];
      m[row].v[column] = m[column].v[row];
      m[column].v[row] = kept;
    }
  }
}

#endif

BS_FN void prefetch(const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address);
#elif defined(BLENDSPLAT_AVX2) || defined(BLENDSPLAT_AVX512)
  _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0);
#else
  (void)address;
#endif
}

constexpr float kExp2[6] = {1.0f, 0.6931470036506653f, 0.24022242426872253f, 0.05550733581185341f, 0.009671512991189957f, 0.001326472731307149f};
constexpr float kLog2[5] = {-2.512854814529419f, 4.070091247558594f, -2.1206753253936768f, 0.6451423764228821f, -0.08161579817533493f};

// store_whole and pack_whole take whole numbers: as integers, and as bits of two in 16 each, see TileRange.
BS_FN Mask finite(const Lanes& a) { return (a - a) == Lanes(0.0f); }

// 2^x for x <= 0 (alpha's exponent): x rounded to a whole number, a polynomial of degree 5 for the rest, fitted to
// minimal relative error. Below 2^-100 the result is 2^-100: far under kAlphaMin. Error: at most 2.5e-7 relative
// (tests/kernels checks it).
BS_FN Lanes exponential2(const Lanes& x) {
  const Lanes bounded = maximum(x, Lanes(-100.0f));
  const Lanes whole = round_nearest(bounded);
  const Lanes rest = bounded - whole;
  Lanes p = fma(Lanes(kExp2[5]), rest, Lanes(kExp2[4]));
  p = fma(p, rest, Lanes(kExp2[3]));
  p = fma(p, rest, Lanes(kExp2[2]));
  p = fma(p, rest, Lanes(kExp2[1]));
  p = fma(p, rest, Lanes(1.0f));
  return times_power_of_two(p, whole);
}

// log2(x) for normal x > 0 to 1e-4: only the size of a splat's ellipse depends on it, and kLevelSlack covers the error.
BS_FN Lanes logarithm2(const Lanes& x) {
  const Lanes m = significand_of(x);
  Lanes p = fma(Lanes(kLog2[4]), m, Lanes(kLog2[3]));
  p = fma(p, m, Lanes(kLog2[2]));
  p = fma(p, m, Lanes(kLog2[1]));
  p = fma(p, m, Lanes(kLog2[0]));
  return p + exponent_of(x);
}

BS_END
