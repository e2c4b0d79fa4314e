// SPDX-License-Identifier: Apache-2.0
// Blend and bind for playing. A thread takes a run of packs and reads their bases once, in sequence, for up to eight images;
// posed triangles come as rows of sixteen floats, which a transposition turns into lanes.
#include "bind.h"
#include "blendsplat/playback.h"
#include "tangent.h"
#include "threads.h"

BS_BEGIN

namespace {

static_assert(kPackWidth == kLanes, "a pack is what fills the lanes");

constexpr int64_t kPacksTogether = 16;       // that a thread takes at a time
constexpr int64_t kAhead = 4096;             // bytes that bases are asked for before they are needed

BS_FN Lanes load_basis(const float* p) { return load(p); }
#if defined(BLENDSPLAT_AVX512)
BS_FN Lanes load_basis(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
#elif defined(BLENDSPLAT_AVX2)
BS_FN Lanes load_basis(const uint16_t* p) {
  const __m128i* halves = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
#else
BS_FN Lanes load_basis(const uint16_t* p) {
  float wide[kLanes];
  for (int i = 0; i < kLanes; ++i) wide[i] = widen(p[i]);
  return load(wide);
}
#endif

// blended[g][channel] = base + sum_k weight_k basis_k of one pack in Size images from `image` on.
template <int Size, class Number>
BS_FN void blend_pack(const Playback& p, int64_t image, int64_t pack, Lanes (*blended)[kPackFloats]) {
  const int64_t blendshapes = p.weights ? p.blendshapes : 0;
  const float* weights = p.weights + image * blendshapes;
  const Number* bases = static_cast<const Number*>(p.bases) + pack * kPackFloats * p.blendshapes * kLanes;
  for (int channel = 0; channel < kPackFloats; ++channel, bases += p.blendshapes * kLanes) {
    const Lanes base = load(p.base + (pack * kPackFloats + channel) * kLanes);
    Lanes sums[Size];
    for (Lanes& sum : sums) sum = base;
    for (int64_t k = 0; k < blendshapes; ++k) {
      if (image == 0) prefetch(bases + k * kLanes + kAhead / sizeof(Number));  // later images find them in the cache
      const Lanes basis = load_basis(bases + k * kLanes);
      for (int g = 0; g < Size; ++g) sums[g] = fma(basis, Lanes(weights[g * blendshapes + k]), sums[g]);
    }
    for (int g = 0; g < Size; ++g) blended[g][channel] = sums[g];
  }
}

// The pack's triangles in one image: [22] lanes in the order of PosedTriangleSlot.
BS_FN void gather_triangles(const Playback& p, int64_t image, int64_t pack, Lanes* slots) {
  const float* triangles = p.triangles + image * p.faces * kPosedTriangleSize;
  Lanes second[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const float* triangle = triangles + static_cast<int64_t>(p.triangle[pack * kLanes + lane]) * kPosedTriangleSize;
    slots[lane] = load(triangle);
    second[lane] = load(triangle + kLanes);
  }
  transpose(slots);
  transpose(second);
  for (int slot = kLanes; slot < kPosedCorners + 9; ++slot) slots[slot] = second[slot - kLanes];
}

// Asks for the next pack's triangles; neighbours mostly lie on the same one.
BS_FN void prefetch_triangles(const Playback& p, int64_t image, int64_t pack) {
  if ((pack + 1) * kLanes >= p.gaussians) return;
  const float* triangles = p.triangles + image * p.faces * kPosedTriangleSize;
  for (int lane = 0; lane < kLanes; lane += 3) {
    const float* triangle = triangles + static_cast<int64_t>(p.triangle[(pack + 1) * kLanes + lane]) * kPosedTriangleSize;
    prefetch(triangle);
    prefetch(triangle + kLanes);
  }
}

BS_FN void carry_pack(const Playback& p, int64_t image, int64_t pack, const Lanes* blended) {
  Lanes slots[kPosedCorners + 9], anchor[3], mean[3], quat[4], color[3];
  gather_triangles(p, image, pack, slots);
  TriangleFrame<Lanes> frame;
  for (int i = 0; i < 9; ++i) frame.matrix[i] = slots[kPosedFrame + i];
  for (int i = 0; i < 4; ++i) frame.quat[i] = slots[kPosedQuat + i];
  const float* shares = p.barycentrics + pack * 3 * kLanes;
  for (int i = 0; i < 3; ++i) {
    const Lanes* corner = slots + kPosedCorners + i;
    anchor[i] = fma(load(shares), corner[0], fma(load(shares + kLanes), corner[3], load(shares + 2 * kLanes) * corner[6]));
  }
  LocalGaussian<Lanes> local;
  for (int i = 0; i < 3; ++i) local.position[i] = blended[i];
  for (int i = 0; i < 4; ++i) local.quat[i] = blended[3 + i];
  for (int i = 0; i < 3; ++i) local.color[i] = blended[7 + i];
  carry(local, frame, anchor, mean, quat, color);
  const int64_t first = pack * kLanes, at = image * p.gaussians + first;
  const int count = p.gaussians - first < kLanes ? static_cast<int>(p.gaussians - first) : kLanes;
  scatter_rows<3>(p.means + at * 3, count, mean);
  scatter_rows<4>(p.quats + at * 4, count, quat);
  scatter_rows<3>(p.colors + at * 3, count, color);
}

template <class Number>
BS_FN void play_pack(const Playback& p, int64_t pack) {
  each_group(p.images, [&](int64_t image, auto size) {
    Lanes blended[size][kPackFloats];
    blend_pack<size, Number>(p, image, pack, blended);
    for (int g = 0; g < size; ++g) {
      prefetch_triangles(p, image + g, pack);
      carry_pack(p, image + g, pack, blended[g]);
    }
  });
}

BS_FN void pose_block(const TangentFrames& t, int64_t image, int64_t first, int count, float* triangles) {
  Vector3<Lanes> corners[3];
  Lanes uv_edges[4], slots[kPosedTriangleSize];
  gather_corners(t, image, first, count, corners);
  gather_rows<4>(t.uv_edges + first * 4, count, uv_edges);
  tangent_frame(corners, uv_edges, slots + kPosedFrame, slots + kPosedQuat);
  for (int corner = 0; corner < 3; ++corner) {
    Lanes* out = slots + kPosedCorners + 3 * corner;
    out[0] = corners[corner].x;
    out[1] = corners[corner].y;
    out[2] = corners[corner].z;
  }
  for (int slot = kPosedCorners + 9; slot < kPosedTriangleSize; ++slot) slots[slot] = Lanes(0.0f);
  transpose(slots);
  transpose(slots + kLanes);
  float* out = triangles + (image * t.faces + first) * kPosedTriangleSize;
  for (int lane = 0; lane < count; ++lane) {
    store(out + lane * kPosedTriangleSize, slots[lane]);
    store(out + lane * kPosedTriangleSize + kLanes, slots[kLanes + lane]);
  }
}

}  // namespace

void pose_triangles(const TangentFrames& t, float* triangles, int threads) {
  const int64_t blocks = (t.faces + kLanes - 1) / kLanes;
  share(threads, t.images * blocks, 64, [&](int64_t index, int) {
    const int64_t first = index % blocks * kLanes, rest = t.faces - first;
    pose_block(t, index / blocks, first, static_cast<int>(rest < kLanes ? rest : kLanes), triangles);
  });
}

void play(const Playback& p, int threads) {
  const int64_t packs = (p.gaussians + kLanes - 1) / kLanes;
  share(threads, packs, kPacksTogether, [&](int64_t pack, int) {
    if (p.half) play_pack<uint16_t>(p, pack);
    else play_pack<float>(p, pack);
  });
}

BS_END
