# SPDX-License-Identifier: Apache-2.0
"""Blendsplat's engine: head tracking, Gaussian head avatars and their kernels. It never imports bpy."""

import os

# Idle OpenMP threads sleep soon instead of spinning for milliseconds: Blender and the engine share the processor, and
# on two busy cores training took 5 to 8 times the processor time with the default. The runtimes read this when torch
# loads them, so it stands before everything else. What the user has set is left alone.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"  # GNU's runtime; its own choice when it knows of too many threads
    os.environ["KMP_BLOCKTIME"] = "1"  # Intel's and LLVM's, milliseconds

__version__ = "0.1.0"
