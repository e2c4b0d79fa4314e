# SPDX-License-Identifier: Apache-2.0
"""Heads to animate by hand: the one that ships, the same with FLAME's nameless sliders, a fitted one, a bent sheet."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import synthetic_fit
from blender_addon import formats
from blender_addon.scene import head_rig
from test_arkit_sliders import human_rig

import synthetic

KINDS = ("human", "flame", "fitted", "sheet")


_files = tempfile.TemporaryDirectory()  # a head is built once and opened again in each test


def build(kind: str) -> bpy.types.Object:
    """A head of this kind in a scene of its own: the present file is closed."""
    file = Path(_files.name) / f"{kind}.blend"
    if not file.exists():
        _build(kind)
        bpy.ops.wm.save_as_mainfile(filepath=str(file))
    bpy.ops.wm.open_mainfile(filepath=str(file))
    head = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "HEAD")
    bpy.context.view_layer.objects.active = head
    return head


def _build(kind: str) -> bpy.types.Object:
    fitted = None
    if kind == "sheet":
        rig = formats.rig_from(*synthetic.grid_head(), "grid")
    elif kind == "fitted":
        meta, arrays = synthetic_fit.identity_head()
        rig = formats.rig_from(meta, arrays | {"rig.shape": np.array([0.5, 0.2, 0, 0], np.float32)}, "grid")
        fitted = np.zeros(len(rig.expression_names))
    else:
        rig = human_rig()[0] if kind == "human" else flame_like()
    return head_rig.build_head(bpy.context, rig, kind.capitalize(), fitted)


def flame_like() -> formats.Rig:
    """The head that ships with its expressions mixed into as many nameless ones, and lids of its own."""
    rig, _ = human_rig()
    lids = [rig.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    rest = [row for row in range(len(rig.expression_names)) if row not in lids]
    mix, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(rest), len(rest))))
    return replace(
        rig, expression_names=tuple(f"expression{row:03d}" for row in range(len(rest))), expression_range=(-3.0, 3.0),
        expression_directions=np.einsum("ab,bvc->avc", 0.4 * mix, rig.expression_directions[rest]).astype(np.float32),
        eyelid_directions=rig.expression_directions[lids],
        joint_expression_directions=rig.joint_expression_directions[rest],
    )  # fmt: skip
