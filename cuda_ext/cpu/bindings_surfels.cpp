// SPDX-License-Identifier: Apache-2.0
// The surfel operations of the Python module: raw addresses and sizes in, nothing out.
#include <cstring>

#include "bindings.h"
#include "surfel_operations.h"

namespace py = pybind11;

namespace blendsplat {

namespace {

struct SurfelSet {
  const char* name;
  decltype(&generic::surfel_project) project;
  decltype(&generic::surfel_forward) forward;
  decltype(&generic::surfel_backward) backward;
  decltype(&generic::surfel_project_backward) project_backward;
};

#define BLENDSPLAT_SURFELS(target) \
  {#target, target::surfel_project, target::surfel_forward, target::surfel_backward, target::surfel_project_backward}

const SurfelSet kSets[] = {
#if defined(BLENDSPLAT_X86)
    BLENDSPLAT_SURFELS(avx512),
    BLENDSPLAT_SURFELS(avx2),
#endif
    BLENDSPLAT_SURFELS(scalar),
    BLENDSPLAT_SURFELS(generic),
};

// Those of the instruction set in use, see dispatch.h.
const SurfelSet& surfel_operations() {
  const SurfelSet* set = kSets;
  while (std::strcmp(set->name, operations().name) != 0 && std::strcmp(set->name, "generic") != 0) ++set;
  return *set;
}

}  // namespace

void add_surfels(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  m.def("surfel_project", [](const Scene& s, uintptr_t surfels, uintptr_t records, uintptr_t tile_bounds) {
    return surfel_operations().project(s, at<float>(surfels), at<float>(records), at<int32_t>(tile_bounds));
  }, release());
  m.def("surfel_forward", [](const Scene& s, uintptr_t surfels, uintptr_t offsets, uintptr_t entries, uintptr_t backgrounds,
                             uintptr_t image, uintptr_t alpha, uintptr_t depth, uintptr_t normals) {
    surfel_operations().forward(s, {at<float>(surfels), at<int64_t>(offsets), at<int32_t>(entries)},
                                {at<float>(backgrounds), at<float>(image), at<float>(alpha), at<float>(depth), at<float>(normals)});
  }, release());
  m.def("surfel_backward", [](const Scene& s, uintptr_t surfels, uintptr_t offsets, uintptr_t entries, uintptr_t backgrounds,
                              uintptr_t grad_image, uintptr_t grad_alpha, uintptr_t grad_depth, uintptr_t grad_normals, int parts,
                              uintptr_t rows, uintptr_t grad_backgrounds, int64_t longest, uintptr_t kept, uintptr_t kept_entries) {
    surfel_operations().backward(s, {at<float>(surfels), at<int64_t>(offsets), at<int32_t>(entries)},
                                 {at<float>(backgrounds), at<float>(grad_image), at<float>(grad_alpha), at<float>(grad_depth),
                                  at<float>(grad_normals), parts, at<float>(rows), at<float>(grad_backgrounds), longest,
                                  at<float>(kept), at<int32_t>(kept_entries)});
  }, release());
  m.def("surfel_project_backward", [](const Scene& s, uintptr_t rows, int parts, uintptr_t means, uintptr_t quats,
                                      uintptr_t scales, uintptr_t opacities, uintptr_t colors) {
    surfel_operations().project_backward(s, at<float>(rows), parts,
                                         {at<float>(means), at<float>(quats), at<float>(scales), at<float>(opacities), at<float>(colors)});
  }, release());
}

}  // namespace blendsplat
