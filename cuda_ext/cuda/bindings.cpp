// SPDX-License-Identifier: Apache-2.0
// The Python module blendsplat._kernels_cuda: device addresses, sizes and a stream in, nothing out but numbers. It knows
// neither torch nor numpy; blendsplat/splatting/cuda.py owns the buffers.
#include <pybind11/pybind11.h>

#include "blendsplat/bindings.h"
#include "blendsplat/interface.h"
#include "operations.h"
#if defined(BLENDSPLAT_EMULATION)
#include "controls.h"
#define BLENDSPLAT_MODULE _kernels_cuda_emulated
#else
#define BLENDSPLAT_MODULE _kernels_cuda
#endif

namespace py = pybind11;
using blendsplat::at;
using namespace blendsplat::cuda;

namespace {

Scene make_scene(int64_t images, int64_t gaussians, int width, int height, float near_plane, int device, uintptr_t stream,
                 uintptr_t means, uintptr_t quats, uintptr_t scales, uintptr_t opacities, uintptr_t colors,
                 uintptr_t viewmats, uintptr_t Ks, bool shared_scales, bool shared_opacities) {
  Scene s;
  s.images = images;
  s.gaussians = gaussians;
  s.width = width;
  s.height = height;
  s.near_plane = near_plane;
  s.device = device;
  s.stream = at<CUstream_st>(stream);
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

Bins make_bins(uintptr_t records, uintptr_t ranges, uintptr_t entries) {
  return {at<float>(records), at<int32_t>(ranges), at<uint32_t>(entries)};
}

BinScratch make_scratch(uintptr_t tile_counts, uintptr_t depth_keys, uintptr_t sorted_depth_keys, uintptr_t indices, uintptr_t order,
                        uintptr_t sums, int64_t capacity, uintptr_t tile_keys, uintptr_t sorted_tile_keys, uintptr_t unsorted_entries,
                        uintptr_t temporary, size_t temporary_size) {
  return {at<int32_t>(tile_counts), at<uint64_t>(depth_keys), at<uint64_t>(sorted_depth_keys), at<uint32_t>(indices), at<uint32_t>(order),
          at<int64_t>(sums), capacity, at<uint32_t>(tile_keys), at<uint32_t>(sorted_tile_keys), at<uint32_t>(unsorted_entries),
          {at<void>(temporary), temporary_size}};
}

Kept make_kept(uintptr_t finals, uintptr_t lasts, uintptr_t states) { return {at<float>(finals), at<int32_t>(lasts), at<float>(states)}; }

}  // namespace

// bindings_surfels.cpp, bindings_training.cpp
void add_surfels(py::module_& m);
void add_mesh(py::module_& m);
void add_training(py::module_& m);

PYBIND11_MODULE(BLENDSPLAT_MODULE, m) {
#if defined(BLENDSPLAT_EMULATION)
  blendsplat::emulation::bind_controls(m);
#endif
  using release = py::call_guard<py::gil_scoped_release>;
  m.attr("INTERFACE") = blendsplat::kInterface;
  m.attr("TILE_SIZE") = kTileSize;
  m.attr("RECORD_SIZE") = static_cast<int>(blendsplat::BLENDSPLAT_TARGET::kRecordSize);
  m.attr("GRADIENT_SIZE") = static_cast<int>(blendsplat::BLENDSPLAT_TARGET::kGradientSize);
  m.attr("TILE_PIXELS") = kTilePixels;
  m.attr("STATE_FLOATS") = kStateFloats;
  // Local to the module: the emulated one, which has the same classes, may be loaded beside it.
  py::class_<Scene>(m, "Scene", py::module_local()).def(
      py::init(&make_scene), py::arg("images"), py::arg("gaussians"), py::arg("width"), py::arg("height"),
      py::arg("near_plane"), py::arg("device"), py::arg("stream"), py::arg("means"), py::arg("quats"), py::arg("scales"),
      py::arg("opacities"), py::arg("colors"), py::arg("viewmats"), py::arg("Ks"),
      py::arg("shared_scales"), py::arg("shared_opacities"));

  py::class_<BinScratch>(m, "BinScratch", py::module_local()).def(
      py::init(&make_scratch), py::arg("tile_counts"), py::arg("depth_keys"), py::arg("sorted_depth_keys"), py::arg("indices"),
      py::arg("order"), py::arg("sums"), py::arg("capacity"), py::arg("tile_keys"), py::arg("sorted_tile_keys"),
      py::arg("unsorted_entries"), py::arg("temporary"), py::arg("temporary_size"));
  py::class_<Kept>(m, "Kept", py::module_local()).def(py::init(&make_kept), py::arg("finals"), py::arg("lasts"), py::arg("states"));

  add_surfels(m);
  add_mesh(m);
  m.def("bin_temporary_size", &bin_temporary_size);
  m.def("state_count", &state_count);
  m.def("project", [](const Scene& s, uintptr_t records, const BinScratch& scratch) { project(s, at<float>(records), scratch); }, release());
  m.def("sort_by_depth", &sort_by_depth, release());
  m.def("fill_bins", [](const Scene& s, uintptr_t records, const BinScratch& scratch, uintptr_t ranges, uintptr_t entries, uintptr_t needed) {
    fill_bins(s, at<float>(records), scratch, at<int32_t>(ranges), at<uint32_t>(entries), at<int64_t>(needed));
  }, release());
  m.def("blend_forward", [](const Scene& s, uintptr_t records, uintptr_t ranges, uintptr_t entries, uintptr_t backgrounds,
                            uintptr_t image, uintptr_t alpha, uintptr_t depth, const Kept& kept) {
    blend_forward(s, make_bins(records, ranges, entries), {at<float>(backgrounds), at<float>(image), at<float>(alpha), at<float>(depth), kept});
  }, release());
  m.def("blend_backward", [](const Scene& s, uintptr_t records, uintptr_t ranges, uintptr_t entries, uintptr_t backgrounds,
                             uintptr_t grad_image, uintptr_t grad_alpha, uintptr_t grad_depth, const Kept& kept, uintptr_t rows,
                             uintptr_t grad_backgrounds) {
    blend_backward(s, make_bins(records, ranges, entries),
                   {at<float>(backgrounds), at<float>(grad_image), at<float>(grad_alpha), at<float>(grad_depth), kept, at<float>(rows),
                    at<float>(grad_backgrounds)});
  }, release());
  m.def("project_backward", [](const Scene& s, uintptr_t records, uintptr_t rows, uintptr_t means, uintptr_t quats,
                               uintptr_t scales, uintptr_t opacities, uintptr_t colors) {
    project_backward(s, at<float>(records), at<float>(rows),
                     {at<float>(means), at<float>(quats), at<float>(scales), at<float>(opacities), at<float>(colors)});
  }, release());
  m.def("pixel_weights", [](const Scene& s, uintptr_t records, uintptr_t ranges, uintptr_t entries, uintptr_t targets,
                            uintptr_t mask, float threshold, uintptr_t sums) {
    pixel_weights(s, make_bins(records, ranges, entries), {at<float>(targets), at<uint8_t>(mask), threshold, at<float>(sums)});
  }, release());
  add_training(m);
}
