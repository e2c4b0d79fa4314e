// SPDX-License-Identifier: Apache-2.0
// For colour initialisation: how much of each Gaussian is seen, and which colours the target has there.
#include "tile.h"

BS_BEGIN

namespace {

BS_FN void weigh_tile(const Scene& scene, const Tile& tile, const PixelWeights& w, float* sums) {
  Lanes target[3];
  read_pixels<3>(scene, tile, w.targets, target);
  unsigned wanted = 0;
  for (int row = 0; row < tile.rows; ++row) {
    const uint8_t* mask = w.mask + tile.pixel + static_cast<int64_t>(row) * scene.width;
    for (int column = 0; column < tile.columns; ++column) {
      wanted |= static_cast<unsigned>(mask[column] != 0) << (row * kTileSize + column);
    }
  }
  const Mask counted = from_bits(wanted);
  Transmittance t = {Lanes(1.0f), tile.inside};
  for (const int32_t* entry = tile.begin; entry != tile.end && any(t.live); ++entry) {
    prefetch_ahead(tile, entry);
    const Step step = advance(tile, record_of(tile, *entry), t);
    const Lanes weight = step.alpha * step.before;
    const Mask heavy = both(counted, weight > Lanes(w.threshold));
    if (!any(heavy)) continue;
    const Lanes kept = only(heavy, weight);
    float* sum = sums + static_cast<int64_t>(*entry) * 4;
    sum[0] += total(kept);
    for (int c = 0; c < 3; ++c) sum[c + 1] += total(only(heavy, weight * target[c]));
  }
}

}  // namespace

void pixel_weights(const Scene& scene, const Bins& bins, const PixelWeights& w, int64_t image, int part) {
  float* sums = w.sums + (part * scene.images + image) * scene.gaussians * 4;
  each_tile_of_band(scene, w.bands + image * scene.tile_rows(), part, [&](int64_t tile) {
    weigh_tile(scene, make_tile(scene, bins, image, tile), w, sums);
  });
}

BS_END
