// SPDX-License-Identifier: Apache-2.0
// What the files that make up the Python module share.
#pragma once

#include <pybind11/pybind11.h>

#include "blendsplat/bindings.h"
#include "dispatch.h"

namespace blendsplat {

// The number of threads that a caller asks for.
inline int at_least_one(int threads) { return threads < 1 ? 1 : threads; }

void add_training(pybind11::module_& m);
void add_surfels(pybind11::module_& m);
void add_mesh(pybind11::module_& m);
void add_transformer(pybind11::module_& m);

}  // namespace blendsplat
