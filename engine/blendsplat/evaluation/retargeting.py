# SPDX-License-Identifier: Apache-2.0
"""Does an avatar make the faces of somebody's capture? Its rendered video is tracked again, and what is read there is
correlated with the capture's own curves, movement by movement.

A capture has no picture to compare with, and the two faces differ: amounts cannot be compared, but that one moves when
the other does can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.table import Table

from blendsplat.avatars.reenact import Reenactment, reenacted
from blendsplat.errors import InputError
from blendsplat.evaluation.reenactment import fitted_faces, rendered_faces
from blendsplat.exchange.capture import Capture, to_performance
from blendsplat.exchange.captures import read_capture
from blendsplat.geometry import matrix_to_rotvec
from blendsplat.heads.arkit import JAW_OPEN_ANGLE, counterparts
from blendsplat.heads.load import load_head
from blendsplat.heads.performance import Performance, same_head
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar

# Movement -> ARKit's expressions that make it (+) and its contrary (-)
MOVEMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jaw": (("jawOpen",), ()),
    "smile": (("mouthSmileLeft", "mouthSmileRight"), ()),
    "brows": (("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), ("browDownLeft", "browDownRight")),
    "blinks": (("eyeBlinkLeft", "eyeBlinkRight"), ()),
}


@dataclass
class Retargeted:
    """One avatar and movement: correlation of the capture's curve with what was played (after its own person's neutral
    and range) and with what was tracked in the render; moved: standard deviation of the capture's curve."""

    avatar: str
    movement: str
    played: float
    tracked: float
    moved: float
    frames: int


def benchmark_retargeting(
    avatars: list[Path], take: Path, every: int = 1, frames: int | None = None, progress: Progress | None = None,
    film: Path | None = None,
) -> list[Retargeted]:  # fmt: skip
    """A row for each avatar and movement, over every ``every``-th of the capture's ``frames`` (None: all). film: a
    folder for what was rendered, as NAME.mp4. Raises InputError for avatars of another head than the one that ships,
    FormatError for a file that is no capture."""
    progress, capture = progress or Progress(), read_capture(take)
    rows = np.arange(0, min(len(capture.seconds), frames or len(capture.seconds)), every)
    head = load_head("human", landmarks=True)
    made = []
    for path in avatars:
        avatar = load_avatar(path, "cpu")
        reference = avatar.reference
        if reference is None:
            raise InputError(f"{path} does not say how its own clip holds the head; train it again.")
        camera = avatar.camera
        played = to_performance(
            capture, head, "human", camera.K.numpy(), camera.viewmat.numpy(), (camera.width, camera.height)
        )
        if not same_head(avatar.head, played):
            raise InputError(f"{path} lies on {avatar.head.name!r}; captures are measured on the head that ships.")
        played.root_pose += matrix_to_rotvec(reference.rotation[None])[0].numpy()
        played.translation += reference.translation.numpy()
        driven = reenacted(played, avatar.head, reference.face, Reenactment()).select(rows)
        every_row = np.arange(len(rows))
        pictures, points, seen = rendered_faces(avatar, driven, every_row, "cpu", progress, bounded=True)
        tracked = fitted_faces(head, points, seen, driven, every_row, progress)
        if film is not None:
            _write(film / f"{path.name.removesuffix('.avatar.npz')}.mp4", pictures, driven)
        both = driven.valid & tracked.valid & seen
        made += _rows(path.name.removesuffix(".avatar.npz"), capture, rows, driven, tracked, both)
    return made


def table(rows: list[Retargeted]) -> Table:
    """One row an avatar and movement."""
    result = Table(*asdict(rows[0]), title="retargeting")
    for row in rows:
        figures = (f"{value:.2f}" for value in (row.played, row.tracked, row.moved))
        result.add_row(row.avatar, row.movement, *figures, str(row.frames))
    return result


def curve(movement: str, value: Callable[[str], np.ndarray]) -> np.ndarray:
    """A movement's curve [F] from ARKit's coefficients: the mean of those that make it, less the contrary's."""
    made, undone = MOVEMENTS[movement]
    total: np.ndarray = np.mean([value(name) for name in made], axis=0)
    return total - np.mean([value(name) for name in undone], axis=0) if undone else total


def coefficient(performance: Performance, name: str) -> np.ndarray:
    """One of ARKit's coefficients [F] of a performance on the head that ships, whose jaw is a joint."""
    if name == "jawOpen" and name not in performance.expression_names:
        return performance.jaw_pose[:, 0] / JAW_OPEN_ANGLE
    columns = [performance.expression_names.index(one) for one in counterparts(name, performance.expression_names)]
    return performance.expression[:, columns].mean(1)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, 0 where one of the two stands still."""
    if len(one) < 2 or min(np.ptp(one), np.ptp(other)) < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _rows(
    name: str, capture: Capture, rows: np.ndarray, driven: Performance, tracked: Performance, both: np.ndarray
) -> list[Retargeted]:
    found = []
    still = np.zeros(len(capture.seconds))
    for movement in MOVEMENTS:
        wanted = curve(movement, lambda one: capture.values.get(one, still)[rows])[both]
        told = [curve(movement, partial(coefficient, of))[both] for of in (driven, tracked)]
        figures = [correlation(wanted, one) for one in told]
        found.append(Retargeted(name, movement, figures[0], figures[1], float(wanted.std()), int(both.sum())))
    return found


def _write(path: Path, pictures: list[np.ndarray], driven: Performance) -> None:
    from blendsplat.video import write_mp4

    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.diff(driven.timestamps)
    write_mp4(path, iter(pictures), 1 / float(np.median(steps)) if len(steps) else 30.0)
