// SPDX-License-Identifier: Apache-2.0
// The two parallel algorithms that are the toolkit's (CUB) and not ours, behind plain functions: primitives.cu calls CUB,
// emulation/primitives.cpp the standard library. Temporary memory is the caller's, of the size that is asked for first.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace blendsplat {
namespace cuda {

struct Temporary {
  void* memory;
  size_t size;
};

// sums[i] = counts[order[0]] + ... + counts[order[i]]; 64 bits, since gigantic Gaussians overflow 32.
size_t sum_temporary_size(int64_t count);
void inclusive_sum(const int32_t* counts, const uint32_t* order, int64_t* sums, int64_t count, Temporary, cudaStream_t);

// Sorts by the lowest `bits` bits of the keys; pairs of equal keys keep their order.
size_t sort_temporary_size(int64_t count, int bits, uint64_t);
size_t sort_temporary_size(int64_t count, int bits, uint32_t);
void sort_pairs(const uint64_t* keys, uint64_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits,
                Temporary, cudaStream_t);
void sort_pairs(const uint32_t* keys, uint32_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits,
                Temporary, cudaStream_t);

}  // namespace cuda
}  // namespace blendsplat
