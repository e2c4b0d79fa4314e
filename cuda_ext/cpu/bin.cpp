// SPDX-License-Identifier: Apache-2.0
// Stage 2, one image's pieces: which Gaussians does each tile hold, front to back? Slabs of depth are radix-sorted; walking
// the Gaussians in that order and counting per tile is then a stable counting sort by tile, so no list is sorted twice.
#include <algorithm>
#include <cstring>

#include "operations.h"
#include "simd.h"

namespace blendsplat {

namespace {

constexpr int kRadixBits = 11;
constexpr int kRadixSize = 1 << kRadixBits;
constexpr int kRadixPasses = 3;
constexpr int kSamplesPerSlab = 32;

int bit_width(uint32_t value) {
  int width = 0;
  for (; value; value >>= 1) ++width;
  return width;
}

// Stable radix sort by the upper half, whose values are below 2^width. Returns where the result lies, keys or spare.
uint64_t* sort_keys(uint64_t* keys, uint64_t* spare, int64_t count, int width) {
  const int passes = (width + kRadixBits - 1) / kRadixBits;
  if (passes == 0) return keys;
  const int bits = (width + passes - 1) / passes;
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  uint32_t histograms[kRadixPasses][kRadixSize] = {};
  for (int64_t i = 0; i < count; ++i) {
    for (int pass = 0; pass < passes; ++pass) ++histograms[pass][keys[i] >> (32 + pass * bits) & mask];
  }
  for (int pass = 0; pass < passes; ++pass) {
    uint32_t* histogram = histograms[pass];
    uint32_t sum = 0;
    for (uint32_t digit = 0; digit <= mask; ++digit) {
      const uint32_t here = histogram[digit];
      histogram[digit] = sum;
      sum += here;
    }
    const int shift = 32 + pass * bits;
    for (int64_t i = 0; i < count; ++i) spare[histogram[keys[i] >> shift & mask]++] = keys[i];
    std::swap(keys, spare);
  }
  return keys;
}

}  // namespace

// Quantiles of a sample: slabs of about equally many Gaussians. A zero, "not drawn", lies before the first slab.
void choose_splitters(const uint32_t* depths, int64_t count, int slabs, uint32_t* splitters) {
  uint32_t nearest = UINT32_MAX - 1, farthest = 0;  // of depth - 1, so that zero comes last
  for (int64_t i = 0; i < count; ++i) {
    nearest = std::min(nearest, depths[i] - 1);
    farthest = std::max(farthest, depths[i]);
  }
  splitters[0] = nearest + 1;
  splitters[slabs] = farthest + 1;
  if (slabs == 1) return;
  uint32_t sample[kMaxSlabs * kSamplesPerSlab];
  const int64_t step = std::max<int64_t>(1, count / (slabs * kSamplesPerSlab));
  int size = 0;
  for (int64_t i = 0; i < count && size < slabs * kSamplesPerSlab; i += step) {
    if (depths[i]) sample[size++] = depths[i];
  }
  std::sort(sample, sample + size);
  for (int slab = 1; slab < slabs; ++slab) splitters[slab] = size ? sample[size * slab / slabs] : splitters[slabs];
}

SlabSize measure_slab(const uint32_t* depths, const int32_t* tile_bounds, int64_t count, uint32_t low, uint32_t high) {
  SlabSize size = {0, 0};
  for (int64_t i = 0; i < count; ++i) {
    const bool inside = depths[i] - low < high - low;
    size.gaussians += inside;
    size.bound += inside ? tile_bounds[i] : 0;
  }
  return size;
}

const uint32_t* sort_slab(const uint32_t* depths, int64_t count, uint32_t low, uint32_t high, uint64_t* keys, int64_t slab_count) {
  if (slab_count == 0) return nullptr;
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {  // without a branch: what does not belong is overwritten, at last by the sort's spare
    const uint32_t above = depths[i] - low;
    keys[found] = static_cast<uint64_t>(above) << 32 | static_cast<uint64_t>(i);
    found += above < high - low;
  }
  uint64_t* spare = keys + slab_count;
  const uint64_t* sorted = sort_keys(keys, spare, slab_count, bit_width(high - low - 1));
  uint32_t* order = reinterpret_cast<uint32_t*>(sorted == keys ? spare : keys);
  for (int64_t i = 0; i < slab_count; ++i) order[i] = static_cast<uint32_t>(sorted[i]);
  return order;
}

void count_tiles(const uint64_t* pairs, int64_t count, int64_t tiles, int32_t* histogram) {
  std::fill(histogram, histogram + tiles, 0);
  for (int64_t i = 0; i < count; ++i) ++histogram[pairs[i] >> 32];
}

int64_t place_tiles(int64_t tiles, int slabs, int32_t* histograms, int64_t base, int64_t* offsets) {
  int32_t position = 0, longest = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int32_t start = position;
    offsets[tile] = base + start;
    for (int slab = 0; slab < slabs; ++slab) {
      int32_t& slot = histograms[slab * tiles + tile];
      const int32_t here = slot;
      slot = position;
      position += here;
    }
    longest = std::max(longest, position - start);
  }
  offsets[tiles] = base + position;
  return longest;
}

void fill_tiles(const uint64_t* pairs, int64_t count, int32_t* positions, int32_t* entries) {
  constexpr int64_t kAhead = 64;             // every tile writes elsewhere: ask early for the place
  for (int64_t i = 0; i < count; ++i) {
    if (i + kAhead < count) generic::prefetch(entries + positions[pairs[i + kAhead] >> 32]);
    entries[positions[pairs[i] >> 32]++] = static_cast<int32_t>(static_cast<uint32_t>(pairs[i]));
  }
}

}  // namespace blendsplat
