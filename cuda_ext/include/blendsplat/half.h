// SPDX-License-Identifier: Apache-2.0
// Half-precision numbers (IEEE binary16) as sixteen bits in memory, widened where they are read.
#pragma once

#include <cstring>

#include "blendsplat/target.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

BS_BEGIN

#if defined(__CUDA_ARCH__)
BS_FN float widen(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
#else
// For machines without an instruction for it: exact, infinities and NaN included.
BS_FN float widen(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, rest = bits & 0x7fff;
  uint32_t wide;
  if (rest >= 0x7c00) wide = sign | 0x7f800000 | (rest & 0x3ff) << 13;
  else if (rest >= 0x0400) wide = sign | ((rest << 13) + 0x38000000);
  else {
    const float small = static_cast<float>(rest) * 5.9604644775390625e-8f;  // 2^-24: a subnormal half is a normal float
    std::memcpy(&wide, &small, sizeof(wide));
    wide |= sign;
  }
  float out;
  std::memcpy(&out, &wide, sizeof(out));
  return out;
}
#endif
BS_FN float widen(float x) { return x; }

BS_END
