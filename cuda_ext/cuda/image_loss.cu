// SPDX-License-Identifier: Apache-2.0
// L1 and SSIM with their gradient. A block has 16x16 pixels and blurs them through shared memory, along rows and then
// along columns, a channel at a time: first the moments, from which come SSIM and its derivatives (kept in `maps`), then
// the derivatives back to the pixels. A last launch adds the blocks' sums in a fixed order.
#include "launch.h"
#include "training.h"
#include "warp.cuh"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

constexpr int kSide = 16;                         // pixels of a block's side
constexpr int kWide = kSide + 2 * kSsimRadius;    // with what the window reaches
constexpr int kPixels = kSide * kSide;
constexpr int kWarps = kPixels / 32;

// One channel of a block's pixels and their neighbours; zero outside the image, as SSIM's padding wants it.
template <int Count>
struct Tile {
  float values[Count][kWide][kWide + 1];
};
// Blurred along the rows.
template <int Count>
struct Blurred {
  float values[Count][kWide][kSide];
};

struct PixelPlace {
  int64_t image, frame;                           // index of the pixel in the batch and among the frames
  float weight;
};

__device__ PixelPlace place_of(const ImageLoss& loss, int row, int column) {
  const int64_t image = blockIdx.z, in_image = static_cast<int64_t>(row) * loss.width + column;
  const int64_t pixels = static_cast<int64_t>(loss.height) * loss.width;
  PixelPlace place = {image * pixels + in_image, loss.rows[image] * pixels + in_image, 0.0f};
  place.weight = static_cast<float>(loss.frames.valid[place.frame]) * kByte;
  return place;
}

__device__ float target_of(const ImageLoss& loss, const PixelPlace& place, int channel) {
  return over_background(static_cast<float>(loss.frames.premultiplied[place.frame * 3 + channel]),
                         static_cast<float>(loss.frames.alpha[place.frame]), loss.backgrounds[blockIdx.z * 3 + channel]);
}

__device__ bool inside(const ImageLoss& loss, int row, int column) {
  return row >= 0 && row < loss.height && column >= 0 && column < loss.width;
}

// Calls visit(row, column of the tile) for all its places, spread over the block's threads.
template <class Visit>
__device__ void each_place(int rows, int columns, Visit visit) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * columns; i += kPixels) visit(i / columns, i % columns);
}

template <int Count>
__device__ void blur_columns(const Blurred<Count>& blurred, float* out) {
  const int row = static_cast<int>(threadIdx.x) / kSide, column = static_cast<int>(threadIdx.x) % kSide;
  for (int i = 0; i < Count; ++i) out[i] = 0.0f;
  for (int k = -kSsimRadius; k <= kSsimRadius; ++k) {
    for (int i = 0; i < Count; ++i) out[i] = fma(ssim_window(k), blurred.values[i][row + kSsimRadius + k][column], out[i]);
  }
}

__device__ void load_weighted(const ImageLoss& loss, int top, int left, int channel, Tile<2>& tile) {
  each_place(kWide, kWide, [&](int row, int column) {
    float x = 0.0f, y = 0.0f;
    if (inside(loss, top + row, left + column)) {
      const PixelPlace place = place_of(loss, top + row, left + column);
      x = loss.image[place.image * 3 + channel] * place.weight;
      y = target_of(loss, place, channel) * place.weight;
    }
    tile.values[0][row][column] = x;
    tile.values[1][row][column] = y;
  });
}

__device__ void blur_moments(const Tile<2>& tile, Blurred<4>& blurred) {
  each_place(kWide, kSide, [&](int row, int column) {
    float sums[4] = {};
    for (int k = 0; k <= 2 * kSsimRadius; ++k) {
      const float window = ssim_window(k - kSsimRadius), x = tile.values[0][row][column + k], y = tile.values[1][row][column + k];
      sums[0] = fma(window, x, sums[0]);
      sums[1] = fma(window, y, sums[1]);
      sums[2] = fma(window, fma(x, x, y * y), sums[2]);
      sums[3] = fma(window, x * y, sums[3]);
    }
    for (int i = 0; i < 4; ++i) blurred.values[i][row][column] = sums[i];
  });
}

// sums: absolute, square, SSIM of this thread's pixels. To `out`, for the block.
__device__ void add_up(const float* sums, float (*partial)[3], double* out) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (int i = 0; i < 3; ++i) {
    const float sum = warp_sum(sums[i]);
    if (threadIdx.x % 32 == 0) partial[warp][i] = sum;
  }
  __syncthreads();
  if (threadIdx.x < 3) {
    double sum = 0.0;
    for (int w = 0; w < kWarps; ++w) sum += partial[w][threadIdx.x];
    out[threadIdx.x] = sum;
  }
}

