// SPDX-License-Identifier: Apache-2.0
// Stage 4 for surfels: the derivative of compositing. Each pixel walks its list backwards from the last disc it took; a
// warp sums its 32 pixels before one lane adds them to the surfel's row.
#include "surfel_tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__device__ SurfelPixelBackward start_pixel(const SceneArrays& scene, const Tile& tile, const TilePixel& place, int rank, const SurfelBackward& b) {
  SurfelPixelBackward pixel;
  pixel.x = place.x;
  pixel.y = place.y;
  pixel.near_plane = scene.near_plane;
  pixel.transmittance = b.kept.transmittance[tile.index * kTilePixels + rank];
  pixel.grad_depth = place.inside && b.grad_depth ? b.grad_depth[place.index] : 0.0f;
  pixel.grad_coverage = place.inside && b.grad_alpha ? b.grad_alpha[place.index] : 0.0f;
  for (int c = 0; c < 3; ++c) {
    pixel.grad_color[c] = place.inside && b.grad_image ? b.grad_image[place.index * 3 + c] : 0.0f;
    pixel.grad_normal[c] = place.inside && b.grad_normals ? b.grad_normals[place.index * 3 + c] : 0.0f;
    if (b.backgrounds) pixel.grad_coverage -= pixel.grad_color[c] * b.backgrounds[tile.image * 3 + c];
  }
  return pixel;
}

__device__ void add_background(const Tile& tile, const SurfelPixelBackward& pixel, int rank, float* grad_backgrounds) {
  for (int c = 0; c < 3; ++c) {
    const float sum = warp_sum(pixel.transmittance * pixel.grad_color[c]);
    if (rank % kWarpSize == 0) atomicAdd(grad_backgrounds + tile.image * 3 + c, sum);
  }
}

__global__ void __launch_bounds__(kTilePixels) surfel_backward_kernel(SceneArrays scene, int columns, int tiles, Bins bins, SurfelBackward b) {
  __shared__ SurfelBatch batch;
  const int rank = static_cast<int>(threadIdx.x);
  const Tile tile = make_tile(columns, tiles, bins.ranges);
  SurfelPixelBackward pixel = start_pixel(scene, tile, make_pixel(scene, tile, rank), rank, b);
  if (b.grad_backgrounds) add_background(tile, pixel, rank, b.grad_backgrounds);
  const int last = b.kept.lasts[tile.index * kTilePixels + rank];
  for (int stop = tile.end; stop > tile.begin; stop -= kTilePixels) {
    const int count = stop - tile.begin < kTilePixels ? stop - tile.begin : kTilePixels;
    __syncthreads();
    load_surfels(bins, stop - count, count, rank, batch);
    __syncthreads();
    for (int i = count - 1; i >= 0; --i) {
      float sums[kSurfelSize] = {};
      const bool taken = stop - count - tile.begin + i < last && pixel.take(batch.surfels[i], sums);
      if (!__any_sync(kWholeWarp, taken)) continue;
      float* row = b.rows + static_cast<int64_t>(batch.entries[i]) * kSurfelSize;
      for (int slot = 0; slot < kSurfelSize; ++slot) {
        const float sum = warp_sum(sums[slot]);
        if (rank % kWarpSize == 0) atomicAdd(row + slot, sum);
      }
    }
  }
}

}  // namespace

void surfel_backward(const Scene& scene, const Bins& bins, const SurfelBackward& b) {
  if (scene.images == 0) return;
  use_device(scene);
  const size_t rows = static_cast<size_t>(scene.images * scene.gaussians) * kSurfelSize * sizeof(float);
  check(cudaMemsetAsync(b.rows, 0, rows, scene.stream), "clearing the gradients");
  if (b.grad_backgrounds) {
    check(cudaMemsetAsync(b.grad_backgrounds, 0, static_cast<size_t>(scene.images) * 3 * sizeof(float), scene.stream), "clearing the gradients");
  }
  launch("surfel_backward", surfel_backward_kernel, tile_blocks(scene), kTilePixels, scene.stream, scene, scene.tile_columns(),
         static_cast<int>(scene.tiles()), bins, b);
}

}  // namespace cuda
}  // namespace blendsplat
