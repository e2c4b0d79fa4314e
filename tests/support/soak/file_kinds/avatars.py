# SPDX-License-Identifier: Apache-2.0
"""Avatars, what their trainings leave to go on from, and presets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

from ..mutate import any_of, damaged, odd_toml
from ..mutate_arrays import odd_npz
from .kind import ROOT, Kind, Target, finite, safetensors


def _avatar(folder: Path, name: str) -> None:
    from blendsplat.systems import describe_avatar, load_avatar

    avatar = load_avatar(folder / name)
    assert avatar.gaussian_count == describe_avatar(folder / name)["gaussians"]
    json.dumps(describe_avatar(folder / name))
    for value in avatar.state_dict().values():  # type: ignore[attr-defined]
        finite(value.float().cpu().numpy())


class _Trainings:
    """A training of the tiny clip that goes on from whatever checkpoint lies there. Made once, as it takes a second."""

    _made: ClassVar[dict[Path, tuple[Any, Any]]] = {}

    @classmethod
    def make(cls, folder: Path) -> None:
        from blendsplat.training.checkpoint import save_checkpoint
        from blendsplat.training.continuation import continuation_path
        from small_training import new_trainer
        from tiny_clip import tiny_head, write_tiny_clip

        clip = folder.with_name(f"{folder.name} clip")
        write_tiny_clip(clip)
        with patch("blendsplat.heads.load.load_head", lambda source, **_: tiny_head()):
            trainer = new_trainer(clip, blendshapes=2, images=8)
        while not trainer.done:
            trainer.step()
        snapshot = trainer.snapshot()
        snapshot.plain |= {"head_model": trainer.avatar.head.model_id, "scale": 1.0}
        save_checkpoint(folder / "a.checkpoint.safetensors", snapshot, "fingerprint")
        save_checkpoint(continuation_path(folder / "a.avatar.npz"), snapshot, "none")
        cls._made[folder.parent] = trainer, trainer.preset

    @classmethod
    def resume(cls, folder: Path) -> None:
        from blendsplat.progress import Progress
        from blendsplat.training.checkpoint import load_checkpoint
        from blendsplat.training.loop import Run

        trainer, preset = cls._made[folder.parent]
        path = folder / "a.checkpoint.safetensors"
        before = path.read_bytes() if path.is_file() else None
        try:
            snapshot, note = load_checkpoint(path, "fingerprint")
            assert snapshot is not None or not before or note, "nothing said of a checkpoint that was not used"
            Run(trainer, preset, folder / "a.avatar.npz", "fingerprint", Progress()).begin(snapshot, note)
        finally:
            kept = {one.name: one.read_bytes() for one in folder.glob("*.checkpoint.safetensors") if one.is_file()}
            for one in folder.glob("a.*-*.checkpoint.safetensors"):
                one.unlink()
        assert before is None or before in kept.values(), "the checkpoint is gone"

    @classmethod
    def go_on(cls, folder: Path) -> None:
        from blendsplat.training.continuation import go_on_from, load_continuation

        trainer, preset = cls._made[folder.parent]
        go_on_from(trainer, load_continuation(folder / "a.avatar.npz"), preset, folder / "a.avatar.npz")


def _preset(folder: Path) -> None:
    from blendsplat.systems import load_preset

    load_preset(folder / "own.toml")


def _kaolrm_preset(folder: Path) -> None:
    from blendsplat.kaolrm.training.presets import load_preset

    load_preset(folder / "kaolrm.toml")


def write_avatar(folder: Path) -> None:
    from tiny_clip import tiny_avatar, tiny_head

    tiny_avatar(tiny_head(), blendshapes=2).save(folder / "a.avatar.npz")


def _write_dipguava(folder: Path) -> None:
    import torch

    from blendsplat.avatars.rgbavatar.model import RGBAvatar
    from tiny_dipguava import tiny_dipguava

    avatar = tiny_dipguava()
    thirds = torch.full((avatar.gaussian_count, 3), 1 / 3)
    avatar.take_sliders(RGBAvatar(avatar.head, avatar.triangle, thirds, avatar.camera, blendshapes=2, hidden=(8, 8)))
    avatar.save(folder / "d.avatar.npz")


def _write_presets(folder: Path) -> None:
    (folder / "own.toml").write_bytes((ROOT / "presets" / "draft.toml").read_bytes())
    (folder / "kaolrm.toml").write_bytes((ROOT / "presets" / "kaolrm" / "small.toml").read_bytes())


_odd_preset = any_of(odd_toml, odd_toml, odd_toml, damaged)

KINDS = (
    Kind(
        "avatar, RGBAvatar",
        write_avatar,
        (Target("a.avatar.npz", odd_npz, lambda folder: _avatar(folder, "a.avatar.npz")),),
    ),
    Kind(
        "avatar, DipGuava",
        _write_dipguava,
        (Target("d.avatar.npz", odd_npz, lambda folder: _avatar(folder, "d.avatar.npz")),),
    ),
    Kind(
        "checkpoint, live session",
        _Trainings.make,
        (
            Target("a.checkpoint.safetensors", safetensors, _Trainings.resume),
            Target("a.live.safetensors", safetensors, _Trainings.go_on),
        ),
    ),
    Kind(
        "presets",
        _write_presets,
        (Target("own.toml", _odd_preset, _preset), Target("kaolrm.toml", _odd_preset, _kaolrm_preset)),
    ),
)
