// SPDX-License-Identifier: Apache-2.0
// The views of buffers that both modules bind in the same way.
#pragma once

#include <pybind11/pybind11.h>

#include "blendsplat/image_loss.h"

namespace blendsplat {

// Registered per module (module_local): both may be loaded in one process.
inline void add_image_loss(pybind11::module_& m) {
  namespace py = pybind11;
  py::class_<ImageLoss>(m, "ImageLoss", py::module_local())
      .def(py::init([](int64_t images, int width, int height, uintptr_t image, uintptr_t premultiplied, uintptr_t alpha, uintptr_t valid,
                       uintptr_t weight_sums, uintptr_t rows, uintptr_t backgrounds, float l1_weight, float ssim_weight,
                       uintptr_t grad_image, uintptr_t losses, uintptr_t mean_squares) {
             const auto bytes = [](uintptr_t address) { return reinterpret_cast<const uint8_t*>(address); };
             const auto floats = [](uintptr_t address) { return reinterpret_cast<float*>(address); };
             return ImageLoss{images, width, height, floats(image),
                              {bytes(premultiplied), bytes(alpha), bytes(valid), floats(weight_sums)},
                              reinterpret_cast<const int64_t*>(rows), floats(backgrounds), l1_weight, ssim_weight,
                              floats(grad_image), floats(losses), floats(mean_squares)};
           }),
           py::arg("images"), py::arg("width"), py::arg("height"), py::arg("image"), py::arg("premultiplied"), py::arg("alpha"),
           py::arg("valid"), py::arg("weight_sums"), py::arg("rows"), py::arg("backgrounds"), py::arg("l1_weight"),
           py::arg("ssim_weight"), py::arg("grad_image"), py::arg("losses"), py::arg("mean_squares"));
}

}  // namespace blendsplat
