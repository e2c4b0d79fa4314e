# SPDX-License-Identifier: Apache-2.0
"""A DipGuava's frames in RGBAvatar's carrier: what Blender's mesh holds of each, which is linear in shape keys.

A carrier's Gaussian has a place in its triangle's tangent frame (no size of the triangle is in it), a log-scale, a
rotation relative to the frame, an opacity and a colour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from blendsplat.avatars.avatar import Gaussians
from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.avatars.rgbavatar.model import RGBAvatar, features_of_colors
from blendsplat.geometry import quat_multiply
from blendsplat.heads.model import HeadParams
from blendsplat.splatting.bind import blend_and_bind

NUMBERS = 14  # of a Gaussian
_SMALLEST = 1e-7  # metres


@dataclass
class Carried:
    """Gaussians of M frames: positions, log_scales [M,N,3], quats [M,N,4], opacities [M,N,1], colors [M,N,3]
    (SH-DC)."""

    positions: Tensor
    log_scales: Tensor
    quats: Tensor
    opacities: Tensor
    colors: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.positions, self.log_scales, self.quats, self.opacities, self.colors

    def __getitem__(self, row: int) -> Carried:
        """One frame, the batch 1."""
        return Carried(*(part[row : row + 1] for part in self.parts))


@dataclass
class DrivenHeads:
    """Heads of B frames as an avatar's ``drive`` takes them."""

    params: HeadParams
    vertices: Tensor | None = None  # [B,V,3]
    bounded: bool = False

    @property
    def batch(self) -> int:
        return self.params.batch

    def __getitem__(self, rows: Tensor | list[int]) -> DrivenHeads:
        """Some of the frames."""
        return DrivenHeads(self.params[rows], None if self.vertices is None else self.vertices[rows], self.bounded)

    def driving(self, avatar: DipGuava) -> Gaussians:
        """The avatar's Gaussians."""
        return avatar.drive(self.params, bounded=self.bounded, vertices=self.vertices)


def carrier_of(avatar: DipGuava, blendshapes: int) -> RGBAvatar:
    """An RGBAvatar whose Gaussians sit at the centres of the same triangles."""
    thirds = torch.full((avatar.gaussian_count, 3), 1 / 3, device=avatar.triangle.device)
    made = RGBAvatar(
        avatar.head, avatar.triangle, thirds, avatar.camera, blendshapes=blendshapes, name=avatar.name
    )  # fmt: skip
    return made.to(thirds.device)


@torch.no_grad()
def carried(
    avatar: DipGuava, carrier: RGBAvatar, heads: DrivenHeads, like: Tensor | None = None,
    each: Callable[[int], None] = lambda row: None,
) -> Carried:  # fmt: skip
    """The frames' Gaussians in the carrier's tangent frames. like [N,4]: quaternions have the sign that is nearer to it
    (None: to the first frame's), as q and -q are one rotation. ``each(row)`` is called after every frame."""
    rows = []
    for row in range(heads.batch):
        rows.append(_carried_frame(avatar, carrier, heads[[row]]))
        each(row)
    positions, log_scales, quats, opacities, colors = (torch.stack(part) for part in zip(*rows, strict=True))
    near = quats[0] if like is None else like
    quats = torch.where((quats * near).sum(-1, keepdim=True) < 0, -quats, quats)
    return Carried(positions, log_scales, quats, opacities, colors)


def _carried_frame(avatar: DipGuava, carrier: RGBAvatar, one: DrivenHeads) -> tuple[Tensor, ...]:
    gaussians = one.driving(avatar)
    surface = carrier.surface(avatar.posed(one.params, one.vertices))
    offsets = gaussians.means[0] - surface.vertices[0, carrier.corners].mean(1)
    frames = _regular(surface.frames[0, avatar.triangle])
    local = torch.linalg.solve(frames, offsets[..., None])[..., 0]
    back = surface.quats[0, avatar.triangle] * offsets.new_tensor([1.0, -1, -1, -1])
    turned = normalize(quat_multiply(back, gaussians.quats[0]), dim=-1)
    log_scales = gaussians.scales[0].clamp_min(_SMALLEST).log()
    return local, log_scales, turned, gaussians.opacities[0][:, None], features_of_colors(gaussians.colors[0])


@torch.no_grad()
def bound(frame: Carried, carrier: RGBAvatar, vertices: Tensor) -> Gaussians:
    """One frame's Gaussians on posed vertices [1,V,3], as Blender's nodes put them there."""
    base = frame.positions[0], frame.quats[0], frame.colors[0]
    nothing = tuple(part.new_zeros(1, *part.shape) for part in base)
    means, quats, colors = blend_and_bind(
        base, (nothing[0], nothing[1], nothing[2]), None, carrier.carrier(carrier.surface(vertices))
    )
    return Gaussians(means, quats, frame.log_scales.exp(), frame.opacities[..., 0].clamp(0, 1), colors)


def _regular(frames: Tensor) -> Tensor:
    """Tangent frames [N,3,3] of which none is singular: those of triangles without area become the identity."""
    flat = torch.linalg.det(frames).abs() < 1e-3
    return torch.where(flat[:, None, None], torch.eye(3).to(frames), frames)
