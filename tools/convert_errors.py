# SPDX-License-Identifier: Apache-2.0
"""Prints the tables of docs/heads.md, "Between heads": what a performance loses on the way to another head and back.

    PYTHONPATH=engine:tests/support python -m tools.convert_errors ict_facekit_packed.npz \\
        [--clip d18_human/ --clip d18_ict/]

The first table is of generated clips. Each ``--clip`` is a folder that ``blendsplat track`` wrote with either head; the
second table is of these. Millimetres between corresponding places of the face in the world, mean / 95th percentile.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from blendsplat.heads.convert import How, convert_performance
from blendsplat.heads.head_map import HeadMap, map_heads
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.heads.portrait import region_mask
from blendsplat.landmarks.detector import load_landmarks
from other_heads import flame_like, lively

FACE = ("face", "nose", "lips", "left_eyelids", "right_eyelids")
FRAMES = 40
USABLE = 0.3  # least weight of a landmark's place on both heads
AT_ONCE = 32  # frames
IRISES = (slice(468, 473), slice(473, 478))
Find = Callable[[HeadModel, HeadModel], HeadMap]
BY_BOTH: tuple[How, ...] = ("names", "vertices")


def remembered() -> Find:
    """map_heads that makes each map once."""
    made: dict[tuple[str, str], HeadMap] = {}

    def find(source: HeadModel, target: HeadModel) -> HeadMap:
        key = source.name, target.name
        if key not in made:
            made[key] = map_heads(source, target)
        return made[key]

    return find


def there_and_back(
    before: Performance, source: HeadModel, target: HeadModel, how: How, find: Find
) -> tuple[Performance, Performance, str]:
    """The performance on the target, back on the source, and the two columns of millimetres."""
    there = convert_performance(before, source, target, "", how, find(source, target))
    back = convert_performance(there, target, source, "", how, find(target, source))
    rows, frames = np.flatnonzero(region_mask(source, *FACE)), np.flatnonzero(before.valid)
    apart = head_vertices(before, source, frames)[:, rows] - head_vertices(back, source, frames)[:, rows]
    distance = np.linalg.norm(apart, axis=2) * 1e3
    figures = there.figures
    return there, back, (
        f"{figures['conversion_error_mm']:.2f} / {figures['conversion_error_95_mm']:.2f} | "
        f"{distance.mean():.2f} / {np.quantile(distance, 0.95):.2f}"
    )  # fmt: skip


def neutral(clip: Performance) -> Performance:
    """The clip's person in its poses, the face at rest."""
    calm = {name: np.zeros_like(getattr(clip, name)) for name in ("expression", "jaw_pose", "eyes_pose", "eyelids")}
    return replace(clip, **calm)


def landmark_error(clip: Performance, head: HeadModel, detected: np.ndarray, usable: np.ndarray) -> float:
    """Percent of the detected irises' distance, mean over the valid frames and the ``usable`` [478] landmarks.
    detected [F,478,2] pixels."""
    errors, valid = [], np.flatnonzero(clip.valid)
    for start in range(0, len(valid), AT_ONCE):
        rows = valid[start : start + AT_ONCE]
        world = head.landmarks_of(torch.as_tensor(head_vertices(clip, head, rows))).numpy() @ clip.K.T
        found = detected[rows]
        left, right = (found[:, iris].mean(1) for iris in IRISES)
        missed = np.linalg.norm(world[..., :2] / world[..., 2:] - found, axis=2)[:, usable].mean(1)
        errors.append(missed / np.linalg.norm(left - right, axis=1))
    return 100 * float(np.concatenate(errors).mean())


def main(ict_file: Path, clips: list[Path]) -> None:
    """Print both tables as Markdown."""
    human, ict, find = load_head("human"), load_head(ict_file), remembered()
    flame = flame_like(human)
    titles = {human.name: "human", ict.name: "ICT", flame.name: "FLAME's way"}
    print("| from, to | how | there | there and back |\n| --- | --- | --- | --- |")
    for source, target, hows in (
        (human, ict, BY_BOTH), (ict, human, BY_BOTH), (flame, ict, ("vertices",)), (ict, flame, ("vertices",)),
        (flame, human, ("vertices",)), (human, flame, ("vertices",)),
    ):  # fmt: skip
        pair, clip = f"{titles[source.name]}, {titles[target.name]}", lively(source, FRAMES)
        line = there_and_back(neutral(clip), source, target, hows[0], find)[2]
        print(f"| {pair}: neutral face | | {line} |", flush=True)
        for how in hows:
            print(f"| {pair} | {how} | {there_and_back(clip, source, target, how, find)[2]} |", flush=True)
    if clips:
        print("\n| | how | there | there and back | landmarks before, there, back |\n| --- | --- | --- | --- | --- |")
    for folder in clips:
        before, detected = Performance.load(folder), load_landmarks(folder / "landmarks.npz")[0][..., :2]
        source, target = (human, ict) if before.head_model == human.model_id else (ict, human)
        usable = np.minimum(human.landmarks.weights, ict.landmarks.weights).numpy() > USABLE
        for how in BY_BOTH:
            there, back, line = there_and_back(before, source, target, how, find)
            missed = [
                landmark_error(clip, head, detected, usable)
                for clip, head in ((before, source), (there, target), (back, source))
            ]
            shown = ", ".join(f"{error:.2f}" for error in missed)
            print(f"| {titles[source.name]}, {titles[target.name]} | {how} | {line} | {shown} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ict", type=Path, help="ICT-FaceKit, packed")
    parser.add_argument("--clip", type=Path, action="append", default=[], help="a folder that was tracked")
    given = parser.parse_args()
    main(given.ict, given.clip)
