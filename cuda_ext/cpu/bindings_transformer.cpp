// SPDX-License-Identifier: Apache-2.0
// The transformer's operations of the Python module: raw addresses and sizes in, nothing out.
#include "bindings.h"

namespace py = pybind11;

namespace blendsplat {

void add_transformer(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  m.attr("TOKEN_PANEL") = kTokenPanel;
  m.attr("HEAD_WIDTH") = kHeadWidth;
  m.attr("BLOCK_PANELS") = kBlockPanels;
  m.attr("MLP_SLAB") = kSlab;
  m.def("dense", [](int64_t panels, int64_t in_channels, int64_t out_channels, uintptr_t in, uintptr_t weight, uintptr_t bias,
                    uintptr_t scale, uintptr_t residual, uintptr_t out, uintptr_t norm_weight, uintptr_t norm_bias,
                    float epsilon, uintptr_t scratch, int threads) {
    operations().dense({panels, in_channels, out_channels, at<float>(in), at<float>(weight), at<float>(bias), at<float>(scale),
                        at<float>(residual), at<float>(out), {at<float>(norm_weight), at<float>(norm_bias), epsilon},
                        at<float>(scratch), at_least_one(threads)});
  }, release());
  m.def("mlp", [](int64_t panels, int64_t channels, int64_t hidden, uintptr_t tokens, uintptr_t wide, uintptr_t wide_bias,
                  uintptr_t narrow, uintptr_t narrow_bias, uintptr_t scale, uintptr_t norm_weight, uintptr_t norm_bias,
                  float epsilon, uintptr_t scratch, int threads) {
    operations().mlp({panels, channels, hidden, at<float>(tokens), at<float>(wide), at<float>(wide_bias), at<float>(narrow),
                      at<float>(narrow_bias), at<float>(scale), {at<float>(norm_weight), at<float>(norm_bias), epsilon},
                      at<float>(scratch), at_least_one(threads)});
  }, release());
  m.def("attention", [](int64_t images, int64_t heads, int64_t queries, int64_t keys, int64_t width, int64_t query_panel,
                        int64_t key_panel, uintptr_t q, uintptr_t k, uintptr_t v, uintptr_t out, float factor, int threads) {
    operations().attention({images, heads, queries, keys, width, query_panel, key_panel, at<float>(q), at<float>(k),
                            at<float>(v), at<float>(out), factor, at_least_one(threads)});
  }, release());
}

}  // namespace blendsplat
