// SPDX-License-Identifier: Apache-2.0
// The operations of a training step around the rasterizer and the views of the caller's buffers that they work on. As
// in operations.h every buffer is allocated by the caller, and each operation exists once per instruction set.
#pragma once

#include "blendsplat/adam.h"
#include "blendsplat/bind.h"
#include "blendsplat/image_loss.h"
#include "blendsplat/playback.h"
#include "blendsplat/posing.h"
#include "blendsplat/tangent.h"

namespace blendsplat {

#define BLENDSPLAT_DECLARE_TRAINING(target)                                                                         \
  namespace target {                                                                                                \
  void adam(const AdamTensor*, int64_t tensors, const AdamOptions&, const float* rates, int64_t* steps, int threads); \
  ImageLossSizes image_loss_sizes(int64_t images, int height, int width, int threads);                              \
  void image_loss(const ImageLoss&, double* sums, float* scratch, int threads);  /* of those sizes, any values */     \
  void bind_forward(const Bind&, const BoundGaussians<float>&, int threads);                                        \
  void bind_backward(const Bind&, const BindBackward&, int threads);                                                \
  int64_t bind_scratch(int64_t images, int64_t blendshapes);  /* floats */                                          \
  void tangent_frames(const TangentFrames&, int threads);                                                           \
  void tangent_frames_backward(const TangentFrames&, const TangentFramesBackward&, int threads);                     \
  void pose_triangles(const TangentFrames&, float* triangles, int threads);                                         \
  void play(const Playback&, int threads);                                                                          \
  void pose_head(const Posing&, int threads);                                                                       \
  }
BLENDSPLAT_DECLARE_TRAINING(generic)
BLENDSPLAT_DECLARE_TRAINING(avx2)
BLENDSPLAT_DECLARE_TRAINING(avx512)

}  // namespace blendsplat
