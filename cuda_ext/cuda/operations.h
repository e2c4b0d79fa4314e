// SPDX-License-Identifier: Apache-2.0
// The operations of the CUDA backend and the views of the caller's buffers. All are device pointers that the caller
// allocated; everything is queued on the given stream, nothing waits for it, and all of it can be captured in a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "blendsplat/scene.h"
#include "primitives.h"

namespace blendsplat {
namespace cuda {

constexpr int kTileShift = 4;                      // tiles of 16x16 pixels, a thread each
constexpr int kTileSize = 1 << kTileShift;
constexpr int kTilePixels = kTileSize * kTileSize;
constexpr int kBucketSize = 32;                    // entries of a tile's list between two saved states: a lane of a warp each

// What a pixel leaves of each bucket of its tile's list but the first, for the backward pass; planes of kTilePixels floats.
enum StateSlot {
  kStateTransmittance,                             // in front of the bucket
  kStateRed, kStateGreen, kStateBlue, kStateDepth, // what the bucket adds to the pixel
  kStateBehind,                                    // the backward pass's scratch, see blend_backward.cu
  kStateSize
};
constexpr int kStateFloats = kStateSize * kTilePixels;

struct Scene : SceneArrays {
  int device;
  cudaStream_t stream;

  int tile_columns() const { return (width + kTileSize - 1) >> kTileShift; }
  int tile_rows() const { return (height + kTileSize - 1) >> kTileShift; }
  int64_t tiles() const { return static_cast<int64_t>(tile_columns()) * tile_rows(); }
};

// Scratch of binning. Arrays are [B,N] before the capacity, [capacity] behind it.
struct BinScratch {
  int32_t* tile_counts;                            // tiles that each Gaussian touches
  uint64_t *depth_keys, *sorted_depth_keys;        // image << 32 | bits of the depth
  uint32_t *indices, *order;                       // index over all images, image * N + i; order: by image, then depth
  int64_t* sums;                                   // of the counts, in that order
  int64_t capacity;
  uint32_t *tile_keys, *sorted_tile_keys;          // tile over all images; past the last entry the number of tiles
  uint32_t* unsorted_entries;
  Temporary temporary;
};

struct Bins {
  const float* records;                            // [B,N,16], see RecordSlot
  const int32_t* ranges;                           // [B * tiles,2]: first and one past the last entry
  const uint32_t* entries;                         // [capacity] index over all images, by tile, front to back
};

// What the backward pass needs of the forward pass.
struct Kept {
  float* finals;                                   // [B * tiles, kTilePixels] transmittance behind the last Gaussian
  int32_t* lasts;                                  // [B * tiles, kTilePixels] one past the last entry taken, from the list's begin
  float* states;                                   // [state_count(), kStateFloats]
};

struct BlendForward {
  const float* backgrounds;                        // [B,3] or null
  float *image, *alpha, *depth;                    // [B,H,W,3] [B,H,W] [B,H,W]
  Kept kept;                                       // nulls where no backward pass follows
};

struct BlendBackward {
  const float* backgrounds;
  const float *grad_image, *grad_alpha, *grad_depth;  // each may be null
  Kept kept;
  float* rows;                                     // [B,N,16], see GradientSlot
  float* grad_backgrounds;                         // [B,3], or null
};

struct PixelWeights {
  const float* targets;                            // [B,H,W,3]
  const uint8_t* mask;                             // [B,H,W]
  float threshold;
  float* sums;                                     // [B,N,4]
};

// Each throws std::runtime_error with CUDA's words if a launch fails.

// Bytes of temporary memory that sorting and summing need for a capacity.
size_t bin_temporary_size(const Scene&, int64_t capacity);
// States to allocate for a capacity: each tile's buckets begin at state begin / kBucketSize + tile.
int64_t state_count(const Scene&, int64_t capacity);

// Records, counts and depth keys.
void project(const Scene&, float* records, const BinScratch&);
// The order, and the sums: the last of them is the number of entries.
void sort_by_depth(const Scene&, const BinScratch&);
// The bins. Entries past the capacity are dropped; needed[0] (or null) is raised to the capacity it would have taken.
void fill_bins(const Scene&, const float* records, const BinScratch&, int32_t* ranges, uint32_t* entries, int64_t* needed);

void blend_forward(const Scene&, const Bins&, const BlendForward&);
void blend_backward(const Scene&, const Bins&, const BlendBackward&);
void project_backward(const Scene&, const float* records, const float* rows, const GaussianArrays&);
void pixel_weights(const Scene&, const Bins&, const PixelWeights&);

}  // namespace cuda
}  // namespace blendsplat
