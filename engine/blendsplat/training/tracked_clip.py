# SPDX-License-Identifier: Apache-2.0
"""A tracked clip as training data: its frames at training resolution, split into training and held-out ones.

Held-out frames are the clip's last ones (the papers' protocol); nothing of them is ever trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.avatars.rendering import fitted_intrinsics
from blendsplat.errors import FormatError, InputError
from blendsplat.heads.load import load_head_of
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.training.frame_store import FrameStore
from blendsplat.video import Clip
from blendsplat.video.foreground import foreground
from blendsplat.video.lens import without_zoom

_LOADERS = 2
_OWN_COLOURS = ("alpha", "external")  # mattes (ClipInfo.matte) whose pictures are used as they are
_FEWEST = 2


@dataclass
class TrackedClip:
    """What the folder of a tracked clip holds, before any frame is read."""

    clip: Clip
    tracking: Performance
    head: HeadModel  # the person's own
    fingerprint: str

    @classmethod
    def open(cls, directory: Path | str) -> TrackedClip:
        """Raises InputError or FormatError when the folder is not a tracked clip."""
        directory = Path(directory)
        if not (directory / "tracking.npz").is_file():
            raise InputError(f"{directory} holds no tracking.npz; track the clip first.")
        clip, tracking = Clip.open(directory), Performance.load(directory)
        if clip.frame_count != tracking.frame_count:
            raise FormatError(
                f"{directory} has {clip.frame_count} images but {tracking.frame_count} tracked frames; track it again."
            )
        return cls(clip, tracking, personal_head(tracking), _fingerprint(directory))

    def split(self, holdout: float) -> tuple[list[int], list[int]]:
        """(training, held-out) frame numbers; frames without a tracked face, and those that only repeat the one before
        or are in a fade, are in neither."""
        told = self.tracking.valid.copy()
        left_out = (*self.clip.info.repeats, *self.clip.info.faded)
        told[[frame for frame in left_out if 0 <= frame < len(told)]] = False
        return split_frames(told, holdout)

    def frame_weights(self, numbers: list[int]) -> Tensor:
        """What each of these training frames counts: by how far the tracking is confirmed there, 1 on the average."""
        return confidence_weights(torch.as_tensor(self.tracking.confidence[numbers]))

    def camera(self, size: int) -> TrainingCamera:
        """The tracked camera for images whose longer side is ``size`` (never larger than the clip's own)."""
        width, height = training_size(self.tracking.width, self.tracking.height, size)
        K = torch.as_tensor(self.tracking.K, dtype=torch.float32)
        K = fitted_intrinsics(K, (self.tracking.width, self.tracking.height), (width, height))
        return TrainingCamera(K, torch.as_tensor(self.tracking.viewmat, dtype=torch.float32), width, height)

    def load(
        self,
        numbers: list[int],
        width: int,
        height: int,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
        weights: Callable[[int], np.ndarray] | None = None,
    ) -> FrameStore:
        """Read frames at width x height (area-averaged), a zooming lens's at the clip's one focal length: what lies
        outside of such a picture has no weight. weights: frame number -> uint8 [H,W] instead of valid/."""
        progress = progress or Progress()
        planes = np.empty((len(numbers), height, width, 5), np.uint8)
        pool = ThreadPoolExecutor(_LOADERS)
        zoom, centre = self.tracking.zoom, self.tracking.K[:2, 2]

        def read(number: int) -> np.ndarray:
            layers = _layers(self.clip, number, weights or self.clip.valid)
            layers = [without_zoom(layer, float(zoom[number]), centre) for layer in layers]
            if (height, width) != (self.clip.height, self.clip.width):
                layers = [_resize(layer, width, height) for layer in layers]
            return np.dstack(layers)

        try:
            loaded = pool.map(read, numbers)
            for row, frame in enumerate(loaded):
                progress.check()
                planes[row] = frame
                progress.update("load", row + 1, len(numbers))
        finally:
            pool.shutdown(cancel_futures=True)  # who cancels waits for no frame that nobody has begun to read
        params = self.tracking.params(device)[torch.as_tensor(numbers, dtype=torch.long, device=device)]
        store = FrameStore(len(numbers), height, width, params)
        store.add(numbers, torch.from_numpy(planes), params)
        return store


def personal_head(tracking: Performance) -> HeadModel:
    """The tracked person's head: shape and offsets built in. Raises as load_head_of."""
    shape, offsets = torch.as_tensor(tracking.shape), torch.as_tensor(tracking.vertex_offsets)
    return load_head_of(tracking).personalise(shape, offsets, tracking.head)


def split_frames(valid: np.ndarray, holdout: float) -> tuple[list[int], list[int]]:
    """Valid frames [F] -> (training, held-out) numbers. holdout: last share if below 1, else that many last frames."""
    frames = len(valid)
    held = round(frames * holdout) if holdout < 1 else int(holdout)
    border = max(frames - held, 0)
    numbers = np.flatnonzero(valid)
    training, test = numbers[numbers < border].tolist(), numbers[numbers >= border].tolist()
    if len(training) < _FEWEST:
        raise InputError(
            f"Only {len(training)} of the clip's {frames} frames can be trained on (a face was found in "
            f"{len(numbers)}, the last {held} are held out); use a longer clip or a smaller holdout."
        )
    return training, test


def confidence_weights(confidence: Tensor) -> Tensor:
    """Confidence [M] from 0 to 1 -> float32 weights [M] of mean 1. The root, because what is rarely shown (a profile)
    is confirmed worse than the rest and still has to be learned; a frame of no confidence counts nothing."""
    weights = confidence.double().clamp(0, 1).sqrt()
    mean = weights.mean()
    return (weights / mean).float() if mean > 0 else torch.ones(len(weights))


def training_size(width: int, height: int, longer_side: int) -> tuple[int, int]:
    """The clip's size brought down so that the longer side is at most ``longer_side``."""
    scale = min(longer_side / max(width, height), 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _layers(clip: Clip, number: int, weights: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    """One frame: the person's RGB premultiplied by the matte, the matte, the valid weight, uint8; premultiplied before
    anything is resampled, so that no background colour bleeds in at the border. Colours of a file with alpha are the
    person's own already; those of an imported recording stay as its papers compare them."""
    image, matte = clip.image(number), clip.matte(number)
    if clip.info.matte in _OWN_COLOURS:
        alpha = matte.astype(np.float32)[..., None] / 255
        return [(image * alpha + 0.5).astype(np.uint8), matte, weights(number)]
    return [foreground(image, matte), matte, weights(number)]


def _resize(layer: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(layer).resize((width, height), Image.Resampling.BOX))


def _fingerprint(directory: Path) -> str:
    """Changes when the clip is imported or tracked anew: hash of the tracking and of every image's name and size."""
    digest = hashlib.sha256((directory / "tracking.npz").read_bytes())
    listing = [
        [folder, sorted((path.name, path.stat().st_size) for path in (directory / folder).glob("*.png"))]
        for folder in ("images", "mattes", "valid")
    ]
    digest.update(json.dumps(listing).encode())
    return digest.hexdigest()
