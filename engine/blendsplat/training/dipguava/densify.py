# SPDX-License-Identifier: Apache-2.0
"""Where Gaussians are added and removed while stage 1 learns (Kerbl et al. 2023, section 5.2, on triangles).

Children stay with their triangle, and a triangle keeps its last Gaussian. Opacity is drawn anew for every frame, so
what counts for pruning is the highest that was seen since the last time, and there is no opacity reset.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from blendsplat.geometry import quat_to_matrix
from blendsplat.splatting.scene import Cameras
from blendsplat.training.growth import clone, keep, split
from blendsplat.training.parameters import Rearrangement

SPLIT_SCALE = 1.6  # a split Gaussian's parts are smaller by this


class Record:
    """What is gathered of each of N Gaussians between two densifications: how hard pictures pull at its place (sum of
    the gradients' lengths, in half the picture's width and height) and in how many it was seen; the highest opacity and
    the largest deviation in metres."""

    def __init__(self, count: int, device: torch.device | str) -> None:
        self.pull, self.seen, self.opacity, self.size = (torch.zeros(count, device=device) for _ in range(4))

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a snapshot."""
        return {"pull": self.pull, "seen": self.seen, "opacity": self.opacity, "size": self.size}

    @torch.no_grad()
    def add(self, means: Tensor, grad_means: Tensor, opacities: Tensor, scales: Tensor, cameras: Cameras) -> None:
        """A batch: world means, their gradients of the images' mean loss [B,N,3], opacities [B,N], scales [B,N,3]."""
        views, focal = cameras.viewmats[:, :3, :3], cameras.Ks[:, [0, 1], [0, 1]]
        depth = (means @ views[:, 2, :, None])[..., 0] + cameras.viewmats[:, 2, 3, None]
        across = (grad_means @ views.mT)[..., :2]
        # d pixel / d metre is focal / depth; halves of the picture are what the published threshold is stated in
        half = focal.new_tensor([cameras.width / 2, cameras.height / 2])
        pull = (across * (half / focal)[:, None]).norm(dim=-1) * depth.clamp_min(0) * len(means)
        self.pull += pull.sum(0)
        self.seen += (across != 0).any(-1).sum(0)
        self.opacity = torch.maximum(self.opacity, opacities.amax(0))
        self.size = torch.maximum(self.size, scales.amax((0, 2)))


def change_of(record: Record, triangle: Tensor, gradient: float, large: float, faintest: float, most: int) -> tuple[
    Rearrangement, Tensor
]:  # fmt: skip
    """The new set and which of it ([M] bool) are parts of split Gaussians.

    Pulled harder than ``gradient`` on the average: split where larger than ``large`` metres, else cloned; hardest first
    while there are fewer than ``most``. Fainter than ``faintest`` at its best: gone, but for a triangle's last.
    """
    pull = record.pull / record.seen.clamp_min(1)
    wanted = pull > gradient
    room = max(most - len(pull), 0)
    if int(wanted.sum()) > room:
        wanted = torch.zeros_like(wanted)
        wanted[pull.topk(room).indices] = True
        wanted &= pull > gradient
    big = record.size > large
    change = clone(wanted & ~big)
    cut = torch.zeros(len(change), dtype=torch.bool, device=pull.device)
    cut[: len(pull)] = wanted & big
    parts = split(cut)
    before = len(cut) - int(cut.sum())
    is_part = torch.arange(len(parts), device=pull.device) >= before
    change = change.then(parts)
    faint = change.of(record.opacity) < faintest
    kept = keep(~faint | last_of(change.of(triangle), change.of(record.opacity), ~faint))
    return change.then(kept), is_part[kept.source]


def last_of(triangle: Tensor, opacity: Tensor, kept: Tensor) -> Tensor:
    """[N] bool: the most opaque Gaussian of each triangle that would have none among those ``kept`` [N]."""
    faces = int(triangle.max()) + 1 if len(triangle) else 0
    has = torch.zeros(faces, dtype=torch.bool, device=triangle.device).index_fill_(0, triangle[kept], True)
    order = torch.argsort(opacity, descending=True, stable=True)
    order = order[torch.argsort(triangle[order], stable=True)]
    first = torch.ones(len(order), dtype=torch.bool, device=triangle.device)
    first[1:] = triangle[order][1:] != triangle[order][:-1]
    best = torch.zeros(len(triangle), dtype=torch.bool, device=triangle.device)
    best[order[first]] = True
    return best & ~has[triangle]


def split_values(
    positions: Tensor, log_scales: Tensor, quats: Tensor, parts: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Positions and log-scales [M,3] with the ``parts`` [M] bool drawn from the Gaussian they come from. All of it is
    local: in the triangle's frame and its size, so the offsets are, too."""
    noise = torch.randn(len(parts), 3, generator=generator).to(positions)
    offsets = (quat_to_matrix(quats) @ (log_scales.exp() * noise)[..., None])[..., 0]
    chosen = parts[:, None]
    moved = torch.where(chosen, positions + offsets, positions)
    return moved, torch.where(chosen, log_scales - math.log(SPLIT_SCALE), log_scales)
