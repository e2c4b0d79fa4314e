// SPDX-License-Identifier: Apache-2.0
// For colour initialisation: how much of each Gaussian is seen, and which colours the target has there.
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__global__ void __launch_bounds__(kTilePixels) pixel_weights_kernel(SceneArrays scene, Bins bins, PixelWeights w) {
  __shared__ Batch batch;
  const ThreadPixel thread = thread_pixel(scene);
  const int64_t begin = bins.ranges[thread.tile * 2], end = bins.ranges[thread.tile * 2 + 1];
  Pixel pixel;
  pixel.x = thread.x;
  pixel.y = thread.y;
  pixel.done = !thread.inside || !w.mask[thread.index];
  for (int64_t first = begin; first < end; first += kTilePixels) {
    if (__syncthreads_and(pixel.done)) break;
    const int count = static_cast<int>(end - first < kTilePixels ? end - first : kTilePixels);
    load_batch(bins, first, count, thread.rank, batch);
    __syncthreads();
    for (int i = 0; i < count && !pixel.done; ++i) {
      const float weight = pixel.take(batch.records[i]);
      if (!(weight > w.threshold)) continue;
      float* sum = w.sums + static_cast<int64_t>(batch.entries[i]) * 4;
      atomicAdd(sum, weight);
      for (int c = 0; c < 3; ++c) atomicAdd(sum + c + 1, weight * w.targets[thread.index * 3 + c]);
    }
  }
}

}  // namespace

void pixel_weights(const Scene& scene, const Bins& bins, const PixelWeights& w) {
  if (scene.images == 0) return;
  use_device(scene);
  pixel_weights_kernel<<<tile_grid(scene), dim3(kTileSize, kTileSize), 0, scene.stream>>>(scene, bins, w);
  check(cudaGetLastError(), "pixel_weights");
}

}  // namespace cuda
}  // namespace blendsplat
