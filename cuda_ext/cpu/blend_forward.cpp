// SPDX-License-Identifier: Apache-2.0
// Stage 3: each tile composites its Gaussians front to back; colour, alpha and depth leave premultiplied, the
// background is added last.
#include "tile.h"

BS_BEGIN

namespace {

BS_FN void blend_tile(const Scene& scene, const Tile& tile, const BlendForward& out, int64_t image) {
  Transmittance t = {Lanes(1.0f), tile.inside};
  Lanes color[3] = {Lanes(0.0f), Lanes(0.0f), Lanes(0.0f)};
  Lanes depth(0.0f);
  for (const int32_t* entry = tile.begin; entry != tile.end && any(t.live); ++entry) {
    const float* record = record_of(tile, *entry);
    prefetch_ahead(tile, entry);
    const Step step = advance(tile, record, t);
    const Lanes weight = step.alpha * step.before;
    color[0] = fma(weight, Lanes(record[kRed]), color[0]);
    color[1] = fma(weight, Lanes(record[kGreen]), color[1]);
    color[2] = fma(weight, Lanes(record[kBlue]), color[2]);
    depth = fma(weight, Lanes(record[kDepth]), depth);
  }
  if (out.backgrounds) {
    for (int c = 0; c < 3; ++c) color[c] = fma(t.value, Lanes(out.backgrounds[image * 3 + c]), color[c]);
  }
  const Lanes alpha = Lanes(1.0f) - t.value;
  write_pixels<3>(scene, tile, color, out.image);
  write_pixels<1>(scene, tile, &alpha, out.alpha);
  write_pixels<1>(scene, tile, &depth, out.depth);
}

}  // namespace

void blend_forward(const Scene& scene, const Bins& bins, const BlendForward& out, int64_t image, int64_t tile_row) {
  const int64_t first = tile_row * scene.tile_columns();
  for (int64_t tile = first; tile < first + scene.tile_columns(); ++tile) {
    blend_tile(scene, make_tile(scene, bins, image, tile), out, image);
  }
}

BS_END
