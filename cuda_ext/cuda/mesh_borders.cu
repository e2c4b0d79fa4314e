// SPDX-License-Identifier: Apache-2.0
// Where silhouettes pass between the pixels of mesh pictures: a thread per pixel looks at its right and its lower neighbour.
#include "blendsplat/mesh_border.h"
#include "launch.h"
#include "mesh_operations.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

__global__ void __launch_bounds__(kThreads) mesh_borders_kernel(MeshPicture p) {
  const int64_t pixel = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, plane = static_cast<int64_t>(p.width) * p.height;
  if (pixel >= p.images * plane) return;
  find_mixes(p, pixel / plane, static_cast<int>(pixel % p.width), static_cast<int>(pixel % plane / p.width));
}

}  // namespace

void mesh_borders(const MeshPicture& p, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t pixels = p.images * p.width * p.height;
  if (pixels > 0) launch("mesh_borders", mesh_borders_kernel, blocks_for(pixels), kThreads, queue.stream, p);
}

}  // namespace cuda
}  // namespace blendsplat
