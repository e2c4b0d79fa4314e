// SPDX-License-Identifier: Apache-2.0
// Sixteen surfels of one image from the caller's arrays into lanes.
#pragma once

#include "blendsplat/surfel.h"
#include "gather.h"

BS_BEGIN

// first: index over all images, image * N + i.
BS_FN Surfel<Lanes> gather_surfels(const Scene& scene, int64_t first, int count) {
  Surfel<Lanes> s;
  gather_rows<3>(scene.means + first * 3, count, s.mean);
  gather_rows<4>(scene.quats + first * 4, count, s.quat);
  gather_rows<2>(scene.scales + first * 2, count, s.scale);
  gather_rows<1>(scene.opacities + first, count, &s.opacity);
  gather_rows<3>(scene.colors + first * 3, count, s.color);
  return s;
}

BS_END
