# SPDX-License-Identifier: Apache-2.0
"""Rasterizers: 3D Gaussians, surfels and triangle meshes (all differentiable), and the choice of backend."""

from blendsplat.splatting.gaussians import gaussian_pixel_weights, rasterize_gaussians
from blendsplat.splatting.mesh import rasterize_mesh
from blendsplat.splatting.mesh_layers import render_mesh
from blendsplat.splatting.surfels import rasterize_surfels

__all__ = ["gaussian_pixel_weights", "rasterize_gaussians", "rasterize_mesh", "rasterize_surfels", "render_mesh"]
