# SPDX-License-Identifier: Apache-2.0
"""Mattes of generated people against the truth: how far alpha, its edges, its change and the person's colours are off.

Each person is filmed twice, by a camera that stands still and by one that pans, through a video file and the import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.table import Table

from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.progress import Progress
from blendsplat.synthetic.backdrops import paint_backdrop
from blendsplat.synthetic.clip import FPS
from blendsplat.synthetic.footage import (
    CRF,
    CameraFaults,
    camera_of,
    draw,
    lively_performance,
    random_subject,
    through_a_lens,
)
from blendsplat.video import ClipOptions, import_clip, write_mp4
from blendsplat.video.foreground import foreground
from blendsplat.video.matte import Segmenter, refine_matte

CAMERAS = ("still", "moves")
WAYS = ("mask", "edges", "import")  # the network's mask; laid onto the picture's edges; what the import writes
FAULTS = CameraFaults(0.45, 0.008, 0.02, 90, 0.0)
BAND = 12  # pixels around the soft border that are measured, of a picture of 512
_PAN = 1 / 9  # of the picture's width
_SEED = 7


@dataclass(frozen=True)
class MatteFigures:
    """Means over the frames and the band around the true border, in thousandths of the full scale. error: of alpha;
    gradient: of the length of its slope per pixel; flicker: of its change from frame to frame; color: of the person's
    colour times alpha, what is trained on ("import": its background taken out; the others: the picture's)."""

    person: str
    camera: str
    way: str
    error: float
    gradient: float
    flicker: float
    color: float


@dataclass(frozen=True)
class Filmed:
    """alpha [F,H,W] and own (the person's colours times alpha) [F,H,W,3], uint8, as soft as the lens."""

    alpha: np.ndarray
    own: np.ndarray


def benchmark_mattes(
    people: int, frames: int, folder: Path, size: int = 512, progress: Progress | None = None
) -> list[MatteFigures]:
    """Film ``people`` people for ``frames`` frames with each camera; videos and clips stay in ``folder``."""
    progress, head = progress or Progress(), load_head("human")
    figures = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(people):
        for camera in CAMERAS:
            name = f"{number}.{camera}"
            video = folder / f"{name}.mp4"
            truth = film(video, head, frames, number, camera, size, progress)
            clip = import_clip(
                video, folder / name, ClipOptions(crop=(0, 0, size), size=size, overwrite=True), progress
            )
            images = [clip.image(index) for index in range(clip.frame_count)]
            masks = _masks(images)
            found = {
                "mask": [(mask * 255 + 0.5).astype(np.uint8) for mask in masks],
                "edges": [refine_matte(image, mask) for image, mask in zip(images, masks, strict=True)],
                "import": [clip.matte(index) for index in range(clip.frame_count)],
            }
            for way, mattes in found.items():
                own = [
                    foreground(image, matte) if way == "import" else _multiplied(image, matte)
                    for image, matte in zip(images, mattes, strict=True)
                ]
                figures.append(MatteFigures(str(number), camera, way, *compare(truth, mattes, own)))
    return figures


def film(video: Path, head: HeadModel, frames: int, number: int, camera: str, size: int, progress: Progress) -> Filmed:
    """Write a video of person ``number`` -> the truth. camera: one of CAMERAS."""
    rng = np.random.default_rng([_SEED, number])
    subject = random_subject(head, rng, 1024 if size > 256 else 512)
    params = lively_performance(head, frames, rng)
    params.shape = subject.shape
    K, viewmat = camera_of(subject.view, size)
    behind = paint_backdrop(subject.place, subject.light, size)
    wide = paint_backdrop(subject.place, subject.light, size + round(size * _PAN))
    alphas, owns = [], []

    def pictures() -> Iterator[np.ndarray]:
        for frame, drawn in enumerate(draw(subject, params, K, viewmat, size, progress)):
            alpha = drawn[..., 3:]
            own = drawn[..., :3] - behind * (1 - alpha)
            soft = cv2.GaussianBlur(np.dstack([own, alpha]).astype(np.float32), (0, 0), FAULTS.softness)
            soft = (soft.clip(0, 1) * 255 + 0.5).astype(np.uint8)
            alphas.append(soft[..., 3])
            owns.append(soft[..., :3])
            left = round(size * _PAN * (0.5 + 0.45 * np.sin(frame / 9)))
            yield own + (wide[:size, left : left + size] if camera == "moves" else behind) * (1 - alpha)

    write_mp4(video, through_a_lens(pictures(), FAULTS, rng), FPS, crf=CRF)
    return Filmed(np.stack(alphas), np.stack(owns))


def compare(
    truth: Filmed, mattes: Sequence[np.ndarray], own: Sequence[np.ndarray]
) -> tuple[float, float, float, float]:
    """mattes [H,W] uint8 and the person's colours [H,W,3] of every frame -> error, gradient, flicker (0 of one frame)
    and color of MatteFigures."""
    error, gradient, flicker, color = [], [], [0.0], []
    before: np.ndarray | None = None
    for alpha, colours, matte, found in zip(truth.alpha, truth.own, mattes, own, strict=True):
        band = _band(alpha)
        off = matte.astype(np.float32) - alpha
        error.append(np.abs(off)[band].mean())
        gradient.append(np.abs(_slope(matte) - _slope(alpha))[band].mean())
        color.append(np.abs(found.astype(np.float32) - colours)[band].mean())
        if before is not None:
            flicker.append(np.abs(off - before)[band].mean())
        before = off
    changes = flicker[1:] or flicker
    means = [1000 / 255 * float(np.mean(values)) for values in (error, gradient, changes, color)]
    return means[0], means[1], means[2], means[3]


def table(rows: list[MatteFigures]) -> Table:
    """What benchmark_mattes returned, with the means of each camera."""
    made = Table(title="Mattes of generated people, thousandths, in a band around the true border")
    for column in ("person", "camera", "way", "error", "gradient", "flicker", "colour"):
        made.add_column(column, justify="left" if column in ("person", "camera", "way") else "right")
    for row in [*rows, *means(rows)]:
        numbers = (row.error, row.gradient, row.flicker, row.color)
        made.add_row(row.person, row.camera, row.way, *(f"{number:.1f}" for number in numbers))
    return made


def means(rows: list[MatteFigures]) -> list[MatteFigures]:
    """Over the people, of every camera and way."""
    found = []
    for camera in CAMERAS:
        for way in WAYS:
            group = [row for row in rows if (row.camera, row.way) == (camera, way)]
            if group:
                numbers = np.mean([(row.error, row.gradient, row.flicker, row.color) for row in group], 0)
                found.append(MatteFigures("mean", camera, way, *numbers.tolist()))
    return found


def _masks(images: list[np.ndarray]) -> list[np.ndarray]:
    segmenter = Segmenter()
    try:
        return [segmenter(image) for image in images]
    finally:
        segmenter.close()


def _multiplied(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    return np.asarray(image * (matte[..., None].astype(np.float32) / 255) + 0.5, np.uint8)


def _band(alpha: np.ndarray) -> np.ndarray:
    soft = ((alpha > 5) & (alpha < 250)).astype(np.uint8)
    reach = max(1, round(BAND * len(alpha) / 512))
    return np.asarray(cv2.dilate(soft, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0)


def _slope(alpha: np.ndarray) -> np.ndarray:
    plane = alpha.astype(np.float32)
    across, down = (cv2.Sobel(plane, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    return np.hypot(across, down)
