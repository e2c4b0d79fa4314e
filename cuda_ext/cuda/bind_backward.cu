// SPDX-License-Identifier: Apache-2.0
// The derivative of bind_forward: gradients turned back into the triangles' frames meet in shared memory, from where a
// thread per float takes them to base and blendshapes. The weights' gradients are sums over all Gaussians: every warp
// leaves a row of them and a last launch adds the rows in a fixed order, so there are no atomics.
#include "bind.cuh"
#include "warp.cuh"

namespace blendsplat {
namespace cuda {

namespace {

constexpr int kWarps = kBindThreads / 32;
constexpr int kFloatsOfThread = kBlockFloats / kBindThreads;

__device__ void unbind_one(const Bind& bind, const BindBackward& b, int64_t image, int64_t gaussian, int inner, float* floats) {
  LocalGaussian<float> local = {};
  if (gaussian < bind.gaussians) {
    const int64_t at = image * bind.gaussians + gaussian;
    local = carry_back(frame_of(bind, image, gaussian), b.outputs.colors + at * 3, b.grads.means + at * 3, b.grads.quats + at * 4,
                       b.grads.colors + at * 3);
  }
  for (int i = 0; i < 3; ++i) local_floats(floats, 0, inner)[i] = local.position[i];
  for (int i = 0; i < 4; ++i) local_floats(floats, 1, inner)[i] = local.quat[i];
  for (int i = 0; i < 3; ++i) local_floats(floats, 2, inner)[i] = local.color[i];
}

// This thread's floats of a group of images: to base and blendshapes (added to those of the images before), and to the
// warp's row of weight gradients.
template <int Size>
__device__ void unblend(const Bind& bind, const BindBackward& b, int64_t first, int64_t image, int images, const float (*local)[kBlockFloats], float* row) {
  const bool later = image > 0;
  for (int j = 0; j < kFloatsOfThread; ++j) {
    const int index = j * kBindThreads + static_cast<int>(threadIdx.x);
    const FloatPlace place = float_place(bind, first, index);
    if (!place.inside) continue;
    float sum = later ? b.base[place.array][place.offset] : 0.0f;
    for (int g = 0; g < images; ++g) sum += local[g][index];
    b.base[place.array][place.offset] = sum;
  }
  for (int64_t k = 0; k < bind.blendshapes; ++k) {
    float products[Size] = {};
    for (int j = 0; j < kFloatsOfThread; ++j) {
      const int index = j * kBindThreads + static_cast<int>(threadIdx.x);
      const FloatPlace place = float_place(bind, first, index);
      if (!place.inside) continue;
      const int64_t at = k * place.stride + place.offset;
      const float basis = bind.deltas[place.array][at];
      float sum = later ? b.deltas[place.array][at] : 0.0f;
BS_UNROLL
      for (int g = 0; g < Size; ++g) {
        if (g >= images) continue;
        sum = fma(local[g][index], bind.weights[(image + g) * bind.blendshapes + k], sum);
        products[g] = fma(local[g][index], basis, products[g]);
      }
      b.deltas[place.array][at] = sum;
    }
BS_UNROLL
    for (int g = 0; g < Size; ++g) {
      if (g >= images) continue;
      const float sum = warp_sum(products[g]);
      if (threadIdx.x % 32 == 0) row[(image + g) * bind.blendshapes + k] = sum;
    }
  }
}

__device__ void activations_back(const Bind& bind, const BindBackward& b, int64_t first) {
  for (int64_t i = 3 * first + threadIdx.x; i < 3 * (first + kBindBlock) && i < 3 * bind.gaussians; i += kBindThreads) {
    b.log_scales[i] = b.grads.scales[i] * b.outputs.scales[i];
  }
  for (int64_t i = first + threadIdx.x; i < first + kBindBlock && i < bind.gaussians; i += kBindThreads) {
    b.opacity_logits[i] = logistic_gradient(b.outputs.opacities[i], b.grads.opacities[i]);
  }
}

__global__ void __launch_bounds__(kBindThreads) bind_backward_kernel(Bind bind, BindBackward b) {
  __shared__ float local[kTogether][kBlockFloats];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kBindBlock;
  float* row = b.scratch + (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32) * bind.images * bind.blendshapes;
  if (b.log_scales) activations_back(bind, b, first);
  for (int64_t image = 0; image < bind.images; image += kTogether) {
    const int images = static_cast<int>(bind.images - image < kTogether ? bind.images - image : kTogether);
    for (int i = static_cast<int>(threadIdx.x); i < images * kBindBlock; i += kBindThreads) {
      const int g = i / kBindBlock, inner = i % kBindBlock;
      unbind_one(bind, b, image + g, first + inner, inner, local[g]);
    }
    __syncthreads();
    with_size(images, [&](auto size) { unblend<decltype(size)::size>(bind, b, first, image, images, local, row); });
    __syncthreads();
  }
}

// A warp for one gradient of a weight.
__global__ void weights_kernel(const float* rows, int64_t row_count, int64_t weights, float* out) {
  double sum = 0.0;
  for (int64_t row = threadIdx.x; row < row_count; row += 32) sum += rows[row * weights + blockIdx.x];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<float>(sum);
}

// The surface's gradients. First what the frames' need of the blended floats, a thread per float (quats: array 1).
__global__ void keep_blended_kernel(Bind bind, BindSurface s, int array) {
  const int width = array == 0 ? 3 : 4;
  const int64_t floats = bind.gaussians * width, index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= bind.images * floats) return;
  const int64_t image = index / floats, offset = index % floats;
  float sum = bind.base[array][offset];
  for (int64_t k = 0; k < bind.blendshapes; ++k) sum = fma(bind.deltas[array][k * floats + offset], bind.weights[image * bind.blendshapes + k], sum);
  (array == 0 ? s.positions : s.quats)[index] = sum;
}

__global__ void gather_triangles_kernel(Bind bind, BindBackward b) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index < bind.images * bind.faces) gather_triangle(bind, b, index / bind.faces, index % bind.faces);
}

