// SPDX-License-Identifier: Apache-2.0
// Stage 4: the derivative of compositing, a warp per bucket of a tile's list, a lane per Gaussian (cf. Taming 3DGS, Mallick
// et al. 2024). The tile's pixels file past the lanes, one step apart: lane i meets pixel s - i in step s, when lane i - 1
// has just left it. A lane keeps its Gaussian's sums in registers and adds them to memory once; no pixel does.
#include "tile.cuh"

namespace blendsplat {
namespace cuda {

namespace {

constexpr int kWarps = kTilePixels / kWarpSize;

// What the whole block knows of its pixels, by rank.
struct Gradients {
  float color[3][kTilePixels], depth[kTilePixels];
  float coverage[kTilePixels];                     // dL/d(alpha), the background's share included
  float total[kTilePixels];                        // what the whole list adds to the loss, to first order
  int32_t last[kTilePixels];
};

// What a warp hands from lane to lane: a pixel's transmittance in front of the next Gaussian, and what is still to come of
// its total.
struct Flow {
  float transmittance[kTilePixels], rest[kTilePixels];
};

// A state's colours, depth and coverage, weighted with the pixel's gradient.
__device__ __forceinline__ float weigh(const Gradients& g, int p, const float* state) {
  float sum = g.depth[p] * state[kStateDepth * kTilePixels + p] + g.coverage[p] * (1.0f - state[kStateTransmittance * kTilePixels + p]);
  for (int c = 0; c < 3; ++c) sum += g.color[c][p] * state[(kStateRed + c) * kTilePixels + p];
  return sum;
}

// Each thread its own pixel.
__device__ void load_gradients(const SceneArrays& scene, const Tile& tile, const BlendBackward& b, int p, Gradients& g) {
  const TilePixel place = make_pixel(scene, tile, p);
  const float* final_state = b.kept.finals + tile.index * kStateFloats;
  g.last[p] = b.kept.lasts[tile.index * kTilePixels + p];
  g.depth[p] = place.inside && b.grad_depth ? b.grad_depth[place.index] : 0.0f;
  g.coverage[p] = place.inside && b.grad_alpha ? b.grad_alpha[place.index] : 0.0f;
  for (int c = 0; c < 3; ++c) {
    g.color[c][p] = place.inside && b.grad_image ? b.grad_image[place.index * 3 + c] : 0.0f;
    if (b.backgrounds) g.coverage[p] -= g.color[c][p] * b.backgrounds[tile.image * 3 + c];
    if (!b.grad_backgrounds) continue;
    const float sum = warp_sum(final_state[kStateTransmittance * kTilePixels + p] * g.color[c][p]);
    if (p % kWarpSize == 0) atomicAdd(b.grad_backgrounds + tile.image * 3 + c, sum);
  }
  g.total[p] = weigh(g, p, final_state);
}

// True if a pixel takes a Gaussian from `passed` on.
__device__ bool anyone_takes(const Gradients& g, int passed, int lane) {
  bool takes = false;
  for (int p = lane; p < kTilePixels; p += kWarpSize) takes = takes || g.last[p] > passed;
  return __any_sync(kWholeWarp, takes);
}

// States were saved only by pixels that went on; the others are not looked at.
__device__ void load_flow(const Gradients& g, const float* state, int passed, int lane, Flow& flow) {
  for (int p = lane; p < kTilePixels; p += kWarpSize) {
    const bool gathered = passed > 0 && g.last[p] > passed;
    flow.transmittance[p] = gathered ? state[kStateTransmittance * kTilePixels + p] : 1.0f;
    flow.rest[p] = gathered ? g.total[p] - weigh(g, p, state) : g.total[p];
  }
}

__device__ __forceinline__ void pass_pixel(const Tile& tile, const Gradients& g, const float* record, int p, Flow& flow, float* sums) {
  const Spot spot = spot_in_tile(p);
  const float dx = static_cast<float>(tile.left + spot.column) + 0.5f - record[kMeanX];
  const float dy = static_cast<float>(tile.top + spot.row) + 0.5f - record[kMeanY];
  const float color[3] = {g.color[0][p], g.color[1][p], g.color[2][p]};
  splat_backward(record, dx, dy, color, g.depth[p], g.coverage[p], flow.transmittance[p], flow.rest[p], sums);
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
  __syncthreads();
  Flow& flow = flows[warp];
  for (int bucket = warp; bucket * kBucketSize < tile.end - tile.begin; bucket += kWarps) {
    const int passed = bucket * kBucketSize, own = passed + lane;
    if (!anyone_takes(gradients, passed, lane)) break;
    load_flow(gradients, b.kept.states + state_offset(tile, bucket), passed, lane, flow);
    __syncwarp();
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
