# SPDX-License-Identifier: GPL-3.0-or-later
"""The expressions and mouth shapes that ship (expressions.toml), as faces of a person whose resting face is known."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import arkit
from .face_pose import FacePose
from .neutral_face import Face

FILE = Path(__file__).resolve().parents[1] / "expressions.toml"
EXPRESSION, VISEME = "expressions", "visemes"
_LOOKS = tuple(name for name in arkit.NAMES if name.startswith("eyeLook"))
_LIDS_AND_SO_ON = ("brows", "eyes")
_MOUTH = ("mouth", "jaw", "tongue")
REGIONS: dict[str, tuple[str, ...]] = {
    "face": tuple(name for name in arkit.NAMES if name not in _LOOKS),
    "eyes": tuple(
        name for group in _LIDS_AND_SO_ON for name in arkit.GROUPS[group] if name not in _LOOKS
    ) + ("cheekSquintLeft", "cheekSquintRight"),
    "mouth": (*(name for group in _MOUTH for name in arkit.GROUPS[group]), "cheekPuff"),
}  # fmt: skip
_ENOUGH = 30  # of ARKit's names: from here on a head has these expressions


class ExpressionFileError(ValueError):
    """The file of expressions cannot be used; the text names what is wrong with it."""


@dataclass(frozen=True)
class Expression:
    """One of the file's: its kind, the region it speaks of, and its sliders' values, 0 to 1."""

    name: str
    kind: str
    region: str
    sliders: dict[str, float]

    def pose(self, rest: FacePose) -> FacePose:
        """The face of a person whose resting face is ``rest``: sliders go from there to the whole movement."""
        sliders = {}
        for name in REGIONS[self.region]:
            base = min(1.0, max(0.0, rest.sliders.get(name, 0.0)))
            sliders[name] = base + self.sliders.get(name, 0.0) * (1.0 - base)
        jaw = {"jaw": rest.turns.get("jaw", (0.0, 0.0, 0.0))} if "jawOpen" in sliders else {}
        return FacePose(sliders, jaw)


@lru_cache(maxsize=1)
def shipped() -> dict[str, Expression]:
    """All of the file's, by name, in its order."""
    return parse(tomllib.loads(FILE.read_text(encoding="utf-8")))


def parse(told: Mapping[str, Any]) -> dict[str, Expression]:
    """The expressions of a file's content. Raises ExpressionFileError."""
    found: dict[str, Expression] = {}
    for kind in told:
        if kind not in (EXPRESSION, VISEME):
            raise ExpressionFileError(f"{kind!r} is neither {EXPRESSION!r} nor {VISEME!r}.")
        for name, content in told[kind].items():
            if name in found:
                raise ExpressionFileError(f"There are two expressions {name!r}.")
            found[name] = _expression(kind, name, content)
    return found


def _expression(kind: str, name: str, content: Mapping[str, Any]) -> Expression:
    if unknown := set(content) - {"region", "sliders"}:
        raise ExpressionFileError(f"{name}: unknown entry {sorted(unknown)[0]!r}.")
    region = content.get("region")
    if region not in REGIONS:
        raise ExpressionFileError(f"{name}: the region {region!r} is none of {', '.join(REGIONS)}.")
    sliders = {}
    for given, value in content.get("sliders", {}).items():
        sides = arkit.SIDES if given.endswith("*") else ("",)
        for slider in (given.removesuffix("*") + side for side in sides):
            if slider not in REGIONS[region]:
                raise ExpressionFileError(f"{name}: {slider!r} is no slider of the region {region!r}.")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ExpressionFileError(f"{name}: {slider} = {value!r} is no number from 0 to 1.")
            sliders[slider] = float(value)
    return Expression(name, kind, region, sliders)


def usable(names: list[str]) -> bool:
    """Whether a head with these sliders can show the expressions that ship."""
    return len(set(names) & set(arkit.NAMES)) >= _ENOUGH


def rest_of(face: Face | None) -> FacePose:
    """The resting face of an avatar's person; the head's own zero where it is not known."""
    if face is None or face.neutral is None:
        return FacePose()
    values = np.asarray(face.neutral["expression"], float)
    x, y, z = (float(number) for number in face.neutral["jaw_pose"])
    return FacePose(dict(zip(face.names, values.tolist(), strict=True)), {"jaw": (x, y, z)})
