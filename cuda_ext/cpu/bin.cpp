// SPDX-License-Identifier: Apache-2.0
// Stage 2: which Gaussians does each tile hold, front to back? Depths are radix-sorted once per image; walking the
// Gaussians in that order and counting per tile is then a stable counting sort by tile, so no list is sorted twice.
#include <algorithm>
#include <cstring>

#include "dispatch.h"

namespace blendsplat {

using namespace generic;

namespace {

constexpr int kRadixBits = 11;
constexpr int kRadixSize = 1 << kRadixBits;
constexpr int kRadixPasses = 3;

// Depths of drawn Gaussians are positive, so their bits sort as integers do. Returns the number of drawn ones.
int64_t gather_keys(const float* records, const int32_t* tile_bounds, int64_t count, uint64_t* keys) {
  int64_t drawn = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (tile_bounds[i] == 0) continue;
    uint32_t depth;
    std::memcpy(&depth, records + i * kRecordSize + kDepth, sizeof depth);
    keys[drawn++] = static_cast<uint64_t>(depth) << 32 | static_cast<uint64_t>(i);
  }
  return drawn;
}

// Stable radix sort by the upper half; a pass in which all digits agree is skipped. Returns where the result lies.
const uint64_t* sort_by_depth(uint64_t* keys, uint64_t* spare, int64_t count) {
  uint32_t histograms[kRadixPasses][kRadixSize] = {};
  for (int64_t i = 0; i < count; ++i) {
    for (int pass = 0; pass < kRadixPasses; ++pass) ++histograms[pass][keys[i] >> (32 + pass * kRadixBits) & (kRadixSize - 1)];
  }
  for (int pass = 0; pass < kRadixPasses; ++pass) {
    uint32_t* histogram = histograms[pass];
    const int shift = 32 + pass * kRadixBits;
    if (count == 0 || histogram[keys[0] >> shift & (kRadixSize - 1)] == count) continue;
    uint32_t sum = 0;
    for (int digit = 0; digit < kRadixSize; ++digit) {
      const uint32_t here = histogram[digit];
      histogram[digit] = sum;
      sum += here;
    }
    for (int64_t i = 0; i < count; ++i) spare[histogram[keys[i] >> shift & (kRadixSize - 1)]++] = keys[i];
    std::swap(keys, spare);
  }
  return keys;
}

int64_t chunk_start(int64_t visible, int chunk, int chunks) { return visible * chunk / chunks; }

void count_tiles(const uint64_t* pairs, int64_t count, int64_t tiles, int32_t* histogram) {
  std::fill(histogram, histogram + tiles, 0);
  for (int64_t i = 0; i < count; ++i) ++histogram[pairs[i] >> 32];
}

// Turns an image's counts per (chunk, tile) into write positions relative to the image, and its tiles' offsets. Returns
// the longest list of a tile.
int64_t place_tiles(int64_t tiles, int chunks, int32_t* histograms, int64_t base, int64_t* offsets) {
  int32_t position = 0, longest = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int32_t start = position;
    offsets[tile] = base + start;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      int32_t& slot = histograms[chunk * tiles + tile];
      const int32_t here = slot;
      slot = position;
      position += here;
    }
    longest = std::max(longest, position - start);
  }
  return longest;
}

}  // namespace

BinSizes bin_count(const Scene& scene, const float* records, const int32_t* tile_bounds, const BinScratch& scratch, int64_t* offsets) {
  const int64_t N = scene.gaussians, tiles = scene.tiles();
  const int64_t all = scene.images * N;
#pragma omp parallel for schedule(dynamic) num_threads(scene.threads)
  for (int64_t image = 0; image < scene.images; ++image) {
    uint64_t* keys = scratch.keys + image * N;
    const int64_t drawn = gather_keys(records + image * N * kRecordSize, tile_bounds + image * N, N, keys);
    const uint64_t* sorted = sort_by_depth(keys, scratch.keys + all + image * N, drawn);
    for (int64_t i = 0; i < drawn; ++i) scratch.order[image * N + i] = static_cast<uint32_t>(sorted[i]);
    scratch.image_info[image * 2] = drawn;
  }

  const int64_t runs = scene.images * scratch.chunks;
  int64_t bound = 0;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t image = run / scratch.chunks;
    const int chunk = static_cast<int>(run % scratch.chunks);
    scratch.chunk_info[run * 2] = bound;
    const int64_t end = chunk_start(scratch.image_info[image * 2], chunk + 1, scratch.chunks);
    for (int64_t i = chunk_start(scratch.image_info[image * 2], chunk, scratch.chunks); i < end; ++i) {
      bound += tile_bounds[image * N + scratch.order[image * N + i]];
    }
    bound += kPairSlack;
  }
#pragma omp parallel for schedule(dynamic) num_threads(scene.threads)
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t image = run / scratch.chunks;
    const int chunk = static_cast<int>(run % scratch.chunks);
    const int64_t begin = chunk_start(scratch.image_info[image * 2], chunk, scratch.chunks);
    const int64_t end = chunk_start(scratch.image_info[image * 2], chunk + 1, scratch.chunks);
    uint64_t* pairs = scratch.pairs + scratch.chunk_info[run * 2];
    const int64_t written = operations().emit_pairs(scene, records + image * N * kRecordSize, scratch.order + image * N + begin, end - begin, pairs);
    count_tiles(pairs, written, tiles, scratch.histograms + run * tiles);
    scratch.chunk_info[run * 2 + 1] = written;
  }

  int64_t total = 0;
  for (int64_t image = 0; image < scene.images; ++image) {
    offsets[image * tiles] = total;
    for (int chunk = 0; chunk < scratch.chunks; ++chunk) total += scratch.chunk_info[(image * scratch.chunks + chunk) * 2 + 1];
  }
  offsets[scene.images * tiles] = total;
#pragma omp parallel for schedule(static) num_threads(scene.threads)
  for (int64_t image = 0; image < scene.images; ++image) {
    scratch.image_info[image * 2 + 1] = place_tiles(tiles, scratch.chunks, scratch.histograms + image * scratch.chunks * tiles,
                                                    offsets[image * tiles], offsets + image * tiles);
  }
  int64_t longest = 0;
  for (int64_t image = 0; image < scene.images; ++image) longest = std::max(longest, scratch.image_info[image * 2 + 1]);
  return {total, longest};
}

void bin_fill(const Scene& scene, const BinScratch& scratch, const int64_t* offsets, int32_t* entries) {
  const int64_t tiles = scene.tiles();
#pragma omp parallel for schedule(dynamic) num_threads(scene.threads)
  for (int64_t run = 0; run < scene.images * scratch.chunks; ++run) {
    int32_t* positions = scratch.histograms + run * tiles;
    int32_t* out = entries + offsets[run / scratch.chunks * tiles];
    const uint64_t* pairs = scratch.pairs + scratch.chunk_info[run * 2];
    for (int64_t i = 0; i < scratch.chunk_info[run * 2 + 1]; ++i) {
      out[positions[pairs[i] >> 32]++] = static_cast<int32_t>(static_cast<uint32_t>(pairs[i]));
    }
  }
}

}  // namespace blendsplat
