// SPDX-License-Identifier: Apache-2.0
// The rasterizer's stages over all images and threads: everything that knows of threads is here and in pipeline.h. The
// pieces are in bin.cpp and, once per instruction set, in the files named after the operations.
#include <algorithm>
#include <new>

#include "dispatch.h"
#include "pipeline.h"
#include "threads.h"

namespace blendsplat {

namespace {

using generic::kRecordSize;

constexpr int64_t kRun = 1024;       // Gaussians that are projected, or differentiated, as one item

int64_t runs_of(const Scene& scene) { return (scene.gaussians + kRun - 1) / kRun; }
int64_t run_size(const Scene& scene, int64_t run) { return std::min(kRun, scene.gaussians - run * kRun); }

// Waking a thread costs as much as projecting some hundred Gaussians.
int useful_threads(const Scene& scene) {
  return static_cast<int>(std::min<int64_t>(scene.threads, 1 + scene.images * scene.gaussians / kRun));
}

enum BinStage { kProject, kSort, kFill };

struct alignas(64) ImageState {
  Progress progress;
  std::atomic<int64_t> bound, used_keys, used_pairs;
  int64_t pairs, entries, longest;   // what it needs, see BinSizes
  uint32_t splitters[kMaxSlabs + 1];
  int64_t first_pair[kMaxSlabs], pair_count[kMaxSlabs];
};

class Binner {
 public:
  Binner(const Scene& scene, const Binning& binning) : scene_(scene), b_(binning) {}

  ImageState& state(int64_t image) const { return static_cast<ImageState*>(b_.states)[image]; }
  int64_t images() const { return scene_.images; }
  int64_t window() const { return b_.slots; }  // images in flight

  void start(int64_t image) const {
    ImageState& s = *new (&state(image)) ImageState;
    s.bound = s.used_keys = s.used_pairs = 0;
    s.pairs = s.entries = s.longest = 0;
    if (scene_.gaussians) s.progress.open(kProject, runs_of(scene_));
    else finish_empty(image);
  }

  void perform(int64_t image, int stage, int64_t item) const {
    if (stage == kProject) project(image, item);
    else if (stage == kSort) sort(image, static_cast<int>(item));
    else fill(image, static_cast<int>(item));
  }

  void advance(int64_t image, int stage) const {
    ImageState& s = state(image);
    if (stage == kProject) {
      s.pairs = s.bound + b_.slabs * kPairSlack;
      if (s.bound == 0) return finish_empty(image);
      if (s.pairs > b_.pair_room) return s.progress.open(Progress::kFinished, 0);
      choose_splitters(depths(image), scene_.gaussians, b_.slabs, s.splitters);
      return s.progress.open(kSort, b_.slabs);
    }
    if (stage == kSort) {
      int64_t total = 0;
      for (int slab = 0; slab < b_.slabs; ++slab) total += s.pair_count[slab];
      s.entries = total + kEntrySlack;
      if (s.entries > b_.entry_room) return s.progress.open(Progress::kFinished, 0);
      s.longest = place_tiles(scene_.tiles(), b_.slabs, histogram(image, 0), image * b_.entry_room, offsets(image));
      std::fill_n(b_.entries + image * b_.entry_room + total, kEntrySlack, 0);
      return s.progress.open(kFill, b_.slabs);
    }
    s.progress.open(Progress::kFinished, 0);
  }

 private:
  int64_t slot(int64_t image) const { return image % b_.slots; }
  uint32_t* depths(int64_t image) const { return b_.depths + slot(image) * scene_.gaussians; }
  int32_t* tile_bounds(int64_t image) const { return b_.tile_bounds + slot(image) * scene_.gaussians; }
  float* records(int64_t image) const { return b_.records + image * scene_.gaussians * kRecordSize; }
  int64_t* offsets(int64_t image) const { return b_.offsets + image * (scene_.tiles() + 1); }
  uint64_t* pairs(int64_t image) const { return b_.pairs + slot(image) * b_.pair_room; }
  int32_t* histogram(int64_t image, int slab) const { return b_.histograms + (slot(image) * b_.slabs + slab) * scene_.tiles(); }

  void finish_empty(int64_t image) const {
    ImageState& s = state(image);
    s.entries = kEntrySlack;
    if (s.entries <= b_.entry_room) {
      std::fill_n(offsets(image), scene_.tiles() + 1, image * b_.entry_room);
      std::fill_n(b_.entries + image * b_.entry_room, kEntrySlack, 0);
    }
    s.progress.open(Progress::kFinished, 0);
  }

  void project(int64_t image, int64_t run) const {
    if (b_.given_bounds) return adopt(image, run);
    state(image).bound += operations().project(scene_, image, run * kRun, run_size(scene_, run), records(image), depths(image),
                                               tile_bounds(image));
  }

