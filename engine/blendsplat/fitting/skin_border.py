# SPDX-License-Identifier: Apache-2.0
"""Where bare skin meets the background: cheeks, jaw and ears must end there, which no landmark says.

A matte's border is hair, clothes or skin. Only pieces with skin all the way inwards are kept; each then pulls the
head's farthest vertex beside it onto the border, along the border's normal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import (
    LandmarkModel,
    landmark_positions,
    project_with_jacobian,
    restrict_to_vertices,
)
from blendsplat.fitting.vertex_offsets import OffsetBasis, with_pushes
from blendsplat.heads.model import LEFT_EYE_JOINT, RIGHT_EYE_JOINT, HeadModel
from blendsplat.landmarks import points as pts

POINTS = 64  # of the border, of one picture
EYES_APART = 48.0  # pixels between the eyes of the small copy that is looked at
INWARDS = (0.05, 0.09, 0.14, 0.2)  # where skin must be, of the distance between the eyes
FARTHEST = 0.65  # from the detector's outline, of the same
SKIN = 3.0  # standard deviations of the face's own colours
REGIONS = ("face", "left_ear", "right_ear", "neck")
NOISE, ALIKE = 0.05, 5.0  # error of a border over the eyes' distance; neighbouring points err alike
STRIP, REACH = 0.06, 0.4  # beside a border point, and to and fro, where its vertex is looked for
CAUCHY = 2.0
# border points [N,2] and outward normals [N,2] of a frame, in pixels
Borders = Callable[[int], tuple[np.ndarray, np.ndarray]]
_BROWS, _CHIN = (70, 300), 152  # detected points: the middles of both brows, and the chin's lowest


@dataclass
class SkinBorder:
    """Border points [B,N,2] and outward unit normals [B,N,2] of B pictures, in pixels; weights [B,N], 0 where there are
    fewer."""

    points: np.ndarray
    normals: np.ndarray
    weights: np.ndarray

    def frames(self, rows: np.ndarray) -> SkinBorder:
        """Only some pictures."""
        return SkinBorder(self.points[rows], self.normals[rows], self.weights[rows])


def find_skin_border(image: np.ndarray, matte: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Border points [N,2] and outward normals [N,2], N <= POINTS, in the pixels of image [H,W,3] uint8.

    matte [H,W] uint8 of the person; landmarks [478,2] of the face.
    """
    eyes = float(np.linalg.norm(landmarks[list(pts.LEFT_IRIS)].mean(0) - landmarks[list(pts.RIGHT_IRIS)].mean(0)))
    scale = EYES_APART / max(eyes, 1e-6)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    low, high = landmarks.min(0) - eyes, landmarks.max(0) + eyes
    left, top = np.maximum(low.astype(int), 0)
    right, bottom = np.minimum(high.astype(int) + 1, [image.shape[1], image.shape[0]])
    if right - left < 8 or bottom - top < 8:
        return np.zeros((0, 2)), np.zeros((0, 2))
    part = (slice(top, bottom), slice(left, right))
    small, alpha = (cv2.resize(plane[part], None, fx=scale, fy=scale, interpolation=how) for plane in (image, matte))
    face = (landmarks - [left, top]) * scale
    skin = skin_mask(small, face)
    found = _border(alpha)
    if not len(found):
        return np.zeros((0, 2)), np.zeros((0, 2))
    points, normals = found[:, :2], found[:, 2:]
    good = _beside_the_face(points, normals, face) & _skin_inwards(points, normals, skin)
    good &= ((points > 3) & (points < np.array(alpha.shape[::-1]) - 3)).all(1)
    points, normals = points[good], normals[good]
    if len(points) > POINTS:
        chosen = np.linspace(0, len(points) - 1, POINTS).astype(int)
        points, normals = points[chosen], normals[chosen]
    return points / scale + [left, top], normals


def skin_mask(image: np.ndarray, face: np.ndarray) -> np.ndarray:
    """[H,W] bool: colours like those of the face's bare parts, of an image [H,W,3] uint8 with landmarks [478,2]."""
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 1.0), cv2.COLOR_RGB2LAB).astype(np.float32)
    places = np.round(face[list(pts.RIGID)]).astype(int).clip(0, np.array(image.shape[1::-1]) - 1)
    samples = lab[places[:, 1], places[:, 0]]
    middle = np.median(samples, 0)
    spread = np.maximum(1.4826 * np.median(np.abs(samples - middle), 0), [14.0, 4.0, 4.0])
    away = (lab - middle) / spread
    tint = np.linalg.norm(away[..., 1:], axis=-1)
    skin: np.ndarray = (tint < SKIN) & (np.abs(away[..., 0]) < 1.3 * SKIN)
    return skin


