// SPDX-License-Identifier: Apache-2.0
// How threads share the stages of many images without barriers: an image's stage is a row of items that any thread takes;
// whoever finishes the last one opens the next stage. A thread that finds nothing to do in one image helps with the next,
// so one that the system has put to sleep holds up no more than its own item.
#pragma once

#include "threads.h"

namespace blendsplat {

// Where one image is. The ticket holds stage, number of items and next item in one word, so that they always belong together.
class Progress {
 public:
  static constexpr int kFinished = 255;

  void open(int stage, int64_t items) {
    undone_.store(items, std::memory_order_relaxed);
    ticket_.store(static_cast<uint64_t>(stage) << 56 | static_cast<uint64_t>(items) << kCountBits, std::memory_order_release);
  }
  bool finished() const { return ticket_.load(std::memory_order_acquire) >> 56 == kFinished; }

  bool take(int* stage, int64_t* item) {
    if (!has_more(ticket_.load(std::memory_order_acquire))) return false;
    const uint64_t mine = ticket_.fetch_add(1, std::memory_order_acq_rel);
    *stage = static_cast<int>(mine >> 56);
    *item = static_cast<int64_t>(mine & kCountMask);
    return has_more(mine);
  }

  // True for the thread that finished the stage's last item: it has the image to itself until it opens the next stage.
  bool done() { return undone_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  static constexpr int kCountBits = 28;
  static constexpr uint64_t kCountMask = (uint64_t{1} << kCountBits) - 1;

  static bool has_more(uint64_t ticket) { return (ticket & kCountMask) < (ticket >> kCountBits & kCountMask); }

  std::atomic<uint64_t> ticket_;
  std::atomic<int64_t> undone_;
};

// What each thread of run_together runs. Images are done in order, at most `window` of them at a time.
// perform(image, stage, item); advance(image, stage) opens the stage after `stage` (open with kFinished after the last).
template <class ProgressOf, class Perform, class Advance>
void work_through(int64_t images, int64_t window, ProgressOf progress, Perform perform, Advance advance) {
  int64_t first = 0;
  for (int round = 0; first < images; ++round) {
    for (int64_t image = first; image < images && image < first + window; ++image) {
      int stage;
      int64_t item;
      if (!progress(image).take(&stage, &item)) continue;
      perform(image, stage, item);
      if (progress(image).done()) advance(image, stage);
      round = 0;
      break;  // the oldest image first
    }
    while (first < images && progress(first).finished()) ++first;
    if (round > 0) rest_a_moment(round);
  }
}

}  // namespace blendsplat
