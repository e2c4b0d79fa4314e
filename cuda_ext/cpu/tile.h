// SPDX-License-Identifier: Apache-2.0
// One 4x4 tile of pixels as sixteen lanes: where they lie, which are inside the image, and the walk through its list.
#pragma once

#include <cstring>

#include "blendsplat/blend.h"
#include "interleave.h"
#include "operations.h"
#include "simd.h"

BS_BEGIN

struct Tile {
  int left, top, columns, rows;      // columns, rows: how many pixels lie inside the image
  int64_t pixel;                     // index of the first pixel within all images
  Lanes x, y;                        // pixel centres
  Mask inside;
  const int32_t *begin, *end;        // its Gaussians
  const float* records;              // of its image
};

BS_FN Tile make_tile(const Scene& scene, const Bins& bins, int64_t image, int64_t index) {
  alignas(64) static const float offset_x[kLanes] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
  alignas(64) static const float offset_y[kLanes] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  Tile tile;
  tile.left = static_cast<int>(index % scene.tile_columns()) * kTileSize;
  tile.top = static_cast<int>(index / scene.tile_columns()) * kTileSize;
  tile.columns = scene.width - tile.left < kTileSize ? scene.width - tile.left : kTileSize;
  tile.rows = scene.height - tile.top < kTileSize ? scene.height - tile.top : kTileSize;
  tile.pixel = (image * scene.height + tile.top) * scene.width + tile.left;
  tile.x = load(offset_x) + Lanes(static_cast<float>(tile.left) + 0.5f);
  tile.y = load(offset_y) + Lanes(static_cast<float>(tile.top) + 0.5f);
  tile.inside = both(Lanes(static_cast<float>(scene.width)) > tile.x, Lanes(static_cast<float>(scene.height)) > tile.y);
  const int64_t slot = image * (scene.tiles() + 1) + index;
  tile.begin = bins.entries + bins.offsets[slot];
  tile.end = bins.entries + bins.offsets[slot + 1];
  tile.records = bins.records + image * scene.gaussians * kRecordSize;
  return tile;
}

BS_FN const float* record_of(const Tile& tile, int32_t entry) { return tile.records + static_cast<int64_t>(entry) * kRecordSize; }

// Transmittance of sixteen pixels and which of them still take Gaussians.
struct Transmittance {
  Lanes value;
  Mask live;
};

struct Step {
  Lanes alpha, before;               // alpha: zero where the Gaussian is not drawn; before: T in front of it
};

// One Gaussian further: pixels that it would bring below kTransmittanceStop end before it. Every pixel of a tile does so at
// another time, so that a branch would be mispredicted for each. full: the Gaussian's alpha before the cut-off.
BS_FN Step advance(Lanes full, Transmittance& t) {
  const Lanes alpha = only(full >= Lanes(kAlphaMin), full), before = t.value;
  const Lanes after = before - before * alpha;
  t.live = both(t.live, after >= Lanes(kTransmittanceStop));
  t.value = select(t.live, after, before);
  return {only(t.live, alpha), before};
}

BS_FN Step advance(const Tile& tile, const float* record, Transmittance& t) {
  return advance(splat_alpha<Lanes>(record, tile.x - Lanes(record[kMeanX]), tile.y - Lanes(record[kMeanY])), t);
}

// Asks for the record that the walk will need a few steps later; its index may lie past the list's end, see kEntrySlack.
BS_FN void prefetch_ahead(const Tile& tile, const int32_t* entry) { prefetch(record_of(tile, entry[kEntrySlack])); }

// Lanes <-> a plane of `Channels` interleaved floats per pixel, pixels outside the image left out (or read as zero).
template <int Channels>
BS_FN void write_pixels(const Scene& scene, const Tile& tile, const Lanes* values, float* plane) {
#if defined(BLENDSPLAT_AVX512)
  if (tile.rows == kTileSize && tile.columns == kTileSize) {
    constexpr int floats = kTileSize * Channels;  // of a row
    alignas(64) float pixels[kTileSize * floats];
    if (Channels == 4) lanes_to_rows4(values, pixels);
    else if (Channels == 3) lanes_to_rows3(values, pixels);
    else store(pixels, values[0]);
    for (int row = 0; row < kTileSize; ++row) {
      std::memcpy(plane + (tile.pixel + static_cast<int64_t>(row) * scene.width) * Channels, pixels + row * floats, floats * sizeof(float));
    }
    return;
  }
#endif
  float columns[Channels][kLanes];
  for (int c = 0; c < Channels; ++c) store(columns[c], values[c]);
  for (int row = 0; row < tile.rows; ++row) {
    float* out = plane + (tile.pixel + static_cast<int64_t>(row) * scene.width) * Channels;
    for (int column = 0; column < tile.columns; ++column) {
      for (int c = 0; c < Channels; ++c) out[column * Channels + c] = columns[c][row * kTileSize + column];
    }
  }
}

template <int Channels>
BS_FN void read_pixels(const Scene& scene, const Tile& tile, const float* plane, Lanes* values) {
  float columns[Channels][kLanes] = {};
  for (int row = 0; row < tile.rows && plane; ++row) {
    const float* in = plane + (tile.pixel + static_cast<int64_t>(row) * scene.width) * Channels;
    for (int column = 0; column < tile.columns; ++column) {
      for (int c = 0; c < Channels; ++c) columns[c][row * kTileSize + column] = in[column * Channels + c];
    }
  }
  for (int c = 0; c < Channels; ++c) values[c] = load(columns[c]);
}

// Calls visit(tile index) for the tiles of one band (see Rows), in order.
template <class Visit>
BS_FN void each_tile_of_band(const Scene& scene, const int32_t* bands, int part, Visit visit) {
  for (int row = 0; row < scene.tile_rows(); ++row) {
    if (bands[row] != part) continue;
    const int64_t first = static_cast<int64_t>(row) * scene.tile_columns();
    for (int64_t tile = first; tile < first + scene.tile_columns(); ++tile) visit(tile);
  }
}

// The tile at which run `part` of `parts` begins, if an image's tiles are cut into runs of about equally many entries.
BS_FN int64_t part_start(const Scene& scene, const Bins& bins, int64_t image, int part, int parts) {
  const int64_t* offsets = bins.offsets + image * (scene.tiles() + 1);
  if (part >= parts) return scene.tiles();
  const int64_t wanted = offsets[0] + (offsets[scene.tiles()] - offsets[0]) * part / parts;
  int64_t low = 0, high = scene.tiles();
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return part == 0 ? 0 : low;
}

BS_END
