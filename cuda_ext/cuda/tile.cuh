// SPDX-License-Identifier: Apache-2.0
// A block's walk through its tile's list: kTilePixels records at a time through shared memory.
#pragma once

#include "blendsplat/blend.h"
#include "launch.h"

namespace blendsplat {
namespace cuda {

using namespace BLENDSPLAT_TARGET;

struct Batch {
  float records[kTilePixels][kRecordSize];
  uint32_t entries[kTilePixels];
};

// Every thread loads one record of entries[first .. first + count).
__device__ __forceinline__ void load_batch(const Bins& bins, int64_t first, int count, int rank, Batch& batch) {
  if (rank >= count) return;
  const uint32_t entry = bins.entries[first + rank];
  const float4* record = reinterpret_cast<const float4*>(bins.records + static_cast<int64_t>(entry) * kRecordSize);
  float4* slot = reinterpret_cast<float4*>(batch.records[rank]);
  for (int i = 0; i < kRecordSize / 4; ++i) slot[i] = record[i];
  batch.entries[rank] = entry;
}

__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
  return value;
}

}  // namespace cuda
}  // namespace blendsplat
