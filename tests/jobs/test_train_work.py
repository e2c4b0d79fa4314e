# SPDX-License-Identifier: Apache-2.0
"""Which preset is trained where nobody named one, and that it is said before the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blendsplat.batch.recipe import checked_recipe
from blendsplat.jobs import avatar_work
from blendsplat.jobs.options import TrainOptions
from blendsplat.progress import Progress
from tiny_clip import write_tiny_clip


class Listener(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        self.messages.append(message)


@pytest.mark.parametrize(("device", "usual"), [("cpu", "quality"), ("cuda:0", "rgbavatar")])
def test_without_a_name_it_is_the_machines(
    device: str, usual: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_clip(tmp_path)
    got: list[Any] = []
    monkeypatch.setattr(avatar_work, "resolve_device", lambda _: device)
    monkeypatch.setattr("blendsplat.systems.train_avatar", lambda _, preset, *rest: got.append(preset) or {})
    monkeypatch.setattr(avatar_work, "plain", dict)
    for preset in (None, "draft"):
        listener = Listener()
        avatar_work.run_train(TrainOptions(directory=tmp_path, output=tmp_path / "a", preset=preset), listener)
        assert got[-1].name == (preset or usual)
        assert any(f"No preset was named: {usual}" in said for said in listener.messages) == (preset is None)


def test_a_file_of_another_name_is_told_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_clip(tmp_path)
    monkeypatch.setattr("blendsplat.systems.train_avatar", lambda *_: {"notes": ["Trained."]})
    for name in ("x.npz", "x", "x.avatar.npz"):
        listener, output = Listener(), tmp_path / name
        told = avatar_work.run_train(TrainOptions(directory=tmp_path, output=output, preset="draft"), listener)
        assert told["avatar"] == str(tmp_path / "x.avatar.npz") and told["notes"][-1] == "Trained."
        said = [f"The avatar is {told['avatar']}, not {output}: an avatar's file ends in .avatar.npz."]
        assert told["notes"][:-1] == listener.messages == ([] if name == "x.avatar.npz" else said)


def test_a_batch_has_one_preset_for_all() -> None:
    assert checked_recipe({}, {}, {}, "cpu").train == {"preset": "quality"}
    assert checked_recipe({}, {}, {}, "cuda").train == {"preset": "rgbavatar"}
