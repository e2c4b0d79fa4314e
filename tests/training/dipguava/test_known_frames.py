# SPDX-License-Identifier: Apache-2.0
"""What a training keeps of its frames: the same as what the avatar makes of them anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.heads.model import HeadParams
from blendsplat.training.dipguava import frames as frames_module
from blendsplat.training.dipguava.frames import KnownFrames
from blendsplat.training.frame_store import FrameStore
from tiny_clip import tiny_head, tiny_tracking
from tiny_dipguava import tiny_dipguava

FRAMES = 5


def store(avatar: DipGuava) -> FrameStore:
    params = own_params()
    data = FrameStore(FRAMES, 8, 8, params)
    data.add(range(FRAMES), torch.zeros(FRAMES, 8, 8, 5, dtype=torch.uint8), params)
    return data


def own_params() -> HeadParams:
    params = tiny_tracking(tiny_head(), FRAMES).params()
    return replace(params, shape=params.shape[:, :0])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many maps each call drew."""
    calls: list[int] = []
    real = DipGuava._map

    def counted(self, network, inputs, conditioned):
        calls.append(len(inputs.normals))
        return real(self, network, inputs, conditioned)

    monkeypatch.setattr(DipGuava, "_map", counted)
    return calls


@pytest.mark.parametrize("base", ["normals", "optimised"])
@torch.no_grad()
def test_a_frozen_base_is_drawn_once_and_is_the_same(base: str, drawn: list[int]) -> None:
    avatar = tiny_dipguava(base=base)
    known = KnownFrames(store(avatar), avatar)
    known.arrive(avatar, list(range(FRAMES)))
    fresh = avatar.base_map(avatar.inputs(own_params()[[3, 1]]))
    assert fresh is not None
    drawn.clear()
    for rows in ([3, 1], [1, 3], [3, 4], [4, 4]):
        maps = known.inputs(avatar, rows, frozen_base=True).base
        assert maps is not None and maps.shape[0] == 2
    assert drawn == [2, 2], "the first frames, and the one that was new"
    kept = known.inputs(avatar, [3, 1], frozen_base=True).base
    torch.testing.assert_close(kept, fresh.expand_as(kept), atol=5e-3, rtol=5e-3)


@torch.no_grad()
def test_frames_that_come_anew_and_another_base_are_drawn_again(drawn: list[int]) -> None:
    avatar = tiny_dipguava()
    known = KnownFrames(store(avatar), avatar)
    known.arrive(avatar, list(range(FRAMES)))
    known.inputs(avatar, [0, 1], frozen_base=True)
    known.arrive(avatar, [1])
    known.inputs(avatar, [0], frozen_base=True)
    known.inputs(avatar, [1], frozen_base=True)
    assert drawn == [2, 1]
    known.forget_base()
    known.inputs(avatar, [0], frozen_base=True)
    assert drawn == [2, 1, 1]


@torch.no_grad()
def test_a_base_that_learns_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    avatar = tiny_dipguava()
    known = KnownFrames(store(avatar), avatar)
    known.arrive(avatar, list(range(FRAMES)))
    assert known.inputs(avatar, [2], frozen_base=False).base is None
    none = tiny_dipguava(base="none")
    other = KnownFrames(store(none), none)
    other.arrive(none, list(range(FRAMES)))
    assert other.inputs(none, [2], frozen_base=True).base is None
    monkeypatch.setattr(frames_module, "BUDGET", 0)
    large = KnownFrames(store(avatar), avatar)
    large.arrive(avatar, list(range(FRAMES)))
    assert large.inputs(avatar, [2], frozen_base=True).base is None, "what is not kept is drawn in every step"
