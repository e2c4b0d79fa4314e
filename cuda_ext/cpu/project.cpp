// SPDX-License-Identifier: Apache-2.0
// Stage 1: every Gaussian of every image to a record (screen ellipse, colour, depth, tile box), sixteen at a time.
#include "gather.h"

BS_BEGIN

namespace {

// Returns the sum of the tile bounds.
BS_FN int64_t write_records(const Scene& scene, const Gaussian3<Lanes>& g, const Projection<Lanes>& p, const Mask& ok,
                            int count, float* records, int32_t* tile_bounds) {
  const Ellipse<Lanes> e = make_ellipse(p, g.opacity);
  Lanes columns[kSpanTurn + 1];
  record_columns(g, p, e, columns);
  float table[kSpanTurn + 1][kLanes], extent_x[kLanes], extent_y[kLanes];
  for (int slot = 0; slot <= kSpanTurn; ++slot) store(table[slot], columns[slot]);
  store(extent_x, e.extent_x);
  store(extent_y, e.extent_y);
  const unsigned drawn = bits(ok);
  int64_t sum = 0;
  for (int lane = 0; lane < count; ++lane) {
    float* record = records + static_cast<int64_t>(lane) * kRecordSize;
    for (int slot = 0; slot <= kSpanTurn; ++slot) record[slot] = table[slot][lane];
    tile_bounds[lane] = write_box(extent_x[lane], extent_y[lane], drawn >> lane & 1, scene.width, scene.height, kTileShift, record);
    sum += tile_bounds[lane];
  }
  return sum;
}

}  // namespace

int64_t project(const Scene& scene, float* records, int32_t* tile_bounds) {
  const int64_t blocks = (scene.gaussians + kBlock - 1) / kBlock;
  int64_t bound = 0;
#pragma omp parallel for schedule(static) num_threads(scene.threads) reduction(+ : bound)
  for (int64_t item = 0; item < blocks * scene.images; ++item) {
    const int64_t image = item / blocks, start = item % blocks * kBlock;
    const int64_t first = image * scene.gaussians + start;
    const int count = static_cast<int>(scene.gaussians - start < kBlock ? scene.gaussians - start : kBlock);
    const Camera camera = camera_of(scene, image);
    const Gaussian3<Lanes> g = gather_gaussians(scene, image, start, count);
    const Projection<Lanes> p = project_gaussian(g, camera);
    const Mask ok = drawable(g, p, scene.near_plane);
    bound += write_records(scene, g, p, ok, count, records + first * kRecordSize, tile_bounds + first);
  }
  return bound;
}

BS_END
