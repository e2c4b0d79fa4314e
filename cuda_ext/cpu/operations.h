// SPDX-License-Identifier: Apache-2.0
// The operations of the CPU backend and the views of the caller's buffers that they work on. Every buffer is allocated
// by the caller; each operation exists once per instruction set, in a namespace of that name.
#pragma once

#include <cstdint>

#include "blendsplat/scene.h"

namespace blendsplat {

constexpr int kTileShift = 2;  // tiles of 4x4 pixels: one Lanes. Small tiles evaluate few pixels outside the ellipse
constexpr int kTileSize = 1 << kTileShift;
constexpr int kEntrySlack = 16;  // entries are read (never used) this far past the end, to prefetch: allocate that many more

constexpr int kPairSlack = 8;    // pairs are written in steps of so many: room for as many more behind each run
constexpr int kMaxSlabs = 32;
constexpr int kStamp = 15;       // last slot of a gradient row, see Rows
constexpr int kKeptSize = 32;    // floats that the backward blend keeps of a Gaussian in a tile: alpha, transmittance

struct Scene : SceneArrays {
  int threads;

  int tile_columns() const { return (width + kTileSize - 1) >> kTileShift; }
  int tile_rows() const { return (height + kTileSize - 1) >> kTileShift; }
  int64_t tiles() const { return static_cast<int64_t>(tile_columns()) * tile_rows(); }
};

// Gaussians per tile, front to back: entries[offsets[b][t] .. offsets[b][t + 1]).
struct Bins {
  const float* records;            // [B,N,16], see RecordSlot
  const int64_t* offsets;          // [B,tiles + 1]
  const int32_t* entries;          // index of a Gaussian within its image; images may leave gaps between them
};

struct BlendForward {
  const float* backgrounds;        // [B,3] or null for black
  float *image, *alpha, *depth;    // [B,H,W,3] [B,H,W] [B,H,W]
  // Or, if not null, pictures as files hold them: RGBA, its alpha 1 over a background, and metres along the camera's axis, the
  // mean over what a pixel shows, 0 where its alpha is at most `faintest`.
  float *rgba = nullptr, *metres = nullptr;  // [B,H,W,4] [B,H,W]
  float faintest = 0.0f;
};

// Where the backward blend adds up. An image's tiles are cut into `parts` bands, each with rows of its own that one
// thread writes in the order of tiles: no locks, and the same numbers whatever the number of threads. A row belongs to
// this call if it carries its stamp; others are not even read, so that many parts cost little and nothing is zeroed.
struct Rows {
  float* rows;                     // [parts,B,N,16]: GradientSlot, and the stamp in kStamp
  int parts;
  float stamp;                     // a whole number that no row carries yet
  int32_t* bands;                  // [B,rows of tiles]: the band of each row of tiles, see cut_bands
};

struct BlendBackward {
  const float* backgrounds;                             // [B,3] or null
  const float *grad_image, *grad_alpha, *grad_depth;    // as the outputs; each may be null
  Rows sums;
  float* grad_backgrounds;         // [parts,B,3] written whole, or null
  int64_t longest;                 // the most entries of a tile
  float* kept;                     // scratch [threads,longest + 1,kKeptSize]
  int32_t* kept_entries;           // scratch [threads,longest + 1]
};

struct ProjectBackward {
  const float* records;
  Rows sums;
  GaussianArrays out;              // every element is written
};

struct PixelWeights {
  const float* targets;            // [B,H,W,3]
  const uint8_t* mask;             // [B,H,W], nonzero counts
  float threshold;
  int parts;
  const int32_t* bands;            // as in Rows
  float* sums;                     // [parts,B,N,4] zeroed: weight, weight * rgb
};

// What binning writes, and its scratch; all the caller's. Images go through `slots` sets of scratch, and each image's
// Gaussians are sorted as `slabs` ranges of depth at once; the result depends on neither.
struct Binning {
  float* records;                  // [B,N,16]
  int64_t* offsets;                // [B,tiles + 1]
  int32_t* entries;                // [B,entry_room]
  int64_t entry_room;              // per image, kEntrySlack included
  int slots, slabs;
  uint32_t* depths;                // [slots,N]: bits of the depth; 0 if not drawn
  int32_t* tile_bounds;            // [slots,N]
  uint64_t* keys;                  // [slots,2,N]
  uint64_t* pairs;                 // [slots,pair_room]
  int64_t pair_room;
  int32_t* histograms;             // [slots,slabs,tiles]
  void* states;                    // [B] ImageState
  const int32_t* given_bounds;     // [B,N]: records are projected already, and this is what they touch; or null
};

// The most that an image needed. If pairs or entries are more than there was room for, some images are unfinished: give
// more room and bin again.
struct BinSizes {
  int64_t pairs, entries, longest;  // longest: list of a tile
};

// What blendsplat bench measures this machine's arithmetic with, see ceilings.cpp.
enum class Ceiling { multiply_adds, exponentials, pairs, pair_gradients };
struct CeilingRun {
  float value;                     // of a computation whose result is known
  double operations;
};

// One item of work each; rasterize.cpp shares them out to the threads.
#define BLENDSPLAT_DECLARE(target)                                                                                  \
  namespace target {                                                                                                \
  int64_t project(const Scene&, int64_t image, int64_t start, int64_t count, float* records, uint32_t* depths,      \
                  int32_t* tile_bounds);  /* of Gaussians start .. start + count; returns the sum of tile_bounds */ \
  int64_t emit_pairs(const Scene&, const float* records, const uint32_t* order, int64_t count, uint64_t* pairs);    \
  void blend_forward(const Scene&, const Bins&, const BlendForward&, int64_t image, int64_t tile_row);              \
  void blend_backward(const Scene&, const Bins&, const BlendBackward&, int64_t image, int part, int rank);          \
  void project_backward(const Scene&, const ProjectBackward&, int64_t start, int64_t count);  /* in all images */   \
  void pixel_weights(const Scene&, const Bins&, const PixelWeights&, int64_t image, int part);                      \
  void exponential2_array(const float* in, float* out, int64_t count);                                              \
  CeilingRun ceiling(Ceiling kind, int64_t rounds);                                                                 \
  }
BLENDSPLAT_DECLARE(generic)
BLENDSPLAT_DECLARE(avx2)
BLENDSPLAT_DECLARE(avx512)
BLENDSPLAT_DECLARE(scalar)  // what a GPU thread does, pixel by pixel: for tests

// The pieces of binning one image (bin.cpp). Slab s of an image holds the depths splitters[s] <= bits < splitters[s + 1].
void choose_splitters(const uint32_t* depths, int64_t count, int slabs, uint32_t* splitters);
struct SlabSize {
  int64_t gaussians, bound;        // drawn ones, and the sum of their tile_bounds
};
SlabSize measure_slab(const uint32_t* depths, const int32_t* tile_bounds, int64_t count, uint32_t low, uint32_t high);
// Writes the slab's Gaussians, front to back, into keys[0 .. count) as 32-bit indices; keys has room for 2 * count.
const uint32_t* sort_slab(const uint32_t* depths, int64_t count, uint32_t low, uint32_t high, uint64_t* keys, int64_t slab_count);
void count_tiles(const uint64_t* pairs, int64_t count, int64_t tiles, int32_t* histogram);
// Counts per (slab, tile) become write positions, and the offsets of an image whose entries begin at `base`. Returns the
// longest list of a tile.
int64_t place_tiles(int64_t tiles, int slabs, int32_t* histograms, int64_t base, int64_t* offsets);
void fill_tiles(const uint64_t* pairs, int64_t count, int32_t* positions, int32_t* entries);

// The stages over all images and threads (rasterize.cpp).
int64_t binning_state_size();      // bytes of one image's state
BinSizes bin(const Scene&, const Binning&);
void blend_forward(const Scene&, const Bins&, const BlendForward&);
void backward(const Scene&, const Bins&, const BlendBackward&, const GaussianArrays& out);
void pixel_weights(const Scene&, const Bins&, PixelWeights, int32_t* bands);

}  // namespace blendsplat
