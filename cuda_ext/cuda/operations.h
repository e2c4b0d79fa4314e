// SPDX-License-Identifier: Apache-2.0
// The operations of the CUDA backend and the views of the caller's buffers. All are device pointers that the caller
// allocated; everything is queued on the given stream and nothing waits for it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "blendsplat/scene.h"

namespace blendsplat {
namespace cuda {

constexpr int kTileShift = 4;                      // tiles of 16x16 pixels, a thread each
constexpr int kTileSize = 1 << kTileShift;
constexpr int kTilePixels = kTileSize * kTileSize;

struct Scene : SceneArrays {
  int device;
  cudaStream_t stream;

  int tile_columns() const { return (width + kTileSize - 1) >> kTileShift; }
  int tile_rows() const { return (height + kTileSize - 1) >> kTileShift; }
  int64_t tiles() const { return static_cast<int64_t>(tile_columns()) * tile_rows(); }
};

struct Bins {
  const float* records;                            // [B,N,16], see RecordSlot
  const int64_t* ranges;                           // [B * tiles,2]: first and one past the last entry
  const uint32_t* entries;                         // index over all images, image * N + i
};

struct BlendForward {
  const float* backgrounds;                        // [B,3] or null
  float *image, *alpha, *depth;                    // [B,H,W,3] [B,H,W] [B,H,W]
  float* transmittance;                            // [B,H,W], kept for the backward pass
  int64_t* last;                                   // [B,H,W], one past the last entry that was taken
};

struct BlendBackward {
  const float* backgrounds;
  const float *grad_image, *grad_alpha, *grad_depth;  // each may be null
  const float* transmittance;
  const int64_t* last;
  float* rows;                                     // [B,N,16] zeroed, see GradientSlot
  float* grad_backgrounds;                         // [B,3] zeroed, or null
};

struct PixelWeights {
  const float* targets;                            // [B,H,W,3]
  const uint8_t* mask;                             // [B,H,W]
  float threshold;
  float* sums;                                     // [B,N,4] zeroed
};

// Each throws std::runtime_error with CUDA's words if a launch fails.

// Records, and per Gaussian the number of tiles that it touches.
void project(const Scene&, float* records, int32_t* tile_counts);

// Inclusive sums of the counts; the last is the number of entries.
size_t scan_temporary_size(int64_t count);
void scan(const Scene&, const int32_t* tile_counts, int64_t* sums, void* temporary, size_t temporary_size);

// (image, tile, depth) keys with their Gaussians, one per tile touched; entries past `capacity` are dropped.
void duplicate_keys(const Scene&, const float* records, const int32_t* tile_counts, const int64_t* sums, int64_t capacity,
                    uint64_t* keys, uint32_t* values);
size_t sort_temporary_size(const Scene&, int64_t count);
void sort(const Scene&, int64_t count, const uint64_t* keys, uint64_t* sorted_keys, const uint32_t* values,
          uint32_t* sorted_values, void* temporary, size_t temporary_size);
void tile_ranges(const Scene&, int64_t count, const uint64_t* sorted_keys, int64_t* ranges /* zeroed */);

void blend_forward(const Scene&, const Bins&, const BlendForward&);
void blend_backward(const Scene&, const Bins&, const BlendBackward&);
void project_backward(const Scene&, const float* records, const float* rows, const GaussianArrays&);
void pixel_weights(const Scene&, const Bins&, const PixelWeights&);

}  // namespace cuda
}  // namespace blendsplat
