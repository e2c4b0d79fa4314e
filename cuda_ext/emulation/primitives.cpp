// SPDX-License-Identifier: Apache-2.0
// cuda/primitives.h by the standard library, reading and writing what CUB would: the checker is told of all of it.
#include "../cuda/primitives.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "emulator.h"

namespace blendsplat {
namespace cuda {

namespace {

using emulation::Access;
using emulation::touch;

constexpr size_t kTemporarySize = 64;              // never used, but a caller that hands none must be found

void touch_temporary(const Temporary& temporary) {
  if (temporary.size < kTemporarySize) emulation::refuse("temporary memory is too small");
  touch(temporary.memory, kTemporarySize, Access::write);
}

template <class Key>
void sort(const Key* keys, Key* sorted_keys, const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits, const Temporary& temporary) {
  const size_t size = static_cast<size_t>(count);
  touch_temporary(temporary);
  touch(keys, size * sizeof(Key), Access::read);
  touch(sorted_keys, size * sizeof(Key), Access::write);
  touch(values, size * sizeof(uint32_t), Access::read);
  touch(sorted_values, size * sizeof(uint32_t), Access::write);
  const Key mask = bits >= static_cast<int>(8 * sizeof(Key)) ? ~Key{0} : (Key{1} << bits) - 1;
  std::vector<size_t> order(size);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return (keys[a] & mask) < (keys[b] & mask); });
  for (size_t i = 0; i < size; ++i) {
    sorted_keys[i] = keys[order[i]];
    sorted_values[i] = values[order[i]];
  }
}

}  // namespace

size_t sum_temporary_size(int64_t) { return kTemporarySize; }
size_t sort_temporary_size(int64_t, int, uint64_t) { return kTemporarySize; }
size_t sort_temporary_size(int64_t, int, uint32_t) { return kTemporarySize; }

void inclusive_sum(const int32_t* counts, const uint32_t* order, int64_t* sums, int64_t count, Temporary temporary, cudaStream_t) {
  touch_temporary(temporary);
  touch(order, static_cast<size_t>(count) * sizeof(uint32_t), Access::read);
  touch(sums, static_cast<size_t>(count) * sizeof(int64_t), Access::write);
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sums[i] = sum += counts[order[i]];
}

void sort_pairs(const uint64_t* keys, uint64_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits,
                Temporary temporary, cudaStream_t) {
  sort(keys, sorted_keys, values, sorted_values, count, bits, temporary);
}

void sort_pairs(const uint32_t* keys, uint32_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits,
                Temporary temporary, cudaStream_t) {
  sort(keys, sorted_keys, values, sorted_values, count, bits, temporary);
}

}  // namespace cuda
}  // namespace blendsplat
