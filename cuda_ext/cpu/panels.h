// SPDX-License-Identifier: Apache-2.0
// How a transformer's tokens lie in memory while inference works on them, and the one product that all of it is made of.
// Tokens are the lanes: a panel is [channels][48 tokens], [B,N,C] is [B][ceil(N/48)][C][48]. Weights are read where they
// lie and results have the layout of inputs, so nothing is ever packed or transposed.
#pragma once

#include <cstdint>

#include "simd.h"

BS_BEGIN

constexpr int kPanelLanes = 3;
constexpr int kPanel = kPanelLanes * kLanes;
#if defined(BLENDSPLAT_AVX512)
constexpr int kTileRows = 8, kTileLanes = 3;  // 24 accumulators of 32 registers
#else
constexpr int kTileRows = 4, kTileLanes = 1;  // AVX2 has sixteen registers, and a Lanes takes two
#endif
static_assert(kPanelLanes % kTileLanes == 0, "tiles fill a panel");

#if defined(_MSC_VER)
#define BS_APART __declspec(noinline)
#else
#define BS_APART __attribute__((noinline))
#endif

// The left factor of a product: a[r][k] = first[r * row + k / run * jump + k % run * step]. The strides that are known
// beforehand are part of the type, so that addresses cost nothing.
template <int kRow, int kStep>
struct Factor {
  const float* first;
  int64_t run, jump;
  static constexpr int64_t row() { return kRow; }
  static constexpr int64_t step() { return kStep; }
};
struct WeightRows {
  const float* first;
  int64_t run, jump, stride;
  int64_t row() const { return stride; }
  static constexpr int64_t step() { return 1; }
};

// out[r] (+)= sum_k a[r][k] b[k] for kRows rows, k < depth and kTileLanes Lanes of the panel's columns, depth > 0. Apart, so
// that no caller's constants take the registers that its sums need; loops that run at least once keep them there.
template <int kRows, bool kAdd, class Left>
BS_APART void multiply_tile(const Left& a, const float* b, int64_t depth, float* out) {
  Lanes c[kRows][kTileLanes];
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kTileLanes; ++i) c[r][i] = kAdd ? load(out + r * kPanel + i * kLanes) : Lanes(0.0f);
  }
  const int64_t row = a.row(), run = a.run, jump = a.jump - run * a.step();
  const float* left = a.first;
  do {
    int64_t k = depth < run ? depth : run;
    depth -= k;
    do {
      Lanes right[kTileLanes];
      for (int i = 0; i < kTileLanes; ++i) right[i] = load(b + i * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const Lanes factor(left[r * row]);
        for (int i = 0; i < kTileLanes; ++i) c[r][i] = fma(factor, right[i], c[r][i]);
      }
      left += a.step();
      b += kPanel;
    } while (--k > 0);
    left += jump;
  } while (depth > 0);
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kTileLanes; ++i) store(out + r * kPanel + i * kLanes, c[r][i]);
  }
}

// The same for all columns of the panel.
template <int kRows, bool kAdd, class Left>
void multiply_rows(const Left& a, const float* b, int64_t depth, float* out) {
  for (int at = 0; at < kPanel; at += kTileLanes * kLanes) multiply_tile<kRows, kAdd>(a, b + at, depth, out + at);
}

// And for any number of rows.
template <bool kAdd, class Left>
void multiply(Left a, int64_t rows, const float* b, int64_t depth, float* out) {
  for (; rows >= kTileRows; rows -= kTileRows, a.first += kTileRows * a.row(), out += kTileRows * kPanel) {
    multiply_rows<kTileRows, kAdd>(a, b, depth, out);
  }
  for (; rows > 0; --rows, a.first += a.row(), out += kPanel) multiply_rows<1, kAdd>(a, b, depth, out);
}

BS_END
