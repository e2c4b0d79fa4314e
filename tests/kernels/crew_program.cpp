// SPDX-License-Identifier: Apache-2.0
// The kernels' threads alone: several callers share out sums at once, some hundred times. With an argument, without the
// order that threads.h keeps: what a sanitizer must notice. tests/soak/test_threads.py builds it with one.
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

#include "threads.h"

namespace {

int64_t added_up(int64_t items, int threads) {
  std::vector<int64_t> squares(items), sums(threads);
  blendsplat::share(threads, items, 7, [&](int64_t item, int) { squares[item] = item * item; });
  blendsplat::share(threads, items, 3, [&](int64_t item, int rank) { sums[rank] += squares[item]; });
  int64_t sum = 0;
  for (const int64_t part : sums) sum += part;
  return sum;
}

}  // namespace

int main(int count, char**) {
  if (count > 1) {
    int64_t unguarded = 0;
    std::thread other([&] { ++unguarded; });
    ++unguarded;
    other.join();
    return unguarded == 2 ? 0 : 1;
  }
  std::vector<std::thread> callers;
  std::vector<int> wrong(3);
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([caller, &wrong] {
      for (int64_t turn = 0; turn < 200; ++turn) {
        const int64_t items = 1 + (turn * 37 + caller) % 90, n = items - 1;
        wrong[caller] += added_up(items, 1 + static_cast<int>(turn % 5)) != n * (n + 1) * (2 * n + 1) / 6;
      }
    });
  for (auto& caller : callers) caller.join();
  std::printf("%d wrong sums\n", wrong[0] + wrong[1] + wrong[2]);
  return wrong[0] + wrong[1] + wrong[2] != 0;
}