__global__ void gather_vertices_kernel(Bind bind, BindBackward b) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index < bind.images * bind.vertex_count) gather_vertex(bind, b, index / bind.vertex_count, index % bind.vertex_count);
}

void surface_back(const Bind& bind, const BindBackward& b, const Queue& queue) {
  const BindSurface& s = b.surface;
  const int64_t triangles = bind.images * bind.faces, vertices = bind.images * bind.vertex_count;
  for (int array = 0; array < 2 && s.positions; ++array) {
    const int64_t floats = bind.images * bind.gaussians * kWidths[array];
    if (floats) launch("bind_backward's blending", keep_blended_kernel, dim3(blocks_for(floats)), dim3(kThreads), queue.stream, bind, s, array);
  }
  if (triangles && (s.frames || s.frame_quats)) {
    launch("bind_backward's triangles", gather_triangles_kernel, dim3(blocks_for(triangles)), dim3(kThreads), queue.stream, bind, b);
  }
  if (vertices && s.vertices) launch("bind_backward's vertices", gather_vertices_kernel, dim3(blocks_for(vertices)), dim3(kThreads), queue.stream, bind, b);
}

}  // namespace

int64_t bind_scratch(int64_t images, int64_t gaussians, int64_t blendshapes) {
  return bind_blocks(gaussians) * kWarps * images * blendshapes;
}

void bind_backward(const Bind& bind, const BindBackward& b, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const int64_t blocks = bind_blocks(bind.gaussians), weights = bind.images * bind.blendshapes, rows = blocks * kWarps;
  if (blocks) launch("bind_backward", bind_backward_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kBindThreads), queue.stream, bind, b);
  const float* sums = b.scratch;
  if (weights) launch("bind_backward's weights", weights_kernel, dim3(static_cast<unsigned>(weights)), dim3(32), queue.stream, sums, rows, weights, b.weights);
  surface_back(bind, b, queue);
}

}  // namespace cuda
}  // namespace blendsplat
