// SPDX-License-Identifier: Apache-2.0
// What tests say to the emulation, beside the bindings of the real module: in which order to run threads, whether to watch
// memory, and what was launched.
#include "controls.h"

#include <pybind11/stl.h>

#include "emulator.h"

namespace blendsplat {
namespace emulation {

void bind_controls(pybind11::module_& m) {
  m.attr("IN_ORDER") = kInOrder;
  m.attr("REVERSED") = kReversed;
  m.def("configure", [](int64_t seed, bool check) { settings = {seed, check}; }, pybind11::arg("seed") = kInOrder, pybind11::arg("check") = false);
  m.def("watch", [](uintptr_t address, size_t size) { watch(reinterpret_cast<void*>(address), size); });
  m.def("forget", [] {
    forget_watched();
    history = {};
  });
  m.def("kernels", [] { return history.kernels; });
  m.def("fault", [](const std::string& name, bool right, uintptr_t out) { run_fault(name, right, reinterpret_cast<float*>(out)); });
  m.def("waits", [] { return history.waits; });
}

}  // namespace emulation
}  // namespace blendsplat
