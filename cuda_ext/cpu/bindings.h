// SPDX-License-Identifier: Apache-2.0
// What the files that make up the Python module share.
#pragma once

#include <pybind11/pybind11.h>

#include "dispatch.h"

namespace blendsplat {

template <class T>
T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

void add_surfels(pybind11::module_& m);
void add_transformer(pybind11::module_& m);

}  // namespace blendsplat
