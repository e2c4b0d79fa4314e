# SPDX-License-Identifier: Apache-2.0
"""Footage of people who do not exist, with the truth: what a tracker is tuned on and, other people, judged by.

More than the demo's clip it has what makes footage hard: the shape is not quite in the head's model, the lens differs
from clip to clip, heads turn far and quickly and rest between, and a camera adds softness, grain and exposure drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.heads.render import Light, render_views
from blendsplat.progress import Progress
from blendsplat.synthetic.backdrops import Backdrop, paint_backdrop
from blendsplat.synthetic.clip import DISTANCE, FIELD_OF_VIEW, FPS, SIZE, truth_of
from blendsplat.synthetic.motion import lively_motion
from blendsplat.synthetic.people import (
    Dressed,
    childhood,
    dress,
    random_backdrop,
    random_light,
    random_params,
    random_wardrobe,
)  # fmt: skip
from blendsplat.synthetic.performance import talking_performance
from blendsplat.synthetic.surface import smoothstep
from blendsplat.video import write_mp4

Rng = np.random.Generator
VIEWS = (20.0, 50.0)  # degrees across the picture
OFFSET = 0.001  # metres: root mean square of how far a vertex lies from the model's
OFFSET_REACH = 0.02  # metres over which the offsets are alike
_EYES_CLEAR = 0.012  # metres round the eyeballs within which offsets fade: lids must keep to them
_WAVES = 400  # random plane waves that make up a smooth field
CRF = 20


@dataclass(frozen=True)
class Subject:
    """A person with what the model does not know of them, before a camera.

    dressed: on a head whose template holds ``offsets`` [V,3]; shape [1,S]; view: degrees across the picture.
    """

    dressed: Dressed
    shape: torch.Tensor
    offsets: torch.Tensor
    light: Light
    place: Backdrop
    view: float


@dataclass(frozen=True)
class CameraFaults:
    """softness: sigma in pixels; grain: standard deviation of middle greys; drift: relative amplitude of the exposure,
    which goes up and down every ``period`` frames, from ``phase`` on."""

    softness: float
    grain: float
    drift: float
    period: float
    phase: float


def random_subject(head: HeadModel, rng: Rng, texture_size: int = 1024, view: float | None = None) -> Subject:
    """A person of no model's making, seen through a lens of ``view`` degrees (None: any of VIEWS). The same rng state
    gives the same person."""
    shape = random_params(head, rng).shape
    wardrobe = random_wardrobe(rng, childhood(head, shape))
    offsets = smooth_offsets(head, rng)
    own = replace(head, template=head.template + offsets)
    dressed = dress(own, shape, wardrobe, texture_size)
    light, place = random_light(rng), random_backdrop(rng)
    return Subject(dressed, shape, offsets, light, place, float(rng.uniform(*VIEWS)) if view is None else view)


def smooth_offsets(head: HeadModel, rng: Rng) -> torch.Tensor:
    """Offsets [V,3], metres, of OFFSET root mean square where no eyeball is near: a Gaussian field in space that is
    alike over OFFSET_REACH (a sum of random plane waves), so lips and what lies behind them move together."""
    points = head.template.numpy().astype(np.float64)
    waves = rng.standard_normal((_WAVES, 3)) / OFFSET_REACH
    phases = rng.uniform(0, 2 * np.pi, _WAVES)
    field = np.cos(points @ waves.T + phases) @ rng.standard_normal((_WAVES, 3))
    balls = np.concatenate([head.regions[name] for name in ("left_eyeball", "right_eyeball")])
    near = smoothstep(0.002, _EYES_CLEAR, cKDTree(points[balls]).query(points)[0])
    field *= OFFSET / np.sqrt((field[near == 1] ** 2).sum(1).mean())
    return torch.as_tensor(field * near[:, None], dtype=torch.float32)


def make_footage(
    path: Path,
    head: HeadModel,
    frames: int,
    rng: Rng,
    progress: Progress | None = None,
    size: int = SIZE,
    view: float | None = None,
) -> Performance:
    """Render ``frames`` frames of a random person at 25 fps, ``size`` pixels square, to ``path`` (mp4) -> the truth.
    view: degrees across the picture (None: any of VIEWS)."""
    progress = progress or Progress()
    subject = random_subject(head, rng, 1024 if size > 256 else 512, view)
    params = lively_performance(head, frames, rng)
    params.shape = subject.shape
    K, viewmat = camera_of(subject.view, size)
    faults = CameraFaults(
        float(rng.uniform(0.35, 0.6)), float(rng.uniform(0.005, 0.011)), float(rng.uniform(0.01, 0.04)),
        float(rng.uniform(60, 140)), float(rng.uniform(0, 2 * np.pi)),
    )  # fmt: skip
    pictures = through_a_lens(draw(subject, params, K, viewmat, size, progress), faults, rng)
    write_mp4(path, pictures, FPS, crf=CRF)
    return truth_of(head, params, K, viewmat, subject.offsets, size)


def lively_performance(head: HeadModel, frames: int, rng: Rng) -> HeadParams:
    """Talking, smiling, blinking and looking about, from a random moment on, while the head turns and rests."""
    motion = lively_motion(frames, FPS, rng)
    start, seed = float(rng.uniform(0, 9.5)), int(rng.integers(1 << 31))
    params = talking_performance(head, frames, FPS, seed, start)
    params.neck_pose = torch.as_tensor(motion.head, dtype=torch.float32)
    params.translation = torch.as_tensor(motion.sway, dtype=torch.float32)
    params.eyes_pose = torch.as_tensor(motion.gaze, dtype=torch.float32)[:, None].repeat(1, 2, 1)
    return params


def camera_of(view: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """K [3,3] and viewmat [4,4] of a lens that sees ``view`` degrees across, as near as faces fill the same share."""
    half = np.tan(np.radians(view) / 2)
    K = np.array([[size / 2 / half, 0, size / 2], [0, size / 2 / half, size / 2], [0, 0, 1]], np.float32)
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    viewmat[:3, 3] = [0, -0.05, DISTANCE * np.tan(FIELD_OF_VIEW / 2) / half]
    return K, viewmat


def draw(
    subject: Subject, params: HeadParams, K: np.ndarray, viewmat: np.ndarray, size: int, progress: Progress
) -> Iterator[np.ndarray]:
    """Finished frames float32 [H,W,4] before any camera's faults: sRGB in [0,1], and how much of each pixel is the
    person."""
    behind = paint_backdrop(subject.place, subject.light, size)
    camera = torch.as_tensor(viewmat)[None], torch.as_tensor(K)[None]
    for row in range(params.batch):
        progress.check()
        drawn, props = subject.dressed.pose(params[[row]])
        rgba = render_views(
            subject.dressed.head, drawn, subject.dressed.texture, *camera, size, size, subject.light, props=props
        )[0].numpy()  # fmt: skip
        yield np.dstack([rgba[..., :3] + behind * (1 - rgba[..., 3:]), rgba[..., 3]])
        progress.update("footage", row + 1, params.batch)


def through_a_lens(frames: Iterator[np.ndarray], faults: CameraFaults, rng: Rng) -> Iterator[np.ndarray]:
    """Frames [H,W,3] in [0,1] (more channels are left out) as a camera takes them, uint8 [H,W,3]: soft, grainy, with an
    exposure that drifts."""
    for number, frame in enumerate(frames):
        gain = 1 + faults.drift * np.sin(2 * np.pi * number / faults.period + faults.phase)
        soft = cv2.GaussianBlur(frame[..., :3].astype(np.float32), (0, 0), faults.softness) * np.float32(gain)
        # More of the grain is of brightness than of colour, as after a camera's own processing.
        grain = 0.8 * rng.standard_normal((*soft.shape[:2], 1), dtype=np.float32)
        grain = grain + 0.6 * rng.standard_normal(soft.shape, dtype=np.float32)
        noisy = soft + faults.grain * grain * np.sqrt(0.3 + soft.clip(0, 1))
        yield (noisy.clip(0, 1) * 255 + 0.5).astype(np.uint8)
