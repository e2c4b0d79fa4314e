// SPDX-License-Identifier: Apache-2.0
// Part of stage 2: (tile, Gaussian) pairs of Gaussians in depth order. The ellipses of sixteen Gaussians are cut at once,
// row of tiles by row of tiles; then their pairs are written one Gaussian after the other, to keep the order of depth.
#include "gather.h"

BS_BEGIN

namespace {

constexpr int kMaxRows = 16;        // taller Gaussians are rare and cut one by one

struct Spans {
  float first[kMaxRows][kLanes], last[kMaxRows][kLanes];  // columns of tiles, whole numbers
  int row[kLanes], rows[kLanes];
};

// tile_range of ellipse.h for sixteen intervals; last is -1 where the interval holds no pixel centre.
BS_FN void store_ranges(Lanes low, Lanes high, int width, float* first, float* last) {
  const Lanes zero(0.0f), limit(static_cast<float>(width)), half(0.5f), one(1.0f), per_tile(1.0f / kTileSize);
  const Lanes first_pixel = zero - round_down(zero - minimum(maximum(low - half, zero), limit));
  const Lanes last_pixel = round_down(minimum(maximum(high + half, zero), limit)) - one;
  store(first, round_down(first_pixel * per_tile));
  store(last, select(last_pixel >= first_pixel, round_down(last_pixel * per_tile), Lanes(-1.0f)));
}

// False if a Gaussian is too tall for the table.
BS_FN bool cut_ellipses(const Scene& scene, const float* records, const uint32_t* order, int count, Spans& spans) {
  Lanes slots[kLanes];
  float first_row[kLanes];
  int tallest = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    const float* record = records + static_cast<int64_t>(order[lane < count ? lane : count - 1]) * kRecordSize;
    const TileRange rows = unpack_range(record[kBoxY]);
    slots[lane] = load(record);
    first_row[lane] = static_cast<float>(rows.first);
    spans.row[lane] = rows.first;
    spans.rows[lane] = rows.last - rows.first + 1;
    tallest = spans.rows[lane] > tallest ? spans.rows[lane] : tallest;
  }
  if (tallest > kMaxRows) return false;
  transpose(slots);
  Lanes top = fma(load(first_row), Lanes(kTileSize), Lanes(0.5f) - slots[kMeanY]);
  for (int r = 0; r < tallest; ++r) {
    Lanes left, right;
    strip_extent(slots[kSpanP], slots[kSpanQ], slots[kSpanSlope], slots[kSpanTurn], top, top + Lanes(kTileSize - 1.0f), &left, &right);
    store_ranges(slots[kMeanX] + left, slots[kMeanX] + right, scene.width, spans.first[r], spans.last[r]);
    top = top + Lanes(kTileSize);
  }
  return true;
}

// Writes in steps of kPairSlack, so it may write that many past the last pair.
BS_FN uint64_t* write_row(uint64_t* out, int64_t row_start, int first, int last, uint32_t gaussian) {
  const uint64_t base = static_cast<uint64_t>(row_start + first) << 32 | gaussian;
  const int count = last - first + 1;
  for (int done = 0; done < count; done += kPairSlack) {
    for (int i = 0; i < kPairSlack; ++i) out[done + i] = base + (static_cast<uint64_t>(done + i) << 32);
  }
  return out + (count > 0 ? count : 0);
}

}  // namespace

int64_t emit_pairs(const Scene& scene, const float* records, const uint32_t* order, int64_t total, uint64_t* pairs) {
  const int64_t columns = scene.tile_columns();
  uint64_t* out = pairs;
  Spans spans;
  for (int64_t start = 0; start < total; start += kLanes) {
    const int count = static_cast<int>(total - start < kLanes ? total - start : kLanes);
    for (int64_t ahead = start + kLanes; ahead < total && ahead < start + 2 * kLanes; ++ahead) {
      prefetch(records + static_cast<int64_t>(order[ahead]) * kRecordSize);
    }
    const bool cut = cut_ellipses(scene, records, order + start, count, spans);
    for (int lane = 0; lane < count; ++lane) {
      const uint32_t gaussian = order[start + lane];
      for (int r = 0; r < spans.rows[lane]; ++r) {
        const int row = spans.row[lane] + r;
        TileRange span;
        if (cut) span = {static_cast<int>(spans.first[r][lane]), static_cast<int>(spans.last[r][lane])};
        else span = row_span(records + static_cast<int64_t>(gaussian) * kRecordSize, row, scene.width, kTileShift);
        out = write_row(out, row * columns, span.first, span.last, gaussian);
      }
    }
  }
  return out - pairs;
}

BS_END
