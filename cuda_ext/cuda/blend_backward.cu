// SPDX-License-Identifier: Apache-2.0
// Stage 4: the derivative of compositing, a warp per bucket of a tile's list, a lane per Gaussian (cf. Taming 3DGS, Mallick
// et al. 2024). The tile's pixels file past the lanes back to front, one step apart: lane i meets pixel s - i in step s,
// when lane i - 1, whose Gaussian is the next one behind, has just left it. A lane keeps its Gaussian's sums in registers
// and adds them to memory once; no pixel does.
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

constexpr int kWarps = kTilePixels / kWarpSize;

// What the whole block knows of its pixels, by rank.
struct Gradients {
  float color[3][kTilePixels], depth[kTilePixels];
  float coverage[kTilePixels];                     // dL/d(alpha), the background's share included
  float transmittance[kTilePixels];                // behind the last Gaussian
  int32_t last[kTilePixels];
};

// What a warp hands from lane to lane: a pixel's transmittance and what is behind it (see alpha_gradient).
struct Flow {
  float transmittance[kTilePixels], behind[kTilePixels];
};

// Each thread its own pixel.
__device__ void load_gradients(const SceneArrays& scene, const Tile& tile, const BlendBackward& b, int p, Gradients& g) {
  const TilePixel place = make_pixel(scene, tile, p);
  g.last[p] = b.kept.lasts[tile.index * kTilePixels + p];
  g.transmittance[p] = b.kept.finals[tile.index * kTilePixels + p];
  g.depth[p] = place.inside && b.grad_depth ? b.grad_depth[place.index] : 0.0f;
  float coverage = place.inside && b.grad_alpha ? b.grad_alpha[place.index] : 0.0f;
  for (int c = 0; c < 3; ++c) {
    const float grad = place.inside && b.grad_image ? b.grad_image[place.index * 3 + c] : 0.0f;
    g.color[c][p] = grad;
    if (b.backgrounds) coverage -= grad * b.backgrounds[tile.image * 3 + c];
    if (!b.grad_backgrounds) continue;
    const float sum = warp_sum(g.transmittance[p] * grad);
    if (p % kWarpSize == 0) atomicAdd(b.grad_backgrounds + tile.image * 3 + c, sum);
  }
  g.coverage[p] = coverage;
}

// Each thread its own pixel: from the last bucket it came to, what is behind the bucket's front: what the bucket adds, per
// transmittance at its front, and what shines through it. Sums of like things: nothing cancels.
__device__ void look_behind(const Tile& tile, const Gradients& g, float* states, int p) {
  float behind = 0.0f, back = g.transmittance[p];
  for (int bucket = (g.last[p] - 1) / kBucketSize; bucket > 0; --bucket) {
    float* state = states + state_offset(tile, bucket);
    const float front = state[kStateTransmittance * kTilePixels + p];
    float sum = g.depth[p] * state[kStateDepth * kTilePixels + p] + g.coverage[p] * (front - back);
    for (int c = 0; c < 3; ++c) sum += g.color[c][p] * state[(kStateRed + c) * kTilePixels + p];
    behind = (sum + back * behind) / front;
    state[kStateBehind * kTilePixels + p] = behind;
    back = front;
  }
}

// True if a pixel takes a Gaussian from `passed` on.
__device__ bool anyone_takes(const Gradients& g, int passed, int lane) {
  bool takes = false;
  for (int p = lane; p < kTilePixels; p += kWarpSize) takes = takes || g.last[p] > passed;
  return __any_sync(kWholeWarp, takes);
}

// The pixels as they are behind a bucket. next: the state of the bucket behind, which only pixels that came so far have.
__device__ void load_flow(const Gradients& g, const float* next, int passed, int lane, Flow& flow) {
  for (int p = lane; p < kTilePixels; p += kWarpSize) {
    const bool went_on = g.last[p] > passed + kBucketSize;
    flow.transmittance[p] = went_on ? next[kStateTransmittance * kTilePixels + p] : g.transmittance[p];
    flow.behind[p] = went_on ? next[kStateBehind * kTilePixels + p] : 0.0f;
  }
}

