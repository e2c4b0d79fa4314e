// SPDX-License-Identifier: Apache-2.0
// L1 and SSIM with their gradient in one sweep over strips of rows. SSIM's windows are separable: a strip keeps sixteen
// rows of both images and of SSIM's derivatives, which is all that the blurs of the next rows reach. Four rows are
// blurred vertically at a time, so that a row is loaded for four results. Strips do not depend on the number of threads,
// so results do not either.
#include "blendsplat/image_loss.h"

#include <cstring>
#include <initializer_list>
#include <utility>

#include "pixels.h"
#include "threads.h"
#include "training.h"

BS_BEGIN

namespace {

constexpr int kStep = 4;                          // rows that are taken at a time
constexpr int kReach = kStep - 1 + 2 * kSsimRadius;  // last row that kStep blurred ones need, counted from the first
constexpr int kRing = 16;                         // rows kept: at least kReach + 1, a power of two
constexpr int kMargin = 16;                       // zeros beside each row: at least 3 kSsimRadius
constexpr int kWarmUp = 2 * kSsimRadius;          // rows read above a strip
constexpr int kStripRows = 128;                   // rows of an image that a thread takes at a time
constexpr int kMaps = 3, kMoments = 4;

enum Sum { kAbsolute, kSquare, kSimilarity };

// A strip's rows in the thread's scratch: interleaved RGB, as many pixels as whole Lanes hold, zeros on both sides.
struct Rings {
  float* base;
  int64_t floats;                                 // of a row, a multiple of 3 kLanes
  float* row(int64_t index) const { return base + index * (floats + 2 * kMargin) + kMargin; }
  float* x(int64_t row_index) const { return row(row_index & (kRing - 1)); }              // image times weight
  float* y(int64_t row_index) const { return row(kRing + (row_index & (kRing - 1))); }    // target times weight
  float* weight(int64_t row_index) const { return row(2 * kRing + (row_index & (kRing - 1))); }
  float* map(int which, int64_t row_index) const { return row((3 + which) * kRing + (row_index & (kRing - 1))); }
  float* blurred(int which, int step) const { return row((3 + kMaps) * kRing + which * kStep + step); }
};
constexpr int kScratchRows = (3 + kMaps) * kRing + kMoments * kStep;

int64_t padded_floats(int width) { return static_cast<int64_t>(width + kLanes - 1) / kLanes * kLanes * 3; }

struct Strip {
  const ImageLoss& loss;
  int64_t image, first, last;                     // rows [first, last)
  LossFactors factors;
  Rings rings;
  double sums[3];

