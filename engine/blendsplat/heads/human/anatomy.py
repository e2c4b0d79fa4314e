# SPDX-License-Identifier: Apache-2.0
"""Where things are on the resting head, read from its geometry: the pieces of the UV square, the rims of the lids,
the slit of the mouth, the hollows. Millimetres; computed once a process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from blendsplat.geometry import vertex_normals
from blendsplat.heads.human import human_head
from blendsplat.heads.model import LEFT_EYE_JOINT, RIGHT_EYE_JOINT, HeadModel
from blendsplat.splatting import rasterize_mesh

# the pieces of the UV square; pockets are the skin behind the lids
PARTS = (
    "skin", "left_pocket", "right_pocket", "left_eyeball", "right_eyeball",
    "mouth", "teeth_upper", "teeth_lower", "tongue",
)  # fmt: skip
_REGION_OF_PART = dict(zip(PARTS, ("scalp", "left_eyelids", "right_eyelids", *PARTS[3:5], "mouth_interior", *PARTS[6:]),
                           strict=True))  # fmt: skip
RIM_REACH = 8.0  # mm from a lid's inner edge within which its rim is looked for
_LAMPS = 40
_MAP, _EXTENT, _DISTANCE = 384, 300.0, 3000.0  # depth maps of the hollows: pixels, mm
_CLEARANCE, _FAR = 0.7, 24.0  # mm: what lies nearer is the surface itself; what lies farther shades nothing


@dataclass(frozen=True)
class Rim:
    """One eye's opening, where the lids' outer skin turns into their edge."""

    side: int  # 1 is the person's left
    centre: np.ndarray  # [3] the eyeball's
    points: np.ndarray  # [K,3] closely spaced, in no order
    inner: np.ndarray  # [3] the corner at the nose
    outer: np.ndarray  # [3]


@dataclass(frozen=True)
class Anatomy:
    """The resting head, V vertices and F faces."""

    points: np.ndarray  # [V,3]
    normals: np.ndarray  # [V,3]
    part: np.ndarray  # [F] index into PARTS
    hollow: np.ndarray  # [V]: 0 in the open, 1 where nothing shines in
    crease: np.ndarray  # [V]: how concave the surface is over a few mm (signed, 1/mm)
    lid_edge: np.ndarray  # [V]: > 0 on the lids' edges, which face the opening, < 0 on their outer skin
    rims: tuple[Rim, Rim]  # left, right
    mouth_slit: np.ndarray  # [M,3] where the lips' skin ends inside
    crowns: dict[str, np.ndarray]  # teeth's part -> u of the borders between crowns
    teeth_rows: dict[str, tuple[float, float]]  # teeth's part -> v at the gum's end, v at the tongue's side


@cache
def anatomy() -> Anatomy:
    """Of the head human."""
    head = human_head()
    faces = head.faces.numpy()
    points = head.template.double().numpy() * 1e3
    normals = vertex_normals(head.template[None], head.faces)[0].double().numpy()
    part = _parts(head)
    edge = np.full(len(points), -1.0)
    rims = []
    for number, side in ((1, 1), (2, -1)):
        joint = LEFT_EYE_JOINT if side > 0 else RIGHT_EYE_JOINT
        seam = points[_shared(faces, part, 0, number)]
        rim, own = _rim(points, normals, faces[part == 0], seam, head.joints[joint].double().numpy() * 1e3, side)
        edge = np.maximum(edge, own)
        rims.append(rim)
    return Anatomy(
        points, normals, part, _hollows(head, part), _creases(points, normals, faces), edge, (rims[0], rims[1]),
        points[_shared(faces, part, 0, PARTS.index("mouth"))],
        {name: _teeth_layout(head, part, name)[0] for name in ("teeth_upper", "teeth_lower")},
        {name: _teeth_layout(head, part, name)[1] for name in ("teeth_upper", "teeth_lower")},
    )  # fmt: skip


def _parts(head: HeadModel) -> np.ndarray:
    """[F] index into PARTS: pieces of the UV square by the region that most of their corners are in."""
    faces, uv_faces = head.faces.numpy(), head.uv_faces.numpy()
    ends = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]]])
    count = len(head.uvs)
    piece = connected_components(sp.coo_matrix((np.ones(len(ends)), ends.T), (count, count)), directed=False)[1]
    piece = piece[uv_faces[:, 0]]
    part = np.zeros(len(faces), np.int64)
    largest = int(np.bincount(piece).argmax())
    for number in set(np.unique(piece).tolist()) - {largest}:
        corners = faces[piece == number]
        shares = [np.isin(corners, head.regions[_REGION_OF_PART[name]]).mean() for name in PARTS]
        part[piece == number] = int(np.argmax(shares))
    return part


def _shared(faces: np.ndarray, part: np.ndarray, a: int, b: int) -> np.ndarray:
    """Vertices on the seam between two parts."""
    return np.intersect1d(faces[part == a], faces[part == b])


def _rim(
    points: np.ndarray, normals: np.ndarray, faces: np.ndarray, seam: np.ndarray, centre: np.ndarray, side: int
) -> tuple[Rim, np.ndarray]:
    """A lid pair's rim, and how much every vertex faces the opening [V] (-1 away from the lids)."""
    ends = seam[:, 0].min() + 4, seam[:, 0].max() - 4
    middle = np.array([0.0, seam[:, 1].mean()])
    opening = np.stack([np.clip(points[:, 0], *ends), np.full(len(points), middle[1])], 1) - points[:, :2]
    opening /= np.maximum(np.linalg.norm(opening, axis=1, keepdims=True), 1e-9)
    from_seam = np.linalg.norm(points[:, None] - seam[None], axis=2).min(1)
    faces_opening = (normals[:, :2] * opening).sum(1) - normals[:, 2]
    near = from_seam < RIM_REACH
    crossing = []
    for a, b in ((0, 1), (1, 2), (2, 0)):
        i, j = faces[:, a], faces[:, b]
        cut = near[i] & near[j] & (faces_opening[i] * faces_opening[j] < 0)
        t = faces_opening[i] / np.where(cut, faces_opening[i] - faces_opening[j], 1)
        crossing.append((np.flatnonzero(cut), (points[i] + t[:, None] * (points[j] - points[i]))[cut]))
    rows = np.concatenate([rows for rows, _ in crossing])
    cuts = np.concatenate([cuts for _, cuts in crossing])
    order = np.argsort(rows, kind="stable")
    rows, cuts = rows[order], cuts[order]
    pair = np.flatnonzero(rows[:-1] == rows[1:])  # a triangle is cut along two of its sides
    steps = np.linspace(0, 1, 6)[None, :, None]
    rim = (cuts[pair][:, None] * (1 - steps) + cuts[pair + 1][:, None] * steps).reshape(-1, 3)
    across = rim[:, 0] * side
    return (
        Rim(side, centre, rim, rim[across.argmin()], rim[across.argmax()]),
        np.where(near, faces_opening, -1.0),
    )


