// SPDX-License-Identifier: Apache-2.0
// What the scheduler, the checker and the Python controls of the emulation know of each other; kernels see cuda_runtime.h.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace blendsplat {
namespace emulation {

// ---- scheduler.cpp ----

constexpr int64_t kInOrder = 0, kReversed = -1;    // special seeds; any other shuffles blocks and threads

struct Settings {
  int64_t seed = kInOrder;                         // the order in which blocks and threads run between barriers
  bool check = false;                              // watch every access to memory
};

struct Log {
  std::vector<std::string> kernels;                // names, in the order of their launch
  int64_t waits = 0;                               // times the host asked to wait for the device
};

extern Settings settings;
extern Log history;

// Who is running: the checker's notion of time. Accesses of two threads of a block are ordered by a barrier of the block
// between them, or of the warp if they share it; those of two blocks never are.
struct Moment {
  int64_t launch;
  uint64_t block;
  uint32_t thread, block_barriers, warp_barriers;
};

bool inside_kernel();
Moment now();
std::pair<const char*, const char*> stack_of_thread();
std::pair<const char*, const char*> arguments();    // of the kernel
// Ends the launch: the first sentence wins, and becomes the error of cudaGetLastError().
void refuse(const std::string& sentence);
[[noreturn]] void stop_thread();

// ---- faults.cpp ----

// Runs a kernel that is wrong on purpose, or its right twin, on 64 floats. Raises std::invalid_argument for other names.
void run_fault(const std::string& name, bool right, float* out);

// ---- checker.cpp ----

enum class Access { read, write, atomic };

std::pair<char*, char*> shared_memory();           // of all kernels: first byte, one past the last
void watch(const void* address, size_t size);      // kernels may touch these bytes
void forget_watched();
void touch(const void* address, size_t size, Access access);

}  // namespace emulation
}  // namespace blendsplat
