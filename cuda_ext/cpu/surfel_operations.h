// SPDX-License-Identifier: Apache-2.0
// The surfel operations of the CPU backend; binning is the Gaussians' (operations.h), Bins::records being surfel records.
#pragma once

#include "operations.h"

namespace blendsplat {

struct SurfelForward {
  const float* backgrounds;                  // [B,3] or null for black
  float *image, *alpha, *depth, *normals;    // [B,H,W,3] [B,H,W] [B,H,W] [B,H,W,3]
};

struct SurfelBackward {
  const float* backgrounds;
  const float *grad_image, *grad_alpha, *grad_depth, *grad_normals;  // as the outputs; each may be null
  int parts;                                 // each image's tiles are cut into so many runs, each with gradients of its own
  float* rows;                               // [parts,B,N,16], see SurfelSlot; written whole
  float* grad_backgrounds;                   // [parts,B,3] written whole, or null
  int64_t longest;                           // the most entries of a tile
  float* kept;                               // scratch [threads,longest + 1,kKeptSize]
  int32_t* kept_entries;                     // scratch [threads,longest + 1]
};

#define BLENDSPLAT_DECLARE_SURFELS(target)                                                                          \
  namespace target {                                                                                                \
  int64_t surfel_project(const Scene&, float* surfels, float* records, int32_t* tile_bounds);                       \
  void surfel_forward(const Scene&, const Bins&, const SurfelForward&);                                             \
  void surfel_backward(const Scene&, const Bins&, const SurfelBackward&);                                           \
  void surfel_project_backward(const Scene&, const float* rows, int parts, const GaussianArrays&);                  \
  }
BLENDSPLAT_DECLARE_SURFELS(generic)
BLENDSPLAT_DECLARE_SURFELS(avx2)
BLENDSPLAT_DECLARE_SURFELS(avx512)
BLENDSPLAT_DECLARE_SURFELS(scalar)

}  // namespace blendsplat
