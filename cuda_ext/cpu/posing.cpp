// SPDX-License-Identifier: Apache-2.0
// Vertices of a head in B frames, sixteen at a time: every direction is read once, in sequence, for up to eight images.
#include "blendsplat/posing.h"
#include "bind.h"
#include "threads.h"

BS_BEGIN

namespace {

constexpr int64_t kPacksTogether = 8;        // that a thread takes at a time

template <int Size>
BS_FN void shape_pack(const Posing& p, int64_t image, int64_t pack, Lanes (*shaped)[3]) {
  const float* coefficients = p.coefficients + image * p.directions;
  const float* offsets = p.offsets + pack * 3 * p.directions * kLanes;
  for (int axis = 0; axis < 3; ++axis, offsets += p.directions * kLanes) {
    const Lanes rest = load(p.rest + (pack * 3 + axis) * kLanes);
    Lanes sums[Size];
    for (Lanes& sum : sums) sum = rest;
    for (int64_t d = 0; d < p.directions; ++d) {
      const Lanes offset = load(offsets + d * kLanes);
      for (int g = 0; g < Size; ++g) sums[g] = fma(offset, Lanes(coefficients[g * p.directions + d]), sums[g]);
    }
    for (int g = 0; g < Size; ++g) shaped[g][axis] = sums[g];
  }
}

BS_FN void skin_pack(const Posing& p, int64_t image, int64_t pack, const Lanes* shaped) {
  const float* transforms = p.transforms + image * kSkinJoints * 12;
  Lanes entries[12], out[3];
  for (int joint = 0; joint < kSkinJoints; ++joint) {
    const Lanes share = load(p.skin + (pack * kSkinJoints + joint) * kLanes);
    for (int i = 0; i < 12; ++i) {
      const Lanes entry(transforms[joint * 12 + i]);
      entries[i] = joint == 0 ? share * entry : fma(share, entry, entries[i]);
    }
  }
  for (int axis = 0; axis < 3; ++axis) {
    const Lanes* row = entries + 4 * axis;
    out[axis] = fma(row[0], shaped[0], fma(row[1], shaped[1], fma(row[2], shaped[2], row[3] + Lanes(p.translation[image * 3 + axis]))));
  }
  const int64_t first = pack * kLanes, rest = p.vertices - first;
  scatter_rows<3>(p.out + (image * p.vertices + first) * 3, rest < kLanes ? static_cast<int>(rest) : kLanes, out);
}

}  // namespace

void pose_head(const Posing& p, int threads) {
  share(threads, (p.vertices + kLanes - 1) / kLanes, kPacksTogether, [&](int64_t pack, int) {
    each_group(p.images, [&](int64_t image, auto size) {
      Lanes shaped[size][3];
      shape_pack<size>(p, image, pack, shaped);
      for (int g = 0; g < size; ++g) skin_pack(p, image + g, pack, shaped[g]);
    });
  });
}

BS_END
