// SPDX-License-Identifier: Apache-2.0
// The bindings of training.h: the CPU module's calls, with device and stream as their last arguments.
#include <pybind11/pybind11.h>

#include <vector>

#include "blendsplat/bindings.h"
#include "training.h"

namespace py = pybind11;
using namespace blendsplat;

namespace {

cuda::Queue queue(int device, uintptr_t stream) { return {device, at<CUstream_st>(stream)}; }

}  // namespace

void add_training(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  add_image_loss(m);
  add_bind(m);
  m.def("adam", [](const Addresses& parameters, const Addresses& grads, const Addresses& exp_avgs, const Addresses& exp_avg_sqs,
                   const std::vector<int64_t>& counts, uintptr_t rates, uintptr_t steps, double beta1, double beta2, double eps,
                   uintptr_t skip, int device, uintptr_t stream) {
    const std::vector<AdamTensor> tensors = adam_tensors(parameters, grads, exp_avgs, exp_avg_sqs, counts);
    cuda::adam(tensors.data(), static_cast<int64_t>(tensors.size()), {beta1, beta2, eps}, at<float>(rates), at<int64_t>(steps),
               at<int32_t>(skip), queue(device, stream));
  }, release());
  m.def("image_loss_sizes", [](int64_t images, int height, int width, int /*device*/) {
    const ImageLossSizes sizes = cuda::image_loss_sizes(images, height, width);
    return std::make_pair(sizes.sums, sizes.scratch);
  });
  m.def("image_loss", [](const ImageLoss& loss, uintptr_t sums, uintptr_t maps, int device, uintptr_t stream) {
    cuda::image_loss(loss, at<double>(sums), at<float>(maps), queue(device, stream));
  }, release());
  m.def("tangent_frames", [](int64_t images, int64_t vertex_count, int64_t faces, uintptr_t vertices, uintptr_t corners,
                             uintptr_t uv_edges, uintptr_t frames, uintptr_t quats, int device, uintptr_t stream) {
    cuda::tangent_frames({images, vertex_count, faces, at<float>(vertices), at<int64_t>(corners), at<float>(uv_edges),
                          at<float>(frames), at<float>(quats)}, queue(device, stream));
  }, release());
  m.def("tangent_frames_backward", [](int64_t images, int64_t vertex_count, int64_t faces, uintptr_t vertices, uintptr_t corners,
                                      uintptr_t uv_edges, const Addresses& grads, int device, uintptr_t stream) {
    cuda::tangent_frames_backward({images, vertex_count, faces, at<float>(vertices), at<int64_t>(corners), at<float>(uv_edges),
                                   nullptr, nullptr}, tangent_frames_backward(grads), queue(device, stream));
  }, release());
  m.def("pose_triangles", [](int64_t images, int64_t vertex_count, int64_t faces, uintptr_t vertices, uintptr_t corners,
                             uintptr_t uv_edges, uintptr_t triangles, int device, uintptr_t stream) {
    cuda::pose_triangles({images, vertex_count, faces, at<float>(vertices), at<int64_t>(corners), at<float>(uv_edges),
                          nullptr, nullptr}, at<float>(triangles), queue(device, stream));
  }, release());
  m.def("play", [](int64_t images, int64_t gaussians, int64_t blendshapes, int64_t faces, bool half, const Addresses& a, int device,
                   uintptr_t stream) {
    cuda::play(make_playback(images, gaussians, blendshapes, faces, half, a), queue(device, stream));
  }, release());
  m.def("bind_scratch", &cuda::bind_scratch);
  m.def("bind_forward", [](const Bind& bind, const Addresses& outputs, int device, uintptr_t stream) {
    cuda::bind_forward(bind, bound_gaussians<float>(outputs), queue(device, stream));
  }, release());
  m.def("bind_backward", [](const Bind& bind, const BindBackward& b, int device, uintptr_t stream) {
    cuda::bind_backward(bind, b, queue(device, stream));
  }, release());
}
