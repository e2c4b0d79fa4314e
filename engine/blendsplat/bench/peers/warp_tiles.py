# SPDX-License-Identifier: Apache-2.0
"""NVIDIA Warp (its CPU target, which uses one thread): a thread per pixel, forward, and back to front with atomic sums.

Projection and sorting are PyTorch's; ``import`` of this module fails where Warp is not installed.
"""

# Warp reads a kernel's annotations as values, so they cannot be postponed here, and mypy cannot read them.
# mypy: disable-error-code="valid-type,untyped-decorator"
# Its variables that a loop changes must be declared with float().
# ruff: noqa: UP018
from typing import Any

import torch
import warp as wp
from torch import Tensor

from blendsplat.bench.peers.lists import TILE, Lists, Projected, Renderer, project
from blendsplat.splatting.reference import ALPHA_MAX, ALPHA_MIN, STOP
from blendsplat.splatting.scene import Scene

NAME = "NVIDIA Warp, CPU target"

_TILE = wp.constant(TILE)
_MAX, _MIN, _STOP = wp.constant(ALPHA_MAX), wp.constant(ALPHA_MIN), wp.constant(STOP)


@wp.func
def _alpha(centre: wp.vec2, conic: wp.vec3, opacity: float, x: float, y: float):  # type: ignore[no-untyped-def]
    dx, dy = x - centre[0], y - centre[1]
    power = -0.5 * (conic[0] * dx * dx + conic[2] * dy * dy) - conic[1] * dx * dy
    return wp.min(opacity * wp.exp(power), _MAX)


@wp.kernel(enable_backward=False)
def _forward(
    columns: int, offsets: wp.array(dtype=wp.int32), entries: wp.array(dtype=wp.int32),
    centres: wp.array(dtype=wp.vec2), conics: wp.array(dtype=wp.vec3), opacities: wp.array(dtype=float),
    colors: wp.array(dtype=wp.vec3), image: wp.array2d(dtype=wp.vec3), left: wp.array2d(dtype=float),
    last: wp.array2d(dtype=wp.int32),
) -> None:  # fmt: skip
    row, column = wp.tid()
    tile = (row // _TILE) * columns + column // _TILE
    x, y = float(column) + 0.5, float(row) + 0.5
    transmittance = float(1.0)
    color = wp.vec3(0.0, 0.0, 0.0)
    end = offsets[tile]
    for place in range(offsets[tile], offsets[tile + 1]):
        n = entries[place]
        alpha = _alpha(centres[n], conics[n], opacities[n], x, y)
        if alpha >= _MIN:
            after = transmittance * (1.0 - alpha)
            if after < _STOP:
                break
            color += alpha * transmittance * colors[n]
            transmittance = after
            end = place + 1
    image[row, column] = color
    left[row, column] = transmittance
    last[row, column] = end


@wp.kernel(enable_backward=False)
def _backward(
    columns: int, offsets: wp.array(dtype=wp.int32), entries: wp.array(dtype=wp.int32),
    centres: wp.array(dtype=wp.vec2), conics: wp.array(dtype=wp.vec3), opacities: wp.array(dtype=float),
    colors: wp.array(dtype=wp.vec3), left: wp.array2d(dtype=float), last: wp.array2d(dtype=wp.int32),
    grad_image: wp.array2d(dtype=wp.vec3), grad_centres: wp.array(dtype=wp.vec2),
    grad_conics: wp.array(dtype=wp.vec3), grad_opacities: wp.array(dtype=float),
    grad_colors: wp.array(dtype=wp.vec3),
) -> None:  # fmt: skip
    row, column = wp.tid()
    tile = (row // _TILE) * columns + column // _TILE
    x, y = float(column) + 0.5, float(row) + 0.5
    gradient = grad_image[row, column]
    transmittance = left[row, column]
    behind = float(0.0)
    place = last[row, column] - 1
    while place >= offsets[tile]:
        n = entries[place]
        place -= 1
        alpha = _alpha(centres[n], conics[n], opacities[n], x, y)
        if alpha >= _MIN:
            transmittance = transmittance / (1.0 - alpha)
            value = wp.dot(gradient, colors[n])
            wp.atomic_add(grad_colors, n, alpha * transmittance * gradient)
            slope = transmittance * (value - behind)
            behind = behind + alpha * (value - behind)
            if alpha < _MAX:
                v = slope * alpha
                conic = conics[n]
                dx, dy = x - centres[n][0], y - centres[n][1]
                wp.atomic_add(grad_opacities, n, v / opacities[n])
                wp.atomic_add(grad_conics, n, wp.vec3(-0.5 * v * dx * dx, -v * dx * dy, -0.5 * v * dy * dy))
                wp.atomic_add(
                    grad_centres, n, wp.vec2(v * (conic[0] * dx + conic[1] * dy), v * (conic[1] * dx + conic[2] * dy))
                )


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lists: Lists, width: int, height: int, *splats: Tensor) -> Tensor:
        image, left = torch.empty(height, width, 3), torch.empty(height, width)
        last = torch.empty(height, width, dtype=torch.int32)
        inputs = [-(-width // TILE), *_arrays(lists, splats)]
        wp.launch(
            _forward, dim=(height, width), device="cpu",
            inputs=[*inputs, wp.from_torch(image, wp.vec3), wp.from_torch(left), wp.from_torch(last)],
        )  # fmt: skip
        ctx.save_for_backward(*splats, left, last)
        ctx.lists = lists
        return image

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *splats, left, last = ctx.saved_tensors
        height, width = left.shape
        out = [torch.zeros_like(splat) for splat in splats]
        wp.launch(
            _backward, dim=(height, width), device="cpu",
            inputs=[
                -(-width // TILE), *_arrays(ctx.lists, splats), wp.from_torch(left), wp.from_torch(last),
                wp.from_torch(grads[0].contiguous(), wp.vec3), *_splat_arrays(out),
            ],
        )  # fmt: skip
        return None, None, None, *out


def make(scene: Scene) -> Renderer:
    """A renderer of the scene's first image."""
    wp.config.log_level = wp.LOG_WARNING  # it would print into the JSON
    wp.init()

    def render(parameters: list[Tensor]) -> Tensor:
        splats, lists = project(parameters, scene)
        image: Tensor = _Blend.apply(lists, scene.width, scene.height, *splats)
        return image

    return render


def _arrays(lists: Lists, splats: Any) -> list[Any]:
    return [wp.from_torch(lists.offsets.int()), wp.from_torch(lists.entries.int()), *_splat_arrays(splats)]


def _splat_arrays(splats: Any) -> list[Any]:
    kinds = Projected(wp.vec2, wp.vec3, wp.float32, wp.vec3)
    return [
        wp.from_torch(splat.detach().contiguous(), kind, requires_grad=False)
        for splat, kind in zip(splats, kinds, strict=True)
    ]
