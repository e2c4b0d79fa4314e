// SPDX-License-Identifier: Apache-2.0
// Stage 4: the derivative of compositing. A tile is composited once more, keeping the Gaussians that count with their
// alpha and transmittance in scratch; walking that short list backwards needs neither division by (1 - alpha) to
// recover T nor any state saved by the forward pass.
#include "kept.h"

BS_BEGIN

namespace {

static_assert(kStamp == kGradientSize - 1, "the stamp fills the padding of a row");

struct PixelGradient {
  Lanes color[3], depth, coverage;   // coverage: dL/d(alpha), the background's share included
};

// Up to sixteen Gaussians of a tile that wait for their sums over its pixels.
struct Batch {
  Lanes v[kLanes], weight[kLanes];   // v: dL/d(log alpha)
  float mean_x[kLanes], mean_y[kLanes];
  int32_t entries[kLanes];
};

BS_FN void add_step(const Tile& tile, const KeptStep& kept, int32_t entry, const PixelGradient& g, Lanes& behind, Batch& batch, int slot) {
  const float* record = record_of(tile, entry);
  const Lanes alpha = load(kept.alpha), before = load(kept.before);
  Lanes value = fma(g.color[0], Lanes(record[kRed]), g.coverage);
  value = fma(g.color[1], Lanes(record[kGreen]), value);
  value = fma(g.color[2], Lanes(record[kBlue]), value);
  value = fma(g.depth, Lanes(record[kDepth]), value);
  const Lanes grad_alpha = alpha_gradient(before, alpha, value, behind);
  batch.v[slot] = only(Lanes(kAlphaMax) > alpha, alpha * grad_alpha);  // the clamp passes no gradient
  batch.weight[slot] = alpha * before;
  batch.mean_x[slot] = record[kMeanX];
  batch.mean_y[slot] = record[kMeanY];
  batch.entries[slot] = entry;
}

// Moments of v about the tile's centre. Lanes are Gaussians now, v[4 r + c] is the pixel in row r and column c, so the
// pixel coordinates are the constants -1.5, -0.5, 0.5, 1.5 and the sums separate into columns and rows.
BS_FN void tile_moments(const Lanes* v, Lanes* sums) {
  Lanes row_sum[4], row_x[4], row_xx(0.0f);
  for (int r = 0; r < 4; ++r) {
    const Lanes* p = v + 4 * r;
    const Lanes outer = p[0] + p[3], inner = p[1] + p[2];
    row_sum[r] = outer + inner;
    row_x[r] = fma(Lanes(1.5f), p[3] - p[0], Lanes(0.5f) * (p[2] - p[1]));
    row_xx = fma(Lanes(2.25f), outer, fma(Lanes(0.25f), inner, row_xx));
  }
  const Lanes outer = row_sum[0] + row_sum[3], inner = row_sum[1] + row_sum[2];
  sums[kSum] = outer + inner;
  sums[kSumX] = (row_x[0] + row_x[3]) + (row_x[1] + row_x[2]);
  sums[kSumY] = fma(Lanes(1.5f), row_sum[3] - row_sum[0], Lanes(0.5f) * (row_sum[2] - row_sum[1]));
  sums[kSumXX] = row_xx;
  sums[kSumXY] = fma(Lanes(1.5f), row_x[3] - row_x[0], Lanes(0.5f) * (row_x[2] - row_x[1]));
  sums[kSumYY] = fma(Lanes(2.25f), outer, Lanes(0.25f) * inner);
}

// From the tile's centre to each Gaussian's own; x, y: the tile's centre as seen from the Gaussian's.
BS_FN void shift_moments(Lanes x, Lanes y, Lanes* sums) {
  sums[kSumXX] = fma(x, fma(x, sums[kSum], sums[kSumX] + sums[kSumX]), sums[kSumXX]);
  sums[kSumYY] = fma(y, fma(y, sums[kSum], sums[kSumY] + sums[kSumY]), sums[kSumYY]);
  sums[kSumXY] = fma(x, fma(y, sums[kSum], sums[kSumY]), fma(y, sums[kSumX], sums[kSumXY]));
  sums[kSumX] = fma(x, sums[kSum], sums[kSumX]);
  sums[kSumY] = fma(y, sums[kSum], sums[kSumY]);
}

// Sums over the tile's sixteen pixels for sixteen Gaussians at once: a transpose turns pixels-in-lanes into
// Gaussians-in-lanes, so the sums are plain additions; a second one turns the result into one row per Gaussian.
BS_FN void flush(const Tile& tile, const float (*pixel_gradient)[kLanes], Batch& batch, int count, float* rows,
                 float stamp) {
  Lanes sums[kLanes];
  transpose(batch.v);
  tile_moments(batch.v, sums);
  const float half = 0.5f * kTileSize;
  shift_moments(Lanes(static_cast<float>(tile.left) + half) - load(batch.mean_x),
                Lanes(static_cast<float>(tile.top) + half) - load(batch.mean_y), sums);
  transpose(batch.weight);
  for (int channel = 0; channel < 4; ++channel) {
    Lanes even(0.0f), odd(0.0f);
    for (int pixel = 0; pixel < kLanes; pixel += 2) {
      even = fma(batch.weight[pixel], Lanes(pixel_gradient[channel][pixel]), even);
      odd = fma(batch.weight[pixel + 1], Lanes(pixel_gradient[channel][pixel + 1]), odd);
    }
    sums[kGradRed + channel] = even + odd;
  }
  for (int slot = kGradDepth + 1; slot < kLanes; ++slot) sums[slot] = Lanes(0.0f);
  transpose(sums);
  for (int i = 0; i < count; ++i) {
    float* row = rows + static_cast<int64_t>(batch.entries[i]) * kGradientSize;
    if (row[kStamp] == stamp) {
      store(row, load(row) + sums[i]);
    } else {
      store(row, sums[i]);
      row[kStamp] = stamp;
    }
  }
}

BS_FN PixelGradient read_gradient(const Scene& scene, const Tile& tile, const BlendBackward& b, int64_t image) {
  PixelGradient g;
  read_pixels<3>(scene, tile, b.grad_image, g.color);
  read_pixels<1>(scene, tile, b.grad_alpha, &g.coverage);
  read_pixels<1>(scene, tile, b.grad_depth, &g.depth);
  for (int c = 0; c < 3 && b.backgrounds; ++c) {
    g.coverage = g.coverage - g.color[c] * Lanes(b.backgrounds[image * 3 + c]);
  }
  return g;
}

void backward_tile(const Scene& scene, const Tile& tile, const BlendBackward& b, int64_t image, const Kept& scratch,
                   float* rows, float* grad_background) {
  Transmittance t = {Lanes(1.0f), tile.inside};
  if (tile.begin == tile.end && !grad_background) return;
  int64_t kept = replay(tile, scratch, t, [&](const float* record) {
    return splat_alpha<Lanes>(record, tile.x - Lanes(record[kMeanX]), tile.y - Lanes(record[kMeanY]));
  });
  const PixelGradient g = read_gradient(scene, tile, b, image);
  for (int c = 0; c < 3 && grad_background; ++c) grad_background[c] += total(t.value * g.color[c]);
  alignas(64) float pixel_gradient[4][kLanes];
  for (int c = 0; c < 3; ++c) store(pixel_gradient[c], g.color[c]);
  store(pixel_gradient[3], g.depth);
  Lanes behind(0.0f);
  Batch batch = {};
  int waiting = 0;
  while (kept-- > 0) {
    prefetch(rows + static_cast<int64_t>(scratch.entries[kept]) * kGradientSize);  // flush() will want it
    add_step(tile, scratch.steps[kept], scratch.entries[kept], g, behind, batch, waiting);
    if (++waiting < kLanes) continue;
    flush(tile, pixel_gradient, batch, waiting, rows, b.sums.stamp);
    waiting = 0;
  }
  if (waiting) flush(tile, pixel_gradient, batch, waiting, rows, b.sums.stamp);
}

}  // namespace

void blend_backward(const Scene& scene, const Bins& bins, const BlendBackward& b, int64_t image, int part, int rank) {
  const int64_t owner = part * scene.images + image;
  float* rows = b.sums.rows + owner * scene.gaussians * kGradientSize;
  float* grad_background = b.grad_backgrounds ? b.grad_backgrounds + owner * 3 : nullptr;
  for (int c = 0; c < 3 && grad_background; ++c) grad_background[c] = 0.0f;
  const Kept scratch = kept_of_thread(b.kept, b.kept_entries, b.longest, rank);
  each_tile_of_band(scene, b.sums.bands + image * scene.tile_rows(), part, [&](int64_t tile) {
    backward_tile(scene, make_tile(scene, bins, image, tile), b, image, scratch, rows, grad_background);
  });
}

void exponential2_array(const float* in, float* out, int64_t count) {
  for (int64_t i = 0; i + kLanes <= count; i += kLanes) store(out + i, exponential2(load(in + i)));
}

BS_END
