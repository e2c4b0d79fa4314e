// SPDX-License-Identifier: Apache-2.0
// The surfel operations of the Python module, as in bindings.cpp.
#include <pybind11/pybind11.h>

#include "blendsplat/bindings.h"
#include "surfel_operations.h"

namespace py = pybind11;
using blendsplat::at;
using namespace blendsplat::cuda;

namespace {

Bins make_bins(uintptr_t surfels, uintptr_t ranges, uintptr_t entries) { return {at<float>(surfels), at<int32_t>(ranges), at<uint32_t>(entries)}; }

SurfelKept make_kept(uintptr_t transmittance, uintptr_t lasts) { return {at<float>(transmittance), at<int32_t>(lasts)}; }

}  // namespace

void add_surfels(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  m.def("surfel_project", [](const Scene& s, uintptr_t surfels, uintptr_t records, const BinScratch& scratch) {
    surfel_project(s, at<float>(surfels), at<float>(records), scratch);
  }, release());
  m.def("surfel_forward", [](const Scene& s, uintptr_t surfels, uintptr_t ranges, uintptr_t entries, uintptr_t backgrounds, uintptr_t image,
                             uintptr_t alpha, uintptr_t depth, uintptr_t normals, uintptr_t transmittance, uintptr_t lasts) {
    surfel_forward(s, make_bins(surfels, ranges, entries),
                   {at<float>(backgrounds), at<float>(image), at<float>(alpha), at<float>(depth), at<float>(normals),
                    make_kept(transmittance, lasts)});
  }, release());
  m.def("surfel_backward", [](const Scene& s, uintptr_t surfels, uintptr_t ranges, uintptr_t entries, uintptr_t backgrounds,
                              uintptr_t grad_image, uintptr_t grad_alpha, uintptr_t grad_depth, uintptr_t grad_normals,
                              uintptr_t transmittance, uintptr_t lasts, uintptr_t rows, uintptr_t grad_backgrounds) {
    surfel_backward(s, make_bins(surfels, ranges, entries),
                    {at<float>(backgrounds), at<float>(grad_image), at<float>(grad_alpha), at<float>(grad_depth), at<float>(grad_normals),
                     make_kept(transmittance, lasts), at<float>(rows), at<float>(grad_backgrounds)});
  }, release());
  m.def("surfel_project_backward", [](const Scene& s, uintptr_t rows, uintptr_t means, uintptr_t quats, uintptr_t scales,
                                      uintptr_t opacities, uintptr_t colors) {
    surfel_project_backward(s, at<float>(rows), {at<float>(means), at<float>(quats), at<float>(scales), at<float>(opacities), at<float>(colors)});
  }, release());
}
