# SPDX-License-Identifier: Apache-2.0
"""Blendsplat's engine: head tracking, Gaussian head avatars and their kernels. It never imports bpy."""

__version__ = "0.1.0"
