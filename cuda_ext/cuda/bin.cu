// SPDX-License-Identifier: Apache-2.0
// Stage 2: which Gaussians does each tile hold, front to back? One key per (Gaussian, tile), one radix sort for the
// whole batch by (image, tile, depth), and the places where the tile changes.
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <thrust/iterator/transform_iterator.h>

#include "launch.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

constexpr int kDepthBits = 32;  // depths of drawn Gaussians are positive, so their bits sort as integers do

struct Widen {
  __host__ __device__ int64_t operator()(int32_t count) const { return count; }
};

using Counts = thrust::transform_iterator<Widen, const int32_t*>;

int key_bits(const Scene& scene) {
  int bits = kDepthBits;
  while (int64_t{1} << (bits - kDepthBits) < scene.images * scene.tiles()) ++bits;
  return bits;
}

__global__ void duplicate_keys_kernel(SceneArrays scene, int columns, int64_t tiles, const float* records, const int32_t* tile_counts,
                                      const int64_t* sums, int64_t capacity, uint64_t* keys, uint32_t* values) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= scene.images * scene.gaussians || tile_counts[index] == 0) return;
  const float* record = records + index * kRecordSize;
  const int64_t first_tile = index / scene.gaussians * tiles;
  int64_t out = sums[index] - tile_counts[index];
  const TileRange rows = unpack_range(record[kBoxY]);
  for (int row = rows.first; row <= rows.last; ++row) {
    const TileRange span = row_span(record, row, scene.width, kTileShift);
    for (int column = span.first; column <= span.last && out < capacity; ++column, ++out) {
      const uint64_t tile = static_cast<uint64_t>(first_tile + static_cast<int64_t>(row) * columns + column);
      keys[out] = tile << kDepthBits | __float_as_uint(record[kDepth]);
      values[out] = static_cast<uint32_t>(index);
    }
  }
}

__global__ void tile_ranges_kernel(int64_t count, const uint64_t* keys, int64_t* ranges) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= count) return;
  const uint64_t tile = keys[index] >> kDepthBits;
  if (index == 0 || keys[index - 1] >> kDepthBits != tile) ranges[tile * 2] = index;
  if (index == count - 1 || keys[index + 1] >> kDepthBits != tile) ranges[tile * 2 + 1] = index + 1;
}

}  // namespace

size_t scan_temporary_size(int64_t count) {
  size_t size = 0;
  const Counts counts(nullptr, Widen());
  check(cub::DeviceScan::InclusiveSum(nullptr, size, counts, static_cast<int64_t*>(nullptr), count), "scan");
  return size;
}

void scan(const Scene& scene, const int32_t* tile_counts, int64_t* sums, void* temporary, size_t temporary_size) {
  const int64_t count = scene.images * scene.gaussians;
  if (count == 0) return;
  use_device(scene);
  const Counts counts(tile_counts, Widen());
  check(cub::DeviceScan::InclusiveSum(temporary, temporary_size, counts, sums, count, scene.stream), "scan");
}

void duplicate_keys(const Scene& scene, const float* records, const int32_t* tile_counts, const int64_t* sums, int64_t capacity,
                    uint64_t* keys, uint32_t* values) {
  if (scene.images * scene.gaussians == 0 || capacity == 0) return;
  use_device(scene);
  duplicate_keys_kernel<<<blocks_for(scene.images * scene.gaussians), kThreads, 0, scene.stream>>>(
      scene, scene.tile_columns(), scene.tiles(), records, tile_counts, sums, capacity, keys, values);
  check(cudaGetLastError(), "duplicate_keys");
}

size_t sort_temporary_size(const Scene& scene, int64_t count) {
  size_t size = 0;
  use_device(scene);
  check(cub::DeviceRadixSort::SortPairs(nullptr, size, static_cast<const uint64_t*>(nullptr), static_cast<uint64_t*>(nullptr),
                                        static_cast<const uint32_t*>(nullptr), static_cast<uint32_t*>(nullptr), count, 0, key_bits(scene)),
        "sort");
  return size;
}

void sort(const Scene& scene, int64_t count, const uint64_t* keys, uint64_t* sorted_keys, const uint32_t* values,
          uint32_t* sorted_values, void* temporary, size_t temporary_size) {
  if (count == 0) return;
  use_device(scene);
  check(cub::DeviceRadixSort::SortPairs(temporary, temporary_size, keys, sorted_keys, values, sorted_values, count, 0, key_bits(scene), scene.stream),
        "sort");
}

void tile_ranges(const Scene& scene, int64_t count, const uint64_t* sorted_keys, int64_t* ranges) {
  if (count == 0) return;
  use_device(scene);
  tile_ranges_kernel<<<blocks_for(count), kThreads, 0, scene.stream>>>(count, sorted_keys, ranges);
  check(cudaGetLastError(), "tile_ranges");
}

}  // namespace cuda
}  // namespace blendsplat
