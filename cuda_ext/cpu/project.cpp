// SPDX-License-Identifier: Apache-2.0
// Stage 1: every Gaussian of every image to a record (screen ellipse, colour, depth, tile box), sixteen at a time.
#include "gather.h"

BS_BEGIN

namespace {

// Returns the sum of the tile bounds.
BS_FN int64_t write_records(const Scene& scene, const Gaussian3<Lanes>& g, const Projection<Lanes>& p, const Mask& ok,
                            int count, float* records, uint32_t* depths, int32_t* tile_bounds) {
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
    depths[lane] = tile_bounds[lane] ? depth_bits(record) : 0;
  }
  return sum;
}

}  // namespace

int64_t project(const Scene& scene, int64_t image, int64_t start, int64_t count, float* records, uint32_t* depths,
                int32_t* tile_bounds) {
  const Camera camera = camera_of(scene, image);
  int64_t bound = 0;
  for (int64_t i = start; i < start + count; i += kBlock) {
    const int here = static_cast<int>(start + count - i < kBlock ? start + count - i : kBlock);
    const Gaussian3<Lanes> g = gather_gaussians(scene, image, i, here);
    const Projection<Lanes> p = project_gaussian(g, camera);
    const Mask ok = drawable(g, p, scene.near_plane);
    bound += write_records(scene, g, p, ok, here, records + i * kRecordSize, depths + i, tile_bounds + i);
  }
  return bound;
}

BS_END
