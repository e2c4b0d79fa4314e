// SPDX-License-Identifier: Apache-2.0
// Stage 3: each tile composites its Gaussians front to back, a thread per pixel. For the backward pass every pixel leaves
// what each bucket of kBucketSize entries added to it, as far as it came.
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

// A pixel whose sums are kept bucket by bucket.
struct BucketPixel {
  Pixel pixel;                                     // its colour and depth are the current bucket's
  float color[3] = {0.0f, 0.0f, 0.0f}, depth = 0.0f;  // of the buckets before
  float transmittance = 1.0f;                      // in front of the current bucket

  // Ends the current bucket; state: where to leave it, or null.
  __device__ void close(float* state, int rank) {
    if (state) {
      state[kStateTransmittance * kTilePixels + rank] = transmittance;
      for (int c = 0; c < 3; ++c) state[(kStateRed + c) * kTilePixels + rank] = pixel.color[c];
      state[kStateDepth * kTilePixels + rank] = pixel.depth;
    }
    for (int c = 0; c < 3; ++c) {
      color[c] += pixel.color[c];
      pixel.color[c] = 0.0f;
    }
    depth += pixel.depth;
    pixel.depth = 0.0f;
    transmittance = pixel.transmittance;
  }
};

// Nobody asks what the first bucket added: it is not behind anything.
__device__ __forceinline__ float* state_of(const Kept& kept, const Tile& tile, int bucket) {
  return kept.states && bucket > 0 ? kept.states + state_offset(tile, bucket) : nullptr;
}

__device__ void write_pixel(const TilePixel& place, const Tile& tile, const BucketPixel& sum, const BlendForward& out) {
  for (int c = 0; c < 3; ++c) {
    const float background = out.backgrounds ? out.backgrounds[tile.image * 3 + c] : 0.0f;
    out.image[place.index * 3 + c] = sum.color[c] + sum.transmittance * background;
  }
  out.alpha[place.index] = 1.0f - sum.transmittance;
  out.depth[place.index] = sum.depth;
}

__global__ void __launch_bounds__(kTilePixels) blend_forward_kernel(SceneArrays scene, int columns, int tiles, Bins bins, BlendForward out) {
  __shared__ Batch batch;
  const int rank = static_cast<int>(threadIdx.x);
  const Tile tile = make_tile(columns, tiles, bins.ranges);
  const TilePixel place = make_pixel(scene, tile, rank);
  BucketPixel sum;
  Pixel& pixel = sum.pixel;
  pixel.x = place.x;
  pixel.y = place.y;
  pixel.done = !place.inside;
  int last = 0, bucket = 0;
  for (int first = tile.begin; first < tile.end; first += kTilePixels) {
    if (__syncthreads_and(pixel.done)) break;
    const int count = tile.end - first < kTilePixels ? tile.end - first : kTilePixels;
    load_batch(bins, first, count, rank, batch);
    __syncthreads();
    for (int i = 0; i < count && !pixel.done; ++i) {
      const int passed = first - tile.begin + i;
      if (passed > 0 && passed % kBucketSize == 0) sum.close(state_of(out.kept, tile, bucket++), rank);
      if (pixel.take(batch.records[i]) > 0.0f) last = passed + 1;
    }
  }
  sum.close(state_of(out.kept, tile, bucket), rank);
  if (place.inside) write_pixel(place, tile, sum, out);
  if (!out.kept.states) return;
  out.kept.finals[tile.index * kTilePixels + rank] = sum.transmittance;
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
