// SPDX-License-Identifier: Apache-2.0
// Linear layers and MLPs of a transformer on panels of tokens. A thread takes a few panels at a time, normalises them into
// its scratch and walks the weights: a tile of weights stays in the first cache while those panels pass from the second.
#include <algorithm>

#include "panels.h"
#include "threads.h"
#include "transformer.h"

BS_BEGIN

namespace {

static_assert(kPanel == kTokenPanel, "transformer.h tells callers the panel");

// How many panels a block has: few enough that every thread gets one.
int64_t block_panels(int64_t panels, int threads) {
  return std::clamp<int64_t>((panels + threads - 1) / threads, 1, kBlockPanels);
}

void normalise(const TokenNorm& norm, int64_t channels, const float* in, float* out) {
  const Lanes share(1.0f / static_cast<float>(channels));
  for (int i = 0; i < kPanel; i += kLanes) {
    Lanes sum(0.0f), squares(0.0f);
    for (int64_t c = 0; c < channels; ++c) sum = sum + load(in + c * kPanel + i);
    const Lanes mean = sum * share;
    for (int64_t c = 0; c < channels; ++c) {
      const Lanes away = load(in + c * kPanel + i) - mean;
      squares = fma(away, away, squares);
    }
    const Lanes rate = Lanes(1.0f) / square_root(fma(squares, share, Lanes(norm.epsilon)));
    for (int64_t c = 0; c < channels; ++c) {
      const Lanes unit = (load(in + c * kPanel + i) - mean) * rate;
      store(out + c * kPanel + i, fma(unit, Lanes(norm.weight[c]), Lanes(norm.bias[c])));
    }
  }
}

// The normalised panels in `scratch`, or the panels themselves where there is no norm.
const float* normalised(const TokenNorm& norm, int64_t panels, int64_t channels, const float* in, float* scratch) {
  if (!norm.weight) return in;
  const int64_t size = channels * kPanel;
  for (int64_t p = 0; p < panels; ++p) normalise(norm, channels, in + p * size, scratch + p * size);
  return scratch;
}

// finish(rows of sums, how many, first row, panel) for the rows of weight [rows][row] times every panel [panels][stride].
template <class Finish>
BS_FN void product(const float* weight, int64_t row, int64_t rows, const float* in, int64_t stride, int64_t panels, int64_t depth,
                   const Finish& finish) {
  alignas(64) float sums[kTileRows * kPanel];
  for (int64_t first = 0; first < rows; first += kTileRows) {
    const int count = static_cast<int>(std::min<int64_t>(kTileRows, rows - first));
    for (int64_t p = 0; p < panels; ++p) {
      multiply<false>(WeightRows{weight + first * row, depth, 0, row}, count, in + p * stride, depth, sums);
      finish(sums, count, first, p);
    }
  }
}

// Phi(x) - 1/2 as x top(x^2) / bottom(x^2) for |x| < kNormalEnd, where it is 1/2 but for 2e-8; fitted to an error of 7e-9.
constexpr float kNormalEnd = 5.5f;
constexpr float kTop[6] = {3.989422321e-01f, 3.385183588e-02f, 4.677199759e-03f, 1.688156626e-04f, 6.351889624e-06f, 2.274908439e-08f};
constexpr float kBottom[6] = {1.0f, 2.515198886e-01f, 2.864537761e-02f, 1.884390018e-03f, 7.364341582e-05f, 1.197478582e-06f};

// The exact GELU, x Phi(x).
BS_FN Lanes gelu(Lanes x) {
  const Lanes near = minimum(maximum(x, Lanes(-kNormalEnd)), Lanes(kNormalEnd)), square = near * near;
  Lanes top(kTop[5]), bottom(kBottom[5]);
  for (int i = 4; i >= 0; --i) {
    top = fma(top, square, Lanes(kTop[i]));
    bottom = fma(bottom, square, Lanes(kBottom[i]));
  }
  return fma(x, near * top / bottom, x * Lanes(0.5f));
}

// to[r] = GELU(sums[r] + bias[r]) for so many rows.
BS_FN void activate_rows(const float* sums, int count, const float* bias, float* to) {
  for (int r = 0; r < count; ++r) {
    const Lanes shift(bias[r]);
    for (int at = r * kPanel; at < (r + 1) * kPanel; at += kLanes) store(to + at, gelu(load(sums + at) + shift));
  }
}

// to[r] = from[r] + (sums[r] + bias[r]) scale[r] for so many rows; bias and scale may be null, and so may from: zero.
BS_FN void finish_rows(const float* sums, int count, const float* bias, const float* scale, const float* from, float* to) {
  for (int r = 0; r < count; ++r) {
    const Lanes shift(bias ? bias[r] : 0.0f), share(scale ? scale[r] : 1.0f);
    for (int at = r * kPanel; at < (r + 1) * kPanel; at += kLanes) {
      store(to + at, fma(load(sums + at) + shift, share, from ? load(from + at) : Lanes(0.0f)));
    }
  }
}

BS_FN const float* from_row(const float* values, int64_t row) { return values ? values + row : nullptr; }

}  // namespace

void dense(const Dense& task) {
  const int64_t block = block_panels(task.panels, task.threads), depth = task.in_channels, in_size = depth * kPanel;
  const int64_t out_size = task.out_channels * kPanel;
  share(task.threads, (task.panels + block - 1) / block, 1, [&](int64_t item, int rank) {
    const int64_t start = item * block, panels = std::min(block, task.panels - start);
    const float* in = normalised(task.norm, panels, depth, task.in + start * in_size, task.scratch + rank * kBlockPanels * in_size);
    product(task.weight, depth, task.out_channels, in, in_size, panels, depth, [&](const float* sums, int count, int64_t row, int64_t p) {
      const int64_t at = (start + p) * out_size + row * kPanel;
      finish_rows(sums, count, from_row(task.bias, row), from_row(task.scale, row), from_row(task.residual, at), task.out + at);
    });
  });
}

void mlp(const Mlp& task) {
  const int64_t block = block_panels(task.panels, task.threads), size = task.channels * kPanel;
  share(task.threads, (task.panels + block - 1) / block, 1, [&](int64_t item, int rank) {
    const int64_t start = item * block, panels = std::min(block, task.panels - start);
    float* scratch = task.scratch + rank * kBlockPanels * (task.channels + kSlab) * kPanel;
    float* hidden = scratch + kBlockPanels * size;
    float* tokens = task.tokens + start * size;
    const float* in = normalised(task.norm, panels, task.channels, tokens, scratch);
    for (int64_t h = 0; h < task.hidden; h += kSlab) {
      const int64_t slab = std::min(kSlab, task.hidden - h);
      product(task.wide + h * task.channels, task.channels, slab, in, size, panels, task.channels, [&](const float* sums, int count, int64_t row, int64_t p) {
        activate_rows(sums, count, task.wide_bias + h + row, hidden + (p * kSlab + row) * kPanel);
      });
      const float* bias = h == 0 ? task.narrow_bias : nullptr;
      product(task.narrow + h, task.hidden, task.channels, hidden, kSlab * kPanel, panels, slab, [&](const float* sums, int count, int64_t row, int64_t p) {
        float* out = tokens + p * size + row * kPanel;
        finish_rows(sums, count, from_row(bias, row), from_row(task.scale, row), out, out);
      });
    }
  });
}

BS_END
