// SPDX-License-Identifier: Apache-2.0
// Which tiles does a splat touch? Exactly those that hold a point where opacity * exp(-q/2) reaches kAlphaMin: an
// ellipse whose size depends on the opacity (cf. Speedy-Splat's SnugBox and AccuTile), cut row of tiles by row of tiles.
#pragma once

#include "blendsplat/projection.h"

BS_BEGIN

// The level set is q <= t. At height dy it spans x = slope dy -+ sqrt(P - Q dy^2); its rightmost point is at dy = turn.
template <class F>
struct Ellipse {
  F extent_x, extent_y, span_p, span_q, slope, turn;
};

// A little slack on the level keeps rounding from dropping a pixel exactly at the cut-off.
constexpr float kLevelSlack = 2e-3f;

// {d: d^T covariance^-1 d <= level}.
template <class F>
BS_FN Ellipse<F> level_set(F cov_xx, F cov_xy, F cov_yy, F determinant, F level) {
  Ellipse<F> e;
  const F inverse_yy = F(1.0f) / cov_yy;
  const F conditional = determinant * inverse_yy;
  const F root_x = square_root(level * cov_xx);
  e.extent_x = root_x;
  e.extent_y = square_root(level * cov_yy);
  e.slope = cov_xy * inverse_yy;
  e.span_p = conditional * level;
  e.span_q = conditional * inverse_yy;
  e.turn = root_x * cov_xy / cov_xx;
  return e;
}

// Where opacity * exp(-q/2) reaches kAlphaMin.
template <class F>
BS_FN F cut_off_level(F opacity) {
  return F(kTwoLn2) * logarithm2(opacity * F(1.0f / kAlphaMin)) + F(kLevelSlack);
}

template <class F>
BS_FN Ellipse<F> make_ellipse(const Projection<F>& p, F opacity) {
  return level_set(p.cov_xx, p.cov_xy, p.cov_yy, p.determinant, cut_off_level(opacity));
}

// First and last tile along one axis whose pixel centres the interval [centre - extent, centre + extent] can hold;
// last < first when there is none.
struct TileRange {
  int first, last;
};

BS_FN TileRange tile_range(float low, float high, int size, int shift) {
  const float limit = static_cast<float>(size);
  const float first_centre = minimum(maximum(low - 0.5f, 0.0f), limit);
  const float last_centre = minimum(maximum(high + 0.5f, 0.0f), limit);
  // Truncation rounds these non-negative numbers down; ceil and floor are library calls on the plainest targets.
  const int truncated = static_cast<int>(first_centre);
  const int first_pixel = truncated + (static_cast<float>(truncated) < first_centre ? 1 : 0);
  const int last_pixel = static_cast<int>(last_centre) - 1;
  if (last_pixel < first_pixel) return {1, 0};
  return {first_pixel >> shift, last_pixel >> shift};
}

// From where to where the ellipse reaches within a strip of heights [top, bottom], all relative to its centre. An ellipse
// cut by a strip is convex, so this is an interval, and its ends lie at the ellipse's own extremes or on the strip's
// nearer edge.
template <class F>
BS_FN void strip_extent(F span_p, F span_q, F slope, F turn, F top, F bottom, F* left, F* right) {
  const F zero(0.0f);
  const F right_y = minimum(maximum(turn, top), bottom);
  const F left_y = minimum(maximum(zero - turn, top), bottom);
  *right = slope * right_y + square_root(maximum(span_p - span_q * right_y * right_y, zero));
  *left = slope * left_y - square_root(maximum(span_p - span_q * left_y * left_y, zero));
}

// Columns of tiles that the ellipse touches in one row of tiles.
BS_FN TileRange row_span(const float* record, int tile_row, int width, int shift) {
  const float top = static_cast<float>(tile_row << shift) + 0.5f - record[kMeanY];
  const float bottom = top + static_cast<float>((1 << shift) - 1);
  float left, right;
  strip_extent(record[kSpanP], record[kSpanQ], record[kSpanSlope], record[kSpanTurn], top, bottom, &left, &right);
  return tile_range(record[kMeanX] + left, record[kMeanX] + right, width, shift);
}

BS_END
