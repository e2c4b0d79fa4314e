# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves Blender for other programs: splats as PLY and USD, heads as glTF."""


class ExportError(Exception):
    """Something cannot be exported; the text is a sentence for the artist."""
