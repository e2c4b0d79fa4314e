# SPDX-License-Identifier: Apache-2.0
"""An avatar's Gaussians for a batch of frames in one pass: blendshapes, tangent-space binding, activations; and back.

``BindPass`` works in buffers made once; ``blend_and_bind`` is the same for autograd, and its plain torch version the
oracle of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blendsplat.geometry import quat_multiply
from blendsplat.splatting.buffers import address
from blendsplat.splatting.grouping import groups_of
from blendsplat.splatting.launch import check_buffer, launch_on
from blendsplat.splatting.protocols import Launch
from blendsplat.splatting.scene import Gaussians, Gradients

SH_DC = 0.28209479177387814  # the constant spherical harmonic: rgb = max(0, SH_DC * feature + 0.5)
_WIDTHS = (3, 4, 3)  # floats of a position, a quaternion, a colour


@dataclass(frozen=True)
class Carrier:
    """What carries N Gaussians in B frames: float32 surfaces and int64 bindings."""

    vertices: Tensor  # [B,V,3]
    frames: Tensor  # [B,F,3,3], columns t b n
    frame_quats: Tensor  # [B,F,4] wxyz
    triangle: Tensor  # [N] face of each Gaussian
    corners: Tensor  # [N,3] vertices of that face
    barycentrics: Tensor  # [N,3]


class BindParameters(NamedTuple):
    """What is learned of N Gaussians and K blendshapes; float32."""

    positions: Tensor  # [N,3] in the triangle's frame
    log_scales: Tensor  # [N,3]
    quats: Tensor  # [N,4] wxyz
    opacity_logits: Tensor  # [N]
    colors: Tensor  # [N,3] SH-DC features
    delta_positions: Tensor  # [K,N,3]
    delta_quats: Tensor  # [K,N,4]
    delta_colors: Tensor  # [K,N,3]

    @property
    def base(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.positions, self.quats, self.colors

    @property
    def deltas(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.delta_positions, self.delta_quats, self.delta_colors


class BindPass:
    """RGBAvatar's equations 1 and 4 without autograd, in buffers made once: after the first call nothing is allocated.

    ``gaussians`` (quats not normalised, scales [1,N,3] and opacities [1,N]) are written by ``forward``; ``grads``, by
    parameter name, and ``grad_weights`` [B,K] by ``backward``.
    """

    def __init__(self, images: int, gaussians: int, blendshapes: int, device: torch.device | str) -> None:
        self._launch = launch_on(torch.device(device))
        self._images, self._count, self._blendshapes = images, gaussians, blendshapes

        def empty(*shape: int) -> Tensor:
            return torch.empty(shape, device=device)

        means, quats, colors = (empty(images, gaussians, width) for width in _WIDTHS)
        self.gaussians = Gaussians(means, quats, empty(1, gaussians, 3), empty(1, gaussians), colors)
        self.grads: dict[str, Tensor] = {}
        self.grad_weights: Tensor | None = None
        self._scratch: Tensor | None = None
        self._view: Any = None
        self._keep: tuple[object, ...] = ()
        self._blended = False

    def forward(self, parameters: BindParameters, weights: Tensor | None, carrier: Carrier) -> None:
        """Gaussians of weights [B,K]; None: the base alone. What is given must stay as it is until ``backward``.

        Raises ValueError for a tensor of another shape, dtype, device or layout; on the CPU also for a binding to a
        face or vertex that is not there.
        """
        self._check(parameters, weights, carrier)
        self._blended = weights is not None
        self._view = _view(self._launch, parameters, weights, carrier, self._images)
        self._keep = (parameters, weights, carrier)
        self._launch.kernels.bind_forward(self._view, self._outputs(), *self._launch.queue)

    def backward(self, grads: Gradients) -> None:
        """From the gradients of the outputs, shaped like them, to ``grads`` and ``grad_weights``. After a forward pass
        without weights they are those of the base: no entries for the blendshapes, and grad_weights is None."""
        if self._view is None:
            raise ValueError("backward: there was no forward pass yet")
        for name, grad, output in zip(Gradients._fields, grads, self.gaussians.tensors(), strict=True):
            check_buffer(f"grads.{name}", grad, output.shape, self._launch.device)
        self._make_gradients()
        self.grads = self._every_grad if self._blended else self._base_grads
        self.grad_weights = self._weight_grads if self._blended else None
        by = self._every_grad
        arguments = self._launch.kernels.BindBackward(
            _bound_addresses(grads), self._outputs(),
            _addresses(by["positions"], by["quats"], by["colors"]),
            _addresses(by["delta_positions"], by["delta_quats"], by["delta_colors"]),
            *_addresses(by["log_scales"], by["opacity_logits"], self._weight_grads, self._scratch), [],
        )  # fmt: skip
        self._launch.kernels.bind_backward(self._view, arguments, *self._launch.queue)

    def _outputs(self) -> list[int]:
        return _bound_addresses(self.gaussians)

    def _make_gradients(self) -> None:
        """Buffers that only training needs."""
        if self._scratch is not None:
            return
        device, kernels = self._launch.device, self._launch.kernels
        shapes = _parameter_shapes(self._count, self._blendshapes)
        self._every_grad = {name: torch.empty(shape, device=device) for name, shape in shapes.items()}
        self._base_grads = {name: grad for name, grad in self._every_grad.items() if not name.startswith("delta_")}
        self._weight_grads = torch.empty(self._images, self._blendshapes, device=device)
        floats = kernels.bind_scratch(self._images, self._count, self._blendshapes)
        self._scratch = torch.empty(floats, device=device)

    def _check(self, parameters: BindParameters, weights: Tensor | None, carrier: Carrier) -> None:
        device = self._launch.device
        for name, shape in _parameter_shapes(self._count, self._blendshapes).items():
            check_buffer(name, getattr(parameters, name), shape, device)
        if weights is not None:
            check_buffer("weights", weights, (self._images, self._blendshapes), device)
        _, _, previous = self._keep if self._keep else (None, None, None)
        _check_carrier(carrier, self._images, self._count, device, carrier is previous)


def _bound_addresses(g: Gaussians | Gradients) -> list[int]:
    """In the kernels' order (BoundSlot in cuda_ext/include/blendsplat/bindings.h)."""
    return _addresses(g.means, g.quats, g.colors, g.scales, g.opacities)


