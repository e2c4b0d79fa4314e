// SPDX-License-Identifier: Apache-2.0
// Where silhouettes pass between the pixels of mesh pictures, and what share of each other's values the pixels then have.
#include "blendsplat/mesh_border.h"
#include "mesh_operations.h"
#include "threads.h"

namespace blendsplat {

using namespace generic;

void mesh_borders(const MeshPicture& p, int threads) {
  share(threads, p.images * p.height, 4, [&](int64_t line, int) {
    const int64_t image = line / p.height;
    const int row = static_cast<int>(line % p.height);
    for (int column = 0; column < p.width; ++column) find_mixes(p, image, column, row);
  });
}

}  // namespace blendsplat
