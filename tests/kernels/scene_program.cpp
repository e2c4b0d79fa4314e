// SPDX-License-Identifier: Apache-2.0
// The CPU kernels as a program: a scene on standard input, image, alpha, depth and the gradients of their sum on standard
// output. test_arm.py builds it for another processor than its own.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "operations.h"

using namespace blendsplat;

namespace {

template <class T>
std::vector<T> read_all(size_t count) {
  std::vector<T> values(count);
  if (std::fread(values.data(), sizeof(T), count, stdin) != count) std::exit(2);
  return values;
}

void write_all(const std::vector<float>& values) { std::fwrite(values.data(), sizeof(float), values.size(), stdout); }

}  // namespace

int main() {
  const auto header = read_all<int32_t>(4);
  const int64_t B = header[0], N = header[1];
  Scene scene;
  scene.images = B;
  scene.gaussians = N;
  scene.width = header[2];
  scene.height = header[3];
  scene.near_plane = 0.01f;
  scene.threads = 1;
  const auto means = read_all<float>(B * N * 3), quats = read_all<float>(B * N * 4), scales = read_all<float>(B * N * 3);
  const auto opacities = read_all<float>(B * N), colors = read_all<float>(B * N * 3);
  const auto viewmats = read_all<float>(B * 16), Ks = read_all<float>(B * 9);
  scene.means = means.data();
  scene.quats = quats.data();
  scene.scales = scales.data();
  scene.opacities = opacities.data();
  scene.colors = colors.data();
  scene.viewmats = viewmats.data();
  scene.Ks = Ks.data();

  const int64_t tiles = scene.tiles(), room = N * tiles + 4096, pixels = B * scene.width * scene.height;
  std::vector<float> records(B * N * generic::kRecordSize);
  std::vector<int64_t> offsets(B * (tiles + 1));
  std::vector<int32_t> entries(B * room), tile_bounds(N), histograms(tiles), bands(B * scene.tile_rows());
  std::vector<uint32_t> depths(N);
  std::vector<uint64_t> keys(2 * N), pairs(room);
  void* states = std::aligned_alloc(64, static_cast<size_t>((B * binning_state_size() + 63) / 64 * 64));
  const BinSizes sizes = bin(scene, {records.data(), offsets.data(), entries.data(), room, 1, 1, depths.data(), tile_bounds.data(),
                                     keys.data(), pairs.data(), room, histograms.data(), states, nullptr});
  if (sizes.pairs > room || sizes.entries > room) return 3;

  const Bins bins = {records.data(), offsets.data(), entries.data()};
  std::vector<float> image(pixels * 3), alpha(pixels), depth(pixels);
  blend_forward(scene, bins, {nullptr, image.data(), alpha.data(), depth.data()});

  const std::vector<float> ones3(pixels * 3, 1.0f), ones(pixels, 1.0f);
  std::vector<float> rows(B * N * generic::kGradientSize), kept((sizes.longest + 1) * kKeptSize);
  std::vector<int32_t> kept_entries(sizes.longest + 1);
  const BlendBackward b = {nullptr, ones3.data(), ones.data(), ones.data(), {rows.data(), 1, 1.0f, bands.data()},
                           nullptr, sizes.longest, kept.data(), kept_entries.data()};
  std::vector<float> out[5] = {means, quats, scales, opacities, colors};
  backward(scene, bins, b, {out[0].data(), out[1].data(), out[2].data(), out[3].data(), out[4].data()});
  write_all(image);
  write_all(alpha);
  write_all(depth);
  for (const auto& gradient : out) write_all(gradient);
}
