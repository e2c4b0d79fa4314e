// SPDX-License-Identifier: Apache-2.0
// Blendshapes and binding on a GPU: a block has kBindBlock Gaussians and, between blending (a thread per float, so that
// bases are read in whole lines) and binding (a thread per Gaussian and image), keeps their floats in shared memory for up
// to kTogether images: every basis is read once for so many.
#pragma once

#include "launch.h"
#include "training.h"

// Before loops over arrays that must lie in registers.
#if defined(__CUDACC__)
#define BS_UNROLL _Pragma("unroll")
#else
#define BS_UNROLL
#endif

namespace blendsplat {
namespace cuda {

using namespace BLENDSPLAT_TARGET;

constexpr int kBindBlock = 64;
constexpr int kBlockFloats = 10 * kBindBlock;
constexpr int kTogether = 16;
constexpr int kBindThreads = 128;

inline int64_t bind_blocks(int64_t gaussians) { return (gaussians + kBindBlock - 1) / kBindBlock; }

// Where one of a block's floats lies in the arrays: [array][offset], the whole array being `stride` floats.
struct FloatPlace {
  int array;
  int64_t offset, stride;
  bool inside;
};

__device__ __forceinline__ FloatPlace float_place(const Bind& bind, int64_t first, int index) {
  FloatPlace place;
  place.array = index < 3 * kBindBlock ? 0 : index < 7 * kBindBlock ? 1 : 2;
  const int width = place.array == 1 ? 4 : 3, start = place.array == 0 ? 0 : place.array == 1 ? 3 * kBindBlock : 7 * kBindBlock;
  place.stride = bind.gaussians * width;
  place.offset = first * width + index - start;
  place.inside = place.offset < place.stride;
  return place;
}

// The floats of the block's Gaussian `inner` within one image's blended or local floats.
__device__ __forceinline__ float* local_floats(float* floats, int array, int inner) {
  return array == 0 ? floats + 3 * inner : array == 1 ? floats + 3 * kBindBlock + 4 * inner : floats + 7 * kBindBlock + 3 * inner;
}

__device__ __forceinline__ TriangleFrame<float> frame_of(const Bind& bind, int64_t image, int64_t gaussian) {
  const int64_t face = image * bind.faces + bind.triangle[gaussian];
  TriangleFrame<float> frame;
  for (int i = 0; i < 9; ++i) frame.matrix[i] = bind.frames[face * 9 + i];
  for (int i = 0; i < 4; ++i) frame.quat[i] = bind.frame_quats[face * 4 + i];
  return frame;
}

// Calls visit(Images<Size>) with the least Size that holds `images`: sums of that many stay in registers.
template <int Size>
struct Images {
  static constexpr int size = Size;
};
template <class Visit>
__device__ __forceinline__ void with_size(int images, Visit visit) {
  if (images == 1) visit(Images<1>());
  else if (images <= 5) visit(Images<5>());
  else if (images <= 10) visit(Images<10>());
  else visit(Images<kTogether>());
}

}  // namespace cuda
}  // namespace blendsplat
