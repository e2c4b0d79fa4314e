// SPDX-License-Identifier: Apache-2.0
// Stage 3 for surfels: each tile composites its discs front to back; colour, alpha, depth and normals leave premultiplied,
// the background is added last.
#include "blendsplat/surfel_blend.h"
#include "surfel_operations.h"
#include "threads.h"
#include "tile.h"

BS_BEGIN

namespace {

BS_FN void blend_tile(const Scene& scene, const Tile& tile, const SurfelForward& out, int64_t image) {
  Transmittance t = {Lanes(1.0f), tile.inside};
  Lanes color[3] = {Lanes(0.0f), Lanes(0.0f), Lanes(0.0f)}, normal[3] = {Lanes(0.0f), Lanes(0.0f), Lanes(0.0f)};
  Lanes depth(0.0f);
  for (const int32_t* entry = tile.begin; entry != tile.end && any(t.live); ++entry) {
    const float* surfel = record_of(tile, *entry);
    prefetch_ahead(tile, entry);
    const SurfelHit<Lanes> hit = meet_surfel(surfel, tile.x, tile.y, scene.near_plane);
    const Step step = advance(surfel_alpha(surfel, hit), t);
    const Lanes weight = step.alpha * step.before;
    for (int c = 0; c < 3; ++c) {
      color[c] = fma(weight, Lanes(surfel[kSurfelRed + c]), color[c]);
      normal[c] = fma(weight, Lanes(surfel[kSurfelNormalX + c]), normal[c]);
    }
    depth = fma(weight, hit.depth, depth);
  }
  if (out.backgrounds) {
    for (int c = 0; c < 3; ++c) color[c] = fma(t.value, Lanes(out.backgrounds[image * 3 + c]), color[c]);
  }
  const Lanes alpha = Lanes(1.0f) - t.value;
  write_pixels<3>(scene, tile, color, out.image);
  write_pixels<1>(scene, tile, &alpha, out.alpha);
  write_pixels<1>(scene, tile, &depth, out.depth);
  write_pixels<3>(scene, tile, normal, out.normals);
}

}  // namespace

void surfel_forward(const Scene& scene, const Bins& bins, const SurfelForward& out) {
  const int64_t rows = scene.tile_rows(), columns = scene.tile_columns();
  share(scene.threads, scene.images * rows, 1, [&](int64_t item, int) {
    const int64_t image = item / rows;
    for (int64_t column = 0; column < columns; ++column) {
      blend_tile(scene, make_tile(scene, bins, image, item % rows * columns + column), out, image);
    }
  });
}

BS_END
