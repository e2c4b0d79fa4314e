// SPDX-License-Identifier: Apache-2.0
// What the blending kernels share: a block of kTilePixels threads per tile, its pixels, and its walk through the tile's
// list with kTilePixels records at a time in shared memory.
#pragma once

#include "blendsplat/blend.h"
#include "launch.h"
#include "warp.cuh"

namespace blendsplat {
namespace cuda {

using namespace BLENDSPLAT_TARGET;

constexpr uint32_t kWholeWarp = 0xffffffffu;
constexpr int kWarpSize = 32;

// Blending reads the first slots of a record only.
constexpr int kBlendSlots = 12;
static_assert(kDepth < kBlendSlots && kBlendSlots % 4 == 0, "blending loads whole float4 that hold all it needs");

// A warp's pixels are 8x4, not 16x2: fewer warps meet a small Gaussian.
struct Spot {
  int column, row;
};

BS_FN Spot spot_in_tile(int rank) {
  const int warp = rank / kWarpSize, lane = rank % kWarpSize;
  return {(warp & 1) * 8 + (lane & 7), (warp >> 1) * 4 + (lane >> 3)};
}

struct Tile {
  int64_t index, image;
  int left, top;                                   // its first pixel
  int begin, end;                                  // of its list
};

__device__ __forceinline__ Tile make_tile(int columns, int tiles, const int32_t* ranges) {
  Tile tile;
  tile.index = blockIdx.x;
  tile.image = tile.index / tiles;
  const int within = static_cast<int>(tile.index % tiles);
  tile.left = within % columns * kTileSize;
  tile.top = within / columns * kTileSize;
  tile.begin = ranges[tile.index * 2];
  tile.end = ranges[tile.index * 2 + 1];
  return tile;
}

struct TilePixel {
  int64_t index;                                   // in [B,H,W]
  float x, y;                                      // centre
  bool inside;
};

__device__ __forceinline__ TilePixel make_pixel(const SceneArrays& scene, const Tile& tile, int rank) {
  const Spot spot = spot_in_tile(rank);
  const int column = tile.left + spot.column, row = tile.top + spot.row;
  return {(tile.image * scene.height + row) * scene.width + column, static_cast<float>(column) + 0.5f, static_cast<float>(row) + 0.5f,
          column < scene.width && row < scene.height};
}

__device__ __forceinline__ void load_record(const float* records, uint32_t entry, float* out) {
  const float4* from = reinterpret_cast<const float4*>(records + static_cast<int64_t>(entry) * kRecordSize);
  for (int i = 0; i < kBlendSlots / 4; ++i) reinterpret_cast<float4*>(out)[i] = from[i];
}

struct alignas(16) Batch {
  float records[kTilePixels][kBlendSlots];
  uint32_t entries[kTilePixels];
};

// Every thread loads one record of entries[first .. first + count).
__device__ __forceinline__ void load_batch(const Bins& bins, int first, int count, int rank, Batch& batch) {
  if (rank >= count) return;
  const uint32_t entry = bins.entries[first + rank];
  load_record(bins.records, entry, batch.records[rank]);
  batch.entries[rank] = entry;
}

// The state of bucket `bucket` of a tile. Tiles' states never overlap: with b and n a tile's begin and length,
// ceil(n / 32) <= floor((b + n) / 32) - floor(b / 32) + 1.
BS_FN int64_t state_offset(const Tile& tile, int bucket) { return (tile.begin / kBucketSize + tile.index + bucket) * kStateFloats; }

}  // namespace cuda
}  // namespace blendsplat
