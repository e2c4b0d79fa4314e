# SPDX-License-Identifier: Apache-2.0
"""What the add-on reads, whose readers know nothing of bpy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from ..mutate import any_of, damaged, odd_json
from ..mutate_arrays import odd_npz
from .avatars import write_avatar
from .clips import write_clip, write_fit
from .kind import ROOT, Kind, Target, finite


def addon(name: str) -> ModuleType:
    """A module of the add-on, without running the add-on's own beginning, which needs Blender."""
    if "blender_addon" not in sys.modules:
        package = ModuleType("blender_addon")
        package.__path__ = [str(ROOT / "blender_addon")]
        sys.modules["blender_addon"] = package
    return __import__(f"blender_addon.{name}", fromlist=["*"])


def _addon_avatar(folder: Path) -> None:
    formats = addon("formats")
    read = formats.read_avatar(folder / "a.avatar.npz")
    formats.read_header(folder / "a.avatar.npz")
    assert read.gaussians == len(read.arrays["triangle"]) and read.blendshapes == len(read.arrays["delta_colors"])
    json.dumps([read.system, read.figures, read.places, read.rig.expression_range])
    formats.head_model_id(read.rig)


def _addon_tracking(folder: Path) -> None:
    formats = addon("formats")
    read = formats.read_performance(folder)
    finite(read.fps, read.expression, read.timestamps)
    assert read.fps > 0 and len(read.expression) == read.frame_count and isinstance(read.steady, bool)
    formats.is_of_earlier_head(folder / "tracking.npz")
    finite(*formats.lens_of(folder, read))


def _addon_fit(folder: Path) -> None:
    fit = addon("formats").read_fit(folder)
    assert isinstance(fit.name, str) and all(isinstance(warning, str) for warning in fit.warnings)


def _addon_corrections(folder: Path) -> None:
    formats = addon("formats")
    before = formats.read_corrections(folder)
    finite(*before.values())
    performance = formats.read_performance(folder)
    frame = {name: np.asarray(performance.arrays[name][0]) for name in formats._FRAME_SHAPES}
    formats.add_correction(folder, performance, 0, frame, np.ones(15 + len(frame["expression"]), bool))


def _write_addon(folder: Path) -> None:
    write_avatar(folder)
    write_clip(folder)
    write_fit(folder)


KINDS = (
    Kind(
        "what the add-on reads",
        _write_addon,
        (
            Target("a.avatar.npz", odd_npz, _addon_avatar),
            Target("a.avatar.npz", odd_npz, _addon_avatar),
            Target("tracking.npz", odd_npz, _addon_tracking),
            Target("clip.json", odd_json, _addon_tracking),
            Target("fit.json", any_of(odd_json, damaged), _addon_fit),
            Target("corrections.npz", odd_npz, _addon_corrections),
        ),
    ),
)
