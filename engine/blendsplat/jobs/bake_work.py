# SPDX-License-Identifier: Apache-2.0
"""The work of a bake: heads come as frames, the networks draw them, and what shapes make of it goes back as frames.

Everything but the avatar's file travels through the connection, so that the engine may be anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from blendsplat.errors import InputError
from blendsplat.jobs import options as opt
from blendsplat.jobs.arrays import Arrays
from blendsplat.jobs.devices import resolve_device
from blendsplat.jobs.driven_heads import checked_heads, head_tensors
from blendsplat.progress import Progress

if TYPE_CHECKING:
    from blendsplat.avatars.dipguava.bake import Baked

_COMPARED = 6  # frames whose pictures are compared
_WAIT = 1.0


def run_bake(options: opt.BakeOptions, progress: Progress) -> dict[str, Any]:
    """-> {keys, frames, gaussians, error, psnr, lowest_psnr, lowest_frame}; the shapes as frames (docs/formats.md).

    Raises InputError for an avatar without networks and for heads that are not its own."""
    from blendsplat.avatars.dipguava.bake import baked, compared_rows, picture_scores
    from blendsplat.avatars.dipguava.carrier import DrivenHeads
    from blendsplat.avatars.dipguava.model import DipGuava
    from blendsplat.systems import load_avatar

    device = resolve_device(options.device)
    avatar = load_avatar(options.avatar, device=device)
    if not isinstance(avatar, DipGuava):
        raise InputError(f"{options.avatar.name} has no networks to bake: its blendshapes are all of it.")
    params, vertices = head_tensors(_received(options.frames, progress), device)
    heads = DrivenHeads(params, vertices, options.bounded)
    avatar.check(params)
    avatar.hold(options.hold_back)
    made = baked(avatar, heads, options.most, options.error, progress)
    rows = compared_rows(made, _COMPARED)
    scores = picture_scores(avatar, made, heads, rows, progress)
    keys = len(made.weights.T)
    for index, (info, arrays) in enumerate(_messages(made)):
        progress.check()
        progress.send_frame(info, arrays)
        progress.update("sending", index, keys)
    return {
        "keys": keys, "frames": options.frames, "gaussians": avatar.gaussian_count, "error": made.error,
        "psnr": float(np.mean(scores)), "lowest_psnr": min(scores), "lowest_frame": rows[int(np.argmin(scores))],
    }  # fmt: skip


def _received(frames: int, progress: Progress) -> Arrays:
    """The heads of so many frames, which come in any number of messages, in their order."""
    parts: list[Arrays] = []
    count = 0
    while count < frames:
        for message in progress.frames(_WAIT):
            parts.append(checked_heads("The job 'bake'", message.arrays))
            count += len(parts[-1]["expression"])
        progress.update("reading", min(count, frames), frames, f"frame {min(count, frames)} of {frames}")
        progress.check()
    shapes = {tuple((name, array.shape[1:]) for name, array in part.items()) for part in parts}
    if count != frames or len(shapes) > 1:
        raise InputError(f"The heads of {count} frames came, or of several models, instead of {frames} of one.")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _messages(made: Baked) -> Iterator[tuple[dict[str, Any], Arrays]]:
    """What Blender's carrier holds: the mean with where it sits and all weights, then one shape after the other."""
    from blendsplat.avatars.dipguava.carrier import Carried
    from blendsplat.splatting.bind import SH_DC

    def arrays(one: Carried, shift: float) -> Arrays:
        rgb = SH_DC * one.colors[0] + shift
        named = {
            "positions": one.positions[0], "log_scales": one.log_scales[0], "quats": one.quats[0],
            "opacities": one.opacities[0, :, 0], "colors": rgb,
        }  # fmt: skip
        return {name: value.cpu().numpy() for name, value in named.items()}

    carrier, keys = made.carrier, len(made.weights.T)
    where = {"corners": carrier.corners.int(), "barycentrics": carrier.barycentrics, "weights": made.weights}
    yield {"keys": keys}, arrays(made.mean, 0.5) | {name: value.cpu().numpy() for name, value in where.items()}
    for key in range(keys):
        yield {"key": key}, arrays(made.basis[key], 0.0)
