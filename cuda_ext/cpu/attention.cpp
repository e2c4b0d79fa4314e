// SPDX-License-Identifier: Apache-2.0
// Softmax attention in one sweep over the keys (Dao et al. 2022, algorithm 1), for the transformer that reads a photograph.
// Both products are one register tile, kTileRows queries by 32 columns, fed from panels of 32 packed columns.
#include <algorithm>
#include <cstring>

#include "attention.h"
#include "simd.h"
#include "threads.h"

BS_BEGIN

namespace {

#if defined(BLENDSPLAT_AVX512)
constexpr int kTileRows = 12;  // 24 accumulators of 32 registers
#else
constexpr int kTileRows = 3;   // AVX2 has sixteen registers, and a Lanes takes two
#endif
constexpr int kPanel = kAttentionPanel;
static_assert(kPanel == 2 * kLanes, "a tile is two Lanes wide");
constexpr int kBlockRows = 48;    // queries that share a pass over the keys
constexpr int kBlockKeys = 256;   // keys and values of a block stay in the second-level cache
constexpr float kOutside = -1e30f;
constexpr float kLog2E = 1.4426950408889634f;

// c[r][0..32) (+)= sum_k a[r][k] b[k][0..32) for kTileRows rows.
BS_FN void multiply_tile(const float* a, int64_t a_stride, const float* b, int64_t depth, float* c, int64_t c_stride, bool add) {
  Lanes low[kTileRows], high[kTileRows];
  for (int r = 0; r < kTileRows; ++r) {
    low[r] = add ? load(c + r * c_stride) : Lanes(0.0f);
    high[r] = add ? load(c + r * c_stride + kLanes) : Lanes(0.0f);
  }
  for (int64_t k = 0; k < depth; ++k) {
    const Lanes left = load(b + k * kPanel), right = load(b + k * kPanel + kLanes);
    for (int r = 0; r < kTileRows; ++r) {
      const Lanes factor(a[r * a_stride + k]);
      low[r] = fma(factor, left, low[r]);
      high[r] = fma(factor, right, high[r]);
    }
  }
  for (int r = 0; r < kTileRows; ++r) {
    store(c + r * c_stride, low[r]);
    store(c + r * c_stride + kLanes, high[r]);
  }
}

// One head's keys as panels [M/32][D][32] (transposed) and values as panels [D/32][M][32]; rows past the last are zero.
void pack(const Attention& task, int64_t image, int64_t head, float* keys, float* values) {
  const int64_t padded = task.padded_keys();
  Lanes block[kLanes];
  for (int64_t m = 0; m < padded; m += kLanes) {
    for (int64_t d = 0; d < task.width; d += kLanes) {
      for (int i = 0; i < kLanes; ++i) {
        const bool inside = m + i < task.keys;
        const int64_t at = (image * task.keys + m + i) * task.key_stride + head * task.width + d;
        block[i] = inside ? load(task.k + at) : Lanes(0.0f);
        const Lanes value = inside ? load(task.v + at) : Lanes(0.0f);
        store(values + (d / kPanel * padded + m + i) * kPanel + d % kPanel, value);
      }
      transpose(block);
      for (int i = 0; i < kLanes; ++i) store(keys + (m / kPanel * task.width + d + i) * kPanel + m % kPanel, block[i]);
    }
  }
}

struct Block {
  alignas(64) float queries[kBlockRows * kAttentionWidth];
  alignas(64) float scores[kBlockRows * kBlockKeys];
  alignas(64) float sums[kBlockRows * kAttentionWidth];
  float peak[kBlockRows], total[kBlockRows];
};

BS_FN float largest(Lanes a) {
  float values[kLanes];
  store(values, a);
  return *std::max_element(values, values + kLanes);
}

// A row of scores becomes powers of two of what they lie under the row's maximum so far; earlier sums are brought to it.
BS_FN void exponentiate(const Attention& task, Block& block, int row, int64_t count) {
  float* scores = block.scores + row * kBlockKeys;
  Lanes top(block.peak[row]);
  for (int64_t j = 0; j < count; j += kLanes) top = maximum(load(scores + j), top);
  const float peak = largest(top);
  Lanes sum(0.0f);
  for (int64_t j = 0; j < count; j += kLanes) {
    const Lanes power = exponential2(load(scores + j) - Lanes(peak));
    store(scores + j, power);
    sum = sum + power;
  }
  if (peak > block.peak[row]) {
    const Lanes shrink = exponential2(Lanes(block.peak[row] - peak));
    float first[kLanes];
    store(first, shrink);
    block.total[row] *= first[0];
    float* sums = block.sums + row * task.width;
    for (int64_t d = 0; d < task.width; d += kLanes) store(sums + d, load(sums + d) * shrink);
    block.peak[row] = peak;
  }
  block.total[row] += total(sum);
}

void attend_block(const Attention& task, int64_t image, int64_t head, int64_t start, const float* keys, const float* values) {
  static thread_local Block block;
  const int64_t width = task.width, padded = task.padded_keys();
  const int rows = static_cast<int>(std::min<int64_t>(kBlockRows, task.queries - start));
  std::memset(block.queries, 0, sizeof(block.queries));
  std::memset(block.sums, 0, sizeof(block.sums));
  std::fill(block.peak, block.peak + kBlockRows, kOutside);
  std::fill(block.total, block.total + kBlockRows, 0.0f);
  const Lanes scale(task.scale * kLog2E);
  for (int r = 0; r < rows; ++r) {
    const float* q = task.q + (image * task.queries + start + r) * task.query_stride + head * width;
    for (int64_t d = 0; d < width; d += kLanes) store(block.queries + r * width + d, load(q + d) * scale);
  }
  for (int64_t m = 0; m < padded; m += kBlockKeys) {
    const int64_t count = std::min<int64_t>(kBlockKeys, padded - m);
    for (int64_t j = 0; j < count; j += kPanel) {
      for (int r = 0; r < rows; r += kTileRows) {
        multiply_tile(block.queries + r * width, width, keys + (m + j) * width, width, block.scores + r * kBlockKeys + j, kBlockKeys, false);
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int64_t j = std::max<int64_t>(task.keys - m, 0); j < count; ++j) block.scores[r * kBlockKeys + j] = kOutside;
      exponentiate(task, block, r, count);
    }
    for (int64_t d = 0; d < width; d += kPanel) {
      for (int r = 0; r < rows; r += kTileRows) {
        multiply_tile(block.scores + r * kBlockKeys, kBlockKeys, values + (d / kPanel * padded + m) * kPanel, count, block.sums + r * width + d, width, true);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    float* out = task.out + (image * task.queries + start + r) * task.heads * width + head * width;
    const Lanes share(1.0f / block.total[r]);
    for (int64_t d = 0; d < width; d += kLanes) store(out + d, load(block.sums + r * width + d) * share);
  }
}

}  // namespace

void attention(const Attention& task) {
  const int64_t size = task.padded_keys() * task.width, blocks = (task.queries + kBlockRows - 1) / kBlockRows;
  share(task.threads, task.images * task.heads, 1, [&](int64_t item, int) {
    float* packed = task.packed + 2 * item * size;
    pack(task, item / task.heads, item % task.heads, packed, packed + size);
  });
  share(task.threads, task.images * task.heads * blocks, 1, [&](int64_t item, int) {
    const int64_t pair = item / blocks;
    const float* packed = task.packed + 2 * pair * size;
    attend_block(task, pair / task.heads, pair % task.heads, item % blocks * kBlockRows, packed, packed + size);
  });
}

BS_END
