// SPDX-License-Identifier: Apache-2.0
// Runs a kernel's threads as fibers of one host thread. Each runs until it meets a barrier, in an order drawn anew from a
// seed between barriers; a barrier that not every thread reaches is an error that says who waits where.
#include <algorithm>
#include <csetjmp>
#include <memory>
#include <random>
#include <ucontext.h>

#include "emulator.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace blendsplat {
namespace emulation {

Settings settings;
Log history;

namespace {

constexpr size_t kStackSize = 64 << 10;
constexpr unsigned kMaxThreads = 1024;
constexpr int kWarp = 32;

enum class State { ready, at_block_barrier, at_warp_barrier, returned };

struct Fiber {
  ucontext_t context;                              // to start with; afterwards `resume`, which costs no system call
  jmp_buf resume;
  bool started = false;
  std::unique_ptr<char[]> stack;
  State state;
  Place place;
  uint64_t value;                                  // offered to the barrier
  uint3 index;
  uint32_t block_barriers, warp_barriers;
};

struct Warp {
  int waiting;
  uint64_t values[2][kWarp];                       // by turns: a fast lane may offer its next value while a slow one reads
  unsigned turn;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<unsigned> ready;                     // indices of fibers
  unsigned threads, waiting, returned, current;
  uint64_t linear;
  int combined;
};

Block block;
const Call* body = nullptr;                        // null while no kernel runs
jmp_buf scheduler;
ucontext_t scheduler_context;
std::mt19937_64 dice;
int64_t launches = 0;
bool refused = false;
std::string error, reported;

Fiber& running() { return block.fibers[block.current]; }

void suspend() {
  if (_setjmp(running().resume) == 0) _longjmp(scheduler, 1);
}

void fiber_main() {
  for (;;) {  // a fiber outlives its thread and serves the next block
    body->run(body->itself);
    running().state = State::returned;
    ++block.returned;
    suspend();
  }
}

void run(unsigned index) {
  Fiber& fiber = block.fibers[index];
  block.current = index;
  threadIdx = fiber.index;
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.resume, 1);
  fiber.started = true;
  if (!fiber.stack) fiber.stack.reset(new char[kStackSize]);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackSize;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
  swapcontext(&scheduler_context, &fiber.context);
}

unsigned next_ready() {
  size_t chosen = 0;
  if (settings.seed == kReversed) {
    chosen = block.ready.size() - 1;
  } else if (settings.seed != kInOrder) {
    chosen = dice() % block.ready.size();
  }
  const unsigned index = block.ready[chosen];
  if (settings.seed == kInOrder) {
    block.ready.erase(block.ready.begin());
  } else {
    block.ready[chosen] = block.ready.back();
    block.ready.pop_back();
  }
  return index;
}

std::string words(const Place& place) { return std::string(place.file) + ":" + std::to_string(place.line); }

// Nobody can run and not everybody has returned.
void report_deadlock() {
  std::string sentence = "threads wait for a barrier that others do not reach:";
  std::vector<std::pair<Place, int>> places;
  for (unsigned i = 0; i < block.threads; ++i) {
    const Fiber& fiber = block.fibers[i];
    if (fiber.state == State::returned) continue;
    size_t found = 0;
    while (found < places.size() && !(places[found].first == fiber.place)) ++found;
    if (found == places.size()) places.push_back({fiber.place, 0});
    ++places[found].second;
  }
  for (const auto& [place, count] : places) sentence += " " + std::to_string(count) + " at " + words(place) + ",";
  refuse(sentence + " " + std::to_string(block.returned) + " have returned");
}

unsigned warp_begin(unsigned thread) { return thread / kWarp * kWarp; }
unsigned warp_end(unsigned thread) { return std::min(warp_begin(thread) + kWarp, block.threads); }

bool all_at(unsigned begin, unsigned end, State state, const Place& place) {
  for (unsigned i = begin; i < end; ++i) {
    if (block.fibers[i].state != state || !(block.fibers[i].place == place)) return false;
  }
  return true;
}

void release(unsigned begin, unsigned end) {
  for (unsigned i = begin; i < end; ++i) {
    block.fibers[i].state = State::ready;
    block.ready.push_back(i);
  }
}

void start_block(uint64_t linear, dim3 grid, dim3 size) {
  block.linear = linear;
  blockIdx = {static_cast<unsigned>(linear % grid.x), static_cast<unsigned>(linear / grid.x % grid.y),
              static_cast<unsigned>(linear / grid.x / grid.y)};
  block.threads = size.x * size.y * size.z;
  block.waiting = block.returned = 0;
  if (block.fibers.size() < block.threads) block.fibers = std::vector<Fiber>(block.threads);
  block.warps.assign((block.threads + kWarp - 1) / kWarp, {});
  for (Warp& warp : block.warps) std::memset(warp.values, 0xff, sizeof(warp.values));
  block.ready.clear();
  for (unsigned i = 0; i < block.threads; ++i) {
    Fiber& fiber = block.fibers[i];
    fiber.state = State::ready;
    fiber.index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    fiber.block_barriers = fiber.warp_barriers = 0;
    block.ready.push_back(i);
  }
  const auto [shared, end] = shared_memory();
  std::memset(shared, 0xff, static_cast<size_t>(end - shared));  // NaN: reading what nobody wrote must show
}

void run_block() {
  while (!refused && block.returned < block.threads) {
    if (block.ready.empty()) return report_deadlock();
    run(next_ready());
  }
}

std::vector<uint64_t> order_of_blocks(uint64_t count) {
  std::vector<uint64_t> order(count);
  for (uint64_t i = 0; i < count; ++i) order[i] = settings.seed == kReversed ? count - 1 - i : i;
  if (settings.seed > 0) std::shuffle(order.begin(), order.end(), dice);
  return order;
}

bool valid(dim3 grid, dim3 size) {
  const uint64_t threads = static_cast<uint64_t>(size.x) * size.y * size.z;
  return grid.x >= 1 && grid.x <= 0x7fffffffu && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 && grid.z <= 65535 && threads >= 1 &&
         threads <= kMaxThreads && size.z <= 64;
}

// Waits for the whole warp; returns the values that its lanes offered.
const uint64_t* exchange(uint32_t mask, uint64_t value, Place place) {
  if (mask != 0xffffffffu) {
    refuse("a warp operation at " + words(place) + " does not name all lanes; the emulation knows whole warps only");
    stop_thread();
  }
  const unsigned thread = block.current, begin = warp_begin(thread), end = warp_end(thread);
  Warp& warp = block.warps[thread / kWarp];
  const unsigned turn = warp.turn & 1;
  Fiber& fiber = running();
  fiber.state = State::at_warp_barrier;
  fiber.place = place;
  warp.values[turn][thread - begin] = value;
  if (++warp.waiting == static_cast<int>(end - begin) && all_at(begin, end, State::at_warp_barrier, place)) {
    warp.waiting = 0;
    ++warp.turn;
    release(begin, end);
  }
  suspend();
  return warp.values[turn];
}

}  // namespace

