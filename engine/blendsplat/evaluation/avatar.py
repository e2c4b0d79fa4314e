# SPDX-License-Identifier: Apache-2.0
"""How good an avatar is on frames it never saw, by our own protocol or a paper's, and how healthy it is elsewhere.

The render is neither clamped nor quantised, on black; metrics are per frame and averaged over frames. Which pixels are
scored depends on the clip alone (training/scored_pixels.py) unless asked otherwise, so that avatars on different heads
compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.avatar import Avatar, Gaussians, TrainingCamera
from blendsplat.avatars.retarget import head_rotations
from blendsplat.errors import InputError
from blendsplat.evaluation.face_boxes import boxes_of
from blendsplat.evaluation.frame_scores import Row, means, percentiles, score_all
from blendsplat.evaluation.geometry_health import geometry_health
from blendsplat.evaluation.mean_frame import mean_frame
from blendsplat.evaluation.protocols import Protocol, caveats, last_frames, protocol_of
from blendsplat.evaluation.side_views import SideView, bare_face, side_views
from blendsplat.evaluation.steadiness import Steadiness, still_moments
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.scored_pixels import clip_weights, common_weights
from blendsplat.training.tracked_clip import TrackedClip, split_frames

Weights = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Evaluation:
    """An avatar, the frames it was scored on, and what was found: what a report (report.py) is made of."""

    avatar: Avatar
    tracked: TrackedClip
    frames: FrameStore
    camera: TrainingCamera
    rows: list[Row]
    sides: list[SideView]
    result: dict[str, Any]


def evaluate_avatar(
    avatar_path: Path | str,
    directory: Path | str,
    lpips_weights: Path | str | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """The result of ``evaluation_of``, which says what ``choices`` there are."""
    return evaluation_of(avatar_path, directory, lpips_weights, device, progress, **choices).result


def evaluation_of(
    avatar_path: Path | str,
    directory: Path | str,
    lpips_weights: Path | str | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    holdout: float | None = None,
    common: Sequence[Path | str] = (),
    pixels: str = "auto",
    show: str = "full",
    hold_back: float = 0.0,
    protocol: str = "blendsplat",
) -> Evaluation:
    """Score an avatar on a tracked clip.

    protocol: of PROTOCOLS. holdout: last share (below 1) or number of frames; the protocol's by default. common:
    folders of the same clip tracked with other heads: scored are the pixels and frames that count in all of them.
    pixels: "clip" (training/scored_pixels.py), "own" (above the clip's own head's neck, as does every clip without
    landmarks), "whole" or "auto", the protocol's. show: which of the avatar's views. hold_back: as Avatar.hold.

    The result holds the means ("psnr", "ssim", "l1", "lpips" and "lpips_network" ("squeeze" or "vgg") where there are
    weights, "mouth_psnr" and so on where the clip has landmarks, "change", "video_change", "change_error" of
    neighbouring frames), "frames", "width", "height", "pixels" ("clip", "common", "own", "whole"), "share" (of the
    picture that is scored), "protocol", "notes" (what keeps the figures from comparing with others), "percentiles" (of
    every figure), "steadiness", "geometry", "sides" and "rows": [{"frame", "psnr", "ssim", ...}].
    Raises InputError where nothing is held out or common.
    """
    rules = protocol_of(protocol)
    avatar = load_avatar(avatar_path, device)
    avatar.show(show)
    avatar.hold(hold_back)
    tracked = TrackedClip.open(directory)
    avatar.check_performance(tracked.tracking)
    held_out = _scored_frames(avatar, tracked, rules, holdout)
    others = [TrackedClip.open(folder) for folder in common]
    which, weights = _scored_pixels(tracked, others, rules.pixels if pixels == "auto" else pixels)
    held_out = [number for number in held_out if all(other.tracking.valid[number] for other in others)]
    if not held_out:
        raise InputError(f"No held-out frame of {directory} is tracked in all the clips that it is compared with.")
    camera = tracked.camera(rules.size or max(avatar.camera.width, avatar.camera.height))
    camera = TrainingCamera(camera.K.to(device), camera.viewmat.to(device), camera.width, camera.height)
    frames = tracked.load(held_out, camera.width, camera.height, device, weights=weights)
    lpips = Lpips(lpips_weights).to(device) if lpips_weights else None
    face = tracked.head.regions.get("face")
    steadiness = Steadiness(tracked.clip.info.shots, still_moments(avatar, frames.params, held_out, camera, face))
    boxes = boxes_of(tracked, camera.width, camera.height)
    rows = score_all(avatar, frames, camera, lpips, boxes, steadiness, rules.clamped, progress)
    sides, gaussians, vertices = sides_of(avatar, tracked, device)
    geometry = geometry_health(gaussians, vertices.cpu().double().numpy(), avatar.head.faces.cpu().numpy())
    network = lpips.network if lpips is not None else None
    notes = caveats(
        rules, tracked.clip.frame_count, held_out, _trained(avatar, tracked), max(camera.width, camera.height), network
    )
    if boxes is None:
        notes.append("The clip has no landmarks, so that mouth and eyes are not scored by themselves.")
    result = {
        **means(rows), **({} if network is None else {"lpips_network": network}),
        "frames": len(rows), "width": camera.width, "height": camera.height, "pixels": which,
        "share": float(frames.valid.float().mean() / 255), "protocol": rules.name, "notes": notes,
        "percentiles": percentiles(rows), "steadiness": steadiness.figures(), "geometry": geometry,
        "sides": {view.name: _figures(view) for view in sides},
        "rows": rows,
    }  # fmt: skip
    return Evaluation(avatar, tracked, frames, camera, rows, sides, result)


def _scored_frames(avatar: Avatar, tracked: TrackedClip, rules: Protocol, holdout: float | None) -> list[int]:
    """Raises InputError where there is none."""
    if holdout is None and rules.holdout is not None:
        held_out = last_frames(tracked.tracking.valid.tolist(), rules.holdout)
    else:
        holdout = _own_holdout(avatar) if holdout is None else holdout
        _, held_out = tracked.split(holdout)
    if not held_out:
        said = "" if holdout is None else f" (holdout = {holdout:g})"
        raise InputError(f"No frames of {tracked.clip.directory} are held out{said}; choose a larger holdout.")
    return held_out


def _scored_pixels(tracked: TrackedClip, others: Sequence[TrackedClip], pixels: str) -> tuple[str, Weights | None]:
    """What they are called in the result, and the weights (None: the clip's own valid/)."""
    if others:
        return "common", common_weights(tracked.clip, [other.clip for other in others])
    if pixels == "whole":
        everything = np.full((tracked.clip.height, tracked.clip.width), 255, np.uint8)
        return "whole", lambda number: everything
    if pixels == "clip" and (weights := clip_weights(tracked.clip)) is not None:
        return "clip", weights
    return "own", None


def _trained(avatar: Avatar, tracked: TrackedClip) -> list[int] | None:
    """Frames of this tracking that the avatar was trained on; None where its file does not say."""
    record, reference = avatar.training_record, avatar.reference
    holdout = record.get("holdout")
    own = reference is not None and reference.performance == tracked.tracking.identity
    if not own or not isinstance(holdout, (int, float)) or not 0 <= holdout < math.inf:
        return None
    return split_frames(tracked.tracking.valid, float(holdout))[0]


@torch.no_grad()
def sides_of(
    avatar: Avatar, tracked: TrackedClip, device: torch.device | str
) -> tuple[list[SideView], Gaussians, Tensor]:
    """The avatar in its clip's mean frame, looked at from the front and the sides; its Gaussians there, and the head's
    vertices [V,3]."""
    params = mean_frame(tracked.tracking, device)
    gaussians, vertices, faces = avatar.drive(params), avatar.vertices(params)[0], avatar.head.faces
    rotation, neck = head_rotations(avatar.of_own(params))[0], tracked.head.regions.get("neck")
    views = side_views(gaussians, vertices, faces, rotation, avatar.camera, neck, bare_face(tracked.head))
    return views, gaussians, vertices


def _figures(view: SideView) -> dict[str, float | None]:
    return {"holes": view.share_of_holes, "floaters": view.share_of_floaters, "fringe": view.fringe}


def _own_holdout(avatar: Avatar) -> float:
    """What the avatar's file says of its training; 0.3 where it says nothing that can be used."""
    holdout = avatar.training_record.get("holdout")
    return float(holdout) if isinstance(holdout, (int, float)) and 0 <= holdout < math.inf else 0.3
