# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of docs/heads.md: ``python -m tools.head_pictures docs/pictures``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from blendsplat.heads.arkit import joint_rotations
from blendsplat.heads.human.appearance import head_texture
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.portrait import look_at
from blendsplat.heads.render import Light, Props, render_views
from blendsplat.synthetic.people import random_person

WALL = (0.56, 0.59, 0.61)
FACES: tuple[dict[str, float], ...] = (
    {},
    {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5,
     "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3},
    {"jawOpen": 0.8},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    {"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0},
    {"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0},
    {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
)  # fmt: skip
SIDES = (-40.0, 0.0, 60.0)  # degrees
TILE = 240


def face(head: HeadModel, amounts: dict[str, float]) -> HeadParams:
    """Parameters of ARKit's expressions by name, whether they are shapes or turns."""
    params, turns = head.neutral(), joint_rotations(head)
    for name, amount in amounts.items():
        if name in turns:
            joint, turn = turns[name]
            moved = torch.tensor(turn) * amount
            if joint == "jaw":
                params.jaw_pose[0] += moved
            else:
                params.eyes_pose[0, 0 if joint == "left_eye" else 1] += moved
        else:
            params.expression[0, head.expression_names.index(name)] = amount
    return params


def draw(
    head: HeadModel, vertices: torch.Tensor, texture: torch.Tensor, yaws: tuple[float, ...], target: np.ndarray,
    wide: bool, props: Props | None = None, light: Light = Light(),
) -> list[np.ndarray]:  # fmt: skip
    """Pictures uint8 [TILE,TILE,3] of one posed head from some sides."""
    focal = TILE / (0.40 if wide else 0.26)
    K = torch.tensor([[focal, 0, TILE / 2], [0, focal, TILE / 2], [0, 0, 1]])
    views = torch.stack([torch.from_numpy(look_at(target, 1.0, np.radians(yaw), 0.0)).float() for yaw in yaws])
    rgba = render_views(head, vertices, texture, views, K.expand(len(yaws), 3, 3), TILE, TILE, light, props=props)
    shown = rgba[..., :3] + (1 - rgba[..., 3:]) * torch.tensor(WALL)
    return list((shown.clamp(0, 1) * 255 + 0.5).byte().numpy())


def main(folder: Path) -> None:
    """Write human.jpg (faces) and people.jpg (six random people from three sides)."""
    head = load_head("human")
    texture, middle = torch.tensor(head_texture()), np.array([0.0, -0.035, 0.03])
    tiles = [draw(head, head(face(head, f))[0], texture, (0.0,), middle, False)[0] for f in FACES]
    turned = draw(head, head(face(head, FACES[1]))[0], texture, (-50.0, 50.0), middle, False)
    turned += draw(head, head(face(head, FACES[2]))[0], texture, (-50.0, 50.0), middle, False)
    rows = [np.concatenate(tiles[:4], 1), np.concatenate(tiles[4:], 1), np.concatenate(turned, 1)]
    Image.fromarray(np.concatenate(rows)).save(folder / "human.jpg", quality=88)
    people = []
    for number in range(6):
        one = random_person(head, np.random.default_rng([11, number]))
        lower = np.array([0.0, -0.05, 0.0])
        people.append(draw(head, one.drawn, one.texture, SIDES, lower, True, one.props, one.light))
    rows = [np.concatenate(people[2 * row] + people[2 * row + 1], 1) for row in range(3)]
    Image.fromarray(np.concatenate(rows)).save(folder / "people.jpg", quality=86)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
