# SPDX-License-Identifier: GPL-3.0-or-later
"""What an avatar's face does and what it is at rest, as the engine's heads/face_motions.py, face_regions.py and
neutral.py (docs/formats.md): by it another person's performance is carried over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..formats import AvatarFile, Performance, Rig
from . import arkit

JAW, LEFT_EYE = 2, 3  # joints
TOUCH, DEPTH = 0.004, 0.01  # metres: within which resting lips meet, and behind whose foremost place teeth do
FOLLOWS, STAYS = 0.5, 0.25  # of an opening jaw's largest movement: the lower lip does, the upper one does not
OPENER, OPEN_ANGLE = "jawOpen", 0.372
QUIET, RESTS, ALIKE, FEWEST_ALIKE = 0.3, 0.5, 0.05, 3
FEWEST_FRAMES, LOOKED_AT = 10, 1500
ENOUGH_NAMES = 30  # of ARKit's 52
BROWS, MOUTH, SOFT, RIDGE = 0.2, -0.3, 0.2, 1e-4
NUMBERS = ("expression", "jaw_pose", "eyes_pose", "eyelids")
Neutral = dict[str, np.ndarray]  # by NUMBERS: [E], [3], [2,3], [2]


@dataclass(frozen=True)
class Face:
    """sizes [E+3,E+3], opening [E+3], opener: of expressions and the jaw's rotation vector, in metres. parts: region ->
    [E,E]. neutral: the avatar's own; None where its file does not say."""

    names: tuple[str, ...]
    bounds: tuple[float, float]
    sizes: np.ndarray
    opening: np.ndarray
    opener: int
    parts: dict[str, np.ndarray]
    neutral: Neutral | None

    @classmethod
    def of_file(cls, avatar: AvatarFile) -> Face:
        rig, given = avatar.rig, {name: avatar.arrays.get(f"neutral_{name}") for name in NUMBERS}
        neutral = None if any(array is None for array in given.values()) else given
        sizes, opening, opener = _motions(rig)
        return cls(rig.expression_names, rig.expression_range, sizes, opening, opener, _parts(rig), neutral)

    def pack(self) -> dict[str, Any]:
        """As custom properties."""
        told: dict[str, Any] = {"names": list(self.names), "bounds": list(self.bounds), "opener": self.opener}
        arrays = {"sizes": self.sizes, "opening": self.opening}
        if not _named(self.names):
            arrays |= {f"part_{region}": part for region, part in self.parts.items()}
        arrays |= {f"neutral_{name}": array for name, array in (self.neutral or {}).items()}
        return told | {name: np.asarray(array, "<f4").tobytes() for name, array in arrays.items()}

    @classmethod
    def unpack(cls, packed: Any) -> Face:
        """From what ``pack`` made. Raises KeyError or ValueError when it is damaged."""
        names, packed = tuple(packed["names"]), dict(packed)
        count = len(names)

        def array(name: str, *shape: int) -> np.ndarray:
            return np.frombuffer(packed[name], "<f4").astype(float).reshape(shape)

        parts = (
            _named_parts(names) if _named(names)
            else {region: array(f"part_{region}", count, count) for region in ("mouth", "eyes", "brows")}
        )  # fmt: skip
        shapes = {"expression": (count,), "jaw_pose": (3,), "eyes_pose": (2, 3), "eyelids": (2,)}
        known = "neutral_expression" in packed
        neutral = {name: array(f"neutral_{name}", *shape) for name, shape in shapes.items()} if known else None
        low, high = packed["bounds"]
        sizes = array("sizes", count + 3, count + 3)
        return cls(names, (low, high), sizes, array("opening", count + 3), int(packed["opener"]), parts, neutral)

    def neutral_of(self, performance: Performance) -> Neutral | None:
        """A performance's neutral face; None where it has too few frames with a face to tell."""
        expression, jaw, eyes, lids = (np.asarray(performance.arrays[name], float)[performance.valid_rows]
                                       for name in NUMBERS)  # fmt: skip
        if len(expression) < FEWEST_FRAMES:
            return None
        rows = np.unique(np.linspace(0, len(expression) - 1, min(len(expression), LOOKED_AT)).astype(int))
        faces = np.concatenate([expression, jaw], 1)[rows]
        alike = _quiet_and_often(faces @ self.sizes)
        face = np.median(faces[alike], axis=0)
        apart = float(face @ self.opening)
        if apart > 0 and self.opener >= 0:
            face[self.opener] -= apart / self.opening[self.opener]
        values = (face[:-3], face[-3:], np.median(eyes, axis=0), np.median(lids[rows[alike]], axis=0))
        return dict(zip(NUMBERS, values, strict=True))


