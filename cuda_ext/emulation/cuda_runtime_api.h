// SPDX-License-Identifier: Apache-2.0
// Shadows the CUDA toolkit's header of this name in the emulated build: see cuda_runtime.h beside it.
#pragma once

#include "cuda_runtime.h"
