// SPDX-License-Identifier: Apache-2.0
// Watches what kernels do to memory, as compute-sanitizer's memcheck and racecheck do on a device. The .cu files are
// compiled with -fsanitize=thread, whose calls at every access end here instead of in the sanitizer's own runtime.
#include <algorithm>
#include <cstdio>
#include <map>
#include <unordered_map>

#include "emulator.h"

// The linker's bounds: of the section that __shared__ names, and of this module (tables of constants lie in it).
extern "C" char __start_blendsplat_shared[], __stop_blendsplat_shared[];
extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[], _end[];

namespace blendsplat {
namespace emulation {

namespace {

constexpr size_t kGrain = 4;                       // bytes that one history covers; everything our kernels share is as wide

struct Visit {
  Moment when;
  Access access;
};

// Enough to see any race between two threads: two readers, since the writer that follows may itself be one of them.
struct Cell {
  Visit writer, readers[2];
  bool written = false;
  int readers_known = 0;
};

std::map<uintptr_t, uintptr_t> watched;            // first byte -> one past the last
std::unordered_map<uintptr_t, Cell> cells;         // of the current launch
int64_t launch_of_cells = -1;

bool within(const char* p, size_t size, const char* begin, const char* end) { return p >= begin && p + size <= end; }

bool is_watched(uintptr_t begin, size_t size) {
  auto next = watched.upper_bound(begin);
  return next != watched.begin() && begin + size <= std::prev(next)->second;
}

bool ordered(const Moment& a, const Moment& b) {
  if (a.block != b.block) return false;
  if (a.thread == b.thread || a.block_barriers != b.block_barriers) return true;
  return a.thread / 32 == b.thread / 32 && a.warp_barriers != b.warp_barriers;
}

const char* name(Access access) { return access == Access::read ? "reads" : access == Access::write ? "writes" : "adds to"; }

std::string sentence(const Visit& visit) {
  return "thread " + std::to_string(visit.when.thread) + " of block " + std::to_string(visit.when.block) + " " + name(visit.access);
}

void refuse_race(const void* address, const Visit& now, const Visit& before) {
  char where[32];
  std::snprintf(where, sizeof(where), "%p", address);
  refuse(sentence(now) + " " + where + " while " + sentence(before) + " it: no barrier between them");
}

void compare(const void* address, const Visit& now, const Visit& before) {
  if (now.access == Access::atomic && before.access == Access::atomic) return;
  if (!ordered(now.when, before.when)) refuse_race(address, now, before);
}

void remember(Cell& cell, const Visit& visit, const void* address) {
  if (cell.written) compare(address, visit, cell.writer);
  if (visit.access == Access::read) {
    // Keeps two readers that no barrier parts; an earlier one is as good as forgotten once a later one is known.
    const bool first = cell.readers_known == 0 || ordered(visit.when, cell.readers[0].when);
    cell.readers[first ? 0 : 1] = visit;
    cell.readers_known = std::max(cell.readers_known, first ? 1 : 2);
    return;
  }
  for (int i = 0; i < cell.readers_known; ++i) compare(address, visit, cell.readers[i]);
  cell.writer = visit;
  cell.written = true;
  cell.readers_known = 0;
}

}  // namespace

std::pair<char*, char*> shared_memory() { return {__start_blendsplat_shared, __stop_blendsplat_shared}; }

void watch(const void* address, size_t size) {
  uintptr_t begin = reinterpret_cast<uintptr_t>(address), end = begin + size;
  if (size == 0) return;
  // Views of one tensor overlap: what overlaps becomes one.
  auto next = watched.lower_bound(begin);
  if (next != watched.begin() && std::prev(next)->second > begin) --next;
  while (next != watched.end() && next->first < end) {
    begin = std::min(begin, next->first);
    end = std::max(end, next->second);
    next = watched.erase(next);
  }
  watched[begin] = end;
}

void forget_watched() { watched.clear(); }

void touch(const void* address, size_t size, Access access) {
  if (!settings.check || size == 0) return;
  const char* p = static_cast<const char*>(address);
  const auto [shared, shared_end] = shared_memory();
  const bool in_shared = within(p, size, shared, shared_end);
  if (inside_kernel()) {
    const auto [stack, stack_end] = stack_of_thread();
    if (within(p, size, stack, stack_end)) return;
    const auto [given, given_end] = arguments();
    if (!in_shared && access == Access::read && (within(p, size, __ehdr_start, _end) || within(p, size, given, given_end))) return;
  }
  if (!in_shared && !is_watched(reinterpret_cast<uintptr_t>(p), size)) {
    char where[64];
    std::snprintf(where, sizeof(where), " %zu bytes at %p, outside every buffer", size, address);
    refuse(inside_kernel() ? sentence({now(), access}) + where : std::string("the host touches") + where);
    if (inside_kernel()) stop_thread();
    return;
  }
  if (!inside_kernel()) return;
  Moment when = now();
  if (when.launch != launch_of_cells) cells.clear();
  launch_of_cells = when.launch;
  const uintptr_t first = reinterpret_cast<uintptr_t>(p) / kGrain, last = (reinterpret_cast<uintptr_t>(p) + size - 1) / kGrain;
  for (uintptr_t grain = first; grain <= last; ++grain) {
    Cell& cell = cells[grain];
    // Shared memory is each block's own.
    if (in_shared && (cell.written || cell.readers_known > 0)) {
      const Moment& before = cell.written ? cell.writer.when : cell.readers[0].when;
      if (before.block != when.block) cell = Cell();
    }
    remember(cell, {when, access}, address);
  }
}

void vector_access(const void* address, size_t size) {
  if (!settings.check || !inside_kernel() || reinterpret_cast<uintptr_t>(address) % size == 0) return;
  refuse(sentence({now(), Access::read}) + " or writes across a boundary of " + std::to_string(size) + " bytes");
  stop_thread();
}

}  // namespace emulation
}  // namespace blendsplat

// ---- what the compiler calls ----

using blendsplat::emulation::Access;
using blendsplat::emulation::inside_kernel;
using blendsplat::emulation::touch;

extern "C" {
#define BS_WATCH(bytes)                                                                              \
  void __tsan_read##bytes(void* p) { if (inside_kernel()) touch(p, bytes, Access::read); }           \
  void __tsan_write##bytes(void* p) { if (inside_kernel()) touch(p, bytes, Access::write); }         \
  void __tsan_unaligned_read##bytes(void* p) { __tsan_read##bytes(p); }                              \
  void __tsan_unaligned_write##bytes(void* p) { __tsan_write##bytes(p); }
BS_WATCH(1)
BS_WATCH(2)
BS_WATCH(4)
BS_WATCH(8)
BS_WATCH(16)
void __tsan_read_range(void* p, unsigned long size) { if (inside_kernel()) touch(p, size, Access::read); }
void __tsan_write_range(void* p, unsigned long size) { if (inside_kernel()) touch(p, size, Access::write); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
