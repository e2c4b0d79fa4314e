# SPDX-License-Identifier: GPL-3.0-or-later
"""The render engine BLENDSPLAT: cameras, evaluated Gaussians, frames from the engine."""
