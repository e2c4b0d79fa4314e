// SPDX-License-Identifier: Apache-2.0
// An avatar's Gaussians for a batch of frames: base plus weighted blendshapes, carried by the triangles' frames, and the
// activations of scale and opacity.
#include "bind.cuh"

namespace blendsplat {
namespace cuda {

namespace {

__device__ void activate(const Bind& bind, int64_t first, const BoundGaussians<float>& out) {
  for (int64_t i = 3 * first + threadIdx.x; i < 3 * (first + kBindBlock) && i < 3 * bind.gaussians; i += kBindThreads) {
    out.scales[i] = exponential(bind.log_scales[i]);
  }
  for (int64_t i = first + threadIdx.x; i < first + kBindBlock && i < bind.gaussians; i += kBindThreads) {
    out.opacities[i] = logistic(bind.opacity_logits[i]);
  }
}

// One float of every image of a group: base + sum_k weight_k delta_k.
template <int Size>
__device__ void blend_float(const Bind& bind, const FloatPlace& place, int64_t image, int images, int index, float (*blended)[kBlockFloats]) {
  const float* weights = bind.weights + image * bind.blendshapes;
  const float* deltas = bind.deltas[place.array] + place.offset;
  float sums[Size];
BS_UNROLL
  for (int g = 0; g < Size; ++g) sums[g] = bind.base[place.array][place.offset];
  for (int64_t k = 0; k < bind.blendshapes; ++k) {
    const float basis = deltas[k * place.stride];
BS_UNROLL
    for (int g = 0; g < Size; ++g) if (g < images) sums[g] = fma(basis, weights[g * bind.blendshapes + k], sums[g]);
  }
BS_UNROLL
  for (int g = 0; g < Size; ++g) if (g < images) blended[g][index] = sums[g];
}

__device__ void bind_one(const Bind& bind, int64_t image, int64_t gaussian, float* floats, int inner, const BoundGaussians<float>& out) {
  LocalGaussian<float> local;
  for (int i = 0; i < 3; ++i) local.position[i] = local_floats(floats, 0, inner)[i];
  for (int i = 0; i < 4; ++i) local.quat[i] = local_floats(floats, 1, inner)[i];
  for (int i = 0; i < 3; ++i) local.color[i] = local_floats(floats, 2, inner)[i];
  float anchor[3] = {}, mean[3], quat[4], color[3];
  for (int corner = 0; corner < 3; ++corner) {
    const float* vertex = bind.vertices + (image * bind.vertex_count + bind.corners[gaussian * 3 + corner]) * 3;
    for (int i = 0; i < 3; ++i) anchor[i] = fma(bind.barycentrics[gaussian * 3 + corner], vertex[i], anchor[i]);
  }
  carry(local, frame_of(bind, image, gaussian), anchor, mean, quat, color);
  const int64_t at = image * bind.gaussians + gaussian;
  for (int i = 0; i < 3; ++i) out.means[at * 3 + i] = mean[i];
  for (int i = 0; i < 4; ++i) out.quats[at * 4 + i] = quat[i];
  for (int i = 0; i < 3; ++i) out.colors[at * 3 + i] = color[i];
}

__global__ void __launch_bounds__(kBindThreads) bind_forward_kernel(Bind bind, BoundGaussians<float> out) {
  __shared__ float blended[kTogether][kBlockFloats];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kBindBlock;
  if (bind.log_scales) activate(bind, first, out);
  for (int64_t image = 0; image < bind.images; image += kTogether) {
    const int images = static_cast<int>(bind.images - image < kTogether ? bind.images - image : kTogether);
    for (int index = static_cast<int>(threadIdx.x); index < kBlockFloats; index += kBindThreads) {
      const FloatPlace place = float_place(bind, first, index);
      if (!place.inside) continue;
      with_size(images, [&](auto size) { blend_float<decltype(size)::size>(bind, place, image, images, index, blended); });
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < images * kBindBlock; i += kBindThreads) {
      const int g = i / kBindBlock, inner = i % kBindBlock;
      if (first + inner < bind.gaussians) bind_one(bind, image + g, first + inner, blended[g], inner, out);
    }
    __syncthreads();
  }
}

}  // namespace

void bind_forward(const Bind& bind, const BoundGaussians<float>& out, const Queue& queue) {
  if (bind.gaussians == 0) return;
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  launch("bind_forward", bind_forward_kernel, dim3(static_cast<unsigned>(bind_blocks(bind.gaussians))), dim3(kBindThreads), queue.stream, bind, out);
}

}  // namespace cuda
}  // namespace blendsplat
