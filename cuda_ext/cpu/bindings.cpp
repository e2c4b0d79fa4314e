// SPDX-License-Identifier: Apache-2.0
// The Python module blendsplat._kernels_cpu: raw addresses and sizes in, nothing out but numbers. It knows neither
// torch nor numpy; blendsplat/splatting/cpu.py owns the buffers, and checks.py has checked what they hold.
#include <pybind11/pybind11.h>

#include <array>
#include <cstring>
#include <stdexcept>
#include <tuple>

#include "bindings.h"
#include "blendsplat/interface.h"

namespace py = pybind11;
using namespace blendsplat;

namespace {

Scene make_scene(int64_t images, int64_t gaussians, int width, int height, float near_plane, int threads, uintptr_t means,
                 uintptr_t quats, uintptr_t scales, uintptr_t opacities, uintptr_t colors, uintptr_t viewmats, uintptr_t Ks,
                 bool shared_scales, bool shared_opacities) {
  Scene s;
  s.images = images;
  s.gaussians = gaussians;
  s.width = width;
  s.height = height;
  s.threads = at_least_one(threads);
  s.near_plane = near_plane;
  s.means = at<float>(means);
  s.quats = at<float>(quats);
  s.scales = at<float>(scales);
  s.opacities = at<float>(opacities);
  s.colors = at<float>(colors);
  s.viewmats = at<float>(viewmats);
  s.Ks = at<float>(Ks);
  s.shared_scales = shared_scales;
  s.shared_opacities = shared_opacities;
  return s;
}

Bins make_bins(uintptr_t records, uintptr_t offsets, uintptr_t entries) {
  return {at<float>(records), at<int64_t>(offsets), at<int32_t>(entries)};
}

}  // namespace

PYBIND11_MODULE(_kernels_cpu, m) {
  using release = py::call_guard<py::gil_scoped_release>;
  m.attr("INTERFACE") = kInterface;
  m.attr("TILE_SIZE") = kTileSize;
  m.attr("ENTRY_SLACK") = kEntrySlack;
  m.attr("MAX_SLABS") = kMaxSlabs;
  m.attr("BINNING_STATE_SIZE") = binning_state_size();
  m.attr("KEPT_SIZE") = kKeptSize;
  m.attr("RECORD_SIZE") = static_cast<int>(generic::kRecordSize);
  m.attr("GRADIENT_SIZE") = static_cast<int>(generic::kGradientSize);
  m.def("instruction_set", [] { return operations().name; });
  m.def("use_instruction_set", &use_operations);

  py::class_<Scene>(m, "Scene").def(
      py::init(&make_scene), py::arg("images"), py::arg("gaussians"), py::arg("width"), py::arg("height"),
      py::arg("near_plane"), py::arg("threads"), py::arg("means"), py::arg("quats"), py::arg("scales"),
      py::arg("opacities"), py::arg("colors"), py::arg("viewmats"), py::arg("Ks"), py::arg("shared_scales"),
      py::arg("shared_opacities"));
  py::class_<Binning>(m, "Binning")
      .def(py::init([](uintptr_t records, uintptr_t offsets, uintptr_t entries, int64_t entry_room, int slots, int slabs,
                       uintptr_t depths, uintptr_t tile_bounds, uintptr_t keys, uintptr_t pairs, int64_t pair_room,
                       uintptr_t histograms, uintptr_t states, uintptr_t given_bounds) {
             return Binning{at<float>(records), at<int64_t>(offsets), at<int32_t>(entries), entry_room, slots, slabs,
                            at<uint32_t>(depths), at<int32_t>(tile_bounds), at<uint64_t>(keys), at<uint64_t>(pairs), pair_room,
                            at<int32_t>(histograms), at<char>(states), at<int32_t>(given_bounds)};
           }),
           py::arg("records"), py::arg("offsets"), py::arg("entries"), py::arg("entry_room"), py::arg("slots"), py::arg("slabs"),
           py::arg("depths"), py::arg("tile_bounds"), py::arg("keys"), py::arg("pairs"), py::arg("pair_room"),
           py::arg("histograms"), py::arg("states"), py::arg("given_bounds"));
  py::class_<Rows>(m, "Rows")
      .def(py::init([](uintptr_t rows, int parts, float stamp, uintptr_t bands) {
             return Rows{at<float>(rows), parts, stamp, at<int32_t>(bands)};
           }),
           py::arg("rows"), py::arg("parts"), py::arg("stamp"), py::arg("bands"));

  m.def("bin", [](const Scene& s, const Binning& binning) {
    const BinSizes sizes = bin(s, binning);
    return std::make_tuple(sizes.pairs, sizes.entries, sizes.longest);
  }, release());
  m.def("blend_forward", [](const Scene& s, uintptr_t records, uintptr_t offsets, uintptr_t entries, uintptr_t backgrounds,
                            uintptr_t image, uintptr_t alpha, uintptr_t depth) {
    blend_forward(s, make_bins(records, offsets, entries),
                  {at<float>(backgrounds), at<float>(image), at<float>(alpha), at<float>(depth)});
  }, release());
  m.def("blend_pictures", [](const Scene& s, uintptr_t records, uintptr_t offsets, uintptr_t entries, uintptr_t backgrounds,
                             uintptr_t rgba, uintptr_t metres, float faintest) {
    blend_forward(s, make_bins(records, offsets, entries),
                  {at<float>(backgrounds), nullptr, nullptr, nullptr, at<float>(rgba), at<float>(metres), faintest});
  }, release());
  m.def("backward", [](const Scene& s, uintptr_t records, uintptr_t offsets, uintptr_t entries, uintptr_t backgrounds,
                       uintptr_t grad_image, uintptr_t grad_alpha, uintptr_t grad_depth, const Rows& sums,
                       uintptr_t grad_backgrounds, int64_t longest, uintptr_t kept, uintptr_t kept_entries, uintptr_t means,
                       uintptr_t quats, uintptr_t scales, uintptr_t opacities, uintptr_t colors) {
    backward(s, make_bins(records, offsets, entries),
             {at<float>(backgrounds), at<float>(grad_image), at<float>(grad_alpha), at<float>(grad_depth), sums,
              at<float>(grad_backgrounds), longest, at<float>(kept), at<int32_t>(kept_entries)},
             {at<float>(means), at<float>(quats), at<float>(scales), at<float>(opacities), at<float>(colors)});
  }, release());
  m.def("pixel_weights", [](const Scene& s, uintptr_t records, uintptr_t offsets, uintptr_t entries, uintptr_t targets,
                            uintptr_t mask, float threshold, int parts, uintptr_t bands, uintptr_t sums) {
    pixel_weights(s, make_bins(records, offsets, entries),
                  {at<float>(targets), at<uint8_t>(mask), threshold, parts, nullptr, at<float>(sums)}, at<int32_t>(bands));
  }, release());
  add_mesh(m);
  add_training(m);
  add_surfels(m);
  add_transformer(m);
  m.def("ceiling", [](const char* name, int64_t rounds) {
    const std::array<const char*, 4> names = {"multiply_adds", "exponentials", "pairs", "pair_gradients"};
    for (size_t kind = 0; kind < names.size(); ++kind) {
      if (std::strcmp(names[kind], name) != 0) continue;
      const CeilingRun run = operations().ceiling(static_cast<Ceiling>(kind), rounds);
      return std::make_pair(run.value, run.operations);
    }
    throw std::invalid_argument(name);
  }, release());
  m.def("exponential2", [](uintptr_t in, uintptr_t out, int64_t count) {
    operations().exponential2_array(at<float>(in), at<float>(out), count);
  }, release());
}
