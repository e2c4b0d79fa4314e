# SPDX-License-Identifier: Apache-2.0
"""A small rendered clip with its truth, and what footage can do to a tracker: each a function from one clip to another.

The landmarks are the truth's with the detector's kind of errors (of each point, and of each frame), so that nothing
here takes a detector's seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadParams
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.heads.render import Light
from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import save_landmarks
from blendsplat.progress import Progress
from blendsplat.synthetic.clip import FPS, truth_of
from blendsplat.synthetic.footage import (
    CameraFaults,
    Subject,
    camera_of,
    draw,
    lively_performance,
    random_subject,
    through_a_lens,
)
from blendsplat.video.clip import ClipInfo, write_info, write_png

FRAMES, SIZE, VIEW = 24, 256, 30.0
FAULTS = CameraFaults(0.4, 0.008, 0.02, 90, 1.0)
POINT_BIAS, FRAME_NOISE = 1.0, 0.3  # pixels: a landmark's own error all along, and anew in every frame


@dataclass(frozen=True)
class Footage:
    """images [F,H,W,3] uint8, mattes [F,H,W] uint8, points [F,478,3] pixels, found [F], and the truth."""

    images: np.ndarray
    mattes: np.ndarray
    points: np.ndarray
    found: np.ndarray
    truth: Performance

    def write(self, folder: Path) -> Path:
        """As an imported clip's folder."""
        for name, pictures in (("images", self.images), ("mattes", self.mattes)):
            (folder / name).mkdir(parents=True)
            for frame, picture in enumerate(pictures):
                write_png(folder / name / f"{frame:06d}.png", picture)
        save_landmarks(folder / "landmarks.npz", self.points, self.found, "truth")
        times = [float(second) for second in self.truth.timestamps]
        crop = (0, 0, SIZE)
        write_info(folder, ClipInfo("x.mp4", (SIZE, SIZE), 0.0, None, crop, SIZE, SIZE, FPS, times, "external"))
        self.truth.save(folder / "truth.npz")
        return folder


@cache
def _cast() -> tuple[Subject, HeadParams]:
    """Who plays, and what."""
    head = load_head("human")
    subject = random_subject(head, np.random.default_rng(39), 512, VIEW)
    params = lively_performance(head, 100, np.random.default_rng(6))[list(range(20, 20 + FRAMES))]
    params.shape = subject.shape
    return subject, params


