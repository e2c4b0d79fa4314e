// SPDX-License-Identifier: Apache-2.0
// Stage 3: each tile composites its Gaussians front to back, a thread per pixel.
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__global__ void __launch_bounds__(kTilePixels) blend_forward_kernel(SceneArrays scene, Bins bins, BlendForward out) {
  __shared__ Batch batch;
  const ThreadPixel thread = thread_pixel(scene);
  const int64_t begin = bins.ranges[thread.tile * 2], end = bins.ranges[thread.tile * 2 + 1];
  Pixel pixel;
  pixel.x = thread.x;
  pixel.y = thread.y;
  pixel.done = !thread.inside;
  int64_t last = begin;
  for (int64_t first = begin; first < end; first += kTilePixels) {
    if (__syncthreads_and(pixel.done)) break;
    const int count = static_cast<int>(end - first < kTilePixels ? end - first : kTilePixels);
    load_batch(bins, first, count, thread.rank, batch);
    __syncthreads();
    for (int i = 0; i < count && !pixel.done; ++i) {
      if (pixel.take(batch.records[i]) > 0.0f) last = first + i + 1;
    }
  }
  if (!thread.inside) return;
  for (int c = 0; c < 3; ++c) {
    const float background = out.backgrounds ? out.backgrounds[thread.image * 3 + c] : 0.0f;
    out.image[thread.index * 3 + c] = pixel.color[c] + pixel.transmittance * background;
  }
  out.alpha[thread.index] = 1.0f - pixel.transmittance;
  out.depth[thread.index] = pixel.depth;
  out.transmittance[thread.index] = pixel.transmittance;
  out.last[thread.index] = last;
}

}  // namespace

void blend_forward(const Scene& scene, const Bins& bins, const BlendForward& out) {
  if (scene.images == 0) return;
  use_device(scene);
  blend_forward_kernel<<<tile_grid(scene), dim3(kTileSize, kTileSize), 0, scene.stream>>>(scene, bins, out);
  check(cudaGetLastError(), "blend_forward");
}

}  // namespace cuda
}  // namespace blendsplat
