// SPDX-License-Identifier: Apache-2.0
// Stage 4: the derivative of compositing. Each pixel walks its list backwards from the last Gaussian it took; a warp
// sums its 32 pixels before one lane adds them to the Gaussian's row.
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__device__ PixelBackward make_pixel(const ThreadPixel& thread, const BlendBackward& b) {
  PixelBackward pixel;
  pixel.x = thread.x;
  pixel.y = thread.y;
  pixel.transmittance = thread.inside ? b.transmittance[thread.index] : 1.0f;
  pixel.grad_depth = thread.inside && b.grad_depth ? b.grad_depth[thread.index] : 0.0f;
  pixel.grad_coverage = thread.inside && b.grad_alpha ? b.grad_alpha[thread.index] : 0.0f;
  for (int c = 0; c < 3; ++c) {
    pixel.grad_color[c] = thread.inside && b.grad_image ? b.grad_image[thread.index * 3 + c] : 0.0f;
    if (b.backgrounds) pixel.grad_coverage -= pixel.grad_color[c] * b.backgrounds[thread.image * 3 + c];
  }
  return pixel;
}

__device__ void add_background(const ThreadPixel& thread, const PixelBackward& pixel, float* grad_backgrounds) {
  for (int c = 0; c < 3; ++c) {
    const float sum = warp_sum(pixel.transmittance * pixel.grad_color[c]);
    if (thread.rank % 32 == 0) atomicAdd(grad_backgrounds + thread.image * 3 + c, sum);
  }
}

__global__ void __launch_bounds__(kTilePixels) blend_backward_kernel(SceneArrays scene, Bins bins, BlendBackward b) {
  __shared__ Batch batch;
  const ThreadPixel thread = thread_pixel(scene);
  const int64_t begin = bins.ranges[thread.tile * 2], end = bins.ranges[thread.tile * 2 + 1];
  PixelBackward pixel = make_pixel(thread, b);
  if (b.grad_backgrounds) add_background(thread, pixel, b.grad_backgrounds);
  const int64_t last = thread.inside ? b.last[thread.index] : begin;
  for (int64_t stop = end; stop > begin; stop -= kTilePixels) {
    const int count = static_cast<int>(stop - begin < kTilePixels ? stop - begin : kTilePixels);
    __syncthreads();
    load_batch(bins, stop - count, count, thread.rank, batch);
    __syncthreads();
    for (int i = count - 1; i >= 0; --i) {
      float sums[kGradDepth + 1] = {};
      const bool taken = stop - count + i < last && pixel.take(batch.records[i], sums);
      if (!__any_sync(0xffffffffu, taken)) continue;
      float* row = b.rows + static_cast<int64_t>(batch.entries[i]) * kGradientSize;
      for (int slot = 0; slot <= kGradDepth; ++slot) {
        const float sum = warp_sum(sums[slot]);
        if (thread.rank % 32 == 0) atomicAdd(row + slot, sum);
      }
    }
  }
}

}  // namespace

void blend_backward(const Scene& scene, const Bins& bins, const BlendBackward& b) {
  if (scene.images == 0) return;
  use_device(scene);
  blend_backward_kernel<<<tile_grid(scene), dim3(kTileSize, kTileSize), 0, scene.stream>>>(scene, bins, b);
  check(cudaGetLastError(), "blend_backward");
}

}  // namespace cuda
}  // namespace blendsplat
