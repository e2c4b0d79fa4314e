# SPDX-License-Identifier: Apache-2.0
"""The tracked mesh in its pictures, as the neck's cut and the overlay need it, and the hair's colours learned by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, frame_intrinsics
from blendsplat.splatting import rasterize_mesh
from blendsplat.tracking import neck_cut
from blendsplat.video import Clip

MESH_BATCH = 8
HAIR_FRAMES = 12


@dataclass
class DrawnHead:
    """The mesh in one frame, ready for the cut and the overlay."""

    index: int
    camera_vertices: np.ndarray  # [V,3]
    face_ids: np.ndarray  # [H,W]
    neck: neck_cut.NeckGeometry


class HeadDrawing:
    """Draws one person's head, as a performance tells of it, before that performance's camera."""

    def __init__(self, head: HeadModel, tracking: Performance) -> None:
        """head: the model that ``tracking`` moves, its shape not built in."""
        offsets = torch.as_tensor(tracking.vertex_offsets)
        shape = torch.as_tensor(tracking.shape)
        template = (head.template + offsets + torch.einsum("s,svc->vc", shape, head.shape_directions)).numpy()
        self._ring_height, self._chin_height = neck_cut.neck_heights(head, template)
        self._head, self._ring = head, head.regions["neck_ring"]
        self._view, self._viewmat = torch.as_tensor(tracking.viewmat), tracking.viewmat
        self._width, self._height = tracking.width, tracking.height

    def __call__(self, rows: Iterable[int], vertices: Tensor, torso: np.ndarray, Ks: np.ndarray) -> list[DrawnHead]:
        """Frames ``rows`` whose posed vertices are [B,V,3] and torsos' rotations [B,3,3], seen through Ks [B,3,3]."""
        count, view = len(vertices), self._view
        face_ids, _, _ = rasterize_mesh(
            vertices, self._head.faces, view.expand(count, 4, 4), torch.as_tensor(Ks), self._width, self._height
        )
        camera = (vertices @ view[:3, :3].T + view[:3, 3]).numpy()
        drawn, rise = [], self._chin_height - self._ring_height
        for row, index in enumerate(rows):
            world = vertices[row, self._ring].numpy().astype(np.float64)
            neck = neck_cut.neck_geometry(world, world.mean(0), torso[row], rise, Ks[row], self._viewmat)
            drawn.append(DrawnHead(int(index), camera[row], face_ids[row].numpy(), neck))
        return drawn


def drawn_frames(clip: Clip, head: HeadModel, tracking: Performance, frames: np.ndarray) -> Iterator[DrawnHead]:
    """The mesh of each of ``frames`` in its picture, rasterized a few at a time."""
    params, offsets = tracking.params(), torch.as_tensor(tracking.vertex_offsets)
    drawing, Ks, torso = HeadDrawing(head, tracking), frame_intrinsics(tracking), rotvec_to_matrix(params.root_pose)
    for start in range(0, len(frames), MESH_BATCH):
        rows = frames[start : start + MESH_BATCH]
        vertices = head(params[torch.as_tensor(rows)], offsets)
        yield from drawing(rows, vertices, torso.numpy()[np.minimum(rows, len(torso) - 1)], Ks[rows])


def learn_clip_hair(clip: Clip, head: HeadModel, tracking: Performance) -> neck_cut.HairColours | None:
    """The hair's colours against the clothes', over a few spread frames of the clip."""
    shown = np.flatnonzero(tracking.valid)
    frames = np.unique(shown[np.linspace(0, len(shown) - 1, HAIR_FRAMES).astype(int)])
    drawn = drawn_frames(clip, head, tracking, frames)
    return learn_hair(head, ((one, clip.image(one.index), clip.matte(one.index)) for one in drawn))


def learn_hair(
    head: HeadModel, frames: Iterable[tuple[DrawnHead, np.ndarray, np.ndarray]]
) -> neck_cut.HairColours | None:
    """The same of frames as they come: the mesh, image [H,W,3] and matte [H,W] of each."""
    inside = np.zeros(head.vertex_count, bool)
    inside[head.regions["scalp"]] = True
    scalp = np.append(inside[head.faces.numpy()].all(1), False)
    samples = []
    for drawn, image, matte in frames:
        hair, clothes = neck_cut.hair_and_clothes(drawn.neck, drawn.face_ids, scalp, matte)
        samples.append((image, hair, clothes))
    return neck_cut.learn_hair(samples)
