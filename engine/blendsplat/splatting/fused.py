# SPDX-License-Identifier: Apache-2.0
"""An avatar's Gaussians for a batch of frames in one pass: blendshapes, tangent-space binding, colour; differentiable.

On the CPU it reads every basis once for the whole batch; elsewhere, and as the oracle of the tests, it is plain torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blendsplat.geometry import quat_multiply
from blendsplat.splatting.backend import cpu_backend
from blendsplat.splatting.buffers import address

SH_DC = 0.28209479177387814  # the constant spherical harmonic: rgb = max(0, SH_DC * feature + 0.5)
_MAX_PARTS = 64


@dataclass(frozen=True)
class Carrier:
    """What carries N Gaussians in B frames: float32 surfaces (no gradient flows to them) and int64 bindings."""

    vertices: Tensor  # [B,V,3]
    frames: Tensor  # [B,F,3,3], columns t b n
    frame_quats: Tensor  # [B,F,4] wxyz
    triangle: Tensor  # [N] face of each Gaussian
    corners: Tensor  # [N,3] vertices of that face
    barycentrics: Tensor  # [N,3]


def blend_and_bind(
    base: tuple[Tensor, Tensor, Tensor],
    deltas: tuple[Tensor, Tensor, Tensor],
    weights: Tensor | None,
    carrier: Carrier,
) -> tuple[Tensor, Tensor, Tensor]:
    """RGBAvatar's equations 1 and 4: base + sum_k weights_k deltas_k, carried by the triangles' tangent frames.

    base: positions [N,3], quats [N,4] wxyz, SH-DC colour features [N,3]; deltas: the same with a leading K; weights
    [B,K] or None for the base alone. Returns means [B,N,3], quats [B,N,4] (not normalised), colors [B,N,3] (rgb >= 0).
    Gradients flow to base, deltas and weights.
    """
    tensors = (*base, *deltas, carrier.vertices, carrier.frames, carrier.frame_quats)
    carried = any(t.requires_grad for t in (carrier.vertices, carrier.frames, carrier.frame_quats))
    if carried or any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return blend_and_bind_reference(base, deltas, weights, carrier)
    result: tuple[Tensor, Tensor, Tensor] = _BlendAndBind.apply(*base, *deltas, weights, carrier)
    return result


def blend_and_bind_reference(
    base: tuple[Tensor, Tensor, Tensor],
    deltas: tuple[Tensor, Tensor, Tensor],
    weights: Tensor | None,
    carrier: Carrier,
) -> tuple[Tensor, Tensor, Tensor]:
    """blend_and_bind in plain torch, on any device and in any precision."""

    def blend(start: Tensor, shapes: Tensor) -> Tensor:
        if weights is None:
            return start.expand(carrier.vertices.shape[0], *start.shape)
        return torch.addmm(start.reshape(1, -1), weights, shapes.flatten(1)).reshape(-1, *start.shape)

    positions, quats, features = (blend(start, shapes) for start, shapes in zip(base, deltas, strict=True))
    anchors = (carrier.vertices[:, carrier.corners] * carrier.barycentrics[..., None]).sum(-2)
    means = anchors + (carrier.frames[:, carrier.triangle] @ positions[..., None])[..., 0]
    turned = quat_multiply(carrier.frame_quats[:, carrier.triangle], quats)
    return means, turned, (SH_DC * features + 0.5).clamp_min(0)


class _BlendAndBind(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        tensors, weights, carrier = [t.contiguous() for t in arguments[:6]], arguments[6], arguments[7]
        images, count = carrier.vertices.shape[0], tensors[0].shape[0]
        kernels = cpu_backend().kernels
        view, keep = _view(kernels, tensors, weights, carrier)
        outputs = tuple(tensors[0].new_empty(images, count, width) for width in (3, 4, 3))
        kernels.bind_forward(view, *(address(out) for out in outputs))
        ctx.save_for_backward(*tensors, weights, outputs[2])
        ctx.carrier, ctx.view, ctx.keep = carrier, view, keep
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, weights, colors = ctx.saved_tensors
        blended = weights is not None
        kernels = cpu_backend().kernels
        images, shapes = colors.shape[0], tensors[3].shape[0] if blended else 0
        group = kernels.BIND_GROUP
        groups, parts = -(-images // group), min(torch.get_num_threads(), _MAX_PARTS)
        grads = tuple(grad.contiguous() for grad in grads)
        out = [torch.empty_like(t) for t in tensors[: 6 if blended else 3]]
        scratch = torch.zeros(parts, groups, shapes, group, 16)
        sums = torch.empty(parts, groups, shapes, group)
        kernels.bind_backward(
            ctx.view, *(address(grad) for grad in grads), address(colors), [address(t) for t in out[:3]],
            [address(t) for t in out[3:]] if blended else [0, 0, 0], parts, address(scratch), address(sums),
        )  # fmt: skip
        if not blended:
            return *out, None, None, None, None, None
        return *out, sums.sum(0).transpose(1, 2).reshape(groups * group, shapes)[:images], None


def _view(kernels: Any, tensors: list[Tensor], weights: Tensor | None, carrier: Carrier) -> tuple[Any, list[Tensor]]:
    """The kernels' view of the inputs, and the tensors that must live as long as it."""
    images, shapes = carrier.vertices.shape[0], 0 if weights is None else tensors[3].shape[0]
    group = kernels.BIND_GROUP
    padded = carrier.vertices.new_zeros(-(-images // group) * group, shapes)
    if weights is not None:
        padded[:images] = weights
    grouped = padded.reshape(padded.shape[0] // group, group, shapes).transpose(1, 2).contiguous()
    carried = [
        carrier.vertices.contiguous(), carrier.frames.contiguous(), carrier.frame_quats.contiguous(),
        carrier.triangle.contiguous(), carrier.corners.contiguous(), carrier.barycentrics.contiguous(),
    ]  # fmt: skip
    view = kernels.Bind(
        images, tensors[0].shape[0], shapes, carrier.vertices.shape[1], carrier.frames.shape[1],
        torch.get_num_threads(), [address(t) for t in tensors[:3]], [address(t) for t in tensors[3:]],
        address(grouped), *(address(t) for t in carried),
    )  # fmt: skip
    return view, [grouped, *carried, *tensors]
