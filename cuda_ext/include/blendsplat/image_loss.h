// SPDX-License-Identifier: Apache-2.0
// The loss of a rendered batch against 8-bit frames: weighted L1 and 1 - SSIM (Wang et al. 2004: 11x11 Gaussian window of
// sigma 1.5, zero padding). Per pixel what both backends compute; how they blur is their own.
#pragma once

#include "blendsplat/target.h"

namespace blendsplat {

struct TargetFrames {
  const uint8_t *premultiplied, *alpha, *valid;  // [M,H,W,3] [M,H,W] [M,H,W]
  const float* weight_sums;                      // [M] sum of valid / 255 over pixels and channels, at least 1e-8
};

struct ImageLoss {
  int64_t images;                    // B
  int width, height;
  const float* image;                // [B,H,W,3]
  TargetFrames frames;
  const int64_t* rows;               // [B] frame of each image
  const float* backgrounds;          // [B,3]
  float l1_weight, ssim_weight;
  float* grad_image;                 // [B,H,W,3] of the mean of `losses`
  float *losses, *mean_squares;      // [B] [B]
};

// How much the caller allocates for one call: doubles and floats.
struct ImageLossSizes {
  int64_t sums, scratch;
};

}  // namespace blendsplat

BS_BEGIN

constexpr int kSsimRadius = 5;
constexpr float kSsimC1 = 1e-4f, kSsimC2 = 9e-4f;
constexpr float kByte = 1.0f / 255.0f;

// The window's weight so many pixels from its centre; a constant wherever loops are unrolled.
BS_FN float ssim_window(int distance) {
  const int d = distance < 0 ? -distance : distance;
  return d == 0 ? 0.2660117249f : d == 1 ? 0.2130055377f : d == 2 ? 0.1093606895f : d == 3 ? 0.03600077213f
       : d == 4 ? 0.007598758135f : 0.001028380084f;
}

// A frame's premultiplied colour and matte, 0 to 255, over a background in [0,1].
template <class T>
BS_FN T over_background(const T& color, const T& alpha, const T& background) {
  return fma((T(255.0f) - alpha) * T(kByte), background, color * T(kByte));  // an opaque pixel is its colour exactly
}

// Factors of one image: what a weighted error adds to the gradient of the batch's mean loss.
struct LossFactors {
  float l1, ssim;
};

BS_FN LossFactors loss_factors(const ImageLoss& loss, int64_t image) {
  const float share = 1.0f / (loss.frames.weight_sums[loss.rows[image]] * static_cast<float>(loss.images));
  return {loss.l1_weight * share, loss.ssim_weight * share};
}

// The weighted subgradient of |difference|: zero where there is none, as in torch.
template <class T>
BS_FN T absolute_gradient(const T& difference, const T& weight) {
  const T zero(0.0f);
  return select(difference > zero, weight, select(difference < zero, zero - weight, zero));
}

// SSIM from the windowed moments of x and y, and its derivatives with respect to those in which x occurs.
template <class T>
struct Similarity {
  T value;
  T mean, square, cross;             // d value / d E[x], E[x^2 + y^2], E[xy]
};

template <class T>
BS_FN Similarity<T> similarity(const T& mean_x, const T& mean_y, const T& squares, const T& cross) {
  const T two(2.0f), products = mean_x * mean_y, mean_squares = fma(mean_x, mean_x, mean_y * mean_y);
  const T a1 = fma(two, products, T(kSsimC1)), a2 = fma(two, cross - products, T(kSsimC2));
  const T b1 = mean_squares + T(kSsimC1), b2 = squares - mean_squares + T(kSsimC2);
  const T inverse = T(1.0f) / (b1 * b2);
  Similarity<T> s;
  s.value = a1 * a2 * inverse;
  s.square = T(0.0f) - s.value * b1 * inverse;
  s.cross = two * a1 * inverse;
  // mean_x also moves the variances and the covariance, which are taken about it
  s.mean = two * (mean_y * a2 * inverse - mean_x * (s.value * b2 * inverse + s.square)) - mean_y * s.cross;
  return s;
}

// Loss of one image from its sums over pixels and channels: weighted |x - y| and SSIM.
BS_FN float total_loss(const ImageLoss& loss, int64_t image, double absolute, double ssim) {
  const double share = 1.0 / static_cast<double>(loss.frames.weight_sums[loss.rows[image]]);
  double sum = loss.l1_weight * absolute * share;
  if (loss.ssim_weight != 0.0f) sum += loss.ssim_weight * (1.0 - ssim * share);
  return static_cast<float>(sum);
}

BS_END
