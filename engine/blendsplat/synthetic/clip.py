# SPDX-License-Identifier: Apache-2.0
"""Clips with a known truth: a head, talking, in front of a wall and over a shirt, encoded as any phone would.

The demo's is of the builtin head. The parameters a clip was rendered from are what the tracker is scored against.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from blendsplat.heads.builtin import appearance, builtin_head
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.heads.render import render_head
from blendsplat.progress import Progress
from blendsplat.synthetic.performance import talking_performance
from blendsplat.video import write_mp4

SIZE = 512
FPS = 25.0
FIELD_OF_VIEW = np.radians(24.0)
DISTANCE = 0.95  # metres from the camera to the head's middle
TEXTURE_SIZE = 1024
FRAMES_A_BATCH = 4


def make_clip(path: Path, frames: int = 200, seed: int = 3, progress: Progress | None = None) -> Performance:
    """Render and encode ``frames`` frames of 512x512 at 25 fps to ``path`` (mp4). Returns the truth."""
    progress = progress or Progress()
    head = builtin_head()
    params = talking_performance(head, frames, FPS)
    rng = np.random.default_rng(seed)
    params.shape = torch.as_tensor(0.8 * rng.standard_normal((1, head.shape_count)), dtype=torch.float32)
    K, viewmat = clip_camera()
    write_mp4(path, _frames(head, params, K, viewmat, progress), FPS)
    return truth_of(head, params, K, viewmat)


def clip_camera() -> tuple[np.ndarray, np.ndarray]:
    """K [3,3] and viewmat [4,4] of the clip."""
    focal = SIZE / 2 / np.tan(FIELD_OF_VIEW / 2)
    K = np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]], np.float32)
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    viewmat[:3, 3] = [0, -0.02, DISTANCE]
    return K, viewmat


def _frames(
    head: HeadModel, params: HeadParams, K: np.ndarray, viewmat: np.ndarray, progress: Progress
) -> Iterator[np.ndarray]:
    """Finished frames [H,W,3] uint8, in order."""
    texture = torch.tensor(appearance.head_texture(size=TEXTURE_SIZE))
    wall = _wall()
    for start in range(0, params.batch, FRAMES_A_BATCH):
        progress.check()
        rows = slice(start, min(start + FRAMES_A_BATCH, params.batch))
        vertices = head(params[rows])
        batch = vertices.shape[0]
        rgba = render_head(
            head, vertices, texture,
            torch.as_tensor(viewmat).expand(batch, 4, 4), torch.as_tensor(K).expand(batch, 3, 3), SIZE, SIZE,
        )  # fmt: skip
        for row in range(batch):
            picture = rgba[row].numpy()
            backdrop = _shirt(wall, params.translation[start + row].numpy(), K)
            frame = picture[..., :3] + backdrop * (1 - picture[..., 3:])
            yield (np.clip(frame, 0, 1) * 255 + 0.5).astype(np.uint8)
        progress.update("clip", rows.stop, params.batch)


def _wall() -> np.ndarray:
    """A softly lit wall [H,W,3] in [0,1]."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    light = 0.72 - 0.18 * np.hypot(x - 0.35, y - 0.3)
    return np.clip(light[..., None] * np.array([0.98, 1.0, 1.02]), 0, 1).astype(np.float32)


def _shirt(wall: np.ndarray, translation: np.ndarray, K: np.ndarray) -> np.ndarray:
    """The wall with a dark round-necked shirt at the bottom, moved as the body moves."""
    scale = K[0, 0] / DISTANCE
    centre = SIZE / 2 + translation[0] * scale
    top = SIZE / 2 + (0.165 - translation[1]) * scale
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    across = np.abs(x - centre) / scale
    edge = top + scale * (0.75 * np.maximum(across - 0.055, 0) ** 1.25)
    cover = np.clip((y - edge) / 2.5, 0, 1)[..., None]
    cloth = np.array([0.16, 0.2, 0.28]) * (1.05 - 0.35 * np.clip(across / 0.3, 0, 1))[..., None]
    return wall * (1 - cover) + cloth * cover


def truth_of(head: HeadModel, params: HeadParams, K: np.ndarray, viewmat: np.ndarray) -> Performance:
    """The parameters that a clip was rendered from, as its Tracking."""
    frames = params.batch

    def rows(value: torch.Tensor) -> np.ndarray:
        return value.expand(frames, *value.shape[1:]).numpy().astype(np.float32)

    return Performance(
        head=head.name, head_source="builtin", width=SIZE, height=SIZE, timestamps=np.arange(frames) / FPS,
        valid=np.ones(frames, bool), shape=params.shape[0].numpy(),
        vertex_offsets=np.zeros((head.vertex_count, 3), np.float32), expression=rows(params.expression),
        root_pose=rows(params.root_pose), neck_pose=rows(params.neck_pose), jaw_pose=rows(params.jaw_pose),
        eyes_pose=rows(params.eyes_pose), eyelids=rows(params.eyelids), translation=rows(params.translation),
        K=K, viewmat=viewmat, expression_names=head.expression_names, head_model=head.model_id, head_family=head.family,
    )  # fmt: skip
