// SPDX-License-Identifier: Apache-2.0
// A block's walk through its tile's list of surfels: kTilePixels records at a time through shared memory.
#pragma once

#include "blendsplat/surfel_blend.h"
#include "surfel_operations.h"
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

struct alignas(16) SurfelBatch {
  float surfels[kTilePixels][kSurfelSize];
  uint32_t entries[kTilePixels];
};

// Every thread loads one record of entries[first .. first + count).
__device__ __forceinline__ void load_surfels(const Bins& bins, int first, int count, int rank, SurfelBatch& batch) {
  if (rank >= count) return;
  const uint32_t entry = bins.entries[first + rank];
  const float4* from = reinterpret_cast<const float4*>(bins.records + static_cast<int64_t>(entry) * kSurfelSize);
  for (int i = 0; i < kSurfelSize / 4; ++i) reinterpret_cast<float4*>(batch.surfels[rank])[i] = from[i];
  batch.entries[rank] = entry;
}

}  // namespace cuda
}  // namespace blendsplat