bool inside_kernel() { return body != nullptr; }

Moment now() { return {launches, block.linear, block.current, running().block_barriers, running().warp_barriers}; }

std::pair<const char*, const char*> stack_of_thread() {
  const char* begin = running().stack.get();
  return {begin, begin + kStackSize};
}

std::pair<const char*, const char*> arguments() {
  const char* begin = static_cast<const char*>(body->itself);
  return {begin, begin + body->size};
}

void refuse(const std::string& sentence) {
  if (!refused) error = sentence;
  refused = true;
}

void stop_thread() {
  for (;;) suspend();  // never resumed: a refused launch abandons its fibers
}

int lane() { return static_cast<int>(block.current % kWarp); }

int block_barrier(Combine combine, int value, Place place) {
  Fiber& fiber = running();
  fiber.state = State::at_block_barrier;
  fiber.place = place;
  fiber.value = static_cast<uint64_t>(value != 0);
  if (++block.waiting == block.threads && all_at(0, block.threads, State::at_block_barrier, place)) {
    int count = 0;
    for (unsigned i = 0; i < block.threads; ++i) {
      count += static_cast<int>(block.fibers[i].value);
      ++block.fibers[i].block_barriers;
    }
    block.combined = combine == Combine::count ? count : combine == Combine::any ? count > 0 : count == static_cast<int>(block.threads);
    block.waiting = 0;
    release(0, block.threads);
  }
  suspend();
  return block.combined;
}

uint64_t warp_exchange(uint32_t mask, uint64_t value, int source, Place place) { return exchange(mask, value, place)[source]; }

uint32_t warp_ballot(uint32_t mask, bool vote, Place place) {
  const uint64_t* votes = exchange(mask, vote, place);
  uint32_t bits = 0;
  for (int i = 0; i < kWarp; ++i) bits |= votes[i] == 1 ? 1u << i : 0u;
  return bits;
}

void warp_barrier(uint32_t mask, Place place) {
  exchange(mask, 0, place);
  ++running().warp_barriers;
}

void atomic_access(const void* address, size_t size) { touch(address, size, Access::atomic); }

void launch(const char* name, dim3 grid, dim3 size, const Call& call) {
  history.kernels.push_back(name);
  if (refused) return;  // as on a device: nothing runs after an error until it is asked for
  if (!valid(grid, size)) return refuse(std::string(name) + ": invalid configuration of blocks and threads");
  dice.seed(static_cast<uint64_t>(settings.seed) + 0x9e3779b97f4a7c15u * static_cast<uint64_t>(++launches));
  gridDim = grid;
  blockDim = size;
  body = &call;
  for (const uint64_t linear : order_of_blocks(static_cast<uint64_t>(grid.x) * grid.y * grid.z)) {
    start_block(linear, grid, size);
    run_block();
    if (refused) break;
  }
  body = nullptr;
  if (refused) {
    for (Fiber& fiber : block.fibers) fiber.started = false;
  }
}

int last_error() {
  reported = error;
  const int code = refused ? 1 : 0;
  refused = false;
  error.clear();
  return code;
}

const char* error_sentence() { return reported.c_str(); }

void host_waits() { ++history.waits; }

void copy_bytes(void* to, const void* from, size_t size) {
  touch(to, size, Access::write);
  std::memmove(to, from, size);
}

void set_bytes(void* to, int value, size_t size) {
  touch(to, size, Access::write);
  std::memset(to, value, size);
}

}  // namespace emulation
}  // namespace blendsplat
