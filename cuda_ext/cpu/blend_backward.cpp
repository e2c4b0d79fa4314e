// SPDX-License-Identifier: Apache-2.0
// Stage 4: the derivative of compositing. A tile is composited once more, keeping the Gaussians that count with their
// alpha and transmittance in scratch; walking that short list backwards needs neither division by (1 - alpha) to
// recover T nor any state saved by the forward pass.
#include <cstdlib>

#include "tile.h"

BS_BEGIN

namespace {

struct Step {
  float alpha[kLanes], transmittance[kLanes];
};

// Per-thread scratch, the documented exception to "the caller allocates": its size is a tile's, known only here.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(steps); std::free(entries); }
  bool reserve(int64_t wanted) {
    if (wanted <= capacity) return true;
    std::free(steps);
    std::free(entries);
    capacity = wanted + wanted / 2;
    steps = static_cast<Step*>(std::malloc(sizeof(Step) * static_cast<size_t>(capacity)));
    entries = static_cast<int32_t*>(std::malloc(sizeof(int32_t) * static_cast<size_t>(capacity)));
    if (!steps || !entries) capacity = 0;
    return steps && entries;
  }
  Step* steps = nullptr;
  int32_t* entries = nullptr;

 private:
  int64_t capacity = 0;
};

BS_FN int64_t replay(const Tile& tile, Scratch& scratch, Transmittance& t) {
  int64_t kept = 0;
  for (const int32_t* entry = tile.begin; entry != tile.end && any(t.live); ++entry) {
    const Lanes alpha = step_alpha(tile, record_of(tile, *entry), t);
    store(scratch.steps[kept].alpha, alpha);
    store(scratch.steps[kept].transmittance, t.value);
    scratch.entries[kept] = *entry;
    kept += any(alpha > Lanes(0.0f));
    t.value = t.value - alpha * t.value;
  }
  return kept;
}

struct PixelGradient {
  Lanes color[3], depth, coverage;   // coverage: dL/d(alpha), the background's share included
};

BS_FN void add_step(const Tile& tile, const Step& step, const float* record, const PixelGradient& g, Lanes& behind, float* row) {
  const Lanes alpha = load(step.alpha), transmittance = load(step.transmittance);
  const Lanes weight = alpha * transmittance;
  Lanes value = fma(g.color[0], Lanes(record[kRed]), g.coverage);
  value = fma(g.color[1], Lanes(record[kGreen]), value);
  value = fma(g.color[2], Lanes(record[kBlue]), value);
  value = fma(g.depth, Lanes(record[kDepth]), value);
  const Lanes grad_alpha = alpha_gradient(transmittance, alpha, value, behind);
  behind = fma(weight, value, behind);
  const Lanes v = only(Lanes(kAlphaMax) > alpha, alpha * grad_alpha);  // the clamp passes no gradient
  const Lanes dx = tile.x - Lanes(record[kMeanX]), dy = tile.y - Lanes(record[kMeanY]);
  const Lanes vx = v * dx, vy = v * dy;
  row[kSum] += total(v);
  row[kSumX] += total(vx);
  row[kSumY] += total(vy);
  row[kSumXX] += total(vx * dx);
  row[kSumXY] += total(vx * dy);
  row[kSumYY] += total(vy * dy);
  row[kGradRed] += total(weight * g.color[0]);
  row[kGradGreen] += total(weight * g.color[1]);
  row[kGradBlue] += total(weight * g.color[2]);
  row[kGradDepth] += total(weight * g.depth);
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

// False if scratch ran out of memory.
bool backward_tile(const Scene& scene, const Tile& tile, const BlendBackward& b, int64_t image, Scratch& scratch,
                   float* rows, float* grad_background) {
  Transmittance t = {Lanes(1.0f), tile.inside};
  if (tile.begin == tile.end && !grad_background) return true;
  if (!scratch.reserve(tile.end - tile.begin + 1)) return false;
  int64_t kept = replay(tile, scratch, t);
  const PixelGradient g = read_gradient(scene, tile, b, image);
  for (int c = 0; c < 3 && grad_background; ++c) grad_background[c] += total(t.value * g.color[c]);
  Lanes behind(0.0f);
  while (kept-- > 0) {
    const int32_t entry = scratch.entries[kept];
    add_step(tile, scratch.steps[kept], record_of(tile, entry), g, behind, rows + static_cast<int64_t>(entry) * kGradientSize);
  }
  return true;
}

}  // namespace

bool blend_backward(const Scene& scene, const Bins& bins, const BlendBackward& b) {
  int failures = 0;
#pragma omp parallel num_threads(scene.threads) reduction(+ : failures)
  {
    Scratch scratch;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < scene.images * b.parts; ++item) {
      const int64_t image = item / b.parts;
      const int part = static_cast<int>(item % b.parts);
      const int64_t owner = part * scene.images + image;
      float* rows = b.rows + owner * scene.gaussians * kGradientSize;
      float* grad_background = b.grad_backgrounds ? b.grad_backgrounds + owner * 3 : nullptr;
      const int64_t end = part_start(scene, bins, image, part + 1, b.parts);
      for (int64_t tile = part_start(scene, bins, image, part, b.parts); tile < end; ++tile) {
        const bool done = backward_tile(scene, make_tile(scene, bins, image, tile), b, image, scratch, rows, grad_background);
        failures += done ? 0 : 1;
      }
    }
  }
  return failures == 0;
}

void exponential2_array(const float* in, float* out, int64_t count) {
  for (int64_t i = 0; i + kLanes <= count; i += kLanes) store(out + i, exponential2(load(in + i)));
}

BS_END
