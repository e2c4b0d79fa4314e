// SPDX-License-Identifier: Apache-2.0
// Adam over all parameters in one launch (two for more than kTensors): a block finds its tensor and its step's factors,
// then walks its run of elements. The counts move on afterwards, when every block has read them.
#include "launch.h"
#include "training.h"

namespace blendsplat {
namespace cuda {

namespace {

using namespace BLENDSPLAT_TARGET;

constexpr int kTensors = 32;                  // of one launch; they travel as its argument
constexpr int kRun = 8 * kThreads;            // elements of a block

struct AdamBatch {
  AdamTensor tensors[kTensors];
  int64_t first_block[kTensors + 1];          // of each tensor
  int count;
};

__global__ void adam_kernel(AdamBatch batch, AdamOptions options, const float* rates, const int64_t* steps, const int32_t* skip) {
  if (skip && *skip) return;  // all threads of all blocks
  __shared__ AdamFactors shared;
  int t = 0;
  while (blockIdx.x >= batch.first_block[t + 1]) ++t;
  if (threadIdx.x == 0) shared = adam_factors(options, rates[t], steps[t] + 1);
  __syncthreads();
  const AdamTensor tensor = batch.tensors[t];
  const AdamFactors factors = shared;
  const int64_t begin = (blockIdx.x - batch.first_block[t]) * kRun;
  const int64_t end = begin + kRun < tensor.count ? begin + kRun : tensor.count;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    float parameter = tensor.parameter[i], mean = tensor.exp_avg[i], square = tensor.exp_avg_sq[i];
    adam_element(factors, tensor.grad[i], &parameter, &mean, &square);
    tensor.parameter[i] = parameter;
    tensor.exp_avg[i] = mean;
    tensor.exp_avg_sq[i] = square;
  }
}

__global__ void count_kernel(AdamBatch batch, int64_t* steps, const int32_t* skip) {
  if (skip && *skip) return;
  const int t = static_cast<int>(threadIdx.x);
  if (t < batch.count && batch.tensors[t].grad) ++steps[t];
}

AdamBatch make_batch(const AdamTensor* tensors, int count) {
  AdamBatch batch = {};
  batch.count = count;
  for (int t = 0; t < count; ++t) {
    batch.tensors[t] = tensors[t];
    const int64_t blocks = tensors[t].grad ? (tensors[t].count + kRun - 1) / kRun : 0;
    batch.first_block[t + 1] = batch.first_block[t] + blocks;
  }
  return batch;
}

}  // namespace

void adam(const AdamTensor* tensors, int64_t count, const AdamOptions& options, const float* rates, int64_t* steps, const int32_t* skip, const Queue& queue) {
  check(cudaSetDevice(queue.device), "choosing the CUDA device");
  for (int64_t first = 0; first < count; first += kTensors) {
    const AdamBatch batch = make_batch(tensors + first, static_cast<int>(count - first < kTensors ? count - first : kTensors));
    const int64_t blocks = batch.first_block[batch.count];
    if (blocks == 0) continue;
    const float* own_rates = rates + first;
    const int64_t* own_steps = steps + first;
    launch("adam", adam_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), queue.stream, batch, options, own_rates, own_steps, skip);
    launch("adam's counts", count_kernel, dim3(1), dim3(kTensors), queue.stream, batch, steps + first, skip);
  }
}

}  // namespace cuda
}  // namespace blendsplat
