# SPDX-License-Identifier: Apache-2.0
"""What no frame shows is continued from around it and from the other side, and nothing that is seen well changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.systems import make_preset
from blendsplat.training.rgbavatar.shown import Shown, how_shown
from blendsplat.training.rgbavatar.surface_fill import continued
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.rgbavatar.unseen import fill_unseen
from blendsplat.training.tracked_clip import TrackedClip
from small_training import SMALL, new_trainer


def sheet(columns: int = 21, rows: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Points in a plane, x from -0.1 to 0.1, and their normals."""
    x, y = np.meshgrid(np.linspace(-0.1, 0.1, columns), np.linspace(0, 0.14, rows))
    points = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    return points, np.tile([0.0, 0.0, 1.0], (len(points), 1))


def test_a_gap_is_filled_with_what_lies_around_it_and_never_beyond() -> None:
    points, normals = sheet()
    values = np.stack([3 + 10 * points[:, 0], np.full(len(points), 7.0)], 1)
    known = (np.abs(points[:, 0]) > 0.045) | (points[:, 1] < 0.03)
    holed = np.where(known[:, None], values, -99.0)
    filled = continued(points, normals, holed, known)
    assert np.array_equal(filled[known], values[known])
    assert np.abs(filled[:, 0] - values[:, 0]).max() < 0.25  # a plane is its own continuation, up to its open border
    assert np.abs(filled[:, 1] - 7).max() < 1e-3
    assert filled[~known, 0].min() >= values[known, 0].min() and filled[~known, 0].max() <= values[known, 0].max()


def test_the_other_side_gives_detail_and_not_brightness() -> None:
    points, normals = sheet()
    spots = np.sin(300 * points[:, 0] ** 2 + 90 * points[:, 1])  # the same on both sides
    darker = np.where(points[:, 0] < 0, -5.0, 0.0) * np.abs(points[:, 0]) / 0.1
    values = (spots + darker)[:, None]
    known = (points[:, 0] > -0.045) | (points[:, 0] < -0.095)
    filled = continued(points, normals, values * known[:, None], known, mirrored=1)
    smooth = continued(points, normals, values * known[:, None], known)
    gap = ~known
    assert np.abs(filled[gap] - values[gap]).max() < 0.35 * np.abs(smooth[gap] - values[gap]).max()
    assert abs(float((filled[gap] - values[gap]).mean())) < 0.2  # brighter by 3 on the other side


def test_surfaces_that_touch_are_two() -> None:
    points, normals = sheet()
    both = np.concatenate([points, points + [0, 0, 1e-4]])
    ways = np.concatenate([-normals, normals])
    values = np.concatenate([np.ones(len(points)), np.full(len(points), 5.0)])[:, None]
    known = np.tile(np.abs(points[:, 0]) > 0.03, 2)
    filled = continued(both, ways, np.where(known[:, None], values, 0.0), known)
    assert np.abs(filled - values).max() < 1e-2


@pytest.mark.parametrize("known", [0.0, 1.0])
def test_where_nothing_or_all_is_known_nothing_changes(known: float) -> None:
    points, normals = sheet()
    values = np.random.default_rng(0).normal(size=(len(points), 2))
    assert np.array_equal(continued(points, normals, values, np.full(len(points), bool(known))), values)


def half_hidden(folder: Path, **changes: Any) -> RGBAvatarTrainer:
    """A training whose pictures count only where x > 0."""
    tracked = TrackedClip.open(folder)
    data = tracked.load(list(range(11)), 32, 32)
    data.valid[:, :, :16] = 0
    data.targets.refresh(range(len(data)))
    return RGBAvatarTrainer(tracked.head, tracked.camera(32), data, make_preset(SMALL | changes))


def test_shown_is_what_the_pictures_show(tiny_clip: Path) -> None:
    trainer = half_hidden(tiny_clip)
    shown = how_shown(trainer.avatar, trainer.data, lambda rows: (trainer._gaussians(rows), trainer._surface(rows)))
    place = (trainer.avatar.head.template[trainer.avatar.corners] * trainer.avatar.barycentrics[..., None]).sum(1)
    assert float(shown.at_all[place[:, 0] < -0.03].max()) < 0.02 < float(shown.at_all[place[:, 0] > 0.03].median())
    assert bool((shown.facing <= shown.at_all).all()) and float(shown.facing.max()) > 0


def test_the_hidden_half_is_filled_and_the_other_left_alone(tiny_clip: Path) -> None:
    trainer = half_hidden(tiny_clip, fill_images=80)
    while trainer.images < 80:
        trainer.step()
    avatar = trainer.avatar
    shown = how_shown(avatar, trainer.data, lambda rows: (trainer._gaussians(rows), trainer._surface(rows)))
    made = fill_unseen(avatar, shown, trainer.preset)
    assert made is not None
    filled, change = made
    texels = new_trainer(tiny_clip).avatar.gaussian_count
    assert filled.gaussian_count == len(change) == texels > avatar.gaussian_count
    for name, value in avatar.named_parameters():
        if name.startswith("mlp"):
            assert torch.equal(filled.get_parameter(name), value)
            continue
        axis = 1 if name.startswith("delta") else 0
        taken = filled.get_parameter(name).index_select(axis, (~change.fresh).nonzero()[:, 0])
        assert torch.equal(taken, value.index_select(axis, change.source[~change.fresh]))
    seen = avatar.colors.detach()[change.source[~change.fresh]]
    new = filled.colors.detach()[change.fresh]
    assert float(new.min()) >= float(seen.min()) - 0.5 and float(new.max()) <= float(seen.max()) + 0.5
    assert float(filled.opacity_logits[change.fresh].sigmoid().min()) > 0.9

    trainer.step()  # the same, by the preset's own schedule
    assert trainer.avatar.gaussian_count == texels
    assert bool(trainer.initialised.all())


def test_a_head_of_which_nothing_is_seen_stays_as_it_is(tiny_clip: Path) -> None:
    avatar = new_trainer(tiny_clip).avatar
    nothing = torch.zeros(avatar.gaussian_count)
    assert fill_unseen(avatar, Shown(nothing, nothing), make_preset(SMALL)) is None


def test_a_mouth_that_was_never_open_is_dark_inside_and_has_teeth(tiny_clip: Path) -> None:
    trainer = half_hidden(tiny_clip)
    head = trainer.avatar.head
    left = np.flatnonzero(head.template[:, 0].numpy() < -0.02)
    head.regions = {"mouth_interior": left, "teeth_upper": left[head.template[left, 1].numpy() > 0]}
    while trainer.images < 80:
        trainer.step()
    shown = how_shown(trainer.avatar, trainer.data, lambda rows: (trainer._gaussians(rows), trainer._surface(rows)))
    made = fill_unseen(trainer.avatar, shown, trainer.preset)
    assert made is not None
    filled, change = made
    corners = head.template[filled.corners]
    hidden = change.fresh & (corners[..., 0].amax(1) < -0.02)
    teeth, cavity = hidden & (corners[..., 1].amin(1) > 0.0), hidden & (corners[..., 1].amax(1) <= 0.0)
    brightness = filled.colors.detach().mean(1)
    assert bool(teeth.any()) and bool(cavity.any())
    assert float(brightness[teeth].min()) > float(brightness[cavity].max())
