// SPDX-License-Identifier: Apache-2.0
// The pixels of mesh pictures: attributes, coverage and normals; and the gradients of all planes by the faces' corners.
#include "blendsplat/mesh_surface.h"
#include "mesh_operations.h"
#include "threads.h"

namespace blendsplat {

using namespace generic;

void mesh_surface(const MeshPicture& p, const MeshPlanes& planes, int threads) {
  share(threads, p.images * p.height, 4, [&](int64_t line, int) {
    const int64_t image = line / p.height;
    const int row = static_cast<int>(line % p.height);
    for (int column = 0; column < p.width; ++column) show_pixel(p, planes, image, column, row);
  });
}

void mesh_surface_backward(const MeshPicture& p, const MeshBackward& b, int threads) {
  share(threads, p.images * p.faces, 64, [&](int64_t index, int) { face_backward(p, b, index / p.faces, index % p.faces); });
}

}  // namespace blendsplat
