# SPDX-License-Identifier: Apache-2.0
"""Clips with a known truth: a person of the head human, talking in a room, encoded as any phone would.

The parameters a clip was rendered from are what the tracker is scored against.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from blendsplat.heads.human import CHILD, human_head
from blendsplat.heads.human.appearance import Look
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.heads.render import Light, render_views
from blendsplat.progress import Progress
from blendsplat.synthetic.backdrops import Backdrop, paint_backdrop
from blendsplat.synthetic.clothes import Outfit
from blendsplat.synthetic.hair import HairStyle
from blendsplat.synthetic.people import Wardrobe, dress
from blendsplat.synthetic.performance import talking_performance
from blendsplat.video import write_mp4

SIZE = 512
FPS = 25.0
FIELD_OF_VIEW = np.radians(24.0)
DISTANCE = 1.0  # metres from the camera to the head's middle
TEXTURE_SIZE = 1024
IDENTITY_SPREAD = 0.7
_HAIR = (0.20, 0.125, 0.08)
WARDROBE = Wardrobe(
    Look(
        skin=(0.80, 0.60, 0.50),
        hair=_HAIR,
        eyes=(0.30, 0.36, 0.34),
        stubble=0.35,
        age=0.32,
        brow_thickness=0.55,
        seed=5,
    ),
    HairStyle("parting", _HAIR, side=-1.0),
    Outfit("shirt", (0.20, 0.27, 0.38), seed=4),
)
LIGHT = Light(direction=(-0.55, 0.42, 0.72), fill=(0.30, 0.33, 0.38))
PLACE = Backdrop("room", seed=9, focus=0.3)


def make_clip(path: Path, frames: int = 200, seed: int = 1, progress: Progress | None = None) -> Performance:
    """Render and encode ``frames`` frames of 512x512 at 25 fps to ``path`` (mp4). Returns the truth."""
    progress = progress or Progress()
    head = human_head()
    params = talking_performance(head, frames, FPS)
    params.shape = clip_identity(head, seed)
    K, viewmat = clip_camera()
    write_mp4(path, _frames(head, params, K, viewmat, progress), FPS)
    return truth_of(head, params, K, viewmat)


def clip_identity(head: HeadModel, seed: int) -> torch.Tensor:
    """An adult's shape [1,S]."""
    rng = np.random.default_rng(seed)
    shape = IDENTITY_SPREAD * rng.standard_normal((1, head.shape_count))
    if CHILD in head.shape_names:
        shape[0, head.shape_names.index(CHILD)] = 0
    return torch.as_tensor(shape, dtype=torch.float32)


def clip_camera() -> tuple[np.ndarray, np.ndarray]:
    """K [3,3] and viewmat [4,4] of the clip."""
    focal = SIZE / 2 / np.tan(FIELD_OF_VIEW / 2)
    K = np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]], np.float32)
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    viewmat[:3, 3] = [0, -0.05, DISTANCE]
    return K, viewmat


def _frames(
    head: HeadModel, params: HeadParams, K: np.ndarray, viewmat: np.ndarray, progress: Progress
) -> Iterator[np.ndarray]:
    """Finished frames [H,W,3] uint8, in order."""
    person = dress(head, params.shape, WARDROBE, TEXTURE_SIZE)
    behind = paint_backdrop(PLACE, LIGHT, SIZE)
    camera = torch.as_tensor(viewmat)[None], torch.as_tensor(K)[None]
    for row in range(params.batch):
        progress.check()
        drawn, props = person.pose(params[[row]])
        rgba = render_views(head, drawn, person.texture, *camera, SIZE, SIZE, LIGHT, props=props)[0].numpy()
        frame = rgba[..., :3] + behind * (1 - rgba[..., 3:])
        yield (np.clip(frame, 0, 1) * 255 + 0.5).astype(np.uint8)
        progress.update("clip", row + 1, params.batch)


def truth_of(
    head: HeadModel,
    params: HeadParams,
    K: np.ndarray,
    viewmat: np.ndarray,
    offsets: torch.Tensor | None = None,
    size: int = SIZE,
) -> Performance:
    """The parameters that a clip of ``size`` pixels was rendered from, as its Tracking; offsets [V,3]: the person's."""
    frames = params.batch
    off = np.zeros((head.vertex_count, 3), np.float32) if offsets is None else offsets.numpy()

    def rows(value: torch.Tensor) -> np.ndarray:
        return value.expand(frames, *value.shape[1:]).numpy().astype(np.float32)

    return Performance(
        head=head.name, head_source="human", width=size, height=size, timestamps=np.arange(frames) / FPS,
        valid=np.ones(frames, bool), shape=params.shape[0].numpy(),
        vertex_offsets=off, expression=rows(params.expression),
        root_pose=rows(params.root_pose), neck_pose=rows(params.neck_pose), jaw_pose=rows(params.jaw_pose),
        eyes_pose=rows(params.eyes_pose), eyelids=rows(params.eyelids), translation=rows(params.translation),
        K=K, viewmat=viewmat, expression_names=head.expression_names, head_model=head.model_id, head_family=head.family,
    )  # fmt: skip
