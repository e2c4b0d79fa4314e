// SPDX-License-Identifier: Apache-2.0
// For colour initialisation: how much of each Gaussian is seen, and which colours the target has there.
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__global__ void __launch_bounds__(kTilePixels) pixel_weights_kernel(SceneArrays scene, int columns, int tiles, Bins bins, PixelWeights w) {
  __shared__ Batch batch;
  const int rank = static_cast<int>(threadIdx.x);
  const Tile tile = make_tile(columns, tiles, bins.ranges);
  const TilePixel place = make_pixel(scene, tile, rank);
  Pixel pixel;
  pixel.x = place.x;
  pixel.y = place.y;
  pixel.done = !place.inside || !w.mask[place.index];
  for (int first = tile.begin; first < tile.end; first += kTilePixels) {
    if (__syncthreads_and(pixel.done)) break;
    const int count = tile.end - first < kTilePixels ? tile.end - first : kTilePixels;
    load_batch(bins, first, count, rank, batch);
    __syncthreads();
    for (int i = 0; i < count && !pixel.done; ++i) {
      const float weight = pixel.take(batch.records[i]);
      if (!(weight > w.threshold)) continue;
      float* sum = w.sums + static_cast<int64_t>(batch.entries[i]) * 4;
      atomicAdd(sum, weight);
      for (int c = 0; c < 3; ++c) atomicAdd(sum + c + 1, weight * w.targets[place.index * 3 + c]);
    }
  }
}

}  // namespace

void pixel_weights(const Scene& scene, const Bins& bins, const PixelWeights& w) {
  if (scene.images == 0) return;
  use_device(scene);
  check(cudaMemsetAsync(w.sums, 0, static_cast<size_t>(scene.images * scene.gaussians) * 4 * sizeof(float), scene.stream), "clearing the weights");
  launch("pixel_weights", pixel_weights_kernel, tile_blocks(scene), kTilePixels, scene.stream, scene, scene.tile_columns(),
         static_cast<int>(scene.tiles()), bins, w);
}

}  // namespace cuda
}  // namespace blendsplat
