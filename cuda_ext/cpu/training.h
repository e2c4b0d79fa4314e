// SPDX-License-Identifier: Apache-2.0
// The operations of a training step around the rasterizer and the views of the caller's buffers that they work on. As
// in operations.h every buffer is allocated by the caller, and each operation exists once per instruction set.
#pragma once

#include "blendsplat/adam.h"
#include "blendsplat/image_loss.h"

namespace blendsplat {

// An avatar's Gaussians for B frames: base + sum_k weight_k delta_k, in the tangent frame of the triangle that carries
// each. base and deltas: positions [N,3] [K,N,3], quaternions wxyz [N,4] [K,N,4], colour features [N,3] [K,N,3].
struct Bind {
  int64_t images, gaussians, blendshapes, vertex_count, faces;  // B, N, K, V, F
  int threads;
  const float *base[3], *deltas[3];
  const float* grouped_weights;                        // [ceil(B/8),K,8]: weight of image 8 group + g; zero past B
  const float *vertices, *frames, *frame_quats;        // [B,V,3] [B,F,3,3] [B,F,4]
  const int64_t *triangle, *corners;                   // [N] [N,3]: face, and its vertices
  const float* barycentrics;                           // [N,3]
};

struct BindForward {
  float *means, *quats, *colors;   // [B,N,3] [B,N,4] [B,N,3]; colours are rgb >= 0
};

struct BindBackward {
  const float *grad_means, *grad_quats, *grad_colors;  // as the outputs
  const float* colors;             // the output of the forward pass
  float *base[3], *deltas[3];      // every element is written
  int parts;                       // runs of Gaussians, each with weight sums of its own
  float* weight_scratch;           // [parts,ceil(B/8),K,8,16] zeroed
  float* grouped_weights;          // [parts,ceil(B/8),K,8]
};

// Tangent frames of F triangles in B frames, and their rotations.
struct TangentFrames {
  int64_t images, vertex_count, faces;                 // B, V, F
  const float* vertices;                               // [B,V,3]
  const int64_t* corners;                              // [F,3]
  const float* uv_edges;                               // [F,4], see blendsplat/tangent.h
  float *frames, *quats;                               // [B,F,3,3] [B,F,4] wxyz
};

#define BLENDSPLAT_DECLARE_TRAINING(target)                                                                         \
  namespace target {                                                                                                \
  void adam(const AdamTensor*, int64_t tensors, const AdamOptions&, const float* rates, int64_t* steps, int threads); \
  ImageLossSizes image_loss_sizes(int64_t images, int height, int width, int threads);                              \
  void image_loss(const ImageLoss&, double* sums, float* scratch, int threads);  /* of those sizes, any values */     \
  void bind_forward(const Bind&, const BindForward&);                                                               \
  void bind_backward(const Bind&, const BindBackward&);                                                             \
  void tangent_frames(const TangentFrames&, int threads);                                                           \
  }
BLENDSPLAT_DECLARE_TRAINING(generic)
BLENDSPLAT_DECLARE_TRAINING(avx2)
BLENDSPLAT_DECLARE_TRAINING(avx512)

}  // namespace blendsplat
