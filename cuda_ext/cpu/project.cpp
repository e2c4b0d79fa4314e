// SPDX-License-Identifier: Apache-2.0
// Stage 1: every Gaussian of every image to a record (screen ellipse, colour, depth, tile box), sixteen at a time.
#include "gather.h"

BS_BEGIN

namespace {

// tile_range of ellipse.h for sixteen intervals; inside: where there is such a range.
BS_FN void tile_ranges(const Lanes& low, const Lanes& high, int size, Lanes* first, Lanes* last, Mask* inside) {
  const Lanes zero(0.0f), limit(static_cast<float>(size)), half(0.5f), per_tile(1.0f / kTileSize);
  const Lanes first_pixel = zero - round_down(zero - minimum(maximum(low - half, zero), limit));
  const Lanes last_pixel = round_down(minimum(maximum(high + half, zero), limit)) - Lanes(1.0f);
  *first = round_down(first_pixel * per_tile);
  *last = round_down(last_pixel * per_tile);
  *inside = both(*inside, last_pixel >= first_pixel);
}

// Returns the sum of the tile bounds.
BS_FN int64_t write_records(const Scene& scene, const Gaussian3<Lanes>& g, const Projection<Lanes>& p, const Mask& ok,
                            int count, float* records, uint32_t* depths, int32_t* tile_bounds) {
  const Ellipse<Lanes> e = make_ellipse(p, g.opacity);
  Lanes slots[kRecordSize], first_x, last_x, first_y, last_y;
  record_columns(g, p, e, slots);
  Mask drawn = ok;
  tile_ranges(slots[kMeanX] - e.extent_x, slots[kMeanX] + e.extent_x, scene.width, &first_x, &last_x, &drawn);
  tile_ranges(slots[kMeanY] - e.extent_y, slots[kMeanY] + e.extent_y, scene.height, &first_y, &last_y, &drawn);
  const Lanes zero(0.0f), one(1.0f);
  first_x = select(drawn, first_x, one), first_y = select(drawn, first_y, one);
  last_x = select(drawn, last_x, zero), last_y = select(drawn, last_y, zero);
  slots[kBoxX] = pack_whole(first_x, last_x);
  slots[kBoxY] = pack_whole(first_y, last_y);
  int32_t across[kLanes], down[kLanes];
  uint32_t depth[kLanes];
  store_whole(across, last_x - first_x + one);
  store_whole(down, last_y - first_y + one);
  store(reinterpret_cast<float*>(depth), only(drawn, slots[kDepth]));
  transpose(slots);
  int64_t sum = 0;
  for (int lane = 0; lane < count; ++lane) {
    store(records + static_cast<int64_t>(lane) * kRecordSize, slots[lane]);
    tile_bounds[lane] = across[lane] * down[lane];
    depths[lane] = depth[lane];
    sum += tile_bounds[lane];
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
