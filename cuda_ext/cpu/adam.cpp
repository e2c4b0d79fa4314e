// SPDX-License-Identifier: Apache-2.0
// Adam over all parameters at once. Bound by memory: sixteen bytes read, twelve written per element.
#include "blendsplat/adam.h"
#include "rows.h"
#include "threads.h"
#include "training.h"

BS_BEGIN

namespace {

constexpr int64_t kChunk = 1 << 13;  // elements that a thread takes at a time

BS_FN void step_chunk(const AdamTensor& tensor, const AdamFactors& factors, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += kLanes) {
    const int count = end - i < kLanes ? static_cast<int>(end - i) : kLanes;
    Lanes parameter = load_some(tensor.parameter + i, count), mean = load_some(tensor.exp_avg + i, count);
    Lanes square = load_some(tensor.exp_avg_sq + i, count);
    adam_element(factors, load_some(tensor.grad + i, count), &parameter, &mean, &square);
    store_some(tensor.parameter + i, parameter, count);
    store_some(tensor.exp_avg + i, mean, count);
    store_some(tensor.exp_avg_sq + i, square, count);
  }
}

int64_t chunks_of(const AdamTensor& tensor) { return tensor.grad ? (tensor.count + kChunk - 1) / kChunk : 0; }

}  // namespace

void adam(const AdamTensor* tensors, int64_t tensor_count, const AdamOptions& options, const float* rates, int64_t* steps, int threads) {
  int64_t chunks = 0;
  for (int64_t t = 0; t < tensor_count; ++t) chunks += chunks_of(tensors[t]);
  share(threads, chunks, 4, [&](int64_t chunk, int) {
    int64_t t = 0;
    for (; chunk >= chunks_of(tensors[t]); ++t) chunk -= chunks_of(tensors[t]);
    const int64_t begin = chunk * kChunk, count = tensors[t].count;
    step_chunk(tensors[t], adam_factors(options, rates[t], steps[t] + 1), begin, begin + kChunk < count ? begin + kChunk : count);
  });
  for (int64_t t = 0; t < tensor_count; ++t) steps[t] += tensors[t].grad != nullptr;
}

BS_END
