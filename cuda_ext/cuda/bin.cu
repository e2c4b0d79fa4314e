// SPDX-License-Identifier: Apache-2.0
// Stage 2: which Gaussians does each tile hold, front to back? All Gaussians are sorted by (image, depth) once; walking
// them in that order and sorting their tiles, stably, leaves each tile's list in depth order. The second sort, the long
// one, then moves keys of a few bits; and no number is read back: it sorts the whole capacity.
#include <algorithm>

#include "launch.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

constexpr int kDepthBits = 32;

int bits_of(int64_t largest) {
  int bits = 0;
  while (largest >> bits != 0) ++bits;
  return bits;
}

int64_t all_tiles(const Scene& scene) { return scene.images * scene.tiles(); }

// Their sort takes at least one bit; a batch of one image needs none beyond the depth's.
int depth_key_bits(const Scene& scene) { return kDepthBits + bits_of(scene.images - 1); }
int tile_key_bits(const Scene& scene) { return bits_of(all_tiles(scene)); }

__device__ void emit_entries(const SceneArrays& scene, int columns, int64_t tiles, const float* records, const BinScratch& scratch, int64_t place) {
  const uint32_t index = scratch.order[place];
  const int32_t count = scratch.tile_counts[index];
  if (count == 0) return;
  const float* record = records + static_cast<int64_t>(index) * kRecordSize;
  const int64_t first_tile = index / scene.gaussians * tiles;
  int64_t out = scratch.sums[place] - count;
  const TileRange rows = unpack_range(record[kBoxY]);
  for (int row = rows.first; row <= rows.last; ++row) {
    const TileRange span = row_span(record, row, scene.width, kTileShift);
    for (int column = span.first; column <= span.last && out < scratch.capacity; ++column, ++out) {
      scratch.tile_keys[out] = static_cast<uint32_t>(first_tile + static_cast<int64_t>(row) * columns + column);
      scratch.unsorted_entries[out] = index;
    }
  }
}

// A thread per Gaussian, and per place of the capacity: those behind the last entry get a key that sorts last.
__global__ void emit_kernel(SceneArrays scene, int columns, int64_t tiles, const float* records, BinScratch scratch, int64_t* needed) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t count = scene.images * scene.gaussians;
  const int64_t total = scratch.sums[count - 1];
  if (index == 0 && needed && *needed < total) *needed = total;
  if (index >= total && index < scratch.capacity) {
    scratch.tile_keys[index] = static_cast<uint32_t>(scene.images * tiles);
    scratch.unsorted_entries[index] = 0;
  }
  if (index < count) emit_entries(scene, columns, tiles, records, scratch, index);
}

__global__ void tile_ranges_kernel(int64_t capacity, uint32_t tiles, const uint32_t* tile_keys, int32_t* ranges) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= capacity) return;
  const uint32_t tile = tile_keys[index];
  if (tile >= tiles) return;
  if (index == 0 || tile_keys[index - 1] != tile) ranges[int64_t{tile} * 2] = static_cast<int32_t>(index);
  if (index == capacity - 1 || tile_keys[index + 1] != tile) ranges[int64_t{tile} * 2 + 1] = static_cast<int32_t>(index + 1);
}

}  // namespace

size_t bin_temporary_size(const Scene& scene, int64_t capacity) {
  const int64_t count = scene.images * scene.gaussians;
  if (count == 0) return 0;
  use_device(scene);
  return std::max({sort_temporary_size(count, depth_key_bits(scene), uint64_t{}), sum_temporary_size(count),
                   sort_temporary_size(capacity, tile_key_bits(scene), uint32_t{})});
}

int64_t state_count(const Scene& scene, int64_t capacity) { return capacity / kBucketSize + all_tiles(scene); }

void sort_by_depth(const Scene& scene, const BinScratch& s) {
  const int64_t count = scene.images * scene.gaussians;
  if (count == 0) return;
  use_device(scene);
  sort_pairs(s.depth_keys, s.sorted_depth_keys, s.indices, s.order, count, depth_key_bits(scene), s.temporary, scene.stream);
  inclusive_sum(s.tile_counts, s.order, s.sums, count, s.temporary, scene.stream);
}

void fill_bins(const Scene& scene, const float* records, const BinScratch& s, int32_t* ranges, uint32_t* entries, int64_t* needed) {
  use_device(scene);
  check(cudaMemsetAsync(ranges, 0, static_cast<size_t>(all_tiles(scene)) * 2 * sizeof(int32_t), scene.stream), "clearing the tiles");
  const int64_t count = scene.images * scene.gaussians;
  if (count == 0 || s.capacity == 0) return;
  launch("emit", emit_kernel, blocks_for(std::max(count, s.capacity)), kThreads, scene.stream, scene, scene.tile_columns(), scene.tiles(),
         records, s, needed);
  sort_pairs(s.tile_keys, s.sorted_tile_keys, s.unsorted_entries, entries, s.capacity, tile_key_bits(scene), s.temporary, scene.stream);
  launch("tile_ranges", tile_ranges_kernel, blocks_for(s.capacity), kThreads, scene.stream, s.capacity,
         static_cast<uint32_t>(all_tiles(scene)), s.sorted_tile_keys, ranges);
}

}  // namespace cuda
}  // namespace blendsplat
