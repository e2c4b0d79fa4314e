// SPDX-License-Identifier: Apache-2.0
// Stage 3: each tile composites its Gaussians front to back, a thread per pixel. For the backward pass every pixel leaves
// its state in front of every bucket of kBucketSize entries that it still takes part in.
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__device__ void write_pixel(const TilePixel& place, const Tile& tile, const Pixel& pixel, const BlendForward& out) {
  for (int c = 0; c < 3; ++c) {
    const float background = out.backgrounds ? out.backgrounds[tile.image * 3 + c] : 0.0f;
    out.image[place.index * 3 + c] = pixel.color[c] + pixel.transmittance * background;
  }
  out.alpha[place.index] = 1.0f - pixel.transmittance;
  out.depth[place.index] = pixel.depth;
}

__global__ void __launch_bounds__(kTilePixels) blend_forward_kernel(SceneArrays scene, int columns, int tiles, Bins bins, BlendForward out) {
  __shared__ Batch batch;
  const int rank = static_cast<int>(threadIdx.x);
  const Tile tile = make_tile(columns, tiles, bins.ranges);
  const TilePixel place = make_pixel(scene, tile, rank);
  Pixel pixel;
  pixel.x = place.x;
  pixel.y = place.y;
  pixel.done = !place.inside;
  int last = 0;
  for (int first = tile.begin; first < tile.end; first += kTilePixels) {
    if (__syncthreads_and(pixel.done)) break;
    const int count = tile.end - first < kTilePixels ? tile.end - first : kTilePixels;
    load_batch(bins, first, count, rank, batch);
    __syncthreads();
    for (int i = 0; i < count && !pixel.done; ++i) {
      const int passed = first - tile.begin + i;
      // In front of the first bucket nothing is gathered yet: there is nothing to save.
      if (out.kept.states && passed > 0 && passed % kBucketSize == 0) {
        save_state(out.kept.states + state_offset(tile, passed / kBucketSize), rank, pixel);
      }
      if (pixel.take(batch.records[i]) > 0.0f) last = passed + 1;
    }
  }
  if (place.inside) write_pixel(place, tile, pixel, out);
  if (!out.kept.states) return;
  save_state(out.kept.finals + tile.index * kStateFloats, rank, pixel);
  out.kept.lasts[tile.index * kTilePixels + rank] = last;
}

}  // namespace

void blend_forward(const Scene& scene, const Bins& bins, const BlendForward& out) {
  if (scene.images == 0) return;
  use_device(scene);
  launch("blend_forward", blend_forward_kernel, tile_blocks(scene), kTilePixels, scene.stream, scene, scene.tile_columns(),
         static_cast<int>(scene.tiles()), bins, out);
}

}  // namespace cuda
}  // namespace blendsplat
