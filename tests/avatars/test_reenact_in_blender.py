# SPDX-License-Identifier: Apache-2.0
"""What the add-on's scene/reenact.py makes of a performance is what the engine makes of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acting import acted
from blendsplat.avatars.reenact import Reenactment, neutral_of, reenacted
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from other_heads import flame_like

ADDON = Path(__file__).parents[2] / "blender_addon"
NAMES = ("expression", "jaw_pose", "eyes_pose", "eyelids", "root_pose", "neck_pose", "translation")
ALL = (*NAMES, "timestamps", "valid")
ANN = {"mouthSmileLeft": 0.25, "mouthClose": 0.1, "eyeBlinkLeft": 0.1}
BEN = {"mouthFrownLeft": 0.2, "browDownRight": 0.2, "eyeBlinkLeft": 0.3, "mouthClose": 0.2}


@pytest.fixture(name="addon", scope="module")
def the_addons_modules() -> Iterator[Callable[[str], Any]]:
    """Modules of the add-on that need no Blender, without its own __init__."""
    for name, folder in (("addon_alone", ADDON), ("addon_alone.scene", ADDON / "scene")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    yield lambda name: importlib.import_module(f"addon_alone.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "addon_alone"]:
        del sys.modules[name]


def faces_of(addon: Callable[[str], Any], head: HeadModel, own: Performance) -> tuple[Any, Any]:
    """(the add-on's Face of the avatar's file, as it is kept in a .blend; the engine's neutral)."""
    formats, neutral_face = addon("formats"), addon("scene.neutral_face")
    rig = formats.Rig(
        *(getattr(head, name).numpy() for name in (
            "template", "faces", "uvs", "uv_faces", "expression_directions", "eyelid_directions", "pose_directions",
            "joints", "joint_expression_directions", "skin_weights",
        )), expression_names=head.expression_names, expression_range=head.expression_range,
    )  # fmt: skip
    neutral = neutral_of(own, head)
    assert neutral is not None
    face = neutral_face.Face.of_file(formats.AvatarFile(Path("a"), {}, neutral.arrays(), rig))
    return neutral_face.Face.unpack(face.pack()), neutral


CHOICES: list[dict[str, Any]] = [
    {}, {"relative": False}, {"smooth": 0.2}, {"smooth": 0.5, "lively": 0.2, "head": 0.3}, {"mouth": 0.0},
    {"mouth": 1.7, "eyes": 0.5, "brows": 0.2}, {"head": 0.0, "eyes": 2.0},
]  # fmt: skip


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_both_sides_agree(addon: Callable[[str], Any], choices: dict[str, Any], own: bool) -> None:
    human = load_head("human", landmarks=False)
    ann, ben = acted(human, ANN), acted(human, BEN, frames=100, fps=25.0, seed=3)
    played = ann if own else ben
    played.valid[50:53] = False
    face, neutral = faces_of(addon, human, ann)
    want = reenacted(played, human, neutral, Reenactment(**choices), own)
    formats, reenact = addon("formats"), addon("scene.reenact")
    given = formats.Performance(Path("t"), {}, {name: getattr(played, name) for name in ALL})
    have, told = reenact.reenacted(given, face, reenact.Acting(**choices), own)
    assert told == "" and (have is given) == (want is played)
    for name in NAMES:
        np.testing.assert_allclose(have.arrays[name], getattr(want, name), atol=2e-5, err_msg=name)


def test_a_head_without_names(addon: Callable[[str], Any]) -> None:
    human = load_head("human", landmarks=False)
    head = flame_like(human)
    rng = np.random.default_rng(0)
    told = acted(human, {})
    played = replace(
        told, expression=rng.normal(size=(120, head.expression_count)).astype(np.float32),
        expression_names=head.expression_names, head_model=head.model_id,
        eyelids=rng.uniform(0, 1, (120, 2)).astype(np.float32),
    )  # fmt: skip
    own = replace(played, expression=played.expression[::-1].copy(), eyelids=played.eyelids[::-1].copy())
    face, neutral = faces_of(addon, head, own)
    choices = {"mouth": 0.5, "brows": 1.5}
    want = reenacted(played, head, neutral, Reenactment(**choices))
    formats, reenact = addon("formats"), addon("scene.reenact")
    given = formats.Performance(Path("t"), {}, {name: getattr(played, name) for name in ALL})
    have, _ = reenact.reenacted(given, face, reenact.Acting(**choices), False)
    for name in NAMES:
        np.testing.assert_allclose(have.arrays[name], getattr(want, name), atol=1e-4, err_msg=name)


def test_what_an_artist_is_told(addon: Callable[[str], Any]) -> None:
    human = load_head("human", landmarks=False)
    ann = acted(human, ANN)
    face, _ = faces_of(addon, human, ann)
    formats, reenact = addon("formats"), addon("scene.reenact")

    def told(performance: Performance, of: Any) -> str:
        arrays = {name: getattr(performance, name) for name in ALL}
        given = formats.Performance(Path("t"), {}, arrays)
        have, sentence = reenact.reenacted(given, of, reenact.Acting(), False)
        assert have is given or not sentence
        return str(sentence)

    assert "too short" in told(ann.select([5]), face)
    assert "does not say" in told(ann, replace(face, neutral=None))
    with pytest.raises(formats.FileError, match="face in none of its frames"):
        told(replace(ann, valid=np.zeros(120, bool)), face)
