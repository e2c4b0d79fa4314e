// SPDX-License-Identifier: Apache-2.0
// Softmax attention in one sweep over the keys (Dao et al. 2022, algorithm 1), for the transformer that reads a photograph.
// Queries are the lanes: scores are computed transposed, so maxima and sums over keys need no lane to see another.
#include <algorithm>

#include "panels.h"
#include "threads.h"
#include "transformer.h"

BS_BEGIN

namespace {

constexpr int kKeyPanels = 3;     // keys that are scored before the sums see them: all of it stays in the first cache
constexpr int kQueryPanels = 4;   // query panels that share a pass over the keys
constexpr float kOutside = -1e30f;
constexpr float kLog2E = 1.4426950408889634f;

// What a panel of queries knows of the keys it has seen.
struct Sweep {
  alignas(64) float sums[kHeadWidth * kPanel];
  Lanes peak[kPanelLanes], total[kPanelLanes];
};

struct Work {
  alignas(64) float scores[kKeyPanels * kPanel * kPanel];
  Sweep sweeps[kQueryPanels];
};

// Brings what a panel's queries have summed [width][48] to the maxima of these scores too, where they are higher.
void raise_peaks(const float* scores, int64_t count, Lanes factor, int64_t width, Sweep& sweep) {
  Lanes top[kPanelLanes];
  for (int i = 0; i < kPanelLanes; ++i) top[i] = load(scores + i * kLanes);
  for (int64_t m = 1; m < count; ++m) {
    for (int i = 0; i < kPanelLanes; ++i) top[i] = maximum(load(scores + m * kPanel + i * kLanes), top[i]);
  }
  for (int i = 0; i < kPanelLanes; ++i) {
    if (!any(top[i] > sweep.peak[i])) continue;
    const Lanes peak = maximum(top[i], sweep.peak[i]), shrink = exponential2((sweep.peak[i] - peak) * factor);
    float* sums = sweep.sums + i * kLanes;
    for (int64_t d = 0; d < width; ++d) store(sums + d * kPanel, load(sums + d * kPanel) * shrink);
    sweep.total[i] = sweep.total[i] * shrink;
    sweep.peak[i] = peak;
  }
}

// Scores [count][48] become powers of what they lie under the maxima; differences first, which large scores leave exact.
void exponentiate(float* scores, int64_t count, Lanes factor, Sweep& sweep) {
  Lanes peak[kPanelLanes], total[kPanelLanes];
  for (int i = 0; i < kPanelLanes; ++i) {
    peak[i] = sweep.peak[i];
    total[i] = sweep.total[i];
  }
  for (int64_t m = 0; m < count; ++m) {
    for (int i = 0; i < kPanelLanes; ++i) {
      float* here = scores + m * kPanel + i * kLanes;
      const Lanes power = exponential2((load(here) - peak[i]) * factor);
      store(here, power);
      total[i] = total[i] + power;
    }
  }
  for (int i = 0; i < kPanelLanes; ++i) sweep.total[i] = total[i];
}

// One panel of queries sees `count` more keys, whose first panels are at k and v.
void attend_keys(const Attention& task, const float* q, const float* k, const float* v, int64_t count, float* scores, Sweep& sweep) {
  for (int64_t m = 0; m < count; m += kPanel) {
    const float* panel = k + m / kPanel * task.key_panel;
    multiply<false>(Factor<1, kPanel>{panel, task.width, 0}, std::min<int64_t>(kPanel, count - m), q, task.width, scores + m * kPanel);
  }
  const Lanes factor(task.factor * kLog2E);
  raise_peaks(scores, count, factor, task.width, sweep);
  exponentiate(scores, count, factor, sweep);
  multiply<true>(Factor<kPanel, 1>{v, kPanel, task.key_panel}, task.width, scores, count, sweep.sums);
}

}  // namespace

void attention(const Attention& task) {
  constexpr int64_t kBlockKeys = kKeyPanels * kPanel;
  const int64_t query_panels = (task.queries + kPanel - 1) / kPanel, key_panels = (task.keys + kPanel - 1) / kPanel;
  const int64_t blocks = (query_panels + kQueryPanels - 1) / kQueryPanels, size = task.width * kPanel;
  share(task.threads, task.images * task.heads * blocks, 1, [&](int64_t item, int) {
    static thread_local Work work;
    const int64_t image = item / blocks / task.heads, head = item / blocks % task.heads, first = item % blocks * kQueryPanels;
    const int panels = static_cast<int>(std::min<int64_t>(kQueryPanels, query_panels - first));
    const float* q = task.q + (image * query_panels + first) * task.query_panel + head * size;
    const float* k = task.k + image * key_panels * task.key_panel + head * size;
    const float* v = task.v + image * key_panels * task.key_panel + head * size;
    for (int p = 0; p < panels; ++p) {
      Sweep& sweep = work.sweeps[p];
      for (int64_t d = 0; d < size; d += kLanes) store(sweep.sums + d, Lanes(0.0f));
      for (int i = 0; i < kPanelLanes; ++i) {
        sweep.peak[i] = Lanes(kOutside);
        sweep.total[i] = Lanes(0.0f);
      }
    }
    for (int64_t m = 0; m < task.keys; m += kBlockKeys) {
      const int64_t at = m / kPanel * task.key_panel;
      for (int p = 0; p < panels; ++p) {
        attend_keys(task, q + p * task.query_panel, k + at, v + at, std::min(kBlockKeys, task.keys - m), work.scores, work.sweeps[p]);
      }
    }
    for (int p = 0; p < panels; ++p) {
      const Sweep& sweep = work.sweeps[p];
      float* out = task.out + ((image * query_panels + first + p) * task.heads + head) * size;
      for (int i = 0; i < kPanelLanes; ++i) {
        const Lanes part = Lanes(1.0f) / sweep.total[i];
        for (int64_t d = 0; d < task.width; ++d) store(out + d * kPanel + i * kLanes, load(sweep.sums + d * kPanel + i * kLanes) * part);
      }
    }
  });
}

BS_END
