# SPDX-License-Identifier: Apache-2.0
"""What a clip showed: noted when an avatar is trained, the same after the file, counted as the add-on counts views."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.avatars.seen import PITCHES, YAWS, Seen, view_angles, views
from blendsplat.files import write_npz
from blendsplat.systems import load_avatar, load_preset, read_avatar, train_avatar
from tiny_clip import tiny_avatar, tiny_camera, tiny_head, tiny_tracking

ADDON = Path(__file__).parents[2] / "blender_addon"


@pytest.fixture(name="addon", scope="module")
def the_addons_modules() -> Iterator[Callable[[str], Any]]:
    """Modules of the add-on that need no Blender, without its own __init__."""
    for name, folder in (("addon_seen", ADDON), ("addon_seen.scene", ADDON / "scene")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    yield lambda name: importlib.import_module(f"addon_seen.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "addon_seen"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def trained(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar that was trained for a moment, of a clip whose head turns."""
    path = tmp_path_factory.mktemp("seen") / "a.avatar.npz"
    preset = load_preset("draft", {"images": 20, "uv_resolution": 12, "image_size": 32, "preview_seconds": 1e9})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("blendsplat.heads.load.load_head", lambda source, **_: tiny_head())
        train_avatar(tiny_clip, preset, path)
    return path


def test_training_notes_what_its_frames_show(trained: Path) -> None:
    meta, arrays = read_avatar(trained)
    count = meta["training"]["training_frames"]
    own = tiny_tracking(tiny_head(), 16)
    assert 3 < count < 16
    np.testing.assert_allclose(arrays["seen.expression"][0], own.expression[:count].min(0), atol=1e-6)
    np.testing.assert_allclose(arrays["seen.expression"][3], own.expression[:count].max(0), atol=1e-6)
    np.testing.assert_allclose(
        arrays["seen.neck_pose"][1:3], np.percentile(own.neck_pose[:count], (1, 99), axis=0), atol=1e-6
    )
    assert arrays["seen.views"].sum() == pytest.approx(1)
    avatar = load_avatar(trained)
    weights = avatar.weights(own.params()[slice(0, count)]).detach().double()
    np.testing.assert_allclose(arrays["weight_mean"], weights.mean(0), atol=1e-5)
    np.testing.assert_allclose(arrays["weight_covariance"], np.cov(weights.T.numpy(), bias=True), atol=1e-6)
    seen = avatar.seen_weights
    assert float(seen.distance(weights.float()).max()) == pytest.approx(seen.reach, rel=1e-3)
    avatar.hold(1.0)
    assert torch.equal(avatar.weights(own.params()[slice(0, count)]), weights.float()), "its own frames to the bit"
    assert len(meta["blendshape_places"]) == meta["blendshapes"]
    assert sum(share for _, share in meta["blendshape_places"]) == pytest.approx(1, abs=0.01)


def test_it_is_the_same_after_the_file(trained: Path, tmp_path: Path) -> None:
    avatar = load_avatar(trained)
    avatar.save(tmp_path / "b.avatar.npz")
    again = load_avatar(tmp_path / "b.avatar.npz")
    assert avatar.seen is not None and again.seen is not None and again.key_places == avatar.key_places != ()
    for item in fields(Seen):
        np.testing.assert_array_equal(getattr(again.seen, item.name), getattr(avatar.seen, item.name))
    assert torch.equal(again.weight_covariance, avatar.weight_covariance)


def test_older_files_do_not_say(trained: Path, tmp_path: Path) -> None:
    meta, arrays = read_avatar(trained)
    new = ("seen.", "weight_mean", "weight_covariance", "weight_reach")
    older = {name: array for name, array in arrays.items() if not name.startswith(new)}
    meta.pop("blendshape_places")
    write_npz(tmp_path / "old.avatar.npz", meta, older)
    avatar = load_avatar(tmp_path / "old.avatar.npz")
    assert avatar.seen is None and avatar.key_places == ()
    assert avatar.seen_weights.covariance is None and avatar.seen_weights.range is not None


@pytest.mark.parametrize("told", [3, [["mouth"]], [[1, "x"]] * 3, "abc", [["mouth", 1.0]]])
def test_a_header_that_makes_no_sense_names_no_key(trained: Path, tmp_path: Path, told: object) -> None:
    meta, arrays = read_avatar(trained)
    write_npz(tmp_path / "odd.avatar.npz", meta | {"blendshape_places": told}, arrays)
    assert load_avatar(tmp_path / "odd.avatar.npz").key_places == ()


def test_views_are_counted_as_the_addons_card_counts_them(addon: Callable[[str], Any], tmp_path: Path) -> None:
    performance = tiny_tracking(tiny_head(), 60)
    rng = np.random.default_rng(2)
    performance.neck_pose = rng.uniform(-1.4, 1.4, (60, 3)).astype(np.float32)
    performance.root_pose = rng.uniform(-0.4, 0.4, (60, 3)).astype(np.float32)
    performance.translation = rng.uniform(-0.1, 0.1, (60, 3)).astype(np.float32)
    performance.save(tmp_path / "tracking.npz")
    card = addon("scene.coverage").of(addon("formats").read_performance(tmp_path / "tracking.npz"))
    viewmat = torch.from_numpy(performance.viewmat)
    np.testing.assert_array_equal(np.rint(60 * views(performance.params(), viewmat)), card.grid)
    assert card.grid.shape == (PITCHES, YAWS)
    yaw, pitch = view_angles(performance.params(), viewmat)
    mine = addon("scene.coverage").angles(addon("formats").read_performance(tmp_path / "tracking.npz"))
    np.testing.assert_allclose(np.stack([yaw, pitch]), np.stack(mine), atol=1e-3)


def test_fields_that_hold_for_all_frames_have_one_row() -> None:
    """A clip whose head never turned is told as such."""
    params = tiny_tracking(tiny_head(), 5).params()
    still = replace(params, jaw_pose=torch.full((1, 3), 0.2))
    seen = Seen.of(still, tiny_camera().viewmat)
    np.testing.assert_allclose(seen.jaw_pose, 0.2, atol=1e-6)
    assert seen.jaw_pose.shape == (4, 3) and tiny_avatar(tiny_head()).seen is None
