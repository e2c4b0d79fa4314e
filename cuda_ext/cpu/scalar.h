// SPDX-License-Identifier: Apache-2.0
// The walk over pixels that the "scalar" set of operations shares.
#pragma once

#include "operations.h"

BS_BEGIN

struct TileList {
  const int32_t *begin, *end;
};

inline TileList tile_of_pixel(const Scene& scene, const Bins& bins, int64_t image, int row, int column) {
  const int64_t slot = image * scene.tiles() + static_cast<int64_t>(row >> kTileShift) * scene.tile_columns() + (column >> kTileShift);
  return {bins.entries + bins.offsets[slot], bins.entries + bins.offsets[slot + 1]};
}

// Calls visit(image, pixel index, x, y, list) for every pixel.
template <class Visit>
void each_pixel(const Scene& scene, const Bins& bins, Visit visit) {
  for (int64_t image = 0; image < scene.images; ++image) {
    for (int row = 0; row < scene.height; ++row) {
      for (int column = 0; column < scene.width; ++column) {
        const int64_t index = (image * scene.height + row) * scene.width + column;
        visit(image, index, column + 0.5f, row + 0.5f, tile_of_pixel(scene, bins, image, row, column));
      }
    }
  }
}

BS_END
