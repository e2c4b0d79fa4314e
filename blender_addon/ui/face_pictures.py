# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails of faces: the engine draws them one after the other while the artist works on; Cancel leaves the rest.

Asset and picture find each other by the asset's name, as undo or another file may have replaced the data meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import bpy
import numpy as np

from ..client import pump, session
from ..scene import expression_assets, portrait

SIZE = 256
TOPIC = "faces"  # what panels find what went wrong by
_GAUSSIANS = ("means", "quats", "scales", "opacities", "colors")


@dataclass(eq=False)
class Series:
    """Pictures of faces of one avatar. params: of ``avatar.drive``; faces: (asset's name, its arrays); K, viewmat: the
    camera's."""

    scene: int  # session_uid of whose panel shows it
    params: dict[str, object]
    K: np.ndarray
    viewmat: np.ndarray
    faces: list[tuple[str, dict[str, np.ndarray]]]
    done: int = field(default=0, init=False)
    ended: bool = field(default=False, init=False)
    sentence: str = field(default="", init=False)

    @property
    def fraction(self) -> float:
        return self.done / max(1, len(self.faces))

    def cancel(self) -> None:
        """Draw no more; what has its picture keeps it."""
        if not self.ended:
            self.ended, self.sentence = True, f"Cancelled: {self.done} of {len(self.faces)} faces have their picture."

    def step(self) -> None:
        """Ask for the next picture."""
        if self.ended or self.done == len(self.faces):
            self.ended = True
            return
        session.ask(
            "avatar.drive", self.params, self.faces[self.done][1],
            then=self._driven, failed=self._failed, topic=TOPIC, wait=False,
        )  # fmt: skip

    def _driven(self, _result: object, arrays: dict[str, np.ndarray]) -> None:
        if self.ended:
            return
        gaussians = {name: np.ascontiguousarray(arrays[name][0]) for name in _GAUSSIANS}
        params = {"width": SIZE, "height": SIZE, "device": self.params["device"]}
        session.ask(
            "render.gaussians", params, gaussians | {"K": self.K, "viewmat": self.viewmat},
            then=self._drawn, failed=self._failed, topic=TOPIC, wait=False,
        )  # fmt: skip

    def _drawn(self, _result: object, arrays: dict[str, np.ndarray]) -> None:
        action = bpy.data.actions.get((self.faces[self.done][0], None))
        if action is not None:
            expression_assets.set_picture(action, portrait.picture_of(arrays))
        self.done += 1
        self.step()

    def _failed(self, sentence: str) -> None:
        self.ended, self.sentence = True, f"The faces have no pictures: {sentence}"


_latest: Series | None = None


def start(series: Series) -> None:
    """Draw the series' pictures; where no timer would fire they are there when this returns."""
    global _latest
    _latest = series
    series.step()
    if pump.synchronous():
        pump.until(lambda: series.ended)


def latest(scene: bpy.types.Scene) -> Series | None:
    """The scene's last series."""
    return _latest if _latest is not None and _latest.scene == scene.session_uid else None


def running() -> bool:
    """Pictures are being drawn."""
    return _latest is not None and not _latest.ended


def _seen() -> tuple[int, bool] | None:
    """What panels show of it."""
    return (_latest.done, _latest.ended) if _latest is not None else None


def register() -> None:
    pump.shows(_seen)


def unregister() -> None:
    global _latest
    _latest = None