// L1, its gradient and, if `maps` is there, SSIM and its derivatives: maps [3,B,H,W,3].
__global__ void __launch_bounds__(kPixels) compare_kernel(ImageLoss loss, double* sums, float* maps) {
  __shared__ Tile<2> tile;
  __shared__ Blurred<4> blurred;
  __shared__ float partial[kWarps][3];
  const int top = static_cast<int>(blockIdx.y) * kSide, left = static_cast<int>(blockIdx.x) * kSide;
  const int row = top + static_cast<int>(threadIdx.x) / kSide, column = left + static_cast<int>(threadIdx.x) % kSide;
  const LossFactors factors = loss_factors(loss, blockIdx.z);
  const int64_t plane = loss.images * loss.height * loss.width * 3;
  const bool mine = inside(loss, row, column);
  float own[3] = {};
  for (int channel = 0; channel < 3; ++channel) {
    Similarity<float> s = {};
    if (maps) {
      load_weighted(loss, top - kSsimRadius, left - kSsimRadius, channel, tile);
      __syncthreads();
      blur_moments(tile, blurred);
      __syncthreads();
      float moments[4];
      blur_columns(blurred, moments);
      s = similarity(moments[0], moments[1], moments[2], moments[3]);
    }
    if (!mine) continue;
    const PixelPlace place = place_of(loss, row, column);
    const int64_t at = place.image * 3 + channel;
    const float difference = loss.image[at] - target_of(loss, place, channel), weighted = place.weight * difference;
    loss.grad_image[at] = absolute_gradient(difference, place.weight * factors.l1);
    own[0] += fabsf(weighted);
    own[1] = fma(weighted, difference, own[1]);
    own[2] = fma(place.weight, s.value, own[2]);
    if (!maps) continue;
    const float share = -place.weight * factors.ssim;
    maps[at] = share * s.mean;
    maps[plane + at] = share * s.square;
    maps[2 * plane + at] = share * s.cross;
  }
  add_up(own, partial, sums + ((static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * 3);
}

__device__ void load_maps(const ImageLoss& loss, const float* maps, int top, int left, int channel, Tile<3>& tile) {
  const int64_t plane = loss.images * loss.height * loss.width * 3;
  each_place(kWide, kWide, [&](int row, int column) {
    const bool here = inside(loss, top + row, left + column);
    const int64_t pixel = (static_cast<int64_t>(blockIdx.z) * loss.height + top + row) * loss.width + left + column;
    for (int i = 0; i < 3; ++i) tile.values[i][row][column] = here ? maps[i * plane + pixel * 3 + channel] : 0.0f;
  });
}

__device__ void blur_rows(const Tile<3>& tile, Blurred<3>& blurred) {
  each_place(kWide, kSide, [&](int row, int column) {
    for (int i = 0; i < 3; ++i) {
      float sum = 0.0f;
      for (int k = 0; k <= 2 * kSsimRadius; ++k) sum = fma(ssim_window(k - kSsimRadius), tile.values[i][row][column + k], sum);
      blurred.values[i][row][column] = sum;
    }
  });
}

// Adds SSIM's gradient.
__global__ void __launch_bounds__(kPixels) gradient_kernel(ImageLoss loss, const float* maps) {
  __shared__ Tile<3> tile;
  __shared__ Blurred<3> blurred;
  const int top = static_cast<int>(blockIdx.y) * kSide, left = static_cast<int>(blockIdx.x) * kSide;
  const int row = top + static_cast<int>(threadIdx.x) / kSide, column = left + static_cast<int>(threadIdx.x) % kSide;
  for (int channel = 0; channel < 3; ++channel) {
    load_maps(loss, maps, top - kSsimRadius, left - kSsimRadius, channel, tile);
    __syncthreads();
    blur_rows(tile, blurred);
    __syncthreads();
    if (!inside(loss, row, column)) continue;
    float back[3];
    blur_columns(blurred, back);
    const PixelPlace place = place_of(loss, row, column);
    const int64_t at = place.image * 3 + channel;
    const float x = loss.image[at] * place.weight, y = target_of(loss, place, channel) * place.weight;
    loss.grad_image[at] = fma(place.weight, fma(2.0f * x, back[1], fma(y, back[2], back[0])), loss.grad_image[at]);
  }
}

// A warp per image: the sums of its blocks, always in the same order.
__global__ void finish_kernel(ImageLoss loss, const double* sums, int64_t blocks) {
  const int64_t image = blockIdx.x;
  double all[3] = {};
  for (int64_t block = threadIdx.x; block < blocks; block += 32) {
    for (int i = 0; i < 3; ++i) all[i] += sums[(image * blocks + block) * 3 + i];
  }
  for (double& sum : all) sum = warp_sum(sum);
  if (threadIdx.x != 0) return;
  loss.losses[image] = total_loss(loss, image, all[0], all[2]);
  loss.mean_squares[image] = static_cast<float>(all[1] / static_cast<double>(loss.frames.weight_sums[loss.rows[image]]));
}

unsigned blocks_along(int pixels) { return static_cast<unsigned>((pixels + kSide - 1) / kSide); }

}  // namespace

ImageLossSizes image_loss_sizes(int64_t images, int height, int width) {
  return {images * blocks_along(height) * blocks_along(width) * 3, images * height * width * 9};
}

void image_loss(const ImageLoss& loss, double* sums, float* maps, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  const dim3 grid(blocks_along(loss.width), blocks_along(loss.height), static_cast<unsigned>(loss.images));
  float* kept = loss.ssim_weight != 0.0f ? maps : nullptr;
  launch("image_loss", compare_kernel, grid, dim3(kPixels), queue.stream, loss, sums, kept);
  const float* derivatives = kept;
  if (kept) launch("image_loss's gradient", gradient_kernel, grid, dim3(kPixels), queue.stream, loss, derivatives);
  const int64_t blocks = static_cast<int64_t>(grid.x) * grid.y;
  const double* block_sums = sums;
  launch("image_loss's sums", finish_kernel, dim3(static_cast<unsigned>(loss.images)), dim3(32), queue.stream, loss, block_sums, blocks);
}

}  // namespace cuda
}  // namespace blendsplat
