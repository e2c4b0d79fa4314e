// SPDX-License-Identifier: Apache-2.0
// The operations as a GPU thread does them, one Gaussian and one pixel at a time: a machine without a GPU tests with
// this what the CUDA kernels run. Never chosen unasked (see dispatch.cpp).
#include <algorithm>
#include <cmath>

#include "blendsplat/blend.h"
#include "scalar.h"

BS_BEGIN

namespace {

Pixel composite(const float* records, const TileList& list, float x, float y, const int32_t** last) {
  Pixel pixel;
  pixel.x = x;
  pixel.y = y;
  *last = list.begin;
  for (const int32_t* entry = list.begin; entry != list.end && !pixel.done; ++entry) {
    if (pixel.take(records + static_cast<int64_t>(*entry) * kRecordSize) > 0) *last = entry + 1;
  }
  return pixel;
}

}  // namespace

int64_t project(const Scene& scene, int64_t image, int64_t start, int64_t count, float* records, uint32_t* depths,
                int32_t* tile_bounds) {
  int64_t bound = 0;
  for (int64_t i = start; i < start + count; ++i) {
    float* record = records + i * kRecordSize;
    tile_bounds[i] = project_one(scene, image * scene.gaussians + i, kTileShift, record);
    depths[i] = tile_bounds[i] ? depth_bits(record) : 0;
    bound += tile_bounds[i];
  }
  return bound;
}

int64_t emit_pairs(const Scene& scene, const float* records, const uint32_t* order, int64_t count, uint64_t* pairs) {
  int64_t written = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float* record = records + static_cast<int64_t>(order[i]) * kRecordSize;
    const TileRange rows = unpack_range(record[kBoxY]);
    for (int row = rows.first; row <= rows.last; ++row) {
      const TileRange span = row_span(record, row, scene.width, kTileShift);
      for (int column = span.first; column <= span.last; ++column) {
        pairs[written++] = static_cast<uint64_t>(row * scene.tile_columns() + column) << 32 | order[i];
      }
    }
  }
  return written;
}

void blend_forward(const Scene& scene, const Bins& bins, const BlendForward& out, int64_t image, int64_t tile_row) {
  const auto wanted = [&](int row) { return row == tile_row; };
  each_pixel_in(scene, bins, image, wanted, [&](int64_t index, float x, float y, const TileList& list) {
    const int32_t* last;
    const Pixel pixel = composite(bins.records + image * scene.gaussians * kRecordSize, list, x, y, &last);
    const float alpha = 1.0f - pixel.transmittance;
    float* color = out.rgba ? out.rgba + index * 4 : out.image + index * 3;
    for (int c = 0; c < 3; ++c) {
      const float background = out.backgrounds ? out.backgrounds[image * 3 + c] : 0.0f;
      color[c] = pixel.color[c] + pixel.transmittance * background;
    }
    if (out.rgba) {
      color[3] = out.backgrounds ? 1.0f : alpha;
      out.metres[index] = alpha > out.faintest ? pixel.depth / alpha : 0.0f;
      return;
    }
    out.alpha[index] = alpha;
    out.depth[index] = pixel.depth;
  });
}

void blend_backward(const Scene& scene, const Bins& bins, const BlendBackward& b, int64_t image, int part, int) {
  const int64_t owner = part * scene.images + image;
  const int32_t* bands = b.sums.bands + image * scene.tile_rows();
  const float* records = bins.records + image * scene.gaussians * kRecordSize;
  float* grad_background = b.grad_backgrounds ? b.grad_backgrounds + owner * 3 : nullptr;
  for (int c = 0; c < 3 && grad_background; ++c) grad_background[c] = 0.0f;
  const auto wanted = [&](int row) { return bands[row] == part; };
  each_pixel_in(scene, bins, image, wanted, [&](int64_t index, float x, float y, const TileList& list) {
    const int32_t* last;
    PixelBackward pixel;
    pixel.x = x;
    pixel.y = y;
    pixel.transmittance = composite(records, list, x, y, &last).transmittance;
    pixel.grad_depth = b.grad_depth ? b.grad_depth[index] : 0.0f;
    pixel.grad_coverage = b.grad_alpha ? b.grad_alpha[index] : 0.0f;
    for (int c = 0; c < 3; ++c) {
      pixel.grad_color[c] = b.grad_image ? b.grad_image[index * 3 + c] : 0.0f;
      if (b.backgrounds) pixel.grad_coverage -= pixel.grad_color[c] * b.backgrounds[image * 3 + c];
      if (grad_background) grad_background[c] += pixel.transmittance * pixel.grad_color[c];
    }
    for (const int32_t* entry = last; entry-- != list.begin;) {
      float sums[kGradDepth + 1];
      pixel.take(records + static_cast<int64_t>(*entry) * kRecordSize, sums);
      float* row = b.sums.rows + (owner * scene.gaussians + *entry) * kGradientSize;
      if (row[kStamp] != b.sums.stamp) std::fill_n(row, kGradientSize, 0.0f);
      row[kStamp] = b.sums.stamp;
      for (int slot = 0; slot <= kGradDepth; ++slot) row[slot] += sums[slot];
    }
  });
}

void project_backward(const Scene& scene, const ProjectBackward& b, int64_t start, int64_t count) {
  const int64_t all = scene.images * scene.gaussians;
  float sum[kGradientSize];
  const auto row_of = [&](int64_t index) {
    std::fill_n(sum, kGradientSize, 0.0f);
    for (int part = 0; part < b.sums.parts; ++part) {
      const float* row = b.sums.rows + (part * all + index) * kGradientSize;
      for (int slot = 0; slot <= kGradDepth && row[kStamp] == b.sums.stamp; ++slot) sum[slot] += row[slot];
    }
    return sum;
  };
  for (int64_t i = start; i < start + count; ++i) project_backward_summed(scene, i, b.records, row_of, b.out);
}

void pixel_weights(const Scene& scene, const Bins& bins, const PixelWeights& w, int64_t image, int part) {
  const int32_t* bands = w.bands + image * scene.tile_rows();
  float* sums = w.sums + (part * scene.images + image) * scene.gaussians * 4;
  const auto wanted = [&](int row) { return bands[row] == part; };
  each_pixel_in(scene, bins, image, wanted, [&](int64_t index, float x, float y, const TileList& list) {
    if (!w.mask[index]) return;
    Pixel pixel;
    pixel.x = x;
    pixel.y = y;
    for (const int32_t* entry = list.begin; entry != list.end && !pixel.done; ++entry) {
      const float weight = pixel.take(bins.records + (image * scene.gaussians + *entry) * kRecordSize);
      if (!(weight > w.threshold)) continue;
      float* sum = sums + static_cast<int64_t>(*entry) * 4;
      sum[0] += weight;
      for (int c = 0; c < 3; ++c) sum[c + 1] += weight * w.targets[index * 3 + c];
    }
  });
}

void exponential2_array(const float* in, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = exponential2(in[i]);
}

BS_END