def _border(alpha: np.ndarray) -> np.ndarray:
    """Points and outward normals [N,4] along the matte's outer border, half a level accurate."""
    soft = cv2.GaussianBlur(alpha, (0, 0), 1.5).astype(np.float32) / 255
    contours, _ = cv2.findContours((soft > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros((0, 4))
    longest = max(contours, key=len)[:, 0]
    down, right = np.gradient(soft)
    slope = np.stack([right, down], -1)[longest[:, 1], longest[:, 0]]
    steep = np.linalg.norm(slope, axis=1)
    kept = steep > 0.03
    normals = -slope[kept] / steep[kept, None]
    past = (soft[longest[kept, 1], longest[kept, 0]] - 0.5) / steep[kept]  # contours name pixels, not the half level
    return np.concatenate([longest[kept] + 0.5 + normals * past[:, None], normals], 1)


def _beside_the_face(points: np.ndarray, normals: np.ndarray, face: np.ndarray) -> np.ndarray:
    """[N] bool: between the brows' height and the chin's, near to the outline, and facing sideways."""
    across = face[list(pts.LEFT_LIDS)].mean(0) - face[list(pts.RIGHT_LIDS)].mean(0)
    across = across / np.linalg.norm(across)
    down = np.array([-across[1], across[0]])
    height = points @ down
    near = np.linalg.norm(points[:, None] - face[None, list(pts.OVAL)], axis=-1).min(1) < FARTHEST * EYES_APART
    level = (height > face[list(_BROWS)].mean(0) @ down) & (height < face[_CHIN] @ down)
    good: np.ndarray = near & level & (np.abs(normals @ across) > 0.35)
    return good


def _skin_inwards(points: np.ndarray, normals: np.ndarray, skin: np.ndarray) -> np.ndarray:
    good = np.ones(len(points), bool)
    limit = np.array(skin.shape[::-1]) - 1
    for depth in INWARDS:
        place = np.floor(points - normals * depth * EYES_APART).astype(int).clip(0, limit)
        good &= skin[place[:, 1], place[:, 0]]
    return good


@dataclass
class BorderTerm:
    """The solver's term for B frames: the vertex beside each border point that lies farthest out must lie on it."""

    model: LandmarkModel
    points: Tensor  # [B,N,2]
    normals: Tensor  # [B,N,2]
    weights: Tensor  # [B,N]

    def rows(
        self, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor, eyes: Tensor, clip: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """See solver.ShapeTerm."""
        model = self.model if clip is None else self.model.shaped(clip)
        vertex, there = self._matched(model, unknowns, root, focal, centre, eyes)
        union, place = torch.unique(vertex, return_inverse=True)
        pixels, jacobian, by_clip = project_with_jacobian(
            model.selected(union), unknowns, root, focal, centre, clip is not None
        )
        frames = torch.arange(len(pixels))[:, None]
        sigma = (NOISE * eyes)[:, None]
        residual = ((pixels[frames, place] - self.points) * self.normals).sum(-1) / sigma
        ratio = residual**2 / CAUCHY**2
        weights = self.weights * there
        weight = (weights / (1 + ratio)).sqrt()
        chain = self.normals * (weight / sigma)[..., None]

        def along(derivative: Tensor) -> Tensor:
            return (chain[..., None, :] @ derivative[frames, place])[..., 0, :]

        missed = (self.weights * (1 - there)).sum(1) * CAUCHY**2 * float(np.log1p((REACH / NOISE / CAUCHY) ** 2))
        cost = (weights * CAUCHY**2 * torch.log1p(ratio)).sum(1) + missed
        return cost, residual * weight, along(jacobian), None if by_clip is None else along(by_clip)

    def frames(self, rows: Tensor | slice) -> BorderTerm:
        """See solver.ShapeTerm."""
        return replace(self, points=self.points[rows], normals=self.normals[rows], weights=self.weights[rows])

    def _matched(
        self, model: LandmarkModel, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor, eyes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of each border point: its vertex [B,N], and 1 where there is one [B,N]."""
        world = landmark_positions(model, unknowns, root)
        flat = torch.stack([world[..., 0], -world[..., 1]], -1) / (-world[..., 2:]).clamp_min(0.02) * focal + centre
        tangents = torch.stack([-self.normals[..., 1], self.normals[..., 0]], -1)

        def along(directions: Tensor) -> Tensor:
            """[B,N,V]: how far each vertex lies from each border point along that one's direction [B,N,2]."""
            return directions @ flat.mT - (directions * self.points).sum(-1, keepdim=True)

        out, beside = along(self.normals), along(tangents).abs()
        unit = eyes[:, None, None]
        usable = (beside < STRIP * unit) & (out.abs() < REACH * unit)
        best, vertex = torch.where(usable, out, -torch.inf).max(-1)
        return vertex, (best > -torch.inf).to(flat.dtype)


def make_border_term(
    head: HeadModel, border: SkinBorder, shape_count: int, basis: OffsetBasis | None, weight: float
) -> BorderTerm:
    """weight: how many times one measurement counts, shared by all frames."""
    chosen = np.unique(np.concatenate([head.regions.get(name, np.zeros(0, np.int64)) for name in REGIONS]))
    chosen = chosen[_on_the_sides(head, chosen)]
    points, normals, weights = (
        torch.as_tensor(part, dtype=torch.float32) for part in (border.points, border.normals, border.weights)
    )
    vertices = torch.as_tensor(chosen)
    model = restrict_to_vertices(head, vertices, shape_count)
    if basis is not None:
        model = with_pushes(model, basis.weights[vertices])
    return BorderTerm(model, points, normals, weights * (weight / ALIKE / len(points)))


def _on_the_sides(head: HeadModel, vertices: np.ndarray) -> np.ndarray:
    """[N] bool: of the given vertices those that can lie on the border of a face seen from before it: its sides."""
    rest = head.template.numpy()[vertices]
    eyes = float((head.joints[LEFT_EYE_JOINT] - head.joints[RIGHT_EYE_JOINT]).norm())
    sides: np.ndarray = np.abs(rest[:, 0]) > 0.45 * eyes
    return sides


def padded(found: list[tuple[np.ndarray, np.ndarray]]) -> SkinBorder:
    """The borders of several pictures as arrays of one size."""
    points, normals = np.zeros((len(found), POINTS, 2)), np.zeros((len(found), POINTS, 2))
    normals[..., 0] = 1
    weights = np.zeros((len(found), POINTS))
    for row, (place, normal) in enumerate(found):
        points[row, : len(place)], normals[row, : len(place)], weights[row, : len(place)] = place, normal, 1
    return SkinBorder(points, normals, weights)
