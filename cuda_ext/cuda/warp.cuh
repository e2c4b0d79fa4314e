// SPDX-License-Identifier: Apache-2.0
// Sums over a warp, all lanes taking part; the result is lane 0's.
#pragma once

namespace blendsplat {
namespace cuda {

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
  return value;
}

}  // namespace cuda
}  // namespace blendsplat
