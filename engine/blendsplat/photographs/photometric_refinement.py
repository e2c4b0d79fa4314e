# SPDX-License-Identifier: Apache-2.0
"""Refines a fitted photograph on its pixels: shading of the bare skin, and the silhouette against the matte.

Skin of one colour under a light of second-order spherical harmonics (Ramamoorthi and Hanrahan 2001), solved anew in
every step, is compared with the picture. The fit to the landmarks is the prior, and the landmarks stay in the cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.face_crop import cut_square, framing
from blendsplat.geometry import harmonics
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.heads.portrait import region_mask
from blendsplat.landmarks import points as pts
from blendsplat.splatting.mesh_layers import MeshImage, render_mesh
from blendsplat.splatting.silhouettes import find_neighbours

SIDE, SHARE = 160, 0.62  # pixels of the picture compared; height of the face in it
STEPS, RATE = 40, 0.08
# How far the pixels may move what the landmarks found, one standard deviation; the units in which Adam steps.
SPANS = {
    "shape": 0.35, "expression": 0.08, "neck_pose": 0.015, "jaw_pose": 0.02, "translation": 0.002,
}  # fmt: skip
SHADE, LEVEL_VOTES = 0.06, 1 / 60  # noise of shading, of the mean brightness; pixels err alike: sixty count as one
OUTSIDE, EDGE_VOTES = 0.25, 1 / 8  # noise of the matte, and the same for its pixels
LANDMARKS, CAUCHY, LANDMARK_VOTES = 0.02, 3.0, 0.1  # as in the solver
BARE = ("face", "nose")
COVERED = ("lips", "left_eyelids", "right_eyelids", "left_eyeball", "right_eyeball", "mouth_interior")


@dataclass
class Cutout:
    """One photograph, cut: linear colours [S,S,3] over their mean on the face, matte [S,S], K [3,3] and the landmarks
    [478,2] in its pixels."""

    colours: Tensor
    matte: Tensor
    K: Tensor
    points: Tensor


def cut_out(image: np.ndarray, matte: np.ndarray, scale: float, points: np.ndarray, K: np.ndarray) -> Cutout:
    """image [H,W,3] uint8 and matte [H,W] of a copy ``scale`` times the original, whose landmarks and K are given."""
    left, top, side = framing(points, SHARE)
    small = (left * scale, top * scale, side * scale)
    linear = (cut_square(image, small, SIDE).astype(np.float32) / 255) ** 2.2
    shown = cut_square(matte, small, SIDE).astype(np.float32) / 255
    zoom = SIDE / side
    camera = np.array([[zoom, 0, -left * zoom], [0, zoom, -top * zoom], [0, 0, 1]]) @ K
    inner = linear[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4]
    tensors = (linear / max(float(inner.mean()), 1e-3), shown, camera, (points - [left, top]) * zoom)
    return Cutout(*(torch.as_tensor(value, dtype=torch.float32) for value in tensors))


def refine_on_pixels(trackings: list[Performance], cutouts: list[Cutout], head: HeadModel) -> list[Performance]:
    """Fits of one person's photographs (of one shape) -> the same after STEPS steps on all of them together."""
    start = _together(trackings)
    moves = {name: torch.zeros_like(getattr(start, name), requires_grad=True) for name in SPANS}  # in units of SPANS
    optimiser = torch.optim.Adam(list(moves.values()), RATE, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS, RATE / 20)
    scene = _Scene(head, trackings, cutouts)
    for _ in range(STEPS):
        optimiser.zero_grad()
        cost = scene.cost(_moved(start, moves, head)) + sum((move**2).sum() for move in moves.values())
        cost.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        found = _moved(start, moves, head)
    return [_written(tracking, found, row) for row, tracking in enumerate(trackings)]


def _together(trackings: list[Performance]) -> HeadParams:
    """One row a photograph; the shape has one row."""
    rows = [tracking.params() for tracking in trackings]
    whole = {name: torch.cat([getattr(row, name) for row in rows]) for name in rows[0].__dataclass_fields__}
    return HeadParams(**{**whole, "shape": rows[0].shape})