// Gaussian `record` at pixel p: adds to the Gaussian's sums and moves the pixel in front of it.
__device__ __forceinline__ void pass_pixel(const Tile& tile, const Gradients& g, const float* record, int p, Flow& flow, float* sums) {
  const Spot spot = spot_in_tile(p);
  PixelBackward pixel;
  pixel.x = static_cast<float>(tile.left + spot.column) + 0.5f;
  pixel.y = static_cast<float>(tile.top + spot.row) + 0.5f;
  pixel.transmittance = flow.transmittance[p];
  pixel.behind = flow.behind[p];
  pixel.grad_depth = g.depth[p];
  pixel.grad_coverage = g.coverage[p];
  for (int c = 0; c < 3; ++c) pixel.grad_color[c] = g.color[c][p];
  float terms[kGradDepth + 1];
  if (!pixel.take(record, terms)) return;
  for (int slot = 0; slot <= kGradDepth; ++slot) sums[slot] += terms[slot];
  flow.transmittance[p] = pixel.transmittance;
  flow.behind[p] = pixel.behind;
}

__device__ void add_to_row(float* row, const float* sums) {
  for (int slot = 0; slot <= kGradDepth; ++slot) atomicAdd(row + slot, sums[slot]);
}

__global__ void __launch_bounds__(kTilePixels) blend_backward_kernel(SceneArrays scene, int columns, int tiles, Bins bins, BlendBackward b) {
  __shared__ Gradients gradients;
  __shared__ Flow flows[kWarps];
  const int rank = static_cast<int>(threadIdx.x), lane = rank % kWarpSize, warp = rank / kWarpSize;
  const Tile tile = make_tile(columns, tiles, bins.ranges);
  load_gradients(scene, tile, b, rank, gradients);
  look_behind(tile, gradients, b.kept.states, rank);
  __syncthreads();
  Flow& flow = flows[warp];
  for (int passed = warp * kBucketSize; passed < tile.end - tile.begin; passed += kTilePixels) {
    if (!anyone_takes(gradients, passed, lane)) break;
    load_flow(gradients, b.kept.states + state_offset(tile, passed / kBucketSize + 1), passed, lane, flow);
    __syncwarp();
    const int own = passed + kBucketSize - 1 - lane;
    const bool has_own = tile.begin + own < tile.end;
    const uint32_t entry = has_own ? bins.entries[tile.begin + own] : 0;
    alignas(16) float record[kBlendSlots];
    if (has_own) load_record(bins.records, entry, record);
    float sums[kGradDepth + 1] = {};
    for (int step = 0; step < kTilePixels + kWarpSize - 1; ++step) {
      const int p = step - lane;
      if (has_own && p >= 0 && p < kTilePixels && own < gradients.last[p]) pass_pixel(tile, gradients, record, p, flow, sums);
      __syncwarp();
    }
    if (has_own) add_to_row(b.rows + static_cast<int64_t>(entry) * kGradientSize, sums);
  }
}

}  // namespace

void blend_backward(const Scene& scene, const Bins& bins, const BlendBackward& b) {
  if (scene.images == 0) return;
  use_device(scene);
  const size_t rows = static_cast<size_t>(scene.images * scene.gaussians) * kGradientSize * sizeof(float);
  check(cudaMemsetAsync(b.rows, 0, rows, scene.stream), "clearing the gradients");
  if (b.grad_backgrounds) {
    check(cudaMemsetAsync(b.grad_backgrounds, 0, static_cast<size_t>(scene.images) * 3 * sizeof(float), scene.stream), "clearing the gradients");
  }
  launch("blend_backward", blend_backward_kernel, tile_blocks(scene), kTilePixels, scene.stream, scene, scene.tile_columns(),
         static_cast<int>(scene.tiles()), bins, b);
}

}  // namespace cuda
}  // namespace blendsplat
