// SPDX-License-Identifier: Apache-2.0
// Prefix sums and radix sort by CUB.
#include "primitives.h"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <thrust/iterator/transform_iterator.h>

#include "launch.h"

namespace blendsplat {
namespace cuda {

namespace {

struct CountOf {
  const int32_t* counts;
  __host__ __device__ int64_t operator()(uint32_t index) const { return counts[index]; }
};

using Counts = thrust::transform_iterator<CountOf, const uint32_t*>;

template <class Key>
size_t sort_size(int64_t count, int bits) {
  size_t size = 0;
  check(cub::DeviceRadixSort::SortPairs(nullptr, size, static_cast<const Key*>(nullptr), static_cast<Key*>(nullptr),
                                        static_cast<const uint32_t*>(nullptr), static_cast<uint32_t*>(nullptr), count, 0, bits),
        "the size of a sort");
  return size;
}

template <class Key>
void sort(const Key* keys, Key* sorted_keys, const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits,
          Temporary temporary, cudaStream_t stream) {
  check(cub::DeviceRadixSort::SortPairs(temporary.memory, temporary.size, keys, sorted_keys, values, sorted_values, count, 0, bits, stream),
        "sort");
}

}  // namespace

size_t sum_temporary_size(int64_t count) {
  size_t size = 0;
  const Counts counts(nullptr, CountOf{nullptr});
  check(cub::DeviceScan::InclusiveSum(nullptr, size, counts, static_cast<int64_t*>(nullptr), count), "the size of a sum");
  return size;
}

void inclusive_sum(const int32_t* counts, const uint32_t* order, int64_t* sums, int64_t count, Temporary temporary, cudaStream_t stream) {
  check(cub::DeviceScan::InclusiveSum(temporary.memory, temporary.size, Counts(order, CountOf{counts}), sums, count, stream), "sum");
}

size_t sort_temporary_size(int64_t count, int bits, uint64_t) { return sort_size<uint64_t>(count, bits); }
size_t sort_temporary_size(int64_t count, int bits, uint32_t) { return sort_size<uint32_t>(count, bits); }

void sort_pairs(const uint64_t* keys, uint64_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits,
                Temporary temporary, cudaStream_t stream) {
  sort(keys, sorted_keys, values, sorted_values, count, bits, temporary, stream);
}

void sort_pairs(const uint32_t* keys, uint32_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits,
                Temporary temporary, cudaStream_t stream) {
  sort(keys, sorted_keys, values, sorted_values, count, bits, temporary, stream);
}

}  // namespace cuda
}  // namespace blendsplat