def _moved(start: HeadParams, moves: dict[str, Tensor], head: HeadModel) -> HeadParams:
    changed = {name: getattr(start, name) + SPANS[name] * move for name, move in moves.items()}
    low, high = head.expression_range
    bounded = changed["expression"].clamp(low, high)
    # a bound that is reached passes the gradient on, so that the way back is open
    changed["expression"] = changed["expression"] + (bounded - changed["expression"]).detach()
    return replace(start, **changed)


def _written(tracking: Performance, found: HeadParams, row: int) -> Performance:
    own = ("expression", "neck_pose", "jaw_pose", "translation")
    values = {name: getattr(found, name)[row : row + 1].numpy() for name in own}
    return replace(tracking, shape=found.shape[0].numpy(), **values)


class _Scene:
    """What stays the same over the steps."""

    def __init__(self, head: HeadModel, trackings: list[Performance], cutouts: list[Cutout]) -> None:
        self._head, self._neighbours = head, find_neighbours(head.faces)
        self._offsets = torch.as_tensor(trackings[0].vertex_offsets)
        self._views = torch.stack([torch.as_tensor(t.viewmat) for t in trackings])
        self._Ks = torch.stack([cutout.K for cutout in cutouts])
        self._points = torch.stack([cutout.points for cutout in cutouts])
        self._colours = torch.stack([cutout.colours for cutout in cutouts])
        self._matte = torch.stack([cutout.matte for cutout in cutouts])[..., None]
        bare = region_mask(head, *BARE) & ~region_mask(head, *COVERED)
        self._bare = torch.as_tensor(bare, dtype=torch.float32)[:, None]
        eyes = (self._points[:, 468:473].mean(1) - self._points[:, 473:478].mean(1)).norm(dim=-1)
        self._sigma = (LANDMARKS * eyes).clamp_min(0.05)[:, None]
        self._weights = torch.as_tensor(pts.landmark_confidence())
        if head.landmarks is not None:
            self._weights = self._weights * head.landmarks.weights

    def cost(self, params: HeadParams) -> Tensor:
        vertices = self._head(params, self._offsets)
        drawn = render_mesh(
            vertices, self._head.faces, self._bare, self._views, self._Ks, SIDE, SIDE, neighbours=self._neighbours
        )
        return self._shading(drawn) + self._silhouette(drawn) + self._landmarks(vertices)

    def _shading(self, drawn: MeshImage) -> Tensor:
        trusted = (drawn.image.detach() * self._matte).clamp(0, 1) * (drawn.normals.detach()[..., 2:] < -0.25)
        basis = harmonics(drawn.normals)
        lit = basis @ _light(basis.detach(), self._colours, trusted)[:, None]
        squared = ((lit - self._colours) ** 2).mean(-1, keepdim=True) / SHADE**2
        return LEVEL_VOTES * (trusted * torch.log1p(squared)).sum()

    def _silhouette(self, drawn: MeshImage) -> Tensor:
        """What is drawn where nobody is: hair and clothes may stick out of the head, the head out of nothing."""
        excess = (drawn.alpha - self._matte).clamp_min(0) / OUTSIDE
        return EDGE_VOTES * torch.log1p(excess**2).sum()

    def _landmarks(self, vertices: Tensor) -> Tensor:
        camera = self._head.landmarks_of(vertices) @ self._views[:, :3, :3].mT + self._views[:, None, :3, 3]
        flat = camera @ self._Ks.mT
        away = (flat[..., :2] / flat[..., 2:].clamp_min(1e-3) - self._points).square().sum(-1) / self._sigma**2
        return LANDMARK_VOTES * CAUCHY**2 * (self._weights * torch.log1p(away / CAUCHY**2)).sum()


def _light(basis: Tensor, colours: Tensor, weights: Tensor) -> Tensor:
    """The light [B,9,3] that explains the colours [B,H,W,3] best, beards and shadows outvoted in a second round."""
    flat, seen = basis.flatten(1, 2), colours.flatten(1, 2)
    share = weights.flatten(1, 2)
    light = torch.zeros(len(flat), 9, 3)
    damping = 1e-2 * torch.eye(9)
    for _ in range(3):
        normal = flat.mT @ (share * flat)
        size = torch.diagonal(normal, dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(1e-6)
        light = torch.linalg.solve(normal + size * damping, flat.mT @ (share * seen))
        away = ((flat @ light - seen) ** 2).mean(-1, keepdim=True) / SHADE**2
        share = weights.flatten(1, 2) / (1 + away)
    return light
