// SPDX-License-Identifier: Apache-2.0
// Our own threads instead of OpenMP's. A caller never waits for a helper that has not started yet: on a busy machine the
// system may wake one milliseconds late, and by then the caller has done the work itself. It also works where the compiler
// knows no OpenMP (Apple's).
#pragma once

#include <atomic>
#include <cstdint>

namespace blendsplat {

// Calls body(context, 0) here and body(context, 1), (context, 2) ... in up to threads - 1 helpers, and returns when all that
// have begun are through. A helper may come late or never, so a body takes items from a shared counter until none are left;
// it must not throw. While another thread of the program is in here, the work is done by the caller alone.
void run_together(int threads, void (*body)(void* context, int rank), void* context);

// each(item, rank) for every item, `grain` consecutive ones at a time, by whoever is free; rank < threads.
template <class Each>
void share(int threads, int64_t items, int64_t grain, const Each& each) {
  struct Job {
    std::atomic<int64_t> next;
    int64_t items, grain;
    const Each& each;
  } job = {{0}, items, grain, each};
  const int64_t runs = (items + grain - 1) / grain;
  run_together(runs < threads ? static_cast<int>(runs) : threads, [](void* context, int rank) {
    Job& mine = *static_cast<Job*>(context);
    for (int64_t first; (first = mine.next.fetch_add(mine.grain, std::memory_order_relaxed)) < mine.items;) {
      // No std::min: this is compiled for several instruction sets, and the linker keeps one copy of a library function.
      const int64_t last = first + mine.grain < mine.items ? first + mine.grain : mine.items;
      for (int64_t item = first; item < last; ++item) mine.each(item, rank);
    }
  }, &job);
}

// For those who wait in a loop: rounds count up from 0 and start again whenever something happened.
void rest_a_moment(int round);

}  // namespace blendsplat
