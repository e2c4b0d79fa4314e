# SPDX-License-Identifier: Apache-2.0
"""What the job "keys" tells of learned keys: where each acts, how much, how far; and its pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from blendsplat.avatars.rgbavatar.key_effects import WHOLE, key_effects
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.errors import Cancelled, InputError
from blendsplat.heads.face_places import PLACES, face_places
from blendsplat.heads.load import load_head
from blendsplat.jobs.kinds import KINDS
from blendsplat.jobs.options import validated
from blendsplat.progress import Progress
from tiny_clip import tiny_avatar, tiny_camera, tiny_head, tiny_tracking


def run(progress: Progress | None = None, **values: Any) -> dict[str, Any]:
    return KINDS["keys"].run(validated(KINDS["keys"].options, values, "keys"), progress or Progress())


@pytest.fixture(scope="module")
def on_a_face() -> RGBAvatar:
    """An avatar on the head that ships, whose keys move the left brow, the mouth, all alike, and the left brow again
    as a colour."""
    head = load_head("human", landmarks=False)
    personal = head.personalise(torch.zeros(head.shape_count))
    avatar = RGBAvatar.on_head(personal, 48, tiny_camera(), blendshapes=4, hidden=(8, 8))
    place = face_places(personal)[avatar.corners[:, 0].numpy()]
    left = personal.template[avatar.corners[:, 0], 0].numpy() > 0
    brow, mouth = ((place == PLACES.index("brow")) & left, place == PLACES.index("mouth"))
    assert brow.sum() > 10 and mouth.sum() > 10
    with torch.no_grad():
        avatar.opacity_logits.fill_(3.0)
        avatar.delta_positions[0, brow] = 0.01
        avatar.delta_positions[1, mouth] = 0.005
        avatar.delta_positions[2] = 0.001
        avatar.delta_colors[3, brow] = 3.0
        avatar.weight_range = torch.tensor([[-1.0, -2, 0, 0], [1.0, 2, 4, 1]])
        avatar.weight_mean, avatar.weight_reach = torch.tensor([0.0, 0.0, 2.0, 0.5]), torch.ones(1)
        avatar.weight_covariance = torch.diag(torch.tensor([0.25, 1.0, 1.0, 0.01]))
    return avatar


def test_keys_are_called_by_what_they_move(on_a_face: RGBAvatar) -> None:
    told = key_effects(on_a_face)
    assert [effect.place for effect in told][:2] == ["brow left", "mouth"] and told[3].place == "brow left"
    assert sum(effect.share for effect in told) == pytest.approx(1)
    assert told[0].name == f"GB 01 brow left, {100 * told[0].share:.0f} %"
    assert [effect.deviation for effect in told] == pytest.approx([0.5, 1, 1, 0.1])
    assert [(effect.low, effect.high) for effect in told] == [(-1, 1), (-2, 2), (0, 4), (0, 1)]


def test_a_share_counts_how_much_a_key_is_used(on_a_face: RGBAvatar) -> None:
    before = key_effects(on_a_face)
    with torch.no_grad():
        on_a_face.weight_covariance[0, 0] *= 9
        after = key_effects(on_a_face)
        on_a_face.weight_covariance[0, 0] /= 9
    gained, others = after[0].share / before[0].share, after[1].share / before[1].share
    assert gained / others == pytest.approx(9, rel=1e-6)


def test_what_moves_everything_is_the_face(on_a_face: RGBAvatar) -> None:
    alike = tiny_avatar(tiny_head())
    with torch.no_grad():
        for name in ("delta_positions", "delta_colors"):
            getattr(alike, name).copy_(getattr(alike, name)[:1].expand_as(getattr(alike, name)))
    assert {effect.place for effect in key_effects(alike)} == {WHOLE}
    assert key_effects(alike)[0].low is None, "an older file does not know"


def test_every_place_of_the_head_that_ships_has_its_vertices(on_a_face: RGBAvatar) -> None:
    counts = np.bincount(face_places(on_a_face.head), minlength=len(PLACES))
    assert (counts > 20).all(), dict(zip(PLACES, counts, strict=True))


def test_a_head_without_eyes_and_mouth_has_places_too() -> None:
    places = face_places(tiny_head())
    assert places.shape == (48,) and set(places) <= set(range(len(PLACES)))


def test_pictures_and_table(tmp_path: Path) -> None:
    avatar = tiny_avatar(tiny_head())
    with torch.no_grad():
        avatar.delta_colors[1].zero_()
        avatar.delta_positions[1].zero_()
        avatar.delta_quats[1].zero_()
        avatar.note_seen(avatar.features(tiny_tracking(tiny_head(), 9).params()))
    avatar.save(tmp_path / "a.avatar.npz")
    told = run(avatar=tmp_path / "a.avatar.npz", output=tmp_path / "keys ü", size=40, device="cpu")
    shares = [row["share"] for row in told["keys"]]
    assert shares == sorted(shares, reverse=True) and told["keys"][-1]["index"] == 1 and shares[-1] == 0
    pictures = {row["index"]: cv2.imread(row["picture"]) for row in told["keys"]}
    assert all(picture.shape == (80, 80, 3) for picture in pictures.values())
    corner = {index: picture.reshape(2, 40, 2, 40, 3).transpose(0, 2, 1, 3, 4) for index, picture in pictures.items()}
    assert np.array_equal(corner[1][0, 0], corner[1][1, 0]), "a key that does nothing looks like nothing"
    assert not np.array_equal(corner[0][0, 0], corner[0][1, 0]) and corner[0][1, 1].max() > corner[1][1, 1].max()
    assert cv2.imread(told["sheet"]).shape[1] == 2 * 160
    assert json.loads((tmp_path / "keys ü" / "keys.json").read_text())["keys"] == json.loads(json.dumps(told["keys"]))
    assert run(avatar=tmp_path / "a.avatar.npz", device="cpu")["sheet"] is None
    progress = Progress()
    progress.cancelled = True
    with pytest.raises(Cancelled):
        run(progress, avatar=tmp_path / "a.avatar.npz", output=tmp_path / "no", device="cpu")
    assert not (tmp_path / "no" / "keys.json").exists()


def test_an_avatar_without_keys_is_refused(tmp_path: Path) -> None:
    tiny_avatar(tiny_head(), blendshapes=0).save(tmp_path / "none.avatar.npz")
    with pytest.raises(InputError, match="no learned keys"):
        run(avatar=tmp_path / "none.avatar.npz")
