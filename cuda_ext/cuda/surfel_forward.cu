// SPDX-License-Identifier: Apache-2.0
// Stage 3 for surfels: each tile composites its discs front to back, a thread per pixel.
#include "surfel_tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__device__ void write_pixel(const TilePixel& place, const Tile& tile, const SurfelPixel& pixel, const SurfelForward& out) {
  for (int c = 0; c < 3; ++c) {
    const float background = out.backgrounds ? out.backgrounds[tile.image * 3 + c] : 0.0f;
    out.image[place.index * 3 + c] = pixel.color[c] + pixel.transmittance * background;
    out.normals[place.index * 3 + c] = pixel.normal[c];
  }
  out.alpha[place.index] = 1.0f - pixel.transmittance;
  out.depth[place.index] = pixel.depth;
}

__global__ void __launch_bounds__(kTilePixels) surfel_forward_kernel(SceneArrays scene, int columns, int tiles, Bins bins, SurfelForward out) {
  __shared__ SurfelBatch batch;
  const int rank = static_cast<int>(threadIdx.x);
  const Tile tile = make_tile(columns, tiles, bins.ranges);
  const TilePixel place = make_pixel(scene, tile, rank);
  SurfelPixel pixel;
  pixel.x = place.x;
  pixel.y = place.y;
  pixel.near_plane = scene.near_plane;
  pixel.done = !place.inside;
  int last = 0;
  for (int first = tile.begin; first < tile.end; first += kTilePixels) {
    if (__syncthreads_and(pixel.done)) break;
    const int count = tile.end - first < kTilePixels ? tile.end - first : kTilePixels;
    load_surfels(bins, first, count, rank, batch);
    __syncthreads();
    for (int i = 0; i < count && !pixel.done; ++i) {
      if (pixel.take(batch.surfels[i]) > 0.0f) last = first - tile.begin + i + 1;
    }
  }
  if (place.inside) write_pixel(place, tile, pixel, out);
  out.kept.transmittance[tile.index * kTilePixels + rank] = pixel.transmittance;
  out.kept.lasts[tile.index * kTilePixels + rank] = last;
}

}  // namespace

void surfel_forward(const Scene& scene, const Bins& bins, const SurfelForward& out) {
  if (scene.images == 0) return;
  use_device(scene);
  launch("surfel_forward", surfel_forward_kernel, tile_blocks(scene), kTilePixels, scene.stream, scene, scene.tile_columns(),
         static_cast<int>(scene.tiles()), bins, out);
}

}  // namespace cuda
}  // namespace blendsplat
