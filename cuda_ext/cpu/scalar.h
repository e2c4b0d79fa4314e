// SPDX-License-Identifier: Apache-2.0
// The walk over pixels that the "scalar" set of operations shares.
#pragma once

#include "operations.h"

BS_BEGIN

struct TileList {
  const int32_t *begin, *end;
};

inline TileList tile_of_pixel(const Scene& scene, const Bins& bins, int64_t image, int row, int column) {
  const int64_t slot = image * (scene.tiles() + 1) + static_cast<int64_t>(row >> kTileShift) * scene.tile_columns() + (column >> kTileShift);
  return {bins.entries + bins.offsets[slot], bins.entries + bins.offsets[slot + 1]};
}

// Calls visit(pixel index, x, y, list) for every pixel in the rows of tiles that `wanted` is true of.
template <class Wanted, class Visit>
void each_pixel_in(const Scene& scene, const Bins& bins, int64_t image, Wanted wanted, Visit visit) {
  for (int row = 0; row < scene.height; ++row) {
    if (!wanted(row >> kTileShift)) continue;
    for (int column = 0; column < scene.width; ++column) {
      const int64_t index = (image * scene.height + row) * scene.width + column;
      visit(index, column + 0.5f, row + 0.5f, tile_of_pixel(scene, bins, image, row, column));
    }
  }
}

// Calls visit(image, pixel index, x, y, list) for every pixel of every image.
template <class Visit>
void each_pixel(const Scene& scene, const Bins& bins, Visit visit) {
  for (int64_t image = 0; image < scene.images; ++image) {
    const auto every = [](int) { return true; };
    each_pixel_in(scene, bins, image, every, [&](int64_t index, float x, float y, const TileList& list) { visit(image, index, x, y, list); });
  }
}

BS_END
