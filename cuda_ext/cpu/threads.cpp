// SPDX-License-Identifier: Apache-2.0
// See threads.h. One word says everything about the job at hand: its number, the places still open to helpers, and the
// helpers at work. A helper enters by taking a place; the caller closes the places and waits only for those at work.
#include "threads.h"

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#elif defined(_M_X64)
#include <intrin.h>
#endif

namespace blendsplat {

namespace {

constexpr int kMostHelpers = 255;
constexpr uint64_t kOne = 1, kPlace = kOne << 16, kJob = kOne << 32;
constexpr uint64_t kFieldMask = 0xffff;

uint64_t at_work(uint64_t state) { return state & kFieldMask; }
uint64_t places(uint64_t state) { return state >> 16 & kFieldMask; }
uint64_t job_number(uint64_t state) { return state >> 32; }

class Crew {
 public:
  void run(int helpers, void (*body)(void*, int), void* context) {
    const std::unique_lock<std::mutex> alone(callers_, std::try_to_lock);
    helpers = alone ? hire(std::min(helpers, kMostHelpers)) : 0;
    if (helpers == 0) return body(context, 0);
    body_ = body;
    context_ = context;
    const uint64_t number = job_number(state_.load()) + 1;
    state_.store(number * kJob | static_cast<uint64_t>(helpers) * kPlace);
    if (sleepers_.load() > 0) {
      { const std::lock_guard<std::mutex> hold(sleeping_); }
      wake_.notify_all();
    }
    body(context, 0);
    state_.fetch_and(~(kFieldMask * kPlace));
    for (int round = 0; at_work(state_.load(std::memory_order_acquire)) > 0; ++round) rest_a_moment(round);
  }

 private:
  // Starts helpers until there are `wanted`; returns how many there are, at most `wanted`.
  int hire(int wanted) {
    try {
      for (; hired_ < wanted; ++hired_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // The system gives no more threads; those that there are will do.
    }
    return std::min(hired_, wanted);
  }

  void serve() {
    uint64_t seen = 0;
    for (int round = 0;;) {
      uint64_t state = state_.load();
      if (job_number(state) == seen) {
        if (++round < kRoundsAwake) rest_a_moment(0);
        else sleep(seen);
        continue;
      }
      seen = job_number(state);
      round = 0;
      while (job_number(state) == seen && places(state) > 0) {
        if (!state_.compare_exchange_weak(state, state - kPlace + 1)) continue;
        body_(context_, static_cast<int>(places(state)));
        state_.fetch_sub(1, std::memory_order_release);
        break;
      }
    }
  }

  void sleep(uint64_t seen) {
    std::unique_lock<std::mutex> hold(sleeping_);
    ++sleepers_;
    wake_.wait(hold, [&] { return job_number(state_.load()) != seen; });
    --sleepers_;
  }

  static constexpr int kRoundsAwake = 2000;  // some 30 microseconds: the next job often follows at once
  std::mutex callers_;
  int hired_ = 0;
  std::atomic<uint64_t> state_{0};
  void (*body_)(void*, int) = nullptr;
  void* context_ = nullptr;
  std::mutex sleeping_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
};

// Never destroyed: helpers sleep in it when the process ends. A forked child has no helpers and starts a crew of its own.
std::atomic<Crew*> the_crew{nullptr};
std::mutex founding;

Crew& crew() {
  if (Crew* present = the_crew.load(std::memory_order_acquire)) return *present;
  const std::lock_guard<std::mutex> hold(founding);
  if (!the_crew.load()) {
#if !defined(_WIN32)
    static const int registered = pthread_atfork(nullptr, nullptr, [] { the_crew.store(nullptr); });
    static_cast<void>(registered);
#endif
    the_crew.store(new Crew, std::memory_order_release);
  }
  return *the_crew.load();
}

}  // namespace

void run_together(int threads, void (*body)(void* context, int rank), void* context) {
  if (threads <= 1) return body(context, 0);
  crew().run(threads - 1, body, context);
}

void rest_a_moment(int round) {
  // Most waits are shorter than this, some 50 microseconds; and on a busy machine who yields is not back for milliseconds.
  constexpr int kPatience = 4000;
  if (round > kPatience) {
    std::this_thread::yield();  // somebody else may need this processor to finish what we wait for
    return;
  }
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(_MSC_VER) && defined(_M_X64)
  _mm_pause();
#endif
}

}  // namespace blendsplat
