// SPDX-License-Identifier: Apache-2.0
// Stage 1 for surfels: every one of every image to a record for blending and one for binning, sixteen at a time.
#include <atomic>

#include "surfel_gather.h"
#include "surfel_operations.h"
#include "threads.h"

BS_BEGIN

namespace {

BS_FN void write_surfels(const Lanes* columns, int count, float* surfels) {
  Lanes rows[kLanes];
  for (int slot = 0; slot < kSurfelSize; ++slot) rows[slot] = columns[slot];
  transpose(rows);
  for (int lane = 0; lane < count; ++lane) store(surfels + static_cast<int64_t>(lane) * kSurfelSize, rows[lane]);
}

// Returns the sum of the tile bounds.
BS_FN int64_t write_bins(const Scene& scene, const SurfelBounds<Lanes>& b, Lanes depth, const Mask& ok, int count, float* records, int32_t* tile_bounds) {
  Lanes rows[kLanes];
  bin_columns(b, depth, rows);
  rows[kBoxX] = rows[kBoxY] = Lanes(0.0f);
  transpose(rows);
  float extent_x[kLanes], extent_y[kLanes];
  store(extent_x, b.ellipse.extent_x);
  store(extent_y, b.ellipse.extent_y);
  const unsigned drawn = bits(ok);
  int64_t sum = 0;
  for (int lane = 0; lane < count; ++lane) {
    float* record = records + static_cast<int64_t>(lane) * kRecordSize;
    store(record, rows[lane]);
    tile_bounds[lane] = write_box(extent_x[lane], extent_y[lane], drawn >> lane & 1, scene.width, scene.height, kTileShift, record);
    sum += tile_bounds[lane];
  }
  return sum;
}

}  // namespace

int64_t surfel_project(const Scene& scene, float* surfels, float* records, int32_t* tile_bounds) {
  const int64_t blocks = (scene.gaussians + kBlock - 1) / kBlock;
  std::atomic<int64_t> bound{0};
  share(scene.threads, blocks * scene.images, kGrain, [&](int64_t item, int) {
    const int64_t image = item / blocks, start = item % blocks * kBlock;
    const int64_t first = image * scene.gaussians + start;
    const int count = static_cast<int>(scene.gaussians - start < kBlock ? scene.gaussians - start : kBlock);
    const Surfel<Lanes> s = gather_surfels(scene, first, count);
    const SurfelProjection<Lanes> p = project_surfel(s, camera_of(scene, image));
    Lanes columns[kSurfelSize];
    surfel_columns(s, p, columns);
    write_surfels(columns, count, surfels + first * kSurfelSize);
    bound += write_bins(scene, bound_surfel(s, p, scene.width, scene.height), p.camera_mean[2], drawable(s, p, scene.near_plane), count,
                        records + first * kRecordSize, tile_bounds + first);
  });
  return bound;
}

BS_END