  // Instead of projecting: what the caller has projected.
  void adopt(int64_t image, int64_t run) const {
    const int32_t* given = b_.given_bounds + image * scene_.gaussians;
    int64_t bound = 0;
    for (int64_t i = run * kRun; i < run * kRun + run_size(scene_, run); ++i) {
      tile_bounds(image)[i] = given[i];
      depths(image)[i] = given[i] ? generic::depth_bits(records(image) + i * kRecordSize) : 0;
      bound += given[i];
    }
    state(image).bound += bound;
  }

  void sort(int64_t image, int slab) const {
    ImageState& s = state(image);
    const uint32_t low = s.splitters[slab], high = s.splitters[slab + 1];
    const SlabSize size = measure_slab(depths(image), tile_bounds(image), scene_.gaussians, low, high);
    uint64_t* keys = b_.keys + slot(image) * 2 * scene_.gaussians + s.used_keys.fetch_add(2 * size.gaussians);
    const uint32_t* order = sort_slab(depths(image), scene_.gaussians, low, high, keys, size.gaussians);
    s.first_pair[slab] = s.used_pairs.fetch_add(size.bound + kPairSlack);
    uint64_t* out = pairs(image) + s.first_pair[slab];
    s.pair_count[slab] = operations().emit_pairs(scene_, records(image), order, size.gaussians, out);
    count_tiles(out, s.pair_count[slab], scene_.tiles(), histogram(image, slab));
  }

  void fill(int64_t image, int slab) const {
    const ImageState& s = state(image);
    fill_tiles(pairs(image) + s.first_pair[slab], s.pair_count[slab], histogram(image, slab), b_.entries + image * b_.entry_room);
  }

  const Scene& scene_;
  const Binning& b_;
};

// Bands of about equal work: the entries of their rows of tiles, and the tiles themselves.
void cut_bands(const Scene& scene, const int64_t* all_offsets, int parts, int32_t* all_bands) {
  const int64_t columns = scene.tile_columns(), rows = scene.tile_rows();
  for (int64_t image = 0; image < scene.images; ++image) {
    const int64_t* offsets = all_offsets + image * (scene.tiles() + 1);
    const int64_t work = offsets[scene.tiles()] - offsets[0] + scene.tiles();
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t before = offsets[row * columns] - offsets[0] + row * columns;
      const int64_t after = offsets[(row + 1) * columns] - offsets[0] + (row + 1) * columns;
      all_bands[image * rows + row] = static_cast<int32_t>((before + after) * parts / (2 * work));
    }
  }
}

}  // namespace

int64_t binning_state_size() { return sizeof(ImageState); }

BinSizes bin(const Scene& scene, const Binning& binning) {
  const Binner binner(scene, binning);
  for (int64_t image = 0; image < scene.images; ++image) binner.start(image);
  run_together(useful_threads(scene), [](void* context, int) {
    const Binner& work = *static_cast<const Binner*>(context);
    work_through(
        work.images(), work.window(), [&](int64_t image) -> Progress& { return work.state(image).progress; },
        [&](int64_t image, int stage, int64_t item) { work.perform(image, stage, item); },
        [&](int64_t image, int stage) { work.advance(image, stage); });
  }, const_cast<Binner*>(&binner));
  BinSizes sizes = {0, kEntrySlack, 0};
  for (int64_t image = 0; image < scene.images; ++image) {
    const ImageState& s = binner.state(image);
    sizes.pairs = std::max(sizes.pairs, s.pairs);
    sizes.entries = std::max(sizes.entries, s.entries);
    sizes.longest = std::max(sizes.longest, s.longest);
  }
  return sizes;
}

void blend_forward(const Scene& scene, const Bins& bins, const BlendForward& out) {
  const int64_t rows = scene.tile_rows();
  share(scene.threads, scene.images * rows, 1, [&](int64_t item, int) {
    operations().blend_forward(scene, bins, out, item / rows, item % rows);
  });
}

void backward(const Scene& scene, const Bins& bins, const BlendBackward& b, const GaussianArrays& out) {
  cut_bands(scene, bins.offsets, b.sums.parts, b.sums.bands);
  const int64_t runs = runs_of(scene);
  share(scene.threads, scene.images * b.sums.parts, 1, [&](int64_t item, int rank) {
    operations().blend_backward(scene, bins, b, item / b.sums.parts, static_cast<int>(item % b.sums.parts), rank);
  });
  share(scene.threads, runs, 1, [&](int64_t run, int) {
    operations().project_backward(scene, {bins.records, b.sums, out}, run * kRun, run_size(scene, run));
  });
}

void pixel_weights(const Scene& scene, const Bins& bins, PixelWeights w, int32_t* bands) {
  cut_bands(scene, bins.offsets, w.parts, bands);
  w.bands = bands;
  share(scene.threads, scene.images * w.parts, 1, [&](int64_t item, int) {
    operations().pixel_weights(scene, bins, w, item / w.parts, static_cast<int>(item % w.parts));
  });
}

}  // namespace blendsplat
