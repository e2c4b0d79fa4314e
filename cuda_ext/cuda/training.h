// SPDX-License-Identifier: Apache-2.0
// The operations of a training step around the rasterizer, on a GPU. As in operations.h all pointers are the device's and
// the caller's, everything is queued on the given stream, nothing waits, and a launch that fails throws.
#pragma once

#include <cuda_runtime_api.h>

#include "blendsplat/adam.h"
#include "blendsplat/bind.h"
#include "blendsplat/image_loss.h"
#include "blendsplat/playback.h"
#include "blendsplat/tangent.h"

namespace blendsplat {
namespace cuda {

struct Queue {
  int device;
  cudaStream_t stream;
};

// tensors: the host's; rates, steps, skip: the device's. skip may be null; where it is not zero nothing changes.
void adam(const AdamTensor* tensors, int64_t count, const AdamOptions&, const float* rates, int64_t* steps, const int32_t* skip, const Queue&);

void tangent_frames(const TangentFrames&, const Queue&);
void pose_triangles(const TangentFrames&, float* triangles, const Queue&);
void play(const Playback&, const Queue&);
void tangent_frames_backward(const TangentFrames&, const TangentFramesBackward&, const Queue&);

ImageLossSizes image_loss_sizes(int64_t images, int height, int width);
void image_loss(const ImageLoss&, double* sums, float* maps, const Queue&);

int64_t bind_scratch(int64_t images, int64_t gaussians, int64_t blendshapes);  // floats
void bind_forward(const Bind&, const BoundGaussians<float>&, const Queue&);
void bind_backward(const Bind&, const BindBackward&, const Queue&);

}  // namespace cuda
}  // namespace blendsplat