def _addresses(*tensors: Tensor | None) -> list[int]:
    return [address(tensor) for tensor in tensors]


def _parameter_shapes(gaussians: int, blendshapes: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "positions": (gaussians, 3), "log_scales": (gaussians, 3), "quats": (gaussians, 4),
        "opacity_logits": (gaussians,), "colors": (gaussians, 3),
    }  # fmt: skip
    for name in ("positions", "quats", "colors"):
        shapes[f"delta_{name}"] = (blendshapes, *shapes[name])
    return shapes


def _check_carrier(carrier: Carrier, images: int, gaussians: int, device: torch.device, known: bool) -> None:
    """``known``: the bindings were looked at before; reading them all takes longer than checking shapes."""
    vertices, faces = carrier.vertices.shape[1], carrier.frames.shape[1]
    check_buffer("carrier.vertices", carrier.vertices, (images, vertices, 3), device)
    check_buffer("carrier.frames", carrier.frames, (images, faces, 3, 3), device)
    check_buffer("carrier.frame_quats", carrier.frame_quats, (images, faces, 4), device)
    check_buffer("carrier.triangle", carrier.triangle, (gaussians,), device, torch.int64)
    check_buffer("carrier.corners", carrier.corners, (gaussians, 3), device, torch.int64)
    check_buffer("carrier.barycentrics", carrier.barycentrics, (gaussians, 3), device)
    if known or device.type != "cpu" or not gaussians:
        return
    for name, count in (("triangle", faces), ("corners", vertices)):
        low, high = (int(value) for value in getattr(carrier, name).aminmax())
        if low < 0 or high >= count:
            raise ValueError(f"carrier.{name}: expected numbers from 0 to {count - 1}, got {low} to {high}")


def _view(launch: Launch, parameters: BindParameters, weights: Tensor | None, carrier: Carrier, images: int) -> Any:
    """The kernels' view of the inputs. They must live as long as it."""
    return launch.kernels.Bind(
        images, parameters.positions.shape[0], 0 if weights is None else weights.shape[1],
        carrier.vertices.shape[1], carrier.frames.shape[1],
        _addresses(*parameters.base), _addresses(*parameters.deltas),
        *_addresses(parameters.log_scales, parameters.opacity_logits, weights),
        *_addresses(carrier.vertices, carrier.frames, carrier.frame_quats),
        *_addresses(carrier.triangle, carrier.corners, carrier.barycentrics),
    )  # fmt: skip


