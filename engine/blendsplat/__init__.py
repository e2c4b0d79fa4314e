# SPDX-License-Identifier: Apache-2.0
"""Blendsplat's engine: head tracking, Gaussian head avatars and their kernels. It never imports bpy."""

import os

# Worker threads that spin while they wait take the cores from Blender and from each other: measured four times the
# processor time in rendering on two busy cores. OpenMP reads this when torch loads it, so it is set before anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
