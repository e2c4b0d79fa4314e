// SPDX-License-Identifier: Apache-2.0
// The operations of the CPU backend and the views of the caller's buffers that they work on. Every buffer is allocated
// by the caller; each operation exists once per instruction set, in a namespace of that name.
#pragma once

#include <cstdint>

#include "blendsplat/scene.h"
#include "blendsplat/triangle.h"

namespace blendsplat {

constexpr int kTileShift = 2;  // tiles of 4x4 pixels: one Lanes. Small tiles evaluate few pixels outside the ellipse
constexpr int kTileSize = 1 << kTileShift;
constexpr int kEntrySlack = 16;  // entries are read (never used) this far past the end, to prefetch: allocate that many more

constexpr int kPairSlack = 8;    // pairs are written in steps of so many: room for as many more behind each run
constexpr int kKeptSize = 32;    // floats that the backward blend keeps of a Gaussian in a tile: alpha, transmittance

struct Scene : SceneArrays {
  int threads;

  int tile_columns() const { return (width + kTileSize - 1) >> kTileShift; }
  int tile_rows() const { return (height + kTileSize - 1) >> kTileShift; }
  int64_t tiles() const { return static_cast<int64_t>(tile_columns()) * tile_rows(); }
};

// Gaussians per tile, front to back: entries[offsets[b * tiles + t] .. offsets[b * tiles + t + 1]).
struct Bins {
  const float* records;            // [B,N,16], see RecordSlot
  const int64_t* offsets;          // [B * tiles + 1]
  const int32_t* entries;          // index of a Gaussian within its image
};

struct BlendForward {
  const float* backgrounds;        // [B,3] or null for black
  float *image, *alpha, *depth;    // [B,H,W,3] [B,H,W] [B,H,W]
};

struct BlendBackward {
  const float* backgrounds;                             // [B,3] or null
  const float *grad_image, *grad_alpha, *grad_depth;    // as the outputs; each may be null
  int parts;                       // each image's tiles are cut into so many runs, each with gradients of its own
  float* rows;                     // [parts,B,N,16], see GradientSlot; written whole
  float* grad_backgrounds;         // [parts,B,3] written whole, or null
  int64_t longest;                 // the most entries of a tile, as bin_count found
  float* kept;                     // scratch [threads,longest + 1,kKeptSize]
  int32_t* kept_entries;           // scratch [threads,longest + 1]
};

struct ProjectBackward {
  const float* records;
  const float* rows;
  int parts;
  GaussianArrays out;              // every element is written
};

struct PixelWeights {
  const float* targets;            // [B,H,W,3]
  const uint8_t* mask;             // [B,H,W], nonzero counts
  float threshold;
  int parts;
  float* sums;                     // [parts,B,N,4] zeroed: weight, weight * rgb
};

// Scratch for the sort, all the caller's. `chunks` runs per image may work at once.
struct BinScratch {
  int chunks;
  uint64_t* keys;                  // [2,B,N]
  uint32_t* order;                 // [B,N]
  uint64_t* pairs;                 // [sum of tile_bounds + B * chunks * kPairSlack]
  int32_t* histograms;             // [B,chunks,tiles]
  int64_t* chunk_info;             // [B,chunks,2]: first pair, number of pairs
  int64_t* image_info;             // [B,2]: number of drawn Gaussians, longest list of a tile
};

struct BinSizes {
  int64_t entries, longest;        // of the batch; of the tile that has most
};

// What blendsplat bench measures this machine's arithmetic with, see ceilings.cpp.
enum class Ceiling { multiply_adds, exponentials, pairs, pair_gradients };
struct CeilingRun {
  float value;                     // of a computation whose result is known
  double operations;
};

#define BLENDSPLAT_DECLARE(target)                                                                                  \
  namespace target {                                                                                                \
  int64_t project(const Scene&, float* records, int32_t* tile_bounds);  /* returns the sum of tile_bounds */         \
  int64_t emit_pairs(const Scene&, const float* records, const uint32_t* order, int64_t count, uint64_t* pairs);    \
  void blend_forward(const Scene&, const Bins&, const BlendForward&);                                               \
  void blend_backward(const Scene&, const Bins&, const BlendBackward&);                                             \
  void project_backward(const Scene&, const ProjectBackward&);                                                      \
  void pixel_weights(const Scene&, const Bins&, const PixelWeights&);                                               \
  void exponential2_array(const float* in, float* out, int64_t count);                                              \
  CeilingRun ceiling(Ceiling kind, int64_t rounds);                                                                 \
  }
BLENDSPLAT_DECLARE(generic)
BLENDSPLAT_DECLARE(avx2)
BLENDSPLAT_DECLARE(avx512)
BLENDSPLAT_DECLARE(scalar)  // what a GPU thread does, pixel by pixel: for tests

// Sorts by (image, tile, depth). bin_count fills the scratch and offsets; bin_fill then writes the entries.
BinSizes bin_count(const Scene&, const float* records, const int32_t* tile_bounds, const BinScratch&, int64_t* offsets);
void bin_fill(const Scene&, const BinScratch&, const int64_t* offsets, int32_t* entries);

struct Mesh : MeshArrays {
  int threads;
  int32_t* face_ids;               // [B,H,W]
  float *barycentrics, *depth;     // [B,H,W,3] [B,H,W]
};
void rasterize_mesh(const Mesh&);

}  // namespace blendsplat
