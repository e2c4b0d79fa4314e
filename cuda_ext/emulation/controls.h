// SPDX-License-Identifier: Apache-2.0
// Adds the emulation's controls to its Python module.
#pragma once

#include <pybind11/pybind11.h>

namespace blendsplat {
namespace emulation {

void bind_controls(pybind11::module_&);

}  // namespace emulation
}  // namespace blendsplat
