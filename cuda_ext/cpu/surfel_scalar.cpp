// SPDX-License-Identifier: Apache-2.0
// The surfel operations as a GPU thread does them, one surfel and one pixel at a time: see scalar.cpp.
#include <algorithm>

#include "blendsplat/surfel_blend.h"
#include "scalar.h"
#include "surfel_operations.h"

BS_BEGIN

namespace {

SurfelPixel composite(const float* surfels, const TileList& list, float x, float y, float near_plane, const int32_t** last) {
  SurfelPixel pixel;
  pixel.x = x;
  pixel.y = y;
  pixel.near_plane = near_plane;
  *last = list.begin;
  for (const int32_t* entry = list.begin; entry != list.end && !pixel.done; ++entry) {
    if (pixel.take(surfels + static_cast<int64_t>(*entry) * kSurfelSize) > 0) *last = entry + 1;
  }
  return pixel;
}

}  // namespace

int64_t surfel_project(const Scene& scene, float* surfels, float* records, int32_t* tile_bounds) {
  int64_t bound = 0;
  for (int64_t i = 0; i < scene.images * scene.gaussians; ++i) {
    tile_bounds[i] = project_surfel_one(scene, i, kTileShift, surfels + i * kSurfelSize, records + i * kRecordSize);
    bound += tile_bounds[i];
  }
  return bound;
}

void surfel_forward(const Scene& scene, const Bins& bins, const SurfelForward& out) {
  each_pixel(scene, bins, [&](int64_t image, int64_t index, float x, float y, const TileList& list) {
    const int32_t* last;
    const float* surfels = bins.records + image * scene.gaussians * kSurfelSize;
    const SurfelPixel pixel = composite(surfels, list, x, y, scene.near_plane, &last);
    for (int c = 0; c < 3; ++c) {
      const float background = out.backgrounds ? out.backgrounds[image * 3 + c] : 0.0f;
      out.image[index * 3 + c] = pixel.color[c] + pixel.transmittance * background;
      out.normals[index * 3 + c] = pixel.normal[c];
    }
    out.alpha[index] = 1.0f - pixel.transmittance;
    out.depth[index] = pixel.depth;
  });
}

void surfel_backward(const Scene& scene, const Bins& bins, const SurfelBackward& b) {
  std::fill(b.rows, b.rows + b.parts * scene.images * scene.gaussians * kSurfelSize, 0.0f);
  if (b.grad_backgrounds) std::fill(b.grad_backgrounds, b.grad_backgrounds + b.parts * scene.images * 3, 0.0f);
  each_pixel(scene, bins, [&](int64_t image, int64_t index, float x, float y, const TileList& list) {
    const float* surfels = bins.records + image * scene.gaussians * kSurfelSize;
    const int32_t* last;
    SurfelPixelBackward pixel;
    pixel.x = x;
    pixel.y = y;
    pixel.near_plane = scene.near_plane;
    pixel.transmittance = composite(surfels, list, x, y, scene.near_plane, &last).transmittance;
    pixel.grad_depth = b.grad_depth ? b.grad_depth[index] : 0.0f;
    pixel.grad_coverage = b.grad_alpha ? b.grad_alpha[index] : 0.0f;
    for (int c = 0; c < 3; ++c) {
      pixel.grad_color[c] = b.grad_image ? b.grad_image[index * 3 + c] : 0.0f;
      pixel.grad_normal[c] = b.grad_normals ? b.grad_normals[index * 3 + c] : 0.0f;
      if (b.backgrounds) pixel.grad_coverage -= pixel.grad_color[c] * b.backgrounds[image * 3 + c];
      if (b.grad_backgrounds) b.grad_backgrounds[image * 3 + c] += pixel.transmittance * pixel.grad_color[c];
    }
    for (const int32_t* entry = last; entry-- != list.begin;) {
      float sums[kSurfelSize];
      pixel.take(surfels + static_cast<int64_t>(*entry) * kSurfelSize, sums);
      float* row = b.rows + (image * scene.gaussians + *entry) * kSurfelSize;
      for (int slot = 0; slot < kSurfelSize; ++slot) row[slot] += sums[slot];
    }
  });
}

// Everything is in the rows of the first part; the others are zero.
void surfel_project_backward(const Scene& scene, const float* rows, int, const GaussianArrays& out) {
  for (int64_t i = 0; i < scene.images * scene.gaussians; ++i) project_surfel_backward_one(scene, i, rows + i * kSurfelSize, out);
}

BS_END
