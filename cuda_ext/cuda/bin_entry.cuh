// SPDX-License-Identifier: Apache-2.0
// What a projected Gaussian or surfel leaves for binning: its record, how many tiles it touches, and its key.
#pragma once

#include "launch.h"

namespace blendsplat {
namespace cuda {

using namespace BLENDSPLAT_TARGET;

__device__ __forceinline__ void write_record(const float* record, float* records, int64_t index) {
  float4* out = reinterpret_cast<float4*>(records + index * kRecordSize);
  for (int i = 0; i < kRecordSize / 4; ++i) out[i] = make_float4(record[i * 4], record[i * 4 + 1], record[i * 4 + 2], record[i * 4 + 3]);
}

__device__ __forceinline__ int32_t count_tiles(const SceneArrays& scene, const float* record) {
  const TileRange rows = unpack_range(record[kBoxY]);
  int32_t count = 0;
  for (int row = rows.first; row <= rows.last; ++row) {
    const TileRange span = row_span(record, row, scene.width, kTileShift);
    count += span.last - span.first + 1;
  }
  return count;
}

// in_box: whether its box holds any tile.
__device__ __forceinline__ void enter_bins(const SceneArrays& scene, int64_t index, bool in_box, const float* record, float* records,
                                           const BinScratch& scratch) {
  write_record(record, records, index);
  scratch.tile_counts[index] = in_box ? count_tiles(scene, record) : 0;
  // Depths of what is drawn are positive, so their bits sort as they do; where the others sort does not matter.
  scratch.depth_keys[index] = static_cast<uint64_t>(index / scene.gaussians) << 32 | __float_as_uint(record[kDepth]);
  scratch.indices[index] = static_cast<uint32_t>(index);
}

}  // namespace cuda
}  // namespace blendsplat
