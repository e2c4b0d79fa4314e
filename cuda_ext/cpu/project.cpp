// SPDX-License-Identifier: Apache-2.0
// Stage 1: every Gaussian of every image to a record (screen ellipse, colour, depth, tile box), sixteen at a time.
#include "blendsplat/ellipse.h"
#include "gather.h"

BS_BEGIN

namespace {

BS_FN float pack_pair(int low, int high) {
  union { uint32_t bits; float value; } pair;
  pair.bits = static_cast<uint32_t>(low) | static_cast<uint32_t>(high) << 16;
  return pair.value;
}

BS_FN void write_records(const Scene& scene, const Gaussian3<Lanes>& g, const Projection<Lanes>& p, const Mask& ok,
                         int count, float* records, int32_t* tile_bounds) {
  const Ellipse<Lanes> e = make_ellipse(p, g.opacity);
  const Lanes scale = Lanes(-0.5f * kLog2E) / p.determinant;
  const Lanes columns[kSpanTurn + 1] = {
      p.mean_x, p.mean_y, scale * p.cov_yy, scale * p.cov_xy * Lanes(-2.0f), scale * p.cov_xx, g.opacity,
      g.color[0], g.color[1], g.color[2], p.camera_mean[2], e.span_p, e.span_q, e.slope, e.turn};
  float table[kSpanTurn + 1][kLanes], extent_x[kLanes], extent_y[kLanes];
  for (int slot = 0; slot <= kSpanTurn; ++slot) store(table[slot], columns[slot]);
  store(extent_x, e.extent_x);
  store(extent_y, e.extent_y);
  const unsigned drawn = bits(ok);
  for (int lane = 0; lane < count; ++lane) {
    TileRange x = {1, 0}, y = {1, 0};
    if (drawn >> lane & 1) {
      x = tile_range(table[kMeanX][lane] - extent_x[lane], table[kMeanX][lane] + extent_x[lane], scene.width, kTileShift);
      y = tile_range(table[kMeanY][lane] - extent_y[lane], table[kMeanY][lane] + extent_y[lane], scene.height, kTileShift);
    }
    const bool empty = x.last < x.first || y.last < y.first;
    tile_bounds[lane] = empty ? 0 : (x.last - x.first + 1) * (y.last - y.first + 1);
    float* record = records + static_cast<int64_t>(lane) * kRecordSize;
    for (int slot = 0; slot <= kSpanTurn; ++slot) record[slot] = table[slot][lane];
    record[kBoxX] = pack_pair(x.first, x.last);
    record[kBoxY] = pack_pair(y.first, y.last);
  }
}

}  // namespace

void project(const Scene& scene, float* records, int32_t* tile_bounds) {
  const int64_t blocks = (scene.gaussians + kBlock - 1) / kBlock;
#pragma omp parallel for schedule(static) num_threads(scene.threads)
  for (int64_t item = 0; item < blocks * scene.images; ++item) {
    const int64_t image = item / blocks, start = item % blocks * kBlock;
    const int64_t first = image * scene.gaussians + start;
    const int count = static_cast<int>(scene.gaussians - start < kBlock ? scene.gaussians - start : kBlock);
    const Camera camera = make_camera(scene.viewmats + image * 16, scene.Ks + image * 9, scene.width, scene.height);
    const Gaussian3<Lanes> g = gather_gaussians(scene, first, count);
    const Projection<Lanes> p = blendsplat::BLENDSPLAT_TARGET::project(g, camera);
    const Mask ok = drawable(g, p, scene.near_plane);
    write_records(scene, g, p, ok, count, records + first * kRecordSize, tile_bounds + first);
  }
}

BS_END
