// SPDX-License-Identifier: Apache-2.0
// The mesh operations of the Python module: the CPU module's calls, with device and stream as their last arguments.
#include "blendsplat/bindings_mesh.h"
#include "mesh_operations.h"

namespace py = pybind11;
using namespace blendsplat;

namespace {

cuda::Queue queue(int device, uintptr_t stream) { return {device, at<CUstream_st>(stream)}; }

}  // namespace

void add_mesh(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  add_mesh_views(m);
  m.def("rasterize_mesh", [](int64_t images, int64_t vertices, int64_t faces, int width, int height, float near_plane, int device,
                             uintptr_t stream, uintptr_t positions, uintptr_t indices, uintptr_t viewmats, uintptr_t Ks, uintptr_t nearest,
                             uintptr_t face_ids, uintptr_t barycentrics, uintptr_t depth) {
    cuda::Mesh mesh;
    static_cast<MeshArrays&>(mesh) = {images, vertices, faces, width, height, near_plane, at<float>(positions),
                                      at<int32_t>(indices), at<float>(viewmats), at<float>(Ks)};
    mesh.device = device;
    mesh.stream = at<CUstream_st>(stream);
    mesh.nearest = at<unsigned long long>(nearest);
    mesh.face_ids = at<int32_t>(face_ids);
    mesh.barycentrics = at<float>(barycentrics);
    mesh.depth = at<float>(depth);
    cuda::rasterize_mesh(mesh);
  }, release());
  m.def("mesh_vertices", [](const MeshPicture& p, int device, uintptr_t stream) { cuda::mesh_vertices(p, queue(device, stream)); },
        release());
  m.def("mesh_borders", [](const MeshPicture& p, int device, uintptr_t stream) { cuda::mesh_borders(p, queue(device, stream)); },
        release());
  m.def("mesh_surface", [](const MeshPicture& p, uintptr_t image, uintptr_t alpha, uintptr_t normals, int device, uintptr_t stream) {
    cuda::mesh_surface(p, {at<float>(image), at<float>(alpha), at<float>(normals)}, queue(device, stream));
  }, release());
  m.def("mesh_surface_backward", [](const MeshPicture& p, const MeshBackward& b, int device, uintptr_t stream) {
    cuda::mesh_surface_backward(p, b, queue(device, stream));
  }, release());
  m.def("mesh_vertices_backward", [](const MeshPicture& p, const MeshBackward& b, int device, uintptr_t stream) {
    cuda::mesh_vertices_backward(p, b, queue(device, stream));
  }, release());
}