def blend_and_bind(
    base: tuple[Tensor, Tensor, Tensor],
    deltas: tuple[Tensor, Tensor, Tensor],
    weights: Tensor | None,
    carrier: Carrier,
) -> tuple[Tensor, Tensor, Tensor]:
    """RGBAvatar's equations 1 and 4: base + sum_k weights_k deltas_k, carried by the triangles' tangent frames.

    base: positions [N,3], quats [N,4] wxyz, SH-DC colour features [N,3]; deltas: the same with a leading K; weights
    [B,K] or None for the base alone. Returns means [B,N,3], quats [B,N,4] (not normalised), colors [B,N,3] (rgb >= 0).
    Gradients flow to base, deltas, weights and the carrier's surfaces, to each only where it asks for one.
    """
    surface = (carrier.vertices, carrier.frames, carrier.frame_quats)
    tensors = (*base, *deltas, *surface)
    if any(t.device.type not in ("cpu", "cuda") or t.dtype != torch.float32 for t in tensors):
        return blend_and_bind_reference(base, deltas, weights, carrier)
    result: tuple[Tensor, Tensor, Tensor] = _BlendAndBind.apply(*base, *deltas, weights, *surface, carrier)
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
    """Arguments: base, deltas (3 each), weights, vertices, frames, frame_quats, and the carrier that these are of."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        tensors, weights, carrier = [t.contiguous() for t in arguments[:6]], arguments[6], _contiguous(arguments[10])
        weights = None if weights is None else weights.contiguous()
        images, count = carrier.vertices.shape[0], tensors[0].shape[0]
        _check_carrier(carrier, images, count, tensors[0].device, known=False)
        launch = launch_on(tensors[0].device)
        view = _view(launch, _without_activations(tensors), weights, carrier, images)
        means, quats, colors = (tensors[0].new_empty(images, count, width) for width in _WIDTHS)
        launch.kernels.bind_forward(view, _addresses(means, quats, colors, None, None), *launch.queue)
        ctx.save_for_backward(*tensors, weights, colors)
        ctx.launch, ctx.view, ctx.carrier = launch, view, carrier
        return means, quats, colors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, weights, colors = ctx.saved_tensors
        launch: Launch = ctx.launch
        images, count = colors.shape[0], colors.shape[1]
        blended = weights is not None
        grads = tuple(grad.contiguous() for grad in grads)
        out = [torch.empty_like(t) for t in tensors[: 6 if blended else 3]]
        grad_weights = None if weights is None else torch.empty_like(weights)
        scratch = colors.new_empty(launch.kernels.bind_scratch(images, count, weights.shape[1] if blended else 0))
        surface = _SurfaceGradients(ctx.carrier, images, count, ctx.needs_input_grad[7:10])
        arguments = launch.kernels.BindBackward(
            _addresses(*grads, None, None), _addresses(None, None, colors, None, None), _addresses(*out[:3]),
            _addresses(*out[3:]) or [0, 0, 0], 0, 0, address(grad_weights), address(scratch), surface.addresses(),
        )  # fmt: skip
        launch.kernels.bind_backward(ctx.view, arguments, *launch.queue)
        return *out, *([None] * (6 - len(out))), grad_weights, *surface.grads, None


class _SurfaceGradients:
    """Buffers for the gradients of a carrier's vertices, frames and frame_quats, of those that are wanted."""

    def __init__(self, carrier: Carrier, images: int, count: int, wanted: Sequence[bool]) -> None:
        surface = (carrier.vertices, carrier.frames, carrier.frame_quats)
        self.grads = tuple(torch.empty_like(t) if want else None for t, want in zip(surface, wanted, strict=True))
        self._buffers: tuple[Tensor | None, ...] = ()
        if not any(wanted):
            return
        by_triangle = groups_of(carrier.triangle, carrier.frames.shape[1])
        by_vertex = groups_of(carrier.corners, carrier.vertices.shape[1])
        # The frames' gradients need what was blended, which the backward pass leaves here on its way.
        local = [carrier.vertices.new_empty(images, count, width) if any(wanted[1:]) else None for width in (3, 4)]
        self._buffers = (*by_triangle, *by_vertex, *local)

    def addresses(self) -> list[int]:
        """In the kernels' order (SurfaceSlot in cuda_ext/include/blendsplat/bindings.h)."""
        return _addresses(*self.grads, *self._buffers) if self._buffers else []


def _without_activations(tensors: list[Tensor]) -> BindParameters:
    positions, quats, colors, *deltas = tensors
    absent = positions.new_empty(0)  # its address is 0
    return BindParameters(positions, absent, quats, absent, colors, *deltas)


def _contiguous(carrier: Carrier) -> Carrier:
    return Carrier(*(getattr(carrier, field.name).contiguous() for field in fields(Carrier)))
