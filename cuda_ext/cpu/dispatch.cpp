// SPDX-License-Identifier: Apache-2.0
// See dispatch.h.
#include "dispatch.h"

#include <cstdlib>
#include <cstring>

#if defined(BLENDSPLAT_X86) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#elif defined(BLENDSPLAT_X86)
#include <cpuid.h>
#endif

namespace blendsplat {

namespace {

#define BLENDSPLAT_TABLE(target)                                                                      \
  {#target, target::project, target::emit_pairs, target::blend_forward, target::blend_backward, target::project_backward, \
   target::pixel_weights, target::exponential2_array, target::adam, target::image_loss, target::image_loss_sizes,\
   target::bind_forward, target::bind_backward, target::bind_scratch, target::tangent_frames, target::tangent_frames_backward, \
   target::pose_triangles, target::play, target::pose_head, target::ceiling, \
   target::dense, target::mlp, target::attention}

// From best to plainest; the last one is for tests and never chosen unasked.
const Operations kSets[] = {
#if defined(BLENDSPLAT_X86)
    BLENDSPLAT_TABLE(avx512),
    BLENDSPLAT_TABLE(avx2),
#endif
    BLENDSPLAT_TABLE(generic),
    {"scalar", scalar::project, scalar::emit_pairs, scalar::blend_forward, scalar::blend_backward, scalar::project_backward,
     scalar::pixel_weights, scalar::exponential2_array, generic::adam, generic::image_loss, generic::image_loss_sizes,
     generic::bind_forward, generic::bind_backward, generic::bind_scratch, generic::tangent_frames, generic::tangent_frames_backward,
     generic::pose_triangles, generic::play, generic::pose_head, generic::ceiling,
     generic::dense, generic::mlp, generic::attention},
};

#if defined(BLENDSPLAT_X86) && defined(_MSC_VER)
// CPUID leaf 7 tells the instructions, XGETBV whether the system saves their registers.
bool supported(const char* name) {
  if (std::strcmp(name, "generic") == 0 || std::strcmp(name, "scalar") == 0) return true;
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  if (!(leaf1[2] & 1 << 27) || !(leaf1[2] & 1 << 12) || !(leaf1[2] & 1 << 29)) return false;
  __cpuidex(leaf7, 7, 0);
  const unsigned long long saved = _xgetbv(0);
  const bool avx2 = (saved & 0x6) == 0x6 && (leaf7[1] & 1 << 5);
  const int wanted = 1 << 16 | 1 << 17 | 1 << 31;
  if (std::strcmp(name, "avx512") == 0) return avx2 && (saved & 0xe6) == 0xe6 && (leaf7[1] & wanted) == wanted;
  return avx2;
}
#elif defined(BLENDSPLAT_X86)
bool supported(const char* name) {
  if (std::strcmp(name, "generic") == 0 || std::strcmp(name, "scalar") == 0) return true;
  __builtin_cpu_init();
  unsigned a, b, c = 0, d;
  const bool halves = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);  // not every compiler's cpu_supports knows it
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && halves;
  if (std::strcmp(name, "avx512") != 0) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
bool supported(const char*) { return true; }
#endif

const Operations* find(const char* name) {
  for (const Operations& set : kSets) {
    if ((!name || std::strcmp(set.name, name) == 0) && supported(set.name)) return &set;
  }
  return nullptr;
}

const Operations*& current() {
  static const Operations* chosen = [] {
    const Operations* asked = find(std::getenv("BLENDSPLAT_CPU"));
    return asked ? asked : find(nullptr);
  }();
  return chosen;
}

}  // namespace

const Operations& operations() { return *current(); }

bool use_operations(const char* name) {
  const Operations* set = find(name);
  if (set) current() = set;
  return set != nullptr;
}

}  // namespace blendsplat