def _drawn(subject: Subject, params: HeadParams, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """images [F,H,W,3], mattes [F,H,W], uint8."""
    K, viewmat = camera_of(VIEW, SIZE)
    frames = list(draw(subject, params, K, viewmat, SIZE, Progress()))
    images = np.stack(list(through_a_lens(iter(frames), FAULTS, np.random.default_rng(seed))))
    return images, (np.stack(frames)[..., 3] * 255 + 0.5).astype(np.uint8)


@cache
def plain() -> Footage:
    """The clip before anything happens to it; made once in a process."""
    subject, params = _cast()
    images, mattes = _drawn(subject, params, 1)
    truth = truth_of(load_head("human"), params, *camera_of(VIEW, SIZE), subject.offsets, SIZE)
    return Footage(images, mattes, landmarks_of(truth), np.ones(FRAMES, bool), truth)


def landmarks_of(truth: Performance, seed: int = 2) -> np.ndarray:
    """Points [F,478,3], pixels, with a detector's errors."""
    head, rng = load_head("human"), np.random.default_rng(seed)
    points = head.landmarks_of(torch.as_tensor(head_vertices(truth, head))).numpy()
    image = points @ truth.K.T
    pixels = image[..., :2] / image[..., 2:]
    pixels = pixels + POINT_BIAS * rng.standard_normal((1, 478, 2)) + FRAME_NOISE * rng.standard_normal(pixels.shape)
    depth = (image[..., 2:] - image[..., 2:].mean(1, keepdims=True)) * truth.K[0, 0] / image[..., 2:]
    return np.concatenate([pixels, depth], -1).astype(np.float32)


def overexposed(clip: Footage) -> Footage:
    """Skin burnt to white."""
    return replace(clip, images=(clip.images.astype(np.float32) * 3.5).clip(0, 255).astype(np.uint8))


def light_switched(clip: Footage) -> Footage:
    """From the middle on a lamp on the other side, dimmer and of another colour."""
    subject, params = _cast()
    other = Light(
        (0.9, 0.2, 0.3), (0.9, 0.7, 0.45), (-0.6, 0.1, 0.5), (0.1, 0.12, 0.2), (0.3, 0.32, 0.4), (0.2, 0.18, 0.15)
    )
    half = FRAMES // 2
    after, _ = _drawn(replace(subject, light=other), params[list(range(half, FRAMES))], 3)
    return replace(clip, images=np.concatenate([clip.images[:half], after]))


def focus_pumping(clip: Footage) -> Footage:
    """Sharp, soft and sharp again, twice."""
    sigmas = 0.1 + 3.0 * np.sin(np.arange(len(clip.images)) * 2 * np.pi / len(clip.images)) ** 2
    images = [cv2.GaussianBlur(image, (0, 0), sigma) for image, sigma in zip(clip.images, sigmas, strict=True)]
    return replace(clip, images=np.stack(images))


def hand_before_the_mouth(clip: Footage) -> Footage:
    """A third of the frames: a fist of the skin's colour, and a detector that guesses what is behind it."""
    rng = np.random.default_rng(4)
    images, mattes, points = clip.images.copy(), clip.mattes.copy(), clip.points.copy()
    lips = sorted({*pts.OUTER_LIPS, *pts.INNER_LIPS})
    for frame in range(FRAMES // 3, 2 * FRAMES // 3):
        mouth = points[frame, lips, :2].mean(0)
        cheek = points[frame, 205, :2].astype(int)
        skin = images[frame, cheek[1] - 3 : cheek[1] + 4, cheek[0] - 3 : cheek[0] + 4].mean((0, 1)) * 0.9
        centre = mouth + [4 * np.sin(frame), 8 + 3 * np.cos(frame)]
        for finger in range(4):
            at = tuple(int(value) for value in centre + [14 * finger - 21, 3 * (finger % 2)])
            shade = tuple(float(value) for value in skin * (0.92 + 0.05 * finger))
            for picture, colour in ((images[frame], shade), (mattes[frame], (255.0,))):
                cv2.ellipse(picture, at, (9, 26), 12.0, 0, 360, colour, -1, cv2.LINE_AA)
        points[frame, lips, :2] += rng.normal(0, 3.0, (len(lips), 2)) + [0, 3]
    return replace(clip, images=images, mattes=mattes, points=points)


def glasses_reflections(clip: Footage) -> Footage:
    """Panes before the eyes in which something bright moves against the head."""
    images = clip.images.astype(np.float32)
    for frame in range(len(images)):
        for lids in (pts.LEFT_LIDS, pts.RIGHT_LIDS):
            eye = clip.points[frame, list(lids), :2].mean(0)
            pane, glint = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32)
            cv2.ellipse(pane, tuple(map(int, eye)), (19, 13), 0, 0, 360, (1.0,), -1)
            at = eye - 0.5 * (eye - SIZE / 2) + [0, -30]
            cv2.ellipse(glint, (int(2 * eye[0] - at[0]), int(eye[1])), (8, 20), 35, 0, 360, (1.0,), -1)
            images[frame] += (110 * pane * cv2.GaussianBlur(glint, (0, 0), 2) + 12 * pane)[..., None]
    return replace(clip, images=images.clip(0, 255).astype(np.uint8))


def zoomed(clip: Footage) -> Footage:
    """The lens zooms in by a quarter during the take."""
    zoom = np.linspace(1, 1.25, len(clip.images))
    images, mattes, points = clip.images.copy(), clip.mattes.copy(), clip.points.copy()
    middle = SIZE / 2
    for frame, factor in enumerate(zoom):
        matrix = np.array([[factor, 0, (middle - 0.5) * (1 - factor)], [0, factor, (middle - 0.5) * (1 - factor)]])
        for pictures in (images, mattes):
            pictures[frame] = cv2.warpAffine(
                pictures[frame], matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
        points[frame, :, :2] = (points[frame, :, :2] - middle) * factor + middle
    return replace(
        clip, images=images, mattes=mattes, points=points, truth=replace(clip.truth, zoom=zoom.astype(np.float32))
    )


def rolling_shutter(clip: Footage) -> Footage:
    """Rows are read one after the other, over a whole frame's time: what moves is sheared."""
    steps = np.gradient(clip.points[..., :2].mean(1), axis=0)  # pixels a frame
    images, mattes, points = clip.images.copy(), clip.mattes.copy(), clip.points.copy()
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    for frame, step in enumerate(steps):
        late = y / SIZE - 0.5
        where = (x - step[0] * late).astype(np.float32), (y - step[1] * late).astype(np.float32)
        for pictures in (images, mattes):
            pictures[frame] = cv2.remap(pictures[frame], *where, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        points[frame, :, :2] += step * (points[frame, :, 1:2] / SIZE - 0.5)
    return replace(clip, images=images, mattes=mattes, points=points)


def static_head(clip: Footage) -> Footage:
    """Nothing moves but the grain."""
    rows, rng = np.zeros(FRAMES, int), np.random.default_rng(5)
    grain = 2.5 * rng.standard_normal(clip.images.shape, dtype=np.float32)
    truth = replace(clip.truth.select(rows), timestamps=clip.truth.timestamps, part_of="")
    return replace(
        clip, images=(clip.images[rows] + grain).clip(0, 255).astype(np.uint8), mattes=clip.mattes[rows],
        points=landmarks_of(truth), truth=truth,
    )  # fmt: skip


def three_frames(clip: Footage) -> Footage:
    """No more than that."""
    return Footage(
        clip.images[:3],
        clip.mattes[:3],
        clip.points[:3],
        clip.found[:3],
        replace(clip.truth.select(slice(3)), part_of=""),
    )


def shifted_matte(clip: Footage) -> Footage:
    """A matte that belongs a tenth of the picture further right."""
    return replace(clip, mattes=np.roll(clip.mattes, SIZE // 10, axis=2))


def empty_matte(clip: Footage) -> Footage:
    """Nobody, says the matte."""
    return replace(clip, mattes=np.zeros_like(clip.mattes))


def full_matte(clip: Footage) -> Footage:
    """Everything is the person, says the matte."""
    return replace(clip, mattes=np.full_like(clip.mattes, 255))


def face_lost(clip: Footage) -> Footage:
    """A quarter of the frames in the middle has no face for the detector; their points are anywhere."""
    found, points, lost = clip.found.copy(), clip.points.copy(), slice(9, 15)
    found[lost] = False
    points[lost] = np.random.default_rng(7).uniform(0, SIZE, points[lost].shape)
    return replace(clip, found=found, points=points)


def black_frames(clip: Footage) -> Footage:
    """Three frames are black, though the landmarks go on (a detector that follows)."""
    images = clip.images.copy()
    images[10:13] = 0
    return replace(clip, images=images)


HOSTILE: dict[str, Callable[[Footage], Footage]] = {
    make.__name__: make
    for make in (
        overexposed, light_switched, focus_pumping, hand_before_the_mouth, glasses_reflections, zoomed, rolling_shutter,
        static_head, three_frames, shifted_matte, empty_matte, full_matte, face_lost, black_frames,
    )
}  # fmt: skip
