# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as Blender knows it: its process, the wire, installation, jobs. Nothing here knows what a scene holds."""