def region_of(name: str) -> str:
    """Of one of ARKit's expressions, of both its sides or one; "mouth" for what has another name."""
    for group, names in arkit.GROUPS.items():
        whole = {one.removesuffix(side) for one in names for side in arkit.SIDES}
        if name in names or name in whole or any(name.removesuffix(side) in names for side in arkit.SIDES):
            return group if group in ("brows", "eyes") else "mouth"
    return "mouth"


def _quiet_and_often(moved: np.ndarray) -> np.ndarray:
    activity = np.linalg.norm(moved, axis=1)
    apart = np.sqrt(np.maximum(activity[:, None] ** 2 + activity[None] ** 2 - 2 * moved @ moved.T, 0))
    count = min(len(moved), max(FEWEST_ALIKE, round(ALIKE * len(moved))))
    reach = np.sort(apart, axis=1)[:, count - 1]
    quiet = activity <= np.quantile(activity, QUIET)
    middle = int(np.argmin(np.where(quiet, reach + RESTS * activity, np.inf)))
    return np.argsort(apart[middle], kind="stable")[:count]


def _motions(rig: Rig) -> tuple[np.ndarray, np.ndarray, int]:
    template, faces = rig.template.astype(float), rig.expression_directions.astype(float)
    follows, arm = rig.skin_weights[:, JAW].astype(float), template - rig.joints[JAW]
    directions = np.concatenate([faces, np.stack([np.cross(axis, arm) * follows[:, None] for axis in np.eye(3)])])
    flat = directions.reshape(len(directions), -1)
    sizes = np.linalg.cholesky(flat @ flat.T / len(template) + 1e-12 * np.eye(len(flat)))
    opens, amount = len(faces), OPEN_ANGLE
    if not follows.max() > 0:
        opens, amount = (rig.expression_names.index(OPENER), 1.0) if OPENER in rig.expression_names else (-1, 0.0)
    lower, upper = _lips(template, directions[opens] * amount)
    if not len(lower):
        return sizes, np.zeros(len(flat)), -1
    opening = (directions[:, upper, 1] - directions[:, lower, 1]).mean(1)
    return sizes, opening, opens if opening[opens] > 0 else -1


def _lips(template: np.ndarray, opened: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the lower lip and those of the upper lip that they meet."""
    moved = np.linalg.norm(opened, axis=1)
    most = moved.max(initial=0)
    lower, upper = np.flatnonzero(moved > FOLLOWS * most), np.flatnonzero(moved < STAYS * most)
    if not len(lower) or not len(upper):
        return lower[:0], upper[:0]
    low, high = template[lower].min(0) - TOUCH, template[lower].max(0) + TOUCH
    upper = upper[((template[upper] >= low) & (template[upper] <= high)).all(1)]
    if not len(upper):
        return lower[:0], upper
    one, other = template[lower], template[upper]
    square = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    nearest = square.argmin(1)
    meets = square[np.arange(len(lower)), nearest] < TOUCH**2
    lower, upper = lower[meets], upper[nearest[meets]]
    front = template[lower, 2] > template[lower, 2].max(initial=-np.inf) - DEPTH
    return lower[front], upper[front]


def _named(names: tuple[str, ...]) -> bool:
    """Whether a head's expressions are ARKit's, up to a few."""

    def there(name: str) -> bool:
        sides = [name + side for side in arkit.SIDES]
        wholes = [name.removesuffix(side) for side in arkit.SIDES]
        return name in names or all(side in names for side in sides) or any(w != name and w in names for w in wholes)

    return sum(there(name) for name in arkit.NAMES) >= ENOUGH_NAMES


def _named_parts(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    owner = np.array([region_of(name) for name in names])
    return {region: np.diag((owner == region).astype(float)) for region in ("mouth", "eyes", "brows")}


def _parts(rig: Rig) -> dict[str, np.ndarray]:
    """Region -> [E,E] that takes coefficients to those of that region alone; together the identity."""
    if _named(rig.expression_names):
        return _named_parts(rig.expression_names)
    directions, eyes = rig.expression_directions.astype(float), rig.joints[LEFT_EYE:].astype(float)
    apart = max(float(np.linalg.norm(eyes[0] - eyes[1])), 1e-6)
    height = (rig.template[:, 1].astype(float) - eyes[:, 1].mean()) / apart
    brows = np.clip((height - BROWS) / SOFT + 0.5, 0, 1)
    shares = {"eyes": 1 - brows - np.clip((MOUTH - height) / SOFT + 0.5, 0, 1), "brows": brows}
    flat = directions.reshape(len(directions), -1)
    gram = flat @ flat.T
    gram += (RIDGE * np.trace(gram) / len(gram) + 1e-12) * np.eye(len(gram))
    parts = {
        region: np.linalg.solve(gram, flat @ (directions * share[:, None]).reshape(len(directions), -1).T)
        for region, share in shares.items()
    }
    return {"mouth": np.eye(len(gram)) - parts["eyes"] - parts["brows"], **parts}
