# SPDX-License-Identifier: Apache-2.0
"""The work that tells what an avatar's learned keys do, and draws them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import InputError
from blendsplat.files import write_bytes, write_json
from blendsplat.jobs import options as opt
from blendsplat.jobs.devices import resolve_device
from blendsplat.progress import Progress

SHEET, TABLE = "sheet.png", "keys.json"
_COLUMNS = 2


def run_keys(options: opt.KeysOptions, progress: Progress) -> dict[str, Any]:
    """-> {keys: [{index, name, place, share, mean, deviation, low, high, picture}], sheet}, the largest share first.

    Raises InputError for an avatar without blendshapes."""
    from blendsplat.avatars.dipguava.model import DipGuava
    from blendsplat.avatars.rgbavatar.key_effects import key_effects
    from blendsplat.avatars.rgbavatar.model import RGBAvatar
    from blendsplat.systems import load_avatar

    avatar: Any = load_avatar(options.avatar, device=resolve_device(options.device))
    avatar = avatar.sliders if isinstance(avatar, DipGuava) else avatar
    if not isinstance(avatar, RGBAvatar) or not avatar.blendshape_count:
        raise InputError(f"{options.avatar.name} has no learned keys: nothing of it can be told apart.")
    if avatar.space != "tangent":
        raise InputError(f"{options.avatar.name} was trained in world space, which Blender's keys cannot show.")
    effects = sorted(key_effects(avatar), key=lambda effect: -effect.share)
    rows = [{**asdict(effect), "name": effect.name, "picture": None} for effect in effects]
    if options.output is None:
        return {"keys": rows, "sheet": None}
    for row, path in zip(rows, _drawn(avatar, effects, options.output, options.size, progress), strict=True):
        row["picture"] = path
    write_json(options.output / TABLE, {"avatar": str(options.avatar), "keys": rows})
    return {"keys": rows, "sheet": str(options.output / SHEET)}


def _drawn(avatar: Any, effects: list[Any], folder: Path, size: int, progress: Progress) -> list[str]:
    """The pictures' paths, in the order of ``effects``; and the sheet of all."""
    from blendsplat.avatars.rgbavatar.key_pictures import key_views
    from blendsplat.video.clip import encode_png

    paths, labelled = [], []
    for count, (effect, views) in enumerate(zip(effects, key_views(avatar, effects, size), strict=True)):
        progress.check()
        path, square = folder / f"{effect.index + 1:02d}.png", _square(views)
        write_bytes(path, encode_png(square))
        paths.append(str(path))
        labelled.append(_with_name(np.concatenate(views, 1), effect.name))
        progress.preview(square)
        progress.update("drawing", count + 1, len(effects), effect.name)
    labelled += [np.zeros_like(labelled[0])] * (-len(labelled) % _COLUMNS)
    lines = [np.concatenate(labelled[i : i + _COLUMNS], 1) for i in range(0, len(labelled), _COLUMNS)]
    write_bytes(folder / SHEET, encode_png(np.concatenate(lines)))
    return paths


def _square(views: np.ndarray) -> np.ndarray:
    """[4,S,S,3] -> [2S,2S,3], in reading order."""
    return np.concatenate([np.concatenate(views[:2], 1), np.concatenate(views[2:], 1)])


def _with_name(strip: np.ndarray, name: str) -> np.ndarray:
    """The strip [H,W,3] below a line that says which key it is."""
    from PIL import Image, ImageDraw, ImageFont

    height = max(16, strip.shape[0] // 9)
    line = Image.new("RGB", (strip.shape[1], height), (30, 30, 30))
    ImageDraw.Draw(line).text((6, height // 8), name, (225, 225, 225), ImageFont.load_default(0.7 * height))
    return np.concatenate([np.asarray(line), strip])
