// SPDX-License-Identifier: Apache-2.0
// What a backward blend remembers of a tile while it walks it: the Gaussians that count, front to back, each with its
// alpha and the transmittance in front of it. The room is the caller's; every thread has a share of its own.
#pragma once

#include "tile.h"

BS_BEGIN

struct KeptStep {
  float alpha[kLanes], before[kLanes];
};

static_assert(sizeof(KeptStep) == kKeptSize * sizeof(float), "the caller allocates by kKeptSize");

struct Kept {
  KeptStep* steps;
  int32_t* entries;
};

// steps [threads,longest + 1,kKeptSize], entries [threads,longest + 1], longest: the most entries of a tile.
inline Kept kept_of_thread(float* steps, int32_t* entries, int64_t longest, int rank) {
  const int64_t first = rank * (longest + 1);
  return {reinterpret_cast<KeptStep*>(steps + first * kKeptSize), entries + first};
}

// Composites the tile once more; alpha_of(record) gives sixteen pixels' alpha before the cut-off. Returns how many it kept.
template <class AlphaOf>
BS_FN int64_t replay(const Tile& tile, const Kept& out, Transmittance& t, AlphaOf alpha_of) {
  int64_t kept = 0;
  for (const int32_t* entry = tile.begin; entry != tile.end && any(t.live); ++entry) {
    prefetch_ahead(tile, entry);
    const Step step = advance(alpha_of(record_of(tile, *entry)), t);
    store(out.steps[kept].alpha, step.alpha);
    store(out.steps[kept].before, step.before);
    out.entries[kept] = *entry;
    kept += any(step.alpha > Lanes(0.0f));
  }
  return kept;
}

BS_END
