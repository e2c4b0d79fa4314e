// SPDX-License-Identifier: Apache-2.0
// What a transformer's inference is made of, on panels of tokens (panels.h): linear layers, MLPs and softmax attention.
// Views of the caller's buffers; every operation exists once per instruction set, as those of operations.h do.
#pragma once

#include <cstdint>

namespace blendsplat {

constexpr int kTokenPanel = 48;    // tokens of a panel, as panels.h lays them out
constexpr int kHeadWidth = 128;    // most channels of an attention head
constexpr int kBlockPanels = 4;    // panels that a thread takes at a time
constexpr int64_t kSlab = 384;     // hidden channels of an MLP at a time: with its input they fit the second cache

// A LayerNorm in front of a product; weight null: none.
struct TokenNorm {
  const float *weight, *bias;  // [C]
  float epsilon;
};

// out = residual + scale (norm(in) weight^T + bias). bias, scale and residual may be null; residual may be out.
struct Dense {
  int64_t panels, in_channels, out_channels;           // P, C, D
  const float *in, *weight, *bias, *scale, *residual;  // [P,C,48] [D,C] [D] [D] [P,D,48]
  float* out;                                          // [P,D,48]
  TokenNorm norm;
  float* scratch;                                      // threads x kBlockPanels x C x 48 floats; unused without a norm
  int threads;
};

// tokens += scale (gelu(norm(tokens) wide^T + wide_bias) narrow^T + narrow_bias), with the exact GELU. scale may be null.
struct Mlp {
  int64_t panels, channels, hidden;                              // P, C, M
  float* tokens;                                                 // [P,C,48]
  const float *wide, *wide_bias, *narrow, *narrow_bias, *scale;  // [M,C] [M] [C,M] [C] [C]
  TokenNorm norm;
  float* scratch;                                                // threads x kBlockPanels x (C + kSlab) x 48 floats
  int threads;
};

// out = softmax(factor q k^T) v for every image and head. q, k and v are channels of wider panels: a panel of theirs
// begins so many floats behind the one before.
struct Attention {
  int64_t images, heads, queries, keys, width;  // B, H, N, M, D
  int64_t query_panel, key_panel;               // floats from panel to panel; values as keys
  const float *q, *k, *v;
  float* out;                                   // [B,ceil(N/48),H*D,48]
  float factor;                                 // positive
  int threads;
};

#define BLENDSPLAT_DECLARE_TRANSFORMER(target) \
  namespace target {                           \
  void dense(const Dense&);                    \
  void mlp(const Mlp&);                        \
  void attention(const Attention&);            \
  }
BLENDSPLAT_DECLARE_TRANSFORMER(generic)
BLENDSPLAT_DECLARE_TRANSFORMER(avx2)
BLENDSPLAT_DECLARE_TRANSFORMER(avx512)

}  // namespace blendsplat
