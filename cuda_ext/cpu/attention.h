// SPDX-License-Identifier: Apache-2.0
// Softmax attention, forward only, and the view of the caller's buffers that it works on. It exists once per instruction
// set, as the operations of operations.h do.
#pragma once

#include <cstdint>

namespace blendsplat {

constexpr int kAttentionWidth = 128;  // channels of a head: a multiple of kAttentionPanel, at most this
constexpr int kAttentionPanel = 32;   // keys and channels are worked on in so many columns

// out = softmax(scale q k^T) v for every image and head. A head's channels lie side by side in a row of q, k, v and out;
// rows of q, k and v lie a stride apart (a projection's chunk), images a whole number of rows.
struct Attention {
  int64_t images, heads, queries, keys, width;  // B, H, N, M, D
  int64_t query_stride, key_stride;             // floats between rows; values as keys
  const float *q, *k, *v;                       // [B,N,H*D] [B,M,H*D] [B,M,H*D]
  float* out;                                   // [B,N,H*D], contiguous
  float* packed;                                // scratch of packed_size floats
  float scale;
  int threads;

  int64_t padded_keys() const { return (keys + kAttentionPanel - 1) / kAttentionPanel * kAttentionPanel; }
  int64_t packed_size() const { return 2 * images * heads * padded_keys() * width; }
};

#define BLENDSPLAT_DECLARE_ATTENTION(target) \
  namespace target {                         \
  void attention(const Attention&);          \
  }
BLENDSPLAT_DECLARE_ATTENTION(generic)
BLENDSPLAT_DECLARE_ATTENTION(avx2)
BLENDSPLAT_DECLARE_ATTENTION(avx512)

}  // namespace blendsplat