  bool counts(int64_t row) const { return row >= first && row < last; }
  int64_t pixel(int64_t row) const { return (image * loss.height + row) * loss.width; }
};

// Sixteen pixels of the frame over the background: values and weights.
BS_FN void decode(const Strip& strip, int64_t pixel, int count, const Lanes* background, Lanes* target, Lanes* weight) {
  const TargetFrames& frames = strip.loss.frames;
  Lanes alpha[3];
  repeat_for_channels(load_some_bytes(frames.alpha + pixel, count), alpha);
  repeat_for_channels(load_some_bytes(frames.valid + pixel, count) * Lanes(kByte), weight);
  for (int c = 0; c < 3; ++c) {
    const Lanes color = load_some_bytes(frames.premultiplied + pixel * 3 + c * kLanes, 3 * count - c * kLanes);
    target[c] = over_background(color, alpha[c], background[c]);
  }
}

// One row of L1, if the strip counts it; and the weighted rows that SSIM needs.
template <bool WithSsim>
BS_FN void take_row(Strip& strip, int64_t row) {
  const ImageLoss& loss = strip.loss;
  const Rings& rings = strip.rings;
  if (row < 0 || row >= loss.height) {
    for (float* zeros : {rings.x(row), rings.y(row), rings.weight(row)}) std::memset(zeros, 0, rings.floats * sizeof(float));
    return;
  }
  const bool counts = strip.counts(row);
  const int64_t from = strip.pixel(row);
  const int64_t frame = (loss.rows[strip.image] * loss.height + row) * loss.width;
  Lanes background[3], absolute(0.0f), square(0.0f);
  repeat_color(loss.backgrounds + strip.image * 3, background);
  for (int column = 0; column < loss.width; column += kLanes) {
    const int count = loss.width - column;
    Lanes target[3], weight[3];
    decode(strip, frame + column, count, background, target, weight);
    for (int c = 0; c < 3; ++c) {
      const int64_t at = (from + column) * 3 + c * kLanes, in_row = column * 3 + c * kLanes;
      const int rest = 3 * count - c * kLanes;
      const Lanes x = load_some(loss.image + at, rest), difference = x - target[c];
      if (counts) {
        const Lanes weighted = weight[c] * difference;
        absolute = absolute + maximum(weighted, Lanes(0.0f) - weighted);
        square = fma(weighted, difference, square);
        store_some(loss.grad_image + at, absolute_gradient(difference, weight[c] * Lanes(strip.factors.l1)), rest);
      }
      if (WithSsim) {
        store(rings.x(row) + in_row, x * weight[c]);
        store(rings.y(row) + in_row, target[c] * weight[c]);
        store(rings.weight(row) + in_row, weight[c]);
      }
    }
  }
  strip.sums[kAbsolute] += total(absolute);
  strip.sums[kSquare] += total(square);
}

// The window along a row whose neighbours are three floats apart.
BS_FN Lanes blur_along(const float* p) {
  Lanes sum = Lanes(ssim_window(0)) * load(p);
  for (int k = 1; k <= kSsimRadius; ++k) sum = fma(Lanes(ssim_window(k)), load(p - 3 * k) + load(p + 3 * k), sum);
  return sum;
}

// sums[s] += window * value: what the row `Reach` after the first adds to kStep rows from kSsimRadius below that on.
template <int Reach, int... Steps>
BS_FN void add_row(const Lanes& value, Lanes* sums, std::integer_sequence<int, Steps...>) {
  constexpr int first = Reach - kSsimRadius;
  ((sums[Steps] = first - Steps < -kSsimRadius || first - Steps > kSsimRadius
        ? sums[Steps] : fma(Lanes(ssim_window(first - Steps)), value, sums[Steps])), ...);
}

// Calls visit(std::integral_constant<int, i>) for i in [0, Count): loops over registers must be unrolled by every compiler.
template <class Visit, int... Is>
BS_FN void unrolled(Visit visit, std::integer_sequence<int, Is...>) {
  (visit(std::integral_constant<int, Is>()), ...);
}

constexpr auto kSteps = std::make_integer_sequence<int, kStep>();
constexpr auto kReached = std::make_integer_sequence<int, kReach + 1>();

// Moments of the rows row .. row + kStep - 1, blurred vertically.
BS_FN void blur_moments(const Rings& rings, int64_t row) {
  for (int64_t i = 0; i < rings.floats; i += kLanes) {
    Lanes sums[kMoments][kStep];
    for (auto& moment : sums) for (Lanes& sum : moment) sum = Lanes(0.0f);
    unrolled([&](auto reach) {
      const Lanes x = load(rings.x(row - kSsimRadius + reach) + i), y = load(rings.y(row - kSsimRadius + reach) + i);
      add_row<reach>(x, sums[0], kSteps);
      add_row<reach>(y, sums[1], kSteps);
      add_row<reach>(fma(x, x, y * y), sums[2], kSteps);
      add_row<reach>(x * y, sums[3], kSteps);
    }, kReached);
    for (int m = 0; m < kMoments; ++m) for (int s = 0; s < kStep; ++s) store(rings.blurred(m, s) + i, sums[m][s]);
  }
}

// SSIM and the weighted derivatives of one row, from blurred(., step).
BS_FN void map_row(Strip& strip, int64_t row, int step) {
  const Rings& rings = strip.rings;
  const float* weights = rings.weight(row);
  Lanes sum(0.0f);
  for (int64_t i = 0; i < rings.floats; i += kLanes) {
    const Similarity<Lanes> s = similarity(blur_along(rings.blurred(0, step) + i), blur_along(rings.blurred(1, step) + i),
                                           blur_along(rings.blurred(2, step) + i), blur_along(rings.blurred(3, step) + i));
    const Lanes weight = load(weights + i), share = weight * Lanes(-strip.factors.ssim);
    sum = fma(weight, s.value, sum);
    store(rings.map(0, row) + i, share * s.mean);
    store(rings.map(1, row) + i, share * s.square);
    store(rings.map(2, row) + i, share * s.cross);
  }
  if (strip.counts(row)) strip.sums[kSimilarity] += total(sum);
}

BS_FN void blur_maps(const Rings& rings, int64_t row) {
  for (int64_t i = 0; i < rings.floats; i += kLanes) {
    for (int m = 0; m < kMaps; ++m) {
      Lanes sums[kStep];
      for (Lanes& sum : sums) sum = Lanes(0.0f);
      unrolled([&](auto reach) { add_row<reach>(load(rings.map(m, row - kSsimRadius + reach) + i), sums, kSteps); }, kReached);
      for (int s = 0; s < kStep; ++s) store(rings.blurred(m, s) + i, sums[s]);
    }
  }
}

// Adds SSIM's gradient to one row: the derivatives blurred back, then through the squares, the products and the weight.
BS_FN void add_gradient(const Strip& strip, int64_t row, int step) {
  const Rings& rings = strip.rings;
  const int floats = 3 * strip.loss.width;
  float* out = strip.loss.grad_image + strip.pixel(row) * 3;
  for (int i = 0; i < floats; i += kLanes) {
    const Lanes mean = blur_along(rings.blurred(0, step) + i), square = blur_along(rings.blurred(1, step) + i);
    const Lanes cross = blur_along(rings.blurred(2, step) + i);
    const Lanes x = load(rings.x(row) + i), y = load(rings.y(row) + i);
    const Lanes grad = fma(Lanes(2.0f) * x, square, fma(y, cross, mean));
    store_some(out + i, fma(load(rings.weight(row) + i), grad, load_some(out + i, floats - i)), floats - i);
  }
}

// kStep rows in; kSsimRadius rows above them kStep rows of derivatives; as much higher again kStep rows of gradient.
void run_strip(Strip& strip) {
  const int64_t start = strip.first - kWarmUp;
  for (int64_t row = start; row - kWarmUp < strip.last; row += kStep) {
    for (int s = 0; s < kStep; ++s) take_row<true>(strip, row + s);
    const int64_t maps = row - kSsimRadius, grads = row - 2 * kSsimRadius;
    if (maps + kStep <= strip.first - kSsimRadius) continue;
    blur_moments(strip.rings, maps);
    for (int s = 0; s < kStep; ++s) map_row(strip, maps + s, s);
    if (grads < strip.first) continue;
    blur_maps(strip.rings, grads);
    for (int s = 0; s < kStep; ++s) if (grads + s < strip.last) add_gradient(strip, grads + s, s);
  }
}

void run_strip_without_ssim(Strip& strip) {
  for (int64_t row = strip.first; row < strip.last; ++row) take_row<false>(strip, row);
}

int64_t scratch_floats(int width) { return kScratchRows * (padded_floats(width) + 2 * kMargin); }

}  // namespace

