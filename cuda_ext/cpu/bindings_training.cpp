// SPDX-License-Identifier: Apache-2.0
// The bindings of training.h: raw addresses and sizes, as in bindings.cpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "blendsplat/bindings.h"
#include "dispatch.h"

namespace py = pybind11;
using namespace blendsplat;

namespace {

template <class T>
T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

using Addresses = std::vector<uintptr_t>;

Bind make_bind(int64_t images, int64_t gaussians, int64_t blendshapes, int64_t vertex_count, int64_t faces, int threads,
               std::array<uintptr_t, 3> base, std::array<uintptr_t, 3> deltas, uintptr_t grouped_weights, uintptr_t vertices,
               uintptr_t frames, uintptr_t frame_quats, uintptr_t triangle, uintptr_t corners, uintptr_t barycentrics) {
  Bind b;
  b.images = images;
  b.gaussians = gaussians;
  b.blendshapes = blendshapes;
  b.vertex_count = vertex_count;
  b.faces = faces;
  b.threads = threads < 1 ? 1 : threads;
  for (int i = 0; i < 3; ++i) {
    b.base[i] = at<float>(base[i]);
    b.deltas[i] = at<float>(deltas[i]);
  }
  b.grouped_weights = at<float>(grouped_weights);
  b.vertices = at<float>(vertices);
  b.frames = at<float>(frames);
  b.frame_quats = at<float>(frame_quats);
  b.triangle = at<int64_t>(triangle);
  b.corners = at<int64_t>(corners);
  b.barycentrics = at<float>(barycentrics);
  return b;
}

void step_adam(const Addresses& parameters, const Addresses& grads, const Addresses& exp_avgs, const Addresses& exp_avg_sqs,
               const std::vector<int64_t>& counts, uintptr_t rates, uintptr_t steps, double beta1, double beta2, double eps, int threads) {
  std::vector<AdamTensor> tensors;
  for (size_t i = 0; i < counts.size(); ++i) {
    tensors.push_back({at<float>(parameters[i]), at<float>(grads[i]), at<float>(exp_avgs[i]), at<float>(exp_avg_sqs[i]), counts[i]});
  }
  operations().adam(tensors.data(), static_cast<int64_t>(tensors.size()), {beta1, beta2, eps}, at<float>(rates), at<int64_t>(steps),
                    threads < 1 ? 1 : threads);
}

}  // namespace

void add_training(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  add_image_loss(m);
  m.def("adam", &step_adam, release());
  m.def("image_loss_sizes", [](int64_t images, int height, int width, int threads) {
    const ImageLossSizes sizes = operations().image_loss_sizes(images, height, width, threads < 1 ? 1 : threads);
    return std::make_pair(sizes.sums, sizes.scratch);
  });
  m.def("image_loss", [](const ImageLoss& loss, uintptr_t sums, uintptr_t scratch, int threads) {
    operations().image_loss(loss, at<double>(sums), at<float>(scratch), threads < 1 ? 1 : threads);
  }, release());
  m.def("tangent_frames", [](int64_t images, int64_t vertex_count, int64_t faces, uintptr_t vertices, uintptr_t corners,
                             uintptr_t uv_edges, uintptr_t frames, uintptr_t quats, int threads) {
    operations().tangent_frames({images, vertex_count, faces, at<float>(vertices), at<int64_t>(corners), at<float>(uv_edges),
                                 at<float>(frames), at<float>(quats)}, threads < 1 ? 1 : threads);
  }, release());
  py::class_<Bind>(m, "Bind").def(
      py::init(&make_bind), py::arg("images"), py::arg("gaussians"), py::arg("blendshapes"), py::arg("vertex_count"),
      py::arg("faces"), py::arg("threads"), py::arg("base"), py::arg("deltas"), py::arg("grouped_weights"), py::arg("vertices"),
      py::arg("frames"), py::arg("frame_quats"), py::arg("triangle"), py::arg("corners"), py::arg("barycentrics"));
  m.attr("BIND_GROUP") = 8;
  m.def("bind_forward", [](const Bind& bind, uintptr_t means, uintptr_t quats, uintptr_t colors) {
    operations().bind_forward(bind, {at<float>(means), at<float>(quats), at<float>(colors)});
  }, release());
  m.def("bind_backward", [](const Bind& bind, uintptr_t grad_means, uintptr_t grad_quats, uintptr_t grad_colors, uintptr_t colors,
                            std::array<uintptr_t, 3> base, std::array<uintptr_t, 3> deltas, int parts, uintptr_t weight_scratch,
                            uintptr_t grouped_weights) {
    BindBackward b;
    b.grad_means = at<float>(grad_means);
    b.grad_quats = at<float>(grad_quats);
    b.grad_colors = at<float>(grad_colors);
    b.colors = at<float>(colors);
    for (int i = 0; i < 3; ++i) {
      b.base[i] = at<float>(base[i]);
      b.deltas[i] = at<float>(deltas[i]);
    }
    b.parts = parts;
    b.weight_scratch = at<float>(weight_scratch);
    b.grouped_weights = at<float>(grouped_weights);
    operations().bind_backward(bind, b);
  }, release());
}
