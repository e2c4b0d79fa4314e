// SPDX-License-Identifier: Apache-2.0
// The views of a mesh picture's buffers that both modules bind in the same way.
#pragma once

#include "blendsplat/bindings.h"
#include "blendsplat/mesh_picture.h"

namespace blendsplat {

inline MeshPicture make_mesh_picture(int64_t images, int64_t vertices, int64_t faces, int width, int height, int64_t channels,
                                     bool shared_attributes, uintptr_t positions, uintptr_t indices, uintptr_t viewmats, uintptr_t Ks,
                                     uintptr_t attributes, uintptr_t neighbour_faces, uintptr_t neighbour_vertices,
                                     uintptr_t first_corners, uintptr_t corners, uintptr_t face_ids, uintptr_t barycentrics,
                                     uintptr_t depth, uintptr_t screen, uintptr_t normal_sums, uintptr_t normals, uintptr_t mixes) {
  MeshPicture p = {};
  static_cast<MeshArrays&>(p) = {images, vertices, faces, width, height, 0.0f, at<float>(positions), at<int32_t>(indices),
                                 at<float>(viewmats), at<float>(Ks)};
  p.channels = channels;
  p.shared_attributes = shared_attributes;
  p.attributes = at<float>(attributes);
  p.neighbour_faces = at<int64_t>(neighbour_faces);
  p.neighbour_vertices = at<int64_t>(neighbour_vertices);
  p.first_corners = at<int32_t>(first_corners);
  p.corners = at<int32_t>(corners);
  p.face_ids = at<int32_t>(face_ids);
  p.barycentrics = at<float>(barycentrics);
  p.depth = at<float>(depth);
  p.screen = at<double>(screen);
  p.normal_sums = at<double>(normal_sums);
  p.normals = at<float>(normals);
  p.mixes = at<float>(mixes);
  return p;
}

inline MeshBackward make_mesh_backward(uintptr_t grad_image, uintptr_t grad_alpha, uintptr_t grad_depth, uintptr_t grad_normals,
                                       uintptr_t seen, uintptr_t geometry_rows, uintptr_t attribute_rows, uintptr_t grad_sums,
                                       uintptr_t grad_vertices, uintptr_t grad_attributes) {
  return {at<float>(grad_image), at<float>(grad_alpha), at<float>(grad_depth), at<float>(grad_normals), at<int32_t>(seen),
          at<float>(geometry_rows), at<float>(attribute_rows), at<double>(grad_sums), at<float>(grad_vertices), at<float>(grad_attributes)};
}

// The classes are registered per module (module_local): both modules may be loaded in one process.
inline void add_mesh_views(pybind11::module_& m) {
  namespace py = pybind11;
  m.attr("GEOMETRY_ROW") = kGeometryRow;
  py::class_<MeshPicture>(m, "MeshPicture", py::module_local())
      .def(py::init(&make_mesh_picture), py::arg("images"), py::arg("vertices"), py::arg("faces"), py::arg("width"), py::arg("height"),
           py::arg("channels"), py::arg("shared_attributes"), py::arg("positions"), py::arg("indices"), py::arg("viewmats"),
           py::arg("Ks"), py::arg("attributes"), py::arg("neighbour_faces"), py::arg("neighbour_vertices"), py::arg("first_corners"),
           py::arg("corners"), py::arg("face_ids"), py::arg("barycentrics"), py::arg("depth"), py::arg("screen"),
           py::arg("normal_sums"), py::arg("normals"), py::arg("mixes"));
  py::class_<MeshBackward>(m, "MeshBackward", py::module_local())
      .def(py::init(&make_mesh_backward), py::arg("grad_image"), py::arg("grad_alpha"), py::arg("grad_depth"), py::arg("grad_normals"),
           py::arg("seen"), py::arg("geometry_rows"), py::arg("attribute_rows"), py::arg("grad_sums"), py::arg("grad_vertices"),
           py::arg("grad_attributes"));
}

}  // namespace blendsplat