ImageLossSizes image_loss_sizes(int64_t images, int height, int width, int threads) {
  return {images * ((height + kStripRows - 1) / kStripRows) * 3, threads * scratch_floats(width)};
}

void image_loss(const ImageLoss& loss, double* sums, float* scratch, int threads) {
  const int64_t strips = (loss.height + kStripRows - 1) / kStripRows;
  const bool with_ssim = loss.ssim_weight != 0.0f;
  if (with_ssim) std::memset(scratch, 0, static_cast<size_t>(threads * scratch_floats(loss.width)) * sizeof(float));  // margins stay zero
  share(threads, loss.images * strips, 1, [&](int64_t item, int rank) {
    const int64_t image = item / strips, first = item % strips * kStripRows;
    const int64_t last = first + kStripRows < loss.height ? first + kStripRows : loss.height;
    float* mine = scratch + rank * scratch_floats(loss.width);
    Strip strip = {loss, image, first, last, loss_factors(loss, image), {mine, padded_floats(loss.width)}, {}};
    with_ssim ? run_strip(strip) : run_strip_without_ssim(strip);
    std::memcpy(sums + item * 3, strip.sums, sizeof strip.sums);
  });
  for (int64_t image = 0; image < loss.images; ++image) {
    double all[3] = {};
    for (int64_t i = 0; i < strips * 3; ++i) all[i % 3] += sums[image * strips * 3 + i];
    loss.losses[image] = total_loss(loss, image, all[kAbsolute], all[kSimilarity]);
    loss.mean_squares[image] = static_cast<float>(all[kSquare] / static_cast<double>(loss.frames.weight_sums[loss.rows[image]]));
  }
}

BS_END
