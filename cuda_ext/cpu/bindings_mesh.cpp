// SPDX-License-Identifier: Apache-2.0
// The mesh operations of the Python module: raw addresses and sizes in, nothing out.
#include "bindings.h"
#include "blendsplat/bindings_mesh.h"
#include "mesh_operations.h"

namespace py = pybind11;

namespace blendsplat {

void add_mesh(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  add_mesh_views(m);
  m.def("rasterize_mesh", [](int64_t images, int64_t vertices, int64_t faces, int width, int height, float near_plane, int threads,
                             uintptr_t positions, uintptr_t indices, uintptr_t viewmats, uintptr_t Ks, uintptr_t corners, uintptr_t rows,
                             uintptr_t face_ids, uintptr_t barycentrics, uintptr_t depth) {
    Mesh mesh;
    static_cast<MeshArrays&>(mesh) = {images, vertices, faces, width, height, near_plane,
                                      at<float>(positions), at<int32_t>(indices), at<float>(viewmats), at<float>(Ks)};
    mesh.threads = at_least_one(threads);
    mesh.corners = at<double>(corners);
    mesh.rows = at<int32_t>(rows);
    mesh.face_ids = at<int32_t>(face_ids);
    mesh.barycentrics = at<float>(barycentrics);
    mesh.depth = at<float>(depth);
    rasterize_mesh(mesh);
  }, release());
  m.def("vertex_corners", [](uintptr_t indices, int64_t faces, int64_t vertices, uintptr_t first_corners, uintptr_t corners) {
    vertex_corners(at<int32_t>(indices), faces, vertices, at<int32_t>(first_corners), at<int32_t>(corners));
  }, release());
  m.def("mesh_vertices", [](const MeshPicture& p, int threads) { mesh_vertices(p, at_least_one(threads)); }, release());
  m.def("mesh_borders", [](const MeshPicture& p, int threads) { mesh_borders(p, at_least_one(threads)); }, release());
  m.def("mesh_surface", [](const MeshPicture& p, uintptr_t image, uintptr_t alpha, uintptr_t normals, int threads) {
    mesh_surface(p, {at<float>(image), at<float>(alpha), at<float>(normals)}, at_least_one(threads));
  }, release());
  m.def("mesh_surface_backward", [](const MeshPicture& p, const MeshBackward& b, int threads) {
    mesh_surface_backward(p, b, at_least_one(threads));
  }, release());
  m.def("mesh_vertices_backward", [](const MeshPicture& p, const MeshBackward& b, int threads) {
    mesh_vertices_backward(p, b, at_least_one(threads));
  }, release());
}

}  // namespace blendsplat
