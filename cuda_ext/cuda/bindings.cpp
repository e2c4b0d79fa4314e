// SPDX-License-Identifier: Apache-2.0
// The Python module blendsplat._kernels_cuda: device addresses, sizes and a stream in, nothing out but numbers. It knows
// neither torch nor numpy; blendsplat/splatting/cuda.py owns the buffers.
#include <pybind11/pybind11.h>

#include "operations.h"

namespace py = pybind11;
using namespace blendsplat::cuda;

namespace {

template <class T>
T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

Scene make_scene(int64_t images, int64_t gaussians, int width, int height, float near_plane, int device, uintptr_t stream,
                 uintptr_t means, uintptr_t quats, uintptr_t scales, uintptr_t opacities, uintptr_t colors,
                 uintptr_t viewmats, uintptr_t Ks) {
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
  return s;
}

Bins make_bins(uintptr_t records, uintptr_t ranges, uintptr_t entries) {
  return {at<float>(records), at<int64_t>(ranges), at<uint32_t>(entries)};
}

}  // namespace

PYBIND11_MODULE(_kernels_cuda, m) {
  using release = py::call_guard<py::gil_scoped_release>;
  m.attr("TILE_SIZE") = kTileSize;
  m.attr("RECORD_SIZE") = 16;
  m.attr("GRADIENT_SIZE") = 16;
  py::class_<Scene>(m, "Scene").def(
      py::init(&make_scene), py::arg("images"), py::arg("gaussians"), py::arg("width"), py::arg("height"),
      py::arg("near_plane"), py::arg("device"), py::arg("stream"), py::arg("means"), py::arg("quats"), py::arg("scales"),
      py::arg("opacities"), py::arg("colors"), py::arg("viewmats"), py::arg("Ks"));

  m.def("project", [](const Scene& s, uintptr_t records, uintptr_t tile_counts) {
    project(s, at<float>(records), at<int32_t>(tile_counts));
  }, release());
  m.def("scan_temporary_size", &scan_temporary_size);
  m.def("scan", [](const Scene& s, uintptr_t tile_counts, uintptr_t sums, uintptr_t temporary, size_t size) {
    scan(s, at<int32_t>(tile_counts), at<int64_t>(sums), at<void>(temporary), size);
  }, release());
  m.def("duplicate_keys", [](const Scene& s, uintptr_t records, uintptr_t tile_counts, uintptr_t sums, int64_t capacity,
                             uintptr_t keys, uintptr_t values) {
    duplicate_keys(s, at<float>(records), at<int32_t>(tile_counts), at<int64_t>(sums), capacity, at<uint64_t>(keys), at<uint32_t>(values));
  }, release());
  m.def("sort_temporary_size", &sort_temporary_size);
  m.def("sort", [](const Scene& s, int64_t count, uintptr_t keys, uintptr_t sorted_keys, uintptr_t values,
                   uintptr_t sorted_values, uintptr_t temporary, size_t size) {
    sort(s, count, at<uint64_t>(keys), at<uint64_t>(sorted_keys), at<uint32_t>(values), at<uint32_t>(sorted_values), at<void>(temporary), size);
  }, release());
  m.def("tile_ranges", [](const Scene& s, int64_t count, uintptr_t sorted_keys, uintptr_t ranges) {
    tile_ranges(s, count, at<uint64_t>(sorted_keys), at<int64_t>(ranges));
  }, release());
  m.def("blend_forward", [](const Scene& s, uintptr_t records, uintptr_t ranges, uintptr_t entries, uintptr_t backgrounds,
                            uintptr_t image, uintptr_t alpha, uintptr_t depth, uintptr_t transmittance, uintptr_t last) {
    blend_forward(s, make_bins(records, ranges, entries),
                  {at<float>(backgrounds), at<float>(image), at<float>(alpha), at<float>(depth), at<float>(transmittance), at<int64_t>(last)});
  }, release());
  m.def("blend_backward", [](const Scene& s, uintptr_t records, uintptr_t ranges, uintptr_t entries, uintptr_t backgrounds,
                             uintptr_t grad_image, uintptr_t grad_alpha, uintptr_t grad_depth, uintptr_t transmittance,
                             uintptr_t last, uintptr_t rows, uintptr_t grad_backgrounds) {
    blend_backward(s, make_bins(records, ranges, entries),
                   {at<float>(backgrounds), at<float>(grad_image), at<float>(grad_alpha), at<float>(grad_depth),
                    at<float>(transmittance), at<int64_t>(last), at<float>(rows), at<float>(grad_backgrounds)});
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
}
