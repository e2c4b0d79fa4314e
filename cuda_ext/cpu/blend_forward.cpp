// SPDX-License-Identifier: Apache-2.0
// Stage 3: each tile composites its Gaussians front to back; colour, alpha and depth leave premultiplied, the
// background is added last.
#include <cstring>

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
  if (out.rgba) {
    const Lanes rgba[4] = {color[0], color[1], color[2], out.backgrounds ? Lanes(1.0f) : alpha}, faintest(out.faintest);
    const Lanes metres = only(alpha > faintest, depth / maximum(alpha, faintest));
    write_pixels<4>(scene, tile, rgba, out.rgba);
    return write_pixels<1>(scene, tile, &metres, out.metres);
  }
  write_pixels<3>(scene, tile, color, out.image);
  write_pixels<1>(scene, tile, &alpha, out.alpha);
  write_pixels<1>(scene, tile, &depth, out.depth);
}

// value: the channels of every pixel; null: zeros.
BS_FN void fill(float* pixels, int count, int channels, const float* value) {
  if (!value) {
    std::memset(pixels, 0, static_cast<size_t>(count) * channels * sizeof(float));
    return;
  }
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < channels; ++c) pixels[i * channels + c] = value[c];
  }
}

// Pixels from column `left` on, `columns` wide, of one row of tiles: nothing but the background.
BS_FN void leave_empty(const Scene& scene, const BlendForward& out, int64_t image, int64_t tile_row, int left, int columns) {
  float rgba[4] = {0.0f, 0.0f, 0.0f, 1.0f};
  for (int c = 0; c < 3 && out.backgrounds; ++c) rgba[c] = out.backgrounds[image * 3 + c];
  for (int64_t y = tile_row * kTileSize; y < (tile_row + 1) * kTileSize && y < scene.height; ++y) {
    const int64_t pixel = (image * scene.height + y) * scene.width + left;
    if (out.rgba) {
      std::memset(out.metres + pixel, 0, columns * sizeof(float));
      fill(out.rgba + pixel * 4, columns, 4, out.backgrounds ? rgba : nullptr);
      continue;
    }
    std::memset(out.alpha + pixel, 0, columns * sizeof(float));
    std::memset(out.depth + pixel, 0, columns * sizeof(float));
    fill(out.image + pixel * 3, columns, 3, out.backgrounds ? rgba : nullptr);
  }
}

}  // namespace

void blend_forward(const Scene& scene, const Bins& bins, const BlendForward& out, int64_t image, int64_t tile_row) {
  const int64_t columns = scene.tile_columns(), first = tile_row * columns;
  const int64_t* offsets = bins.offsets + image * (scene.tiles() + 1) + first;
  for (int64_t column = 0; column < columns;) {
    int64_t end = column;
    while (end < columns && offsets[end] == offsets[end + 1]) ++end;
    if (end > column) {
      const int64_t left = column * kTileSize, right = end * kTileSize < scene.width ? end * kTileSize : scene.width;
      leave_empty(scene, out, image, tile_row, static_cast<int>(left), static_cast<int>(right - left));
    }
    if (end < columns) blend_tile(scene, make_tile(scene, bins, image, first + end), out, image);
    column = end + 1;
  }
}

BS_END
