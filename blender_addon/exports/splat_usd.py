# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians over a range of frames as one USD file: a Points prim for every avatar, all it has as primvars.

Written with the USD library that Blender brings along. Values that stay as they were are not written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..render.color import srgb_to_linear
from ..render.gather import Gaussians, Part
from . import ExportError
from .whole_files import whole


def missing() -> str:
    """Why this Blender cannot write USD from Python, or ""."""
    try:
        import pxr.UsdGeom  # noqa: F401
    except ImportError:
        return (
            "This Blender comes without Python's USD library (module pxr): use a Blender from blender.org, or export a "
            "PLY sequence."
        )
    return ""


_ENDINGS = (".usdc", ".usda", ".usd")


class SplatStage:
    """A USD stage that frames are added to, in rising order, and that is written when all are there.

    Its world is Blender's: z up, metres. ``fps``: frames of a second; a time code is a frame of Blender's timeline.
    Raises ExportError without the library.
    """

    def __init__(self, fps: float) -> None:
        if sentence := missing():
            raise ExportError(sentence)
        from pxr import Usd, UsdGeom

        self._stage = Usd.Stage.CreateInMemory()
        UsdGeom.SetStageUpAxis(self._stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(self._stage, 1.0)
        self._stage.SetTimeCodesPerSecond(fps)
        self._stage.SetFramesPerSecond(fps)
        self._stage.SetDefaultPrim(UsdGeom.Xform.Define(self._stage, "/Avatars").GetPrim())
        self._clouds: dict[str, _Cloud] = {}
        self._frames: list[int] = []

    def add(self, frame: int, parts: Sequence[Part]) -> None:
        """What the scene shows in a frame. An avatar that is not among the parts is invisible in it."""
        present: dict[str, Gaussians] = {}
        for part in parts:
            name = part.carrier.name if part.place == part.carrier else f"{part.place.name} {part.carrier.name}"
            present[_free(name, present)] = part.gaussians
        for name in present.keys() - self._clouds.keys():
            self._clouds[name] = _Cloud(self._stage, name, {cloud.path for cloud in self._clouds.values()})
            if self._frames:
                self._clouds[name].show(self._frames[0], False)
        for name, cloud in self._clouds.items():
            cloud.show(frame, name in present)
            if name in present:
                cloud.add(frame, present[name])
        self._frames.append(frame)

    def write(self, path: Path) -> int:
        """Write the file (.usdc, .usda or .usd), whole or not at all -> its avatars. Raises ExportError, OSError."""
        if not self._clouds:
            raise ExportError("No avatar is visible in these frames.")
        if path.suffix.lower() not in _ENDINGS:
            raise ExportError(f"{path.name} could not be written: end it with {', '.join(_ENDINGS)}.")
        self._stage.SetStartTimeCode(self._frames[0])
        self._stage.SetEndTimeCode(self._frames[-1])
        with whole(path) as temporary:
            temporary.unlink(missing_ok=True)
            try:
                written = self._stage.GetRootLayer().Export(str(temporary))
            except Exception as error:  # Tf.ErrorException, which is no OSError
                raise ExportError(f"{path} could not be written: {str(error).strip()[-200:]}") from error
            if not written:
                raise ExportError(f"{path} could not be written: is there room, and may you write there?")
        return len(self._clouds)


class _Cloud:
    """One avatar's Points prim."""

    def __init__(self, stage: Any, name: str, taken: set[str]) -> None:
        from pxr import Sdf, Tf, UsdGeom

        self.path = _free(f"/Avatars/{Tf.MakeValidIdentifier(name)}", taken)
        points = UsdGeom.Points.Define(stage, self.path)
        points.GetPrim().SetCustomDataByKey("blendsplat:avatar", name)
        primvars, types = UsdGeom.PrimvarsAPI(points), Sdf.ValueTypeNames

        def primvar(name: str, kind: Any) -> _Samples:
            return _Samples(primvars.CreatePrimvar(name, kind, UsdGeom.Tokens.vertex).GetAttr())

        self._visible = _Samples(points.CreateVisibilityAttr(UsdGeom.Tokens.inherited))
        self._values = {
            "points": _Samples(points.CreatePointsAttr()), "extent": _Samples(points.CreateExtentAttr()),
            "widths": _Samples(points.CreateWidthsAttr()),
            "displayColor": primvar("displayColor", types.Color3fArray),
            "displayOpacity": primvar("displayOpacity", types.FloatArray),
            "scale": primvar("scale", types.Float3Array), "rotation": primvar("rotation", types.QuatfArray),
        }  # fmt: skip
        points.SetWidthsInterpolation(UsdGeom.Tokens.vertex)

    def show(self, frame: int, shown: bool) -> None:
        self._visible.add(frame, "inherited" if shown else "invisible")

    def add(self, frame: int, g: Gaussians) -> None:
        quats = g.quats / np.maximum(np.linalg.norm(g.quats, axis=1, keepdims=True), 1e-12)
        values = {
            "points": g.means, "extent": np.stack([g.means.min(0), g.means.max(0)]),
            "widths": 2 * np.cbrt(g.scales.astype(float).prod(1)), "displayColor": srgb_to_linear(g.colors),
            "displayOpacity": g.opacities, "scale": g.scales, "rotation": quats,
        }  # fmt: skip
        for name, array in values.items():
            self._values[name].add(frame, np.ascontiguousarray(array, np.float32), name)


class _Samples:
    """An attribute's values over time; of equal ones in a row the first and the last are written, because readers
    interpolate."""

    def __init__(self, attribute: Any) -> None:
        self._attribute = attribute
        self._last: tuple[int, Any] | None = None
        self._written = False  # the last one is

    def add(self, frame: int, value: Any, name: str = "") -> None:
        if self._last is not None and np.array_equal(self._last[1], value):
            self._last, self._written = (frame, value), False
            return
        if self._last is not None and not self._written:
            self._write(*self._last, name)
        self._write(frame, value, name)
        self._last, self._written = (frame, value), True

    def _write(self, frame: int, value: Any, name: str) -> None:
        from pxr import Vt

        if isinstance(value, np.ndarray):
            if name == "rotation":  # USD keeps the real part last in memory
                value = Vt.QuatfArrayFromBuffer(np.ascontiguousarray(value[:, [1, 2, 3, 0]]))
            elif value.ndim == 1:
                value = Vt.FloatArrayFromBuffer(value)
            else:
                value = Vt.Vec3fArrayFromBuffer(value)
        self._attribute.Set(value, float(frame))


def _free(name: str, taken: Any) -> str:
    """The name, numbered where it is taken."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found
