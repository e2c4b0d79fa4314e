// SPDX-License-Identifier: Apache-2.0
// The CUDA operations on surfels. Binning of surfels is the Gaussians' (operations.h); their blending keeps two
// numbers per pixel and walks back pixel by pixel.
#pragma once

#include "operations.h"

namespace blendsplat {
namespace cuda {

// What the backward pass needs of the forward pass, by tile and rank of the thread in it.
struct SurfelKept {
  float* transmittance;                            // [B * tiles, kTilePixels] behind the last surfel
  int32_t* lasts;                                  // [B * tiles, kTilePixels] one past the last entry taken, from the list's begin
};

struct SurfelForward {
  const float* backgrounds;                        // [B,3] or null
  float *image, *alpha, *depth, *normals;          // [B,H,W,3] [B,H,W] [B,H,W] [B,H,W,3]
  SurfelKept kept;
};

struct SurfelBackward {
  const float* backgrounds;
  const float *grad_image, *grad_alpha, *grad_depth, *grad_normals;  // each may be null
  SurfelKept kept;
  float* rows;                                     // [B,N,16], see SurfelSlot
  float* grad_backgrounds;                         // [B,3], or null
};

// Surfel records [B,N,16] for blending, and records, counts and keys for binning.
void surfel_project(const Scene&, float* surfels, float* records, const BinScratch&);
// Bins::records are surfel records.
void surfel_forward(const Scene&, const Bins&, const SurfelForward&);
void surfel_backward(const Scene&, const Bins&, const SurfelBackward&);
void surfel_project_backward(const Scene&, const float* rows, const GaussianArrays&);

}  // namespace cuda
}  // namespace blendsplat