def _hollows(head: HeadModel, part: np.ndarray) -> np.ndarray:
    """[V] share of directions before the surface from which something within 24 mm hides a point of the skin."""
    points = head.template * 1e3
    normals = vertex_normals(head.template[None], head.faces)[0]
    index = torch.arange(_LAMPS) + 0.5
    y, turn = 1 - 2 * index / _LAMPS, index * 2.399963
    directions = torch.stack([(1 - y * y).sqrt() * turn.cos(), y, (1 - y * y).sqrt() * turn.sin()], -1)
    middle = points.mean(0)
    K = torch.tensor([[_MAP * _DISTANCE / _EXTENT, 0, _MAP / 2], [0, _MAP * _DISTANCE / _EXTENT, _MAP / 2], [0, 0, 1]])
    dark, total = torch.zeros(len(points)), torch.zeros(len(points))
    for direction in directions:
        helper = torch.tensor([0.0, 1, 0] if abs(float(direction[1])) < 0.9 else [1.0, 0, 0])
        right = torch.nn.functional.normalize(torch.linalg.cross(-direction, helper), dim=0)
        view = torch.eye(4)
        view[:3, :3] = torch.stack([right, torch.linalg.cross(-direction, right), -direction])
        view[:3, 3] = -view[:3, :3] @ (middle + direction * _DISTANCE)
        _, _, depth = rasterize_mesh(points[None], head.faces.int(), view[None], K[None], _MAP, _MAP)
        camera = points @ view[:3, :3].T + view[:3, 3]
        pixel = (camera[:, :2] / camera[:, 2:] * K[0, 0] + _MAP / 2).long().clamp(0, _MAP - 1)
        first = depth[0, pixel[:, 1], pixel[:, 0]]
        gap = camera[:, 2] - torch.where(first > 0, first, camera[:, 2])
        weight = (normals @ direction).clamp_min(0)
        hidden = ((gap - _CLEARANCE) / _CLEARANCE).clamp(0, 1) * ((_FAR - gap) / (0.4 * _FAR)).clamp(0, 1)
        dark, total = dark + weight * hidden, total + weight
    return (dark / total.clamp_min(1e-6)).double().numpy()


def _creases(points: np.ndarray, normals: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V] how far the neighbours' middle lies out of the surface over the squared distance: > 0 in creases."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.concatenate([ends, ends[:, ::-1]])
    arm = points[ends[:, 1]] - points[ends[:, 0]]
    rise = (arm * normals[ends[:, 0]]).sum(1)
    count = len(points)
    squared = np.bincount(ends[:, 0], (arm**2).sum(1), count)
    bend = np.bincount(ends[:, 0], rise, count) / np.maximum(squared, 1e-9)
    weight = np.maximum(np.bincount(ends[:, 0], minlength=count), 1)
    for _ in range(2):
        bend = 0.5 * bend + 0.5 * np.bincount(ends[:, 0], bend[ends[:, 1]], count) / weight
    return bend


def _teeth_layout(head: HeadModel, part: np.ndarray, name: str) -> tuple[np.ndarray, tuple[float, float]]:
    """(u of the borders between the crowns of an arch, whose columns come in threes, from border to border; v at the
    gum's end, which is the end farther from the other arch, and v at the other end)."""
    uvs = head.uvs.numpy()[head.uv_faces.numpy()[part == PARTS.index(name)]].reshape(-1, 2)
    columns = np.unique(uvs[:, 0].round(5))
    low, high = float(uvs[:, 1].min()), float(uvs[:, 1].max())
    return columns[::3].astype(np.float64), (high, low) if name == "teeth_upper" else (low, high)
