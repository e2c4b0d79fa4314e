// SPDX-License-Identifier: Apache-2.0
// One element's step of Adam (Kingma & Ba 2015, algorithm 1 with the corrections folded into two factors), and what a
// step of many tensors needs to know about each.
#pragma once

#include "blendsplat/target.h"

namespace blendsplat {

struct AdamTensor {
  float* parameter;
  const float* grad;                 // null: the tensor and its step count stay as they are
  float *exp_avg, *exp_avg_sq;
  int64_t count;
};

struct AdamOptions {
  double beta1, beta2, eps;
};

}  // namespace blendsplat

BS_BEGIN

// What all elements of a tensor share in one step.
struct AdamFactors {
  float beta1_rest, beta2, beta2_rest;  // 1 - beta1, beta2, 1 - beta2
  float rate;                           // learning rate / (1 - beta1^t)
  float spread;                         // 1 / sqrt(1 - beta2^t)
  float eps;
};

// step: of this tensor, counted from 1. In double: 1 - beta2^t cancels for small t.
BS_FN AdamFactors adam_factors(const AdamOptions& options, float learning_rate, int64_t step) {
  const double t = static_cast<double>(step);
  AdamFactors f;
  f.beta1_rest = static_cast<float>(1.0 - options.beta1);
  f.beta2 = static_cast<float>(options.beta2);
  f.beta2_rest = static_cast<float>(1.0 - options.beta2);
  f.rate = static_cast<float>(learning_rate / (1.0 - pow(options.beta1, t)));
  f.spread = static_cast<float>(1.0 / sqrt(1.0 - pow(options.beta2, t)));
  f.eps = static_cast<float>(options.eps);
  return f;
}

// Moments below these are zero: their share of a step is under 1e-15 of the learning rate with the smallest eps in use,
// and moments that fade for hundreds of steps would become denormal numbers, on which processors are ten times slower.
constexpr float kFadedMean = 1e-30f, kFadedSquare = 1e-36f;

// A gradient that is not finite makes its own element not finite, as in torch, and no other.
template <class T>
BS_FN void adam_element(const AdamFactors& f, const T& grad, T* parameter, T* exp_avg, T* exp_avg_sq) {
  const T mean = fma(T(f.beta1_rest), grad - *exp_avg, *exp_avg);
  const T square = fma(T(f.beta2_rest) * grad, grad, T(f.beta2) * *exp_avg_sq);
  const T size = maximum(mean, T(0.0f) - mean);
  *exp_avg = select(size < T(kFadedMean), T(0.0f), mean);
  *exp_avg_sq = select(square < T(kFadedSquare), T(0.0f), square);
  *parameter = *parameter - T(f.rate) * *exp_avg / fma(square_root(*exp_avg_sq), T(f.spread), T(f.eps));
}

BS_END
