// SPDX-License-Identifier: Apache-2.0
// Sixteen rows of three or four floats to lanes and back, by permutations instead of float by float.
#pragma once

#include "simd.h"

#if defined(BLENDSPLAT_AVX512)

BS_BEGIN

// Where a permutation of two registers (lanes 0-15 and 16-31) takes each lane from.
struct alignas(64) LaneTable {
  int32_t from[kLanes];
};

BS_FN Lanes pick(const Lanes& a, const LaneTable& table, const Lanes& b) {
  return _mm512_permutex2var_ps(a.v, _mm512_load_si512(table.from), b.v);
}

// Rows of three, channel c: float 3 i + c of three registers. The first permutation takes what lies in the first two.
constexpr LaneTable from_threes(int channel, bool second) {
  LaneTable table = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    const int source = 3 * lane + channel;
    table.from[lane] = !second ? source % 32 : source < 32 ? lane : source - 32 + kLanes;
  }
  return table;
}

// The other way, register r of three: channels 0 and 1 first, then channel 2.
constexpr LaneTable to_threes(int part, bool second) {
  LaneTable table = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    const int target = kLanes * part + lane, row = target / 3, channel = target % 3;
    table.from[lane] = !second ? row + (channel == 1 ? kLanes : 0) : channel == 2 ? row + kLanes : lane;
  }
  return table;
}

constexpr LaneTable from_fours(int channel) {
  LaneTable table = {};
  for (int lane = 0; lane < kLanes; ++lane) table.from[lane] = 4 * (lane % 8) + channel;
  return table;
}

// Register r of four takes rows 4 r to 4 r + 3 of two channels.
constexpr LaneTable to_fours(int part) {
  LaneTable table = {};
  for (int lane = 0; lane < kLanes; ++lane) table.from[lane] = 4 * part + lane / 4 + (lane % 2 ? kLanes : 0);
  return table;
}

static constexpr LaneTable kFromThrees[3][2] = {{from_threes(0, false), from_threes(0, true)},
                                                {from_threes(1, false), from_threes(1, true)},
                                                {from_threes(2, false), from_threes(2, true)}};
static constexpr LaneTable kToThrees[3][2] = {{to_threes(0, false), to_threes(0, true)},
                                              {to_threes(1, false), to_threes(1, true)},
                                              {to_threes(2, false), to_threes(2, true)}};
static constexpr LaneTable kFromFours[4] = {from_fours(0), from_fours(1), from_fours(2), from_fours(3)};
static constexpr LaneTable kToFours[4] = {to_fours(0), to_fours(1), to_fours(2), to_fours(3)};

BS_FN void rows_to_lanes3(const float* rows, Lanes* out) {
  const Lanes a = load(rows), b = load(rows + 16), c = load(rows + 32);
  for (int channel = 0; channel < 3; ++channel) out[channel] = pick(pick(a, kFromThrees[channel][0], b), kFromThrees[channel][1], c);
}

BS_FN void lanes_to_rows3(const Lanes* in, float* rows) {
  for (int part = 0; part < 3; ++part) store(rows + 16 * part, pick(pick(in[0], kToThrees[part][0], in[1]), kToThrees[part][1], in[2]));
}

BS_FN void rows_to_lanes4(const float* rows, Lanes* out) {
  const Lanes a = load(rows), b = load(rows + 16), c = load(rows + 32), d = load(rows + 48);
  for (int channel = 0; channel < 4; ++channel) {
    out[channel] = _mm512_mask_blend_ps(0xff00, pick(a, kFromFours[channel], b).v, pick(c, kFromFours[channel], d).v);
  }
}

BS_FN void lanes_to_rows4(const Lanes* in, float* rows) {
  for (int part = 0; part < 4; ++part) {
    store(rows + 16 * part, _mm512_mask_blend_ps(0xcccc, pick(in[0], kToFours[part], in[1]).v, pick(in[2], kToFours[part], in[3]).v));
  }
}

BS_END

#endif
