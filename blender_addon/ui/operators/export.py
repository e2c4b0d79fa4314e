# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 6: what leaves Blender: one frame of the avatars as a PLY that ordinary splat viewers open.

It writes what the scene shows now (poses, sliders, the artist's own changes), so it needs no engine.
"""

from __future__ import annotations

import os
from pathlib import Path

import bpy
import numpy as np
from bpy.props import StringProperty
from bpy_extras.io_utils import ExportHelper

from ...render import gather
from . import common

_SH0 = 0.28209479177387814
_FIELDS = (
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
    "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip


class ExportPly(common.Grey, bpy.types.Operator, ExportHelper):
    """Write the avatars of the current frame, as the viewport shows them, as a splat PLY in world space"""

    bl_idname = "blendsplat.export_ply"
    bl_label = "Export Splat PLY"
    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if any(item.blendsplat.kind == "AVATAR" for item in context.scene.objects) else "Add an avatar first."

    def execute(self, context: bpy.types.Context) -> set[str]:
        gaussians = gather.gather(context.evaluated_depsgraph_get())
        if not len(gaussians):
            self.report({"ERROR"}, "No avatar is visible.")
            return {"CANCELLED"}
        try:
            write_ply(Path(bpy.path.abspath(self.filepath)), gaussians)
        except OSError as error:
            self.report({"ERROR"}, f"Could not write {self.filepath}: {error.strerror or error}.")
            return {"CANCELLED"}
        self.report({"INFO"}, f"{len(gaussians):,} Gaussians written.")
        return {"FINISHED"}


def write_ply(path: Path, g: gather.Gaussians) -> None:
    """The usual layout: SH-DC colours, logit opacities, log scales, quaternions wxyz. Written whole or not at all."""
    opacity = np.clip(g.opacities, 1e-6, 1 - 1e-6)
    quats = g.quats / np.maximum(np.linalg.norm(g.quats, axis=1, keepdims=True), 1e-12)
    columns = [
        g.means, np.zeros((len(g), 3)), (g.colors - 0.5) / _SH0, np.log(opacity / (1 - opacity))[:, None],
        np.log(np.maximum(g.scales, 1e-9)), quats,
    ]  # fmt: skip
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(g)}"]
    header += [f"property float {name}" for name in _FIELDS] + ["end_header", ""]
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes("\n".join(header).encode() + np.concatenate(columns, 1).astype("<f4").tobytes())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


register, unregister = bpy.utils.register_classes_factory((ExportPly,))
