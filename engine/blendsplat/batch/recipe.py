# SPDX-License-Identifier: Apache-2.0
"""How every clip of a batch is made into an avatar: the options of the three jobs, checked before the first minute."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blendsplat.jobs import options as opt
from blendsplat.jobs.options import validated


@dataclass(frozen=True)
class Recipe:
    """Options of the jobs import, track and train, without those that name a clip; identity: the preset's values that
    decide what a training makes. Everything is what JSON can carry, because it travels to other processes."""

    imports: dict[str, Any] = field(default_factory=dict)
    track: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    identity: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def checked_recipe(imports: dict[str, Any], track: dict[str, Any], train: dict[str, Any], device: str) -> Recipe:
    """Options that are None are left out; files are named absolutely, for machines that share the folder. Raises
    InputError for a wrong value and an unknown preset."""
    from blendsplat.jobs.avatar_work import usual_preset
    from blendsplat.jobs.devices import resolve_device
    from blendsplat.systems import load_preset
    from blendsplat.training.presets import training_identity

    imports, track, train = (
        {key: _absolute(key, v) for key, v in each.items() if v is not None} for each in (imports, track, train)
    )
    somewhere = Path.cwd()
    validated(opt.ImportOptions, {"video": somewhere, "directory": somewhere, **imports}, "The command 'batch'")
    validated(opt.TrackOptions, {"directory": somewhere, **track}, "The command 'batch'")
    own = {"directory": somewhere, "output": somewhere / "x.avatar.npz", "device": device}
    chosen = validated(opt.TrainOptions, {**own, **train}, "The command 'batch'")
    minutes = {} if chosen.minutes is None else {"minutes": chosen.minutes}
    # the same for all clips, whatever their machines are
    name = chosen.preset or usual_preset(resolve_device(device) if device == "auto" else device)
    train["preset"] = name
    preset = load_preset(name, chosen.overrides | minutes)
    # images too: where schedules do not end with them a checkpoint goes on for longer, and the avatar is another
    return Recipe(imports, track, train, device, training_identity(preset) | {"images": preset.images})


def _absolute(key: str, value: Any) -> Any:
    """A file that is there as an absolute path; a name (of a head, a preset, a matte) as it is."""
    if isinstance(value, Path):
        return str(value.expanduser().resolve())
    if key in ("head", "preset", "matte") and isinstance(value, str) and Path(value).expanduser().exists():
        looks_like_a_path = "." in value or "/" in value or "\\" in value
        return str(Path(value).expanduser().resolve()) if looks_like_a_path else value
    return value
