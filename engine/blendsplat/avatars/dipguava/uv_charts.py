# SPDX-License-Identifier: Apache-2.0
"""Where a Gaussian beside a triangle lies in UV (eq. 2), and what is done with those that are beyond it, which the
paper leaves open: a Gaussian may be two of its triangle's sizes away, where the affine continuation leaves the island.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from blendsplat.avatars.dipguava.surface import triangle_frames
from blendsplat.heads.model import HeadModel

Beyond = Literal["extrapolate", "clamp", "walk"]
STEEPEST = 2.0  # UV lengths that a step of one triangle's size may go: of triangles with next to no area
LONGEST_WALK = 8  # triangles


@dataclass
class UVCharts:
    """The plane of each of F rest triangles in UV, in the frame's first and third axis and the triangle's size: centres
    [F,2] and slopes [F,2,2]; corners [F,3,2] in UV and what a step changes of the barycentrics [F,3,2]. Opposite each
    corner the triangle behind that edge, neighbours [F,3] (-1: none), and carries [F,3,2,3], which take this plane's
    places into its, unfolded about the edge.

    beyond, of a place outside of its triangle: "extrapolate" goes on affinely; "clamp" holds its negative barycentrics
    at zero (the others share what is left); "walk" goes over the edges to the triangle that it comes to lie in, and
    goes on affinely where the surface ends.
    """

    centres: Tensor
    slopes: Tensor
    corners: Tensor
    barycentric_slopes: Tensor
    neighbours: Tensor
    carries: Tensor
    beyond: Beyond = "extrapolate"

    def uv(self, triangle: Tensor, positions: Tensor) -> Tensor:
        """Local positions [...,N,3] of Gaussians on ``triangle`` [N] -> UV [...,N,2] in [0,1]. What a position has
        along the normal does not matter. Differentiable, but where a place crosses an edge."""
        plane = positions[..., [0, 2]]
        if self.beyond == "clamp":
            inside = self._barycentrics(triangle, plane).clamp_min(0)
            inside = inside / inside.sum(-1, keepdim=True)
            return (inside[..., None] * self.corners[triangle]).sum(-2).clamp(0, 1)
        if self.beyond == "walk":
            triangle, plane = self._walked(triangle, plane)
        return (self.centres[triangle] + (self.slopes[triangle] @ plane[..., None])[..., 0]).clamp(0, 1)

    def _barycentrics(self, triangle: Tensor, plane: Tensor) -> Tensor:
        """[...,N,3]; they sum to 1."""
        return 1 / 3 + (self.barycentric_slopes[triangle] @ plane[..., None])[..., 0]

    def _walked(self, triangle: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
        """(triangle [...,N], plane [...,N,2]) after as many edges as it takes: of those with a triangle behind them
        always the one that the place is farthest beyond."""
        triangle = triangle.expand(plane.shape[:-1])
        for _ in range(LONGEST_WALK):
            open_ = self.neighbours[triangle] >= 0
            lowest, side = self._barycentrics(triangle, plane.detach()).where(open_, 0.0).min(-1)
            crosses = lowest < 0
            if not bool(crosses.any()):
                break
            carry = self.carries[triangle, side]
            carried = (carry[..., :2] @ plane[..., None])[..., 0] + carry[..., 2]
            plane = torch.where(crosses[..., None], carried, plane)
            triangle = torch.where(crosses, self.neighbours[triangle, side], triangle)
        return triangle, plane

    def to(self, target: torch.device | torch.dtype | str) -> UVCharts:
        """On another device, or its numbers (not the neighbours) in another precision."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "beyond"}
        whole = isinstance(target, torch.dtype)
        return replace(
            self, **{n: v if whole and not v.is_floating_point() else v.to(target) for n, v in tensors.items()}
        )


def uv_charts(head: HeadModel, beyond: Beyond = "extrapolate") -> UVCharts:
    """Of the head at rest."""
    frames = triangle_frames(head.template[None].double(), head.faces)
    local = head.template.double()[head.faces] - frames.centroids[0][:, None]
    local = (local @ frames.rotations[0] / frames.sizes[0].clamp_min(1e-12)[:, None, None])[..., [0, 2]]  # [F,3,2]
    corners = head.uvs.double()[head.uv_faces]  # [F,3,2]
    edges, uv_edges = local[:, 1:] - local[:, :1], corners[:, 1:] - corners[:, :1]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    flat = area.abs() < 1e-9
    safe = torch.where(flat[:, None, None], torch.eye(2).to(edges), edges)
    slopes = torch.linalg.solve(safe, torch.where(flat[:, None, None], 0.0, uv_edges)).mT
    steep = slopes.flatten(1).norm(dim=1).clamp_min(STEEPEST) / STEEPEST
    later = torch.linalg.inv(safe).mT.masked_fill(flat[:, None, None], 0.0)  # [F,2,2]: of the second and third corner
    barycentric = torch.cat([-later.sum(1, keepdim=True), later], 1) / steep[:, None, None]
    neighbours, carries = _unfolded(head.faces, local, flat | (steep > 1))
    return UVCharts(
        corners.mean(1).float(), (slopes / steep[:, None, None]).float().contiguous(), corners.float(),
        barycentric.float().contiguous(), neighbours, carries.float(), beyond,
    )  # fmt: skip


def _unfolded(faces: Tensor, local: Tensor, closed: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbours [F,3] and carries [F,3,2,3] over the edge opposite each corner. No way leads over an edge that is not
    shared by just two triangles that turn the same way round, nor into those that are ``closed`` [F] bool."""
    count, device = len(faces), faces.device
    starts, ends = faces.roll(-1, 1).flatten(), faces.roll(-2, 1).flatten()  # of the edge opposite corner 0, 1, 2
    most = int(faces.max()) + 1 if count else 1
    key, back = starts * most + ends, ends * most + starts
    order = torch.argsort(key, stable=True)
    place = torch.searchsorted(key[order], back)
    found = order[place.clamp_max(max(len(order) - 1, 0))]
    _, group, sizes = torch.unique(key, return_inverse=True, return_counts=True)
    alone = sizes[group] == 1
    shared = (key[found] == back) & alone & alone[found]
    here, there = torch.arange(count, device=device).repeat_interleave(3), found // 3
    # the shared edge as complex numbers in both planes: unfolding multiplies by the quotient of its two directions
    a, b = (torch.view_as_complex(local.roll(-turn, 1).flatten(0, 1).contiguous()) for turn in (1, 2))
    other_a, other_b = b[found], a[found]  # it runs the other way round there
    length = (b - a).abs()
    open_ = shared & ~closed[there] & (length > 1e-9) & (here != there)
    factor = (other_b - other_a) / torch.where(length > 1e-9, b - a, torch.ones_like(a))
    offset = other_a - factor * a
    rows = [factor.real, -factor.imag, offset.real, factor.imag, factor.real, offset.imag]
    carries = torch.stack(rows, -1).view(count, 3, 2, 3)
    return torch.where(open_, there, -1).view(count, 3), carries
