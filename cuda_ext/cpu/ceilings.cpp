// SPDX-License-Identifier: Apache-2.0
// What this machine's arithmetic could do at best, for `blendsplat bench`: multiply-adds, exponentials and
// pixel-Gaussian pairs on data that never leaves the first cache, with nothing to sort, fetch or wait for.
#include "blendsplat/blend.h"
#include "operations.h"
#include "simd.h"

BS_BEGIN

namespace {

#if defined(BLENDSPLAT_AVX2)
constexpr int kChains = 5;   // two registers each; with more of them they spill
#else
constexpr int kChains = 10;  // two units of latency four need eight
#endif
constexpr int kRecords = 64; // 4 KB

// x <- a x + b: ends at b / (1 - a).
float multiply_adds(int64_t rounds) {
  const Lanes a(0.5f), b(0.25f);
  Lanes x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = Lanes(0.01f * static_cast<float>(i));
  for (int64_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < kChains; ++i) x[i] = fma(x[i], a, b);
  }
  Lanes sum(0.0f);
  for (int i = 0; i < kChains; ++i) sum = sum + x[i];
  return total(sum) / static_cast<float>(kLanes * kChains);
}

// x <- 2^-x: ends at the root of x 2^x = 1, 0.64118574.
float exponentials(int64_t rounds) {
  Lanes x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = Lanes(0.1f * static_cast<float>(i));
  for (int64_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < kChains; ++i) x[i] = exponential2(Lanes(0.0f) - x[i]);
  }
  Lanes sum(0.0f);
  for (int i = 0; i < kChains; ++i) sum = sum + x[i];
  return total(sum) / static_cast<float>(kLanes * kChains);
}

struct Records {
  float values[kRecords][kRecordSize];
  Lanes x, y;                        // centres of a 4x4 tile's pixels

  // Wide, faint Gaussians, so that every pair counts and none stops its pixel.
  Records() {
    alignas(64) float column[kLanes], row[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      column[i] = 0.5f + static_cast<float>(i % 4);
      row[i] = 0.5f + static_cast<float>(i / 4);
    }
    x = load(column);
    y = load(row);
    for (int n = 0; n < kRecords; ++n) {
      for (float& value : values[n]) value = 0.0f;
      values[n][kMeanX] = values[n][kMeanY] = 2.0f;
      values[n][kConicA] = values[n][kConicC] = -0.01f;
      values[n][kConicB] = -0.002f;
      values[n][kOpacity] = 0.01f;
      values[n][kRed] = values[n][kGreen] = values[n][kBlue] = 0.5f;
      values[n][kDepth] = 1.0f;
    }
  }
};

struct Composite {
  Lanes value[4] = {Lanes(0.0f), Lanes(0.0f), Lanes(0.0f), Lanes(0.0f)};
  Lanes transmittance = Lanes(1.0f);

  BS_FN void take(const float* record, Lanes alpha) {
    const Lanes weight = only(alpha >= Lanes(kAlphaMin), alpha * transmittance);
    for (int c = 0; c < 4; ++c) value[c] = fma(weight, Lanes(record[kRed + c]), value[c]);
    transmittance = transmittance - weight;
  }
};

// A tile's 64 Gaussians composited once a round; returns the mean alpha, 1 - the product of (1 - alpha).
float pairs(int64_t rounds) {
  const Records records;
  Lanes coverage(0.0f), left = records.x;
  for (int64_t round = 0; round < rounds; ++round) {
    Composite pixel;
    for (const auto& record : records.values) {
      pixel.take(record, splat_alpha<Lanes>(record, left - Lanes(record[kMeanX]), records.y - Lanes(record[kMeanY])));
    }
    coverage = Lanes(1.0f) - pixel.transmittance;
    // The next round's pixels depend on this one's colour, so that no round can be left out.
    left = fma(pixel.value[0] + pixel.value[1] + pixel.value[2] + pixel.value[3], Lanes(1e-20f), records.x);
  }
  return total(coverage) / static_cast<float>(kLanes);
}

// The same back to front with the ten sums of a gradient row, lanes left unsummed; returns the mean of their first.
float pair_gradients(int64_t rounds) {
  const Records records;
  Lanes sums[kGradDepth + 1];
  for (Lanes& sum : sums) sum = Lanes(0.0f);
  const Lanes grad[4] = {Lanes(0.3f), Lanes(0.2f), Lanes(0.1f), Lanes(0.0f)};
  for (int64_t round = 0; round < rounds; ++round) {
    Lanes transmittance(1.0f), behind(0.0f);
    for (const auto& record : records.values) {
      const Lanes dx = records.x - Lanes(record[kMeanX]), dy = records.y - Lanes(record[kMeanY]);
      const Lanes full = splat_alpha<Lanes>(record, dx, dy);
      const Lanes alpha = only(full >= Lanes(kAlphaMin), full), weight = alpha * transmittance;
      Lanes value = grad[0] * Lanes(record[kRed]);
      for (int c = 1; c < 4; ++c) value = fma(grad[c], Lanes(record[kRed + c]), value);
      const Lanes v = alpha * alpha_gradient(transmittance, alpha, value, behind);
      transmittance = transmittance - weight;
      const Lanes vx = v * dx, vy = v * dy;
      sums[kSum] = sums[kSum] + v;
      sums[kSumX] = sums[kSumX] + vx;
      sums[kSumY] = sums[kSumY] + vy;
      sums[kSumXX] = fma(vx, dx, sums[kSumXX]);
      sums[kSumXY] = fma(vx, dy, sums[kSumXY]);
      sums[kSumYY] = fma(vy, dy, sums[kSumYY]);
      for (int c = 0; c < 4; ++c) sums[kGradRed + c] = fma(weight, grad[c], sums[kGradRed + c]);
    }
  }
  Lanes everything(0.0f);
  for (const Lanes& sum : sums) everything = everything + sum;
  return total(everything) / static_cast<float>(kLanes) / static_cast<float>(rounds);
}

}  // namespace

CeilingRun ceiling(Ceiling kind, int64_t rounds) {
  switch (kind) {
    case Ceiling::multiply_adds: return {multiply_adds(rounds), static_cast<double>(rounds) * kChains * kLanes};
    case Ceiling::exponentials: return {exponentials(rounds), static_cast<double>(rounds) * kChains * kLanes};
    case Ceiling::pairs: return {pairs(rounds), static_cast<double>(rounds) * kRecords * kLanes};
    case Ceiling::pair_gradients: break;
  }
  return {pair_gradients(rounds), static_cast<double>(rounds) * kRecords * kLanes};
}

BS_END
