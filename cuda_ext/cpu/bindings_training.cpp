// SPDX-License-Identifier: Apache-2.0
// The bindings of training.h: raw addresses and sizes, as in bindings.cpp.
#include <vector>

#include "bindings.h"

namespace py = pybind11;

namespace blendsplat {

namespace {

void step_adam(const Addresses& parameters, const Addresses& grads, const Addresses& exp_avgs, const Addresses& exp_avg_sqs,
               const std::vector<int64_t>& counts, uintptr_t rates, uintptr_t steps, double beta1, double beta2, double eps, uintptr_t skip, int threads) {
  if (skip && *at<int32_t>(skip)) return;
  const std::vector<AdamTensor> tensors = adam_tensors(parameters, grads, exp_avgs, exp_avg_sqs, counts);
  operations().adam(tensors.data(), static_cast<int64_t>(tensors.size()), {beta1, beta2, eps}, at<float>(rates), at<int64_t>(steps),
                    at_least_one(threads));
}

}  // namespace

void add_training(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  add_image_loss(m);
  m.def("adam", &step_adam, release());
  m.def("image_loss_sizes", [](int64_t images, int height, int width, int threads) {
    const ImageLossSizes sizes = operations().image_loss_sizes(images, height, width, at_least_one(threads));
    return std::make_pair(sizes.sums, sizes.scratch);
  });
  m.def("image_loss", [](const ImageLoss& loss, uintptr_t sums, uintptr_t scratch, int threads) {
    operations().image_loss(loss, at<double>(sums), at<float>(scratch), at_least_one(threads));
  }, release());
  m.def("tangent_frames", [](int64_t images, int64_t vertex_count, int64_t faces, uintptr_t vertices, uintptr_t corners,
                             uintptr_t uv_edges, uintptr_t frames, uintptr_t quats, int threads) {
    operations().tangent_frames({images, vertex_count, faces, at<float>(vertices), at<int64_t>(corners), at<float>(uv_edges),
                                 at<float>(frames), at<float>(quats)}, at_least_one(threads));
  }, release());
  m.def("tangent_frames_backward", [](int64_t images, int64_t vertex_count, int64_t faces, uintptr_t vertices, uintptr_t corners,
                                      uintptr_t uv_edges, const Addresses& grads, int threads) {
    operations().tangent_frames_backward({images, vertex_count, faces, at<float>(vertices), at<int64_t>(corners), at<float>(uv_edges),
                                          nullptr, nullptr}, tangent_frames_backward(grads), at_least_one(threads));
  }, release());
  m.def("pose_triangles", [](int64_t images, int64_t vertex_count, int64_t faces, uintptr_t vertices, uintptr_t corners,
                             uintptr_t uv_edges, uintptr_t triangles, int threads) {
    operations().pose_triangles({images, vertex_count, faces, at<float>(vertices), at<int64_t>(corners), at<float>(uv_edges),
                                 nullptr, nullptr}, at<float>(triangles), at_least_one(threads));
  }, release());
  m.def("play", [](int64_t images, int64_t gaussians, int64_t blendshapes, int64_t faces, bool half, const Addresses& a, int threads) {
    operations().play(make_playback(images, gaussians, blendshapes, faces, half, a), at_least_one(threads));
  }, release());
  m.def("pose_head", [](int64_t images, int64_t vertices, int64_t directions, uintptr_t rest, uintptr_t offsets, uintptr_t skin,
                        uintptr_t coefficients, uintptr_t transforms, uintptr_t translation, uintptr_t out, int threads) {
    operations().pose_head({images, vertices, directions, at<float>(rest), at<float>(offsets), at<float>(skin), at<float>(coefficients),
                            at<float>(transforms), at<float>(translation), at<float>(out)}, at_least_one(threads));
  }, release());
  add_bind(m);
  m.def("bind_scratch", [](int64_t images, int64_t, int64_t blendshapes) { return operations().bind_scratch(images, blendshapes); });
  m.def("bind_forward", [](const Bind& bind, const Addresses& outputs, int threads) {
    operations().bind_forward(bind, bound_gaussians<float>(outputs), at_least_one(threads));
  }, release());
  m.def("bind_backward", [](const Bind& bind, const BindBackward& b, int threads) {
    operations().bind_backward(bind, b, at_least_one(threads));
  }, release());
}

}  // namespace blendsplat
