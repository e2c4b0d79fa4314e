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
#include "blendsplat/playback.h"
#include "blendsplat/tangent.h"

namespace blendsplat {

using Addresses = std::vector<uintptr_t>;

template <class T>
T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

inline std::vector<AdamTensor> adam_tensors(const Addresses& parameters, const Addresses& grads, const Addresses& exp_avgs,
                                            const Addresses& exp_avg_sqs, const std::vector<int64_t>& counts) {
  std::vector<AdamTensor> tensors;
  for (size_t i = 0; i < counts.size(); ++i) {
    tensors.push_back({at<float>(parameters.at(i)), at<float>(grads.at(i)), at<float>(exp_avgs.at(i)),
                       at<float>(exp_avg_sqs.at(i)), counts[i]});
  }
  return tensors;
}

// The order of a BoundGaussians' addresses; scales and opacities are both 0 where there are no activations.
enum BoundSlot { kBoundMeans, kBoundQuats, kBoundColors, kBoundScales, kBoundOpacities };

template <class Float>
BoundGaussians<Float> bound_gaussians(const Addresses& a) {
  return {at<Float>(a.at(kBoundMeans)), at<Float>(a.at(kBoundQuats)), at<Float>(a.at(kBoundColors)), at<Float>(a.at(kBoundScales)),
          at<Float>(a.at(kBoundOpacities))};
}

// The order of the addresses of the gradients to a surface; all empty where none is asked for.
enum SurfaceSlot {
  kSurfaceVertices, kSurfaceFrames, kSurfaceQuats, kSurfaceByTriangle, kSurfaceTriangleStarts, kSurfaceByVertex,
  kSurfaceVertexStarts, kSurfaceLocalPositions, kSurfaceLocalQuats
};

inline BindSurface bind_surface(const Addresses& a) {
  if (a.empty()) return {};
  return {at<float>(a.at(kSurfaceVertices)), at<float>(a.at(kSurfaceFrames)), at<float>(a.at(kSurfaceQuats)),
          at<const int64_t>(a.at(kSurfaceByTriangle)), at<const int64_t>(a.at(kSurfaceTriangleStarts)),
          at<const int64_t>(a.at(kSurfaceByVertex)), at<const int64_t>(a.at(kSurfaceVertexStarts)),
          at<float>(a.at(kSurfaceLocalPositions)), at<float>(a.at(kSurfaceLocalQuats))};
}

// The order of the addresses of tangent_frames_backward.
enum FramesBackwardSlot { kBackFrames, kBackQuats, kBackByVertex, kBackVertexStarts, kBackScratch, kBackVertices };

inline TangentFramesBackward tangent_frames_backward(const Addresses& a) {
  return {at<const float>(a.at(kBackFrames)), at<const float>(a.at(kBackQuats)), at<const int64_t>(a.at(kBackByVertex)),
          at<const int64_t>(a.at(kBackVertexStarts)), at<float>(a.at(kBackScratch)), at<float>(a.at(kBackVertices))};
}

// The order of the addresses of what is blended, in Bind::base and Bind::deltas; their widths are kWidths.
enum BasisSlot { kBasisPositions, kBasisQuats, kBasisColors, kBasisCount };
using BasisAddresses = std::array<uintptr_t, kBasisCount>;

inline Bind make_bind(int64_t images, int64_t gaussians, int64_t blendshapes, int64_t vertex_count, int64_t faces,
                      BasisAddresses base, BasisAddresses deltas, uintptr_t log_scales, uintptr_t opacity_logits,
                      uintptr_t weights, uintptr_t vertices, uintptr_t frames, uintptr_t frame_quats, uintptr_t triangle,
                      uintptr_t corners, uintptr_t barycentrics) {
  Bind b = {};
  b.images = images;
  b.gaussians = gaussians;
  b.blendshapes = blendshapes;
  b.vertex_count = vertex_count;
  b.faces = faces;
  for (int i = 0; i < kBasisCount; ++i) {
    b.base[i] = at<float>(base[i]);
    b.deltas[i] = at<float>(deltas[i]);
  }
  b.log_scales = at<float>(log_scales);
  b.opacity_logits = at<float>(opacity_logits);
  b.weights = at<float>(weights);
  b.vertices = at<float>(vertices);
  b.frames = at<float>(frames);
  b.frame_quats = at<float>(frame_quats);
  b.triangle = at<const int64_t>(triangle);
  b.corners = at<const int64_t>(corners);
  b.barycentrics = at<float>(barycentrics);
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
      .def(py::init([](const Addresses& grads, const Addresses& outputs, BasisAddresses base, BasisAddresses deltas,
                       uintptr_t log_scales, uintptr_t opacity_logits, uintptr_t weights, uintptr_t scratch,
                       const Addresses& surface) {
             BindBackward b = {bound_gaussians<const float>(grads), bound_gaussians<const float>(outputs), {}, {},
                               at<float>(log_scales), at<float>(opacity_logits), at<float>(weights),
                               at<float>(scratch), bind_surface(surface)};
             for (int i = 0; i < kBasisCount; ++i) {
               b.base[i] = at<float>(base[i]);
               b.deltas[i] = at<float>(deltas[i]);
             }
             return b;
           }),
           py::arg("grads"), py::arg("outputs"), py::arg("base"), py::arg("deltas"), py::arg("log_scales"), py::arg("opacity_logits"),
           py::arg("weights"), py::arg("scratch"), py::arg("surface"));
}

// The order of the addresses of a Playback.
enum PlaybackSlot {
  kPlayBase, kPlayBases, kPlayWeights, kPlayTriangle, kPlayBarycentrics, kPlayTriangles, kPlayMeans, kPlayQuats, kPlayColors
};

inline Playback make_playback(int64_t images, int64_t gaussians, int64_t blendshapes, int64_t faces, bool half, const Addresses& a) {
  return {images, gaussians, blendshapes, faces, at<float>(a.at(kPlayBase)), at<void>(a.at(kPlayBases)), half,
          at<float>(a.at(kPlayWeights)), at<const int32_t>(a.at(kPlayTriangle)), at<float>(a.at(kPlayBarycentrics)),
          at<float>(a.at(kPlayTriangles)), at<float>(a.at(kPlayMeans)), at<float>(a.at(kPlayQuats)), at<float>(a.at(kPlayColors))};
}

inline void add_image_loss(pybind11::module_& m) {
  namespace py = pybind11;
  py::class_<ImageLoss>(m, "ImageLoss", py::module_local())
      .def(py::init([](int64_t images, int width, int height, uintptr_t image, uintptr_t premultiplied, uintptr_t alpha, uintptr_t valid,
                       uintptr_t weight_sums, uintptr_t rows, uintptr_t backgrounds, float l1_weight, float ssim_weight,
                       uintptr_t grad_image, uintptr_t losses, uintptr_t mean_squares) {
             return ImageLoss{images, width, height, at<float>(image),
                              {at<const uint8_t>(premultiplied), at<const uint8_t>(alpha), at<const uint8_t>(valid), at<float>(weight_sums)},
                              at<const int64_t>(rows), at<float>(backgrounds), l1_weight, ssim_weight,
                              at<float>(grad_image), at<float>(losses), at<float>(mean_squares)};
           }),
           py::arg("images"), py::arg("width"), py::arg("height"), py::arg("image"), py::arg("premultiplied"), py::arg("alpha"),
           py::arg("valid"), py::arg("weight_sums"), py::arg("rows"), py::arg("backgrounds"), py::arg("l1_weight"),
           py::arg("ssim_weight"), py::arg("grad_image"), py::arg("losses"), py::arg("mean_squares"));
}

}  // namespace blendsplat
