// SPDX-License-Identifier: Apache-2.0
// Makes one source compile for several machines: CUDA device, and the host once per instruction set.
// Everything shared lives in a namespace named after the instruction set, so that the linker can never hand a
// function compiled for AVX-512 to the fallback.
#pragma once

#include <cmath>
#include <cstdint>

#ifndef BLENDSPLAT_TARGET
#define BLENDSPLAT_TARGET generic
#endif

#define BS_BEGIN namespace blendsplat { namespace BLENDSPLAT_TARGET {
#define BS_END } }

#if defined(__CUDACC__)
#define BS_FN __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define BS_FN __forceinline
#else
#define BS_FN __attribute__((always_inline)) inline
#endif

BS_BEGIN

// The scalar counterparts of the vector operations in cpu/simd.h: shared mathematics is written against these names
// and instantiated with float on the device and with sixteen lanes on the host.
BS_FN float select(bool condition, float yes, float no) { return condition ? yes : no; }
BS_FN float minimum(float a, float b) { return a < b ? a : b; }
BS_FN float maximum(float a, float b) { return a > b ? a : b; }
BS_FN float square_root(float x) { return sqrtf(x); }
BS_FN float fma(float a, float b, float c) { return fmaf(a, b, c); }
BS_FN bool finite(float x) { return fabsf(x) <= 3.402823466e38f; }
BS_FN bool both(bool a, bool b) { return a && b; }
#if defined(__CUDA_ARCH__)
BS_FN float exponential2(float x) { return exp2f(x); }
BS_FN float logarithm2(float x) { return log2f(x); }
#else
BS_FN float exponential2(float x) { return std::exp2(x); }
BS_FN float logarithm2(float x) { return std::log2(x); }
#endif

BS_END
