// SPDX-License-Identifier: Apache-2.0
// Stage 4 for surfels: the derivative of compositing, as blend_backward.cpp does it for Gaussians - composite once more,
// keep what counts, walk that list backwards, sum over a tile's pixels for sixteen surfels at a time.
#include <algorithm>

#include "blendsplat/surfel_blend.h"
#include "kept.h"
#include "surfel_operations.h"
#include "threads.h"

BS_BEGIN

namespace {

constexpr int kChannels = 6;           // that a weight is summed with: colour and normal

struct PixelGradient {
  Lanes color[3], normal[3], depth, coverage;  // coverage: dL/d(alpha), the background's share included
};

// Up to sixteen surfels of a tile that wait for their sums over its pixels; see SurfelHitGradient.
struct Batch {
  Lanes u[kLanes], v[kLanes], w[kLanes], screen[kLanes], log_opacity[kLanes], depth[kLanes], weight[kLanes];
  Lanes surfels[kLanes];
  int32_t entries[kLanes];
};

BS_FN void add_step(const Tile& tile, float near_plane, const KeptStep& kept, int32_t entry, const PixelGradient& g, Lanes& behind,
                    Batch& batch, int slot) {
  const float* surfel = record_of(tile, entry);
  const SurfelHit<Lanes> hit = meet_surfel(surfel, tile.x, tile.y, near_plane);
  const Lanes alpha = load(kept.alpha), before = load(kept.before);
  const Lanes weight = alpha * before;
  Lanes value = fma(g.depth, hit.depth, g.coverage);
  for (int c = 0; c < 3; ++c) {
    value = fma(g.color[c], Lanes(surfel[kSurfelRed + c]), value);
    value = fma(g.normal[c], Lanes(surfel[kSurfelNormalX + c]), value);
  }
  const Lanes grad_alpha = alpha_gradient(before, alpha, value, behind);
  // The clamp passes no gradient. Where the surfel is not drawn, alpha is zero, and its hit may be anything.
  const Lanes v = only(Lanes(kAlphaMax) > alpha, alpha * grad_alpha);
  const Mask drawn = alpha > Lanes(0.0f);
  const SurfelHitGradient<Lanes> h = surfel_hit_gradient(hit, v, weight * g.depth);
  batch.u[slot] = only(drawn, h.u);
  batch.v[slot] = only(drawn, h.v);
  batch.w[slot] = only(drawn, h.w);
  batch.screen[slot] = h.screen;
  batch.log_opacity[slot] = v;
  batch.depth[slot] = only(drawn, h.depth);
  batch.weight[slot] = weight;
  batch.surfels[slot] = load(surfel);
  batch.entries[slot] = entry;
}

struct Moments {
  Lanes sum, x, y;
};

// Sums of a quantity and of its product with d. Lanes are surfels now, q[4 r + c] is the pixel in row r and column c, so
// the pixel coordinates about the tile's centre, which lies at (x, y) from the surfel's, are -1.5, -0.5, 0.5, 1.5.
BS_FN Moments tile_moments(const Lanes* q, Lanes x, Lanes y) {
  Lanes row[4], along(0.0f);
  for (int r = 0; r < 4; ++r) {
    const Lanes* p = q + 4 * r;
    row[r] = (p[0] + p[3]) + (p[1] + p[2]);
    along = fma(Lanes(1.5f), p[3] - p[0], fma(Lanes(0.5f), p[2] - p[1], along));
  }
  Moments m;
  m.sum = (row[0] + row[3]) + (row[1] + row[2]);
  m.x = fma(x, m.sum, along);
  m.y = fma(y, m.sum, fma(Lanes(1.5f), row[3] - row[0], Lanes(0.5f) * (row[2] - row[1])));
  return m;
}

BS_FN Lanes tile_sum(const Lanes* q) {
  Lanes even = q[0], odd = q[1];
  for (int pixel = 2; pixel < kLanes; pixel += 2) {
    even = even + q[pixel];
    odd = odd + q[pixel + 1];
  }
  return even + odd;
}

BS_FN void weight_sums(const Lanes* weight, const float (*pixel_gradient)[kLanes], Lanes* sums) {
  for (int channel = 0; channel < kChannels; ++channel) {
    Lanes even(0.0f), odd(0.0f);
    for (int pixel = 0; pixel < kLanes; pixel += 2) {
      even = fma(weight[pixel], Lanes(pixel_gradient[channel][pixel]), even);
      odd = fma(weight[pixel + 1], Lanes(pixel_gradient[channel][pixel + 1]), odd);
    }
    sums[channel < 3 ? kSurfelRed + channel : kSurfelNormalX + channel - 3] = even + odd;
  }
}

// Transposes turn pixels-in-lanes into surfels-in-lanes, so the sums over the tile's pixels are plain additions for
// sixteen surfels at once; a last one turns the result into one row per surfel.
BS_FN void flush(const Tile& tile, const float (*pixel_gradient)[kLanes], Batch& batch, int count, float* rows) {
  transpose(batch.u);
  transpose(batch.v);
  transpose(batch.w);
  transpose(batch.screen);
  transpose(batch.log_opacity);
  transpose(batch.depth);
  transpose(batch.weight);
  transpose(batch.surfels);
  const Lanes* surfel = batch.surfels;
  const float half = 0.5f * kTileSize;
  const Lanes x = Lanes(static_cast<float>(tile.left) + half) - surfel[kSurfelX];
  const Lanes y = Lanes(static_cast<float>(tile.top) + half) - surfel[kSurfelY];
  const Moments u = tile_moments(batch.u, x, y), v = tile_moments(batch.v, x, y), w = tile_moments(batch.w, x, y);
  const Moments screen = tile_moments(batch.screen, x, y);
  Lanes sums[kLanes];
  sums[kSurfelX] = Lanes(2.0f) * screen.x - (u.sum * surfel[kSurfelUx] + v.sum * surfel[kSurfelVx] + w.sum * surfel[kSurfelWx]);
  sums[kSurfelY] = Lanes(2.0f) * screen.y - (u.sum * surfel[kSurfelUy] + v.sum * surfel[kSurfelVy] + w.sum * surfel[kSurfelWy]);
  sums[kSurfelUx] = u.x;
  sums[kSurfelUy] = u.y;
  sums[kSurfelVx] = v.x;
  sums[kSurfelVy] = v.y;
  sums[kSurfelWx] = w.x;
  sums[kSurfelWy] = w.y;
  sums[kSurfelOpacity] = tile_sum(batch.log_opacity);
  sums[kSurfelDepth] = tile_sum(batch.depth);
  weight_sums(batch.weight, pixel_gradient, sums);
  transpose(sums);
  for (int i = 0; i < count; ++i) {
    float* row = rows + static_cast<int64_t>(batch.entries[i]) * kSurfelSize;
    store(row, load(row) + sums[i]);
  }
}

BS_FN PixelGradient read_gradient(const Scene& scene, const Tile& tile, const SurfelBackward& b, int64_t image) {
  PixelGradient g;
  read_pixels<3>(scene, tile, b.grad_image, g.color);
  read_pixels<1>(scene, tile, b.grad_alpha, &g.coverage);
  read_pixels<1>(scene, tile, b.grad_depth, &g.depth);
  read_pixels<3>(scene, tile, b.grad_normals, g.normal);
  for (int c = 0; c < 3 && b.backgrounds; ++c) {
    g.coverage = g.coverage - g.color[c] * Lanes(b.backgrounds[image * 3 + c]);
  }
  return g;
}

void backward_tile(const Scene& scene, const Tile& tile, const SurfelBackward& b, int64_t image, const Kept& kept, float* rows, float* grad_background) {
  Transmittance t = {Lanes(1.0f), tile.inside};
  if (tile.begin == tile.end && !grad_background) return;
  int64_t left = replay(tile, kept, t, [&](const float* surfel) {
    return surfel_alpha(surfel, meet_surfel(surfel, tile.x, tile.y, scene.near_plane));
  });
  const PixelGradient g = read_gradient(scene, tile, b, image);
  for (int c = 0; c < 3 && grad_background; ++c) grad_background[c] += total(t.value * g.color[c]);
  alignas(64) float pixel_gradient[kChannels][kLanes];
  for (int c = 0; c < 3; ++c) {
    store(pixel_gradient[c], g.color[c]);
    store(pixel_gradient[3 + c], g.normal[c]);
  }
  Lanes behind(0.0f);
  Batch batch = {};
  int waiting = 0;
  while (left-- > 0) {
    add_step(tile, scene.near_plane, kept.steps[left], kept.entries[left], g, behind, batch, waiting);
    if (++waiting < kLanes) continue;
    flush(tile, pixel_gradient, batch, waiting, rows);
    waiting = 0;
  }
  if (waiting) flush(tile, pixel_gradient, batch, waiting, rows);
}

}  // namespace

void surfel_backward(const Scene& scene, const Bins& bins, const SurfelBackward& b) {
  share(scene.threads, scene.images * b.parts, 1, [&](int64_t item, int rank) {
    const int64_t image = item / b.parts;
    const int part = static_cast<int>(item % b.parts);
    const int64_t owner = part * scene.images + image;
    float* rows = b.rows + owner * scene.gaussians * kSurfelSize;
    std::fill_n(rows, scene.gaussians * kSurfelSize, 0.0f);  // none without surfels: memset takes no null
    float* grad_background = b.grad_backgrounds ? b.grad_backgrounds + owner * 3 : nullptr;
    for (int c = 0; c < 3 && grad_background; ++c) grad_background[c] = 0.0f;
    const Kept kept = kept_of_thread(b.kept, b.kept_entries, b.longest, rank);
    const int64_t end = part_start(scene, bins, image, part + 1, b.parts);
    for (int64_t tile = part_start(scene, bins, image, part, b.parts); tile < end; ++tile) {
      backward_tile(scene, make_tile(scene, bins, image, tile), b, image, kept, rows, grad_background);
    }
  });
}

BS_END
