// SPDX-License-Identifier: Apache-2.0
// The views of buffers that both modules bind in the same way.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "blendsplat/adam.h"
#include "blendsplat/bind.h"
#include "blendsplat/image_loss.h"

namespace blendsplat {

using Addresses = std::vector<uintptr_t>;

template <class Float>
Float* float_at(uintptr_t address) { return reinterpret_cast<Float*>(address); }

inline std::vector<AdamTensor> adam_tensors(const Addresses& parameters, const Addresses& grads, const Addresses& exp_avgs,
                                            const Addresses& exp_avg_sqs, const std::vector<int64_t>& counts) {
  std::vector<AdamTensor> tensors;
  for (size_t i = 0; i < counts.size(); ++i) {
    tensors.push_back({float_at<float>(parameters.at(i)), float_at<float>(grads.at(i)), float_at<float>(exp_avgs.at(i)),
                       float_at<float>(exp_avg_sqs.at(i)), counts[i]});
  }
  return tensors;
}

// means, quats, colors, then scales and opacities (both 0: no activations).
template <class Float>
BoundGaussians<Float> bound_gaussians(const Addresses& a) {
  return {float_at<Float>(a.at(0)), float_at<Float>(a.at(1)), float_at<Float>(a.at(2)), float_at<Float>(a.at(3)), float_at<Float>(a.at(4))};
}

inline Bind make_bind(int64_t images, int64_t gaussians, int64_t blendshapes, int64_t vertex_count, int64_t faces,
                      std::array<uintptr_t, 3> base, std::array<uintptr_t, 3> deltas, uintptr_t log_scales, uintptr_t opacity_logits,
                      uintptr_t weights, uintptr_t vertices, uintptr_t frames, uintptr_t frame_quats, uintptr_t triangle,
                      uintptr_t corners, uintptr_t barycentrics) {
  Bind b = {};
  b.images = images;
  b.gaussians = gaussians;
  b.blendshapes = blendshapes;
  b.vertex_count = vertex_count;
  b.faces = faces;
  for (int i = 0; i < 3; ++i) {
    b.base[i] = float_at<float>(base[i]);
    b.deltas[i] = float_at<float>(deltas[i]);
  }
  b.log_scales = float_at<float>(log_scales);
  b.opacity_logits = float_at<float>(opacity_logits);
  b.weights = float_at<float>(weights);
  b.vertices = float_at<float>(vertices);
  b.frames = float_at<float>(frames);
  b.frame_quats = float_at<float>(frame_quats);
  b.triangle = reinterpret_cast<const int64_t*>(triangle);
  b.corners = reinterpret_cast<const int64_t*>(corners);
  b.barycentrics = float_at<float>(barycentrics);
  return b;
}

// The classes are registered per module (module_local): both modules may be loaded in one process.
inline void add_bind(pybind11::module_& m) {
  namespace py = pybind11;
  py::class_<Bind>(m, "Bind", py::module_local())
      .def(py::init(&make_bind), py::arg("images"), py::arg("gaussians"), py::arg("blendshapes"), py::arg("vertex_count"),
           py::arg("faces"), py::arg("base"), py::arg("deltas"), py::arg("log_scales"), py::arg("opacity_logits"), py::arg("weights"),
           py::arg("vertices"), py::arg("frames"), py::arg("frame_quats"), py::arg("triangle"), py::arg("corners"),
           py::arg("barycentrics"));
  py::class_<BindBackward>(m, "BindBackward", py::module_local())
      .def(py::init([](const Addresses& grads, const Addresses& outputs, std::array<uintptr_t, 3> base, std::array<uintptr_t, 3> deltas,
                       uintptr_t log_scales, uintptr_t opacity_logits, uintptr_t weights, uintptr_t scratch) {
             BindBackward b = {bound_gaussians<const float>(grads), bound_gaussians<const float>(outputs), {}, {},
                               float_at<float>(log_scales), float_at<float>(opacity_logits), float_at<float>(weights),
                               float_at<float>(scratch)};
             for (int i = 0; i < 3; ++i) {
               b.base[i] = float_at<float>(base[i]);
               b.deltas[i] = float_at<float>(deltas[i]);
             }
             return b;
           }),
           py::arg("grads"), py::arg("outputs"), py::arg("base"), py::arg("deltas"), py::arg("log_scales"), py::arg("opacity_logits"),
           py::arg("weights"), py::arg("scratch"));
}

inline void add_image_loss(pybind11::module_& m) {
  namespace py = pybind11;
  py::class_<ImageLoss>(m, "ImageLoss", py::module_local())
      .def(py::init([](int64_t images, int width, int height, uintptr_t image, uintptr_t premultiplied, uintptr_t alpha, uintptr_t valid,
                       uintptr_t weight_sums, uintptr_t rows, uintptr_t backgrounds, float l1_weight, float ssim_weight,
                       uintptr_t grad_image, uintptr_t losses, uintptr_t mean_squares) {
             const auto bytes = [](uintptr_t address) { return reinterpret_cast<const uint8_t*>(address); };
             return ImageLoss{images, width, height, float_at<float>(image),
                              {bytes(premultiplied), bytes(alpha), bytes(valid), float_at<float>(weight_sums)},
                              reinterpret_cast<const int64_t*>(rows), float_at<float>(backgrounds), l1_weight, ssim_weight,
                              float_at<float>(grad_image), float_at<float>(losses), float_at<float>(mean_squares)};
           }),
           py::arg("images"), py::arg("width"), py::arg("height"), py::arg("image"), py::arg("premultiplied"), py::arg("alpha"),
           py::arg("valid"), py::arg("weight_sums"), py::arg("rows"), py::arg("backgrounds"), py::arg("l1_weight"),
           py::arg("ssim_weight"), py::arg("grad_image"), py::arg("losses"), py::arg("mean_squares"));
}

}  // namespace blendsplat
