# SPDX-License-Identifier: Apache-2.0
"""Differentiable borders of drawn meshes: two neighbouring pixels are mixed where a silhouette passes between them.

The idea is that of analytic antialiasing in modular differentiable rasterizers (Laine et al. 2020, section 3.6): where
an edge of the nearer surface crosses the line between two pixel centres, coverage is how far along that line it does,
and that is a smooth function of the edge's vertices.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_NONE = -1


_LONGEST_WALK = 8  # faces between two pixel centres that are looked through for the silhouette


class Neighbours(NamedTuple):
    """What lies across the edge opposite each corner of F faces; -1 where no face, or more than one, is there."""

    faces: Tensor  # [F,3] the face
    vertices: Tensor  # [F,3] its corner that is not on the edge


def antialias(
    planes: Tensor, face_ids: Tensor, depth: Tensor, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor,
    neighbours: Neighbours | None = None,
) -> Tensor:  # fmt: skip
    """planes [B,H,W,C] with every pixel the value of its centre -> the same, mixed where silhouettes pass.

    face_ids [B,H,W] and depth [B,H,W,1] as drawn; vertices [B,V,3]; faces [F,3] int64; neighbours:
    find_neighbours(faces) where the caller keeps it. An edge is a silhouette when no face lies beyond it on the screen.
    From the face that a pixel shows the walk goes from face to face towards the other pixel until it meets one, or the
    face that is shown there, so faces may be smaller than pixels. Gradients reach planes and vertices.
    """
    if neighbours is None:
        neighbours = find_neighbours(faces)
    screen, _ = project_vertices(vertices, viewmats, Ks)
    pairs = _pairs(face_ids, depth.detach())
    t = _crossings(pairs, screen, faces, neighbours)
    found = t.detach() >= 0
    t, near, far = t[found], pairs.near[found], pairs.far[found]
    flat = planes.reshape(-1, planes.shape[-1])
    # The pixels' common border is at 1/2. A surface that reaches beyond it covers part of the far pixel, one that ends
    # before it leaves part of the near pixel to what is behind.
    reach = t - 0.5
    difference = flat[near] - flat[far]
    onto_far = torch.where(reach >= 0, reach, 0)[:, None] * difference
    off_near = torch.where(reach < 0, reach, 0)[:, None] * difference
    mixed = flat.index_add(0, far, onto_far).index_add(0, near, off_near)
    return mixed.reshape(planes.shape)


def find_neighbours(faces: Tensor) -> Neighbours:
    """The neighbours of faces [F,3] int64."""
    first, second = faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]
    low, high = torch.minimum(first, second).reshape(-1), torch.maximum(first, second).reshape(-1)
    key = low * (int(faces.max()) + 1 if faces.numel() else 1) + high
    _, edge, count = torch.unique(key, return_inverse=True, return_counts=True)
    own_face = torch.arange(len(faces), device=faces.device).repeat_interleave(3)

    def other(own: Tensor) -> Tensor:
        """Of an edge with two faces: both sides' numbers together, less one's own."""
        both = torch.zeros_like(count).index_add(0, edge, own)
        return torch.where(count[edge] == 2, both[edge] - own, _NONE).reshape(-1, 3)

    return Neighbours(other(own_face), other(faces.reshape(-1)))


def project_vertices(vertices: Tensor, viewmats: Tensor, Ks: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels [B,V,2] and 1/z [B,V] of vertices [B,V,3]. What lies behind the camera or is not finite, and is part of no
    face that is drawn, is put before it, so that its zero gradient stays zero."""
    viewmats, Ks = viewmats.to(vertices.dtype), Ks.to(vertices.dtype)
    camera = vertices @ viewmats[:, :3, :3].mT + viewmats[:, None, :3, 3]
    usable = camera.detach().isfinite().all(-1, keepdim=True) & (camera.detach()[..., 2:] > 0)
    camera = torch.where(usable, camera, camera.new_tensor([0.0, 0.0, 1.0]))
    inverse_z = 1 / camera[..., 2:]
    focal, centre = Ks.diagonal(dim1=1, dim2=2)[:, None, :2], Ks[:, None, :2, 2]
    return camera[..., :2] * inverse_z * focal + centre, inverse_z[..., 0]


class _Pairs(NamedTuple):
    """Neighbouring pixels that show different faces."""

    near: Tensor  # [P] index of the pixel whose face is nearer, over all images
    far: Tensor  # [P]
    face: Tensor  # [P] the nearer face
    goal: Tensor  # [P] the farther face, -1: nothing
    image: Tensor  # [P]
    centre: Tensor  # [P,2] of the near pixel
    along: Tensor  # [P,2] unit vector from near to far


