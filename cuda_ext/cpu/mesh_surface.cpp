// SPDX-License-Identifier: Apache-2.0
// The pixels of mesh pictures: attributes, coverage and normals; and the gradients of all planes by the faces' corners.
#include "blendsplat/mesh_surface.h"

#include <algorithm>

#include "mesh_operations.h"
#include "threads.h"

namespace blendsplat {

using namespace generic;

namespace {

// Most faces are hidden, and few have a silhouette: a look at the pixels is cheaper than one at every face.
void mark_faces(const MeshPicture& p, const MeshBackward& b, int64_t image) {
  int32_t* marks = b.seen + image * p.faces;
  std::fill(marks, marks + p.faces, 0);
  for (int row = 0; row < p.height; ++row) {
    for (int column = 0; column < p.width; ++column) {
      const int64_t pixel = (image * p.height + row) * p.width + column;
      if (p.face_ids[pixel] >= 0) marks[p.face_ids[pixel]] |= kShown;
      for (int axis = 0; axis < 2; ++axis) {
        if (p.mixes[pixel * 2 + axis] == 0.0f) continue;
        const int64_t face = find_border(p, pair_at(p, image, column, row, axis == 0)).face;
        if (face >= 0) marks[face] |= kBordering;
      }
    }
  }
}

}  // namespace

void mesh_surface(const MeshPicture& p, const MeshPlanes& planes, int threads) {
  share(threads, p.images * p.height, 4, [&](int64_t line, int) {
    const int64_t image = line / p.height;
    const int row = static_cast<int>(line % p.height);
    for (int column = 0; column < p.width; ++column) show_pixel(p, planes, image, column, row);
  });
}

void mesh_surface_backward(const MeshPicture& p, const MeshBackward& b, int threads) {
  share(threads, p.images, 1, [&](int64_t image, int) { mark_faces(p, b, image); });
  share(threads, p.images * p.faces, 64, [&](int64_t index, int) {
    if (b.seen[index] != 0) face_backward(p, b, index / p.faces, index % p.faces, b.seen[index]);
  });
}

}  // namespace blendsplat
