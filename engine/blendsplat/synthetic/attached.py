# SPDX-License-Identifier: Apache-2.0
"""What is attached to a head at rest and goes with it: hair and glasses with the skull, cloth with the body."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blendsplat.heads.model import NECK_JOINT, ROOT_JOINT, HeadModel, HeadParams
from blendsplat.heads.render import Props


@dataclass(frozen=True)
class Attached:
    """props: in the place where they lie round the head at rest; share [P]: 1 goes with the skull, 0 with the body;
    outward [P,3]: the surface's normals."""

    props: Props
    share: Tensor
    outward: Tensor


def together(parts: list[Attached]) -> Attached:
    """Several as one."""
    props = [part.props for part in parts]
    starts = [0]
    for one in props:
        starts.append(starts[-1] + len(one.points))

    def fill(name: str) -> Tensor | None:
        values = [getattr(one, name) for one in props]
        if all(value is None for value in values):
            return None
        return torch.cat(
            [torch.zeros_like(one.points) if value is None else value for one, value in zip(props, values, strict=True)]
        )

    lit_as = torch.cat([
        (torch.arange(len(one.points)) if one.lit_as is None else one.lit_as) + start
        for one, start in zip(props, starts, strict=False)
    ])  # fmt: skip
    joined = Props(
        torch.cat([one.points for one in props]),
        torch.cat([one.faces + start for one, start in zip(props, starts, strict=False)]),
        torch.cat([one.colors for one in props]),
        fill("normals"), fill("tangents"), lit_as,
    )  # fmt: skip
    return Attached(joined, torch.cat([part.share for part in parts]), torch.cat([part.outward for part in parts]))


def posed(attached: Attached, head: HeadModel, params: HeadParams) -> Props:
    """The props in the pose of ``params`` (B = 1)."""
    rest = head.neutral()
    rest.shape = params.shape
    at_rest, now = head.posed(rest)[1][0], head.posed(params)[1][0]
    moves = [now[joint] @ torch.linalg.inv(at_rest[joint]) for joint in (ROOT_JOINT, NECK_JOINT)]
    share, props = attached.share[:, None], attached.props

    def turned(vectors: Tensor | None, shift: bool) -> Tensor | None:
        if vectors is None:
            return None
        body, skull = (vectors @ m[:3, :3].T + (m[:3, 3] if shift else 0) for m in moves)
        return body + share * (skull - body)

    points = turned(props.points, True)
    assert points is not None
    return replace(props, points=points, normals=turned(props.normals, False), tangents=turned(props.tangents, False))