def _pairs(face_ids: Tensor, depth: Tensor) -> _Pairs:
    _, height, width = face_ids.shape
    ids, z = face_ids.reshape(-1), depth.reshape(-1)
    beside, below = (torch.zeros_like(face_ids, dtype=torch.bool) for _ in range(2))
    beside[:, :, :-1] = face_ids[:, :, :-1] != face_ids[:, :, 1:]
    below[:, :-1] = face_ids[:, :-1] != face_ids[:, 1:]
    horizontal, vertical = (torch.nonzero(differ.reshape(-1))[:, 0] for differ in (beside, below))
    first, second = torch.cat([horizontal, vertical]), torch.cat([horizontal + 1, vertical + width])
    first_nearer = (ids[first] >= 0) & ((ids[second] < 0) | (z[first] <= z[second]))
    near, far = torch.where(first_nearer, first, second), torch.where(first_nearer, second, first)

    def place(pixel: Tensor) -> Tensor:
        return torch.stack([pixel % width, pixel // width % height], -1).to(depth.dtype) + 0.5

    centre = place(near)
    return _Pairs(near, far, ids[near].long(), ids[far].long(), near // (height * width), centre, place(far) - centre)


def _crossings(pairs: _Pairs, screen: Tensor, faces: Tensor, neighbours: Neighbours) -> Tensor:
    """Where along each pair the nearer surface ends, 0..1 [P]; -1 where it does not, or another pair tells better."""
    found = screen.new_full(pairs.near.shape, float(_NONE))
    silhouettes = _silhouettes(screen.detach(), faces, neighbours)
    active, face = torch.arange(len(found), device=found.device), pairs.face
    for _ in range(_LONGEST_WALK):
        t, silhouette, steep, following = _leave(face, active, pairs, screen, faces, neighbours, silhouettes)
        on_the_way = (t.detach() >= 0) & (t.detach() <= 1)
        ends = on_the_way & silhouette & steep
        found = found.index_copy(0, active[ends], t[ends])
        further = on_the_way & ~silhouette & (following >= 0) & (following != pairs.goal[active])
        active, face = active[further], following[further]
        if not len(active):
            break
    return found


def _silhouettes(screen: Tensor, faces: Tensor, neighbours: Neighbours) -> Tensor:
    """Whether no face lies beyond the edge opposite each corner on the screen [B,F,3]."""
    a, b, c = (screen[:, faces[:, corner]] for corner in range(3))
    beyond = neighbours.vertices.clamp_min(0)
    same_side = [
        _side(p, q, own) * _side(p, q, screen[:, beyond[:, corner]]) > 0
        for corner, (p, q, own) in enumerate(((b, c, a), (c, a, b), (a, b, c)))
    ]
    return (neighbours.vertices < 0) | torch.stack(same_side, -1)


def _leave(
    face: Tensor, chosen: Tensor, pairs: _Pairs, screen: Tensor, faces: Tensor, neighbours: Neighbours,
    silhouettes: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Where the lines of the ``chosen`` [P] pairs leave the given faces: t [P] (-1: they miss), whether the edge there
    is a silhouette, whether it runs rather across the line than along it, and the face beyond.

    A slanting edge is met by pairs along x and along y; only those that it crosses steeply count, else what it covers
    would count twice.
    """
    image, direction = pairs.image[chosen], pairs.along[chosen]
    corners = screen.reshape(-1, 2)[faces[face] + (image * screen.shape[1])[:, None]] - pairs.centre[chosen][:, None]
    ends_here = silhouettes.reshape(-1, 3)[face + image * len(faces)]
    horizontal = direction[:, 0] != 0
    x, y = corners.unbind(-1)
    ahead = direction.sum(-1)[:, None]  # lines run along +-x or +-y
    along = torch.where(horizontal[:, None], x, y) * ahead
    across = torch.where(horizontal[:, None], y, x)
    best = along.new_full(along.shape[:1], float(_NONE))
    silhouette, steep = horizontal.new_zeros(horizontal.shape), horizontal.new_zeros(horizontal.shape)
    following = torch.full_like(face, _NONE)
    for corner in range(3):
        a, b = (corner + 1) % 3, (corner + 2) % 3
        crosses = (across[:, a] > 0) != (across[:, b] > 0)
        height = torch.where(crosses, across[:, b] - across[:, a], 1)
        t = (along[:, a] * across[:, b] - along[:, b] * across[:, a]) / height
        later = crosses & (t.detach() > best.detach())
        run, rise = (along[:, b] - along[:, a]).detach().abs(), height.detach().abs()
        best = torch.where(later, t, best)
        silhouette = torch.where(later, ends_here[:, corner], silhouette)
        steep = torch.where(later, torch.where(horizontal, rise >= run, rise > run), steep)
        following = torch.where(later, neighbours.faces[face, corner], following)
    return best, silhouette, steep, following


def _side(a: Tensor, b: Tensor, point: Tensor) -> Tensor:
    edge, to_point = b - a, point - a
    return edge[..., 0] * to_point[..., 1] - edge[..., 1] * to_point[..., 0]
