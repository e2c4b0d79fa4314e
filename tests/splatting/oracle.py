# SPDX-License-Identifier: Apache-2.0
"""The float64 oracle with a measure of what float32 can deliver: errors are judged against the effect of rounding.

For every pixel and every gradient the oracle is evaluated again with its inputs, and each alpha, off by a few units of
float32's last place. What that moves is the unit of error: a kernel may be wrong by a small multiple of it, whether the
number is a plain colour or the gradient of a needle that hides another one near the near plane. Decisions that jump
(cut-off, stop, clamp, depth order) are frozen meanwhile; pixels where rounding could decide otherwise are "ambiguous":
they carry no weight in the gradients and are compared with every outcome that rounding allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.splatting.reference import (
    ALPHA_MAX,
    ALPHA_MIN,
    STOP,
    Choices,
    alpha_reference,
    choose,
    composite_reference,
    depth_order,
    project_reference,
)

from .scenes import NAMES, SceneData

UNIT = 2.0**-22  # the probes' perturbation: four times float32's rounding
PROBES = 3
MARGIN = 16  # a decision is ambiguous within this many times what the probes move it
SMALLEST = 1e-37  # products below float32's normal numbers lose their digits
OUTPUTS = ("image", "alpha", "depth")
Renderer = Callable[[SceneData, list[Tensor], float], tuple[list[Tensor], list[Tensor]]]


@dataclass
class View:
    """One image of a scene in float64, reduced to the Gaussians that its chosen pixels can see, front to back."""

    pixels: Tensor  # [P] index into the image, row by row
    centres: Tensor  # [P,2]
    order: Tensor  # [n] index into the scene's Gaussians
    inputs: list[Tensor]  # means, quats, scales, opacities, colors of these n; the background [1,3]
    viewmat: Tensor
    K: Tensor
    width: int
    height: int
    near_plane: float
    alpha: Tensor  # [P,n], unclamped
    terms: Tensor  # [P,n], see exponent_terms
    z: Tensor  # [n]
    choices: Choices

    def outputs(self, inputs: list[Tensor], viewmat: Tensor, K: Tensor, noise: Tensor | None = None) -> list[Tensor]:
        """Image [P,3], alpha [P,1], depth [P,1], with the decisions frozen."""
        alpha, z = alpha_reference(*inputs[:4], viewmat, K, self.width, self.height, self.centres)
        alpha = alpha if noise is None else alpha * noise
        return list(composite_reference(alpha, self.choices, inputs[4], z, inputs[5]))


def some_pixels(scene: SceneData, count: int, seed: int = 0) -> Tensor:
    """``count`` different pixels of the image, or all where there are no more."""
    g = torch.Generator().manual_seed(seed)
    return torch.randperm(scene.width * scene.height, generator=g)[:count].sort().values


def look(scene: SceneData, b: int, pixels: Tensor | None = None, near_plane: float = 0.01) -> View:
    """The oracle's view of image ``b`` at ``pixels`` (all when None)."""
    pixels = torch.arange(scene.width * scene.height) if pixels is None else pixels
    centres = torch.stack([pixels % scene.width, pixels // scene.width], 1).double() + 0.5
    gaussians = [t[b].detach().double() for t in scene.gaussians]
    viewmat, K = scene.viewmats[b].double(), scene.Ks[b].double()
    order = depth_order(*gaussians, viewmat, near_plane)
    seen, step = [], max(1, 4_000_000 // max(len(pixels), 1))
    for part in order.split(step):  # what no pixel sees changes nothing: left out before any derivative is taken
        alpha, _ = alpha_reference(*(t[part] for t in gaussians[:4]), viewmat, K, scene.width, scene.height, centres)
        seen.append(part[(alpha >= 0.9 * ALPHA_MIN).any(0)])
    order = torch.cat(seen) if seen else order
    inputs = [*(t[order] for t in gaussians), scene.backgrounds[b : b + 1].double()]
    alpha, z = alpha_reference(*inputs[:4], viewmat, K, scene.width, scene.height, centres)
    size = (scene.width, scene.height)
    terms = exponent_terms(inputs, viewmat, K, size, centres)
    return View(pixels, centres, order, inputs, viewmat, K, *size, near_plane, alpha, terms, z, choose(alpha))


def probe(view: View, generator: torch.Generator) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Inputs and camera, each number off by up to UNIT of itself; factors of alpha as if its exponent's terms were."""

    def off(t: Tensor) -> Tensor:
        return t * (1 + UNIT * (2 * torch.rand(t.shape, generator=generator, dtype=t.dtype) - 1))

    wrong = off(torch.ones_like(view.alpha)) - 1
    return [off(t) for t in view.inputs], off(view.viewmat), off(view.K), torch.exp(wrong * (1 + view.terms))


def exponent_terms(inputs: list[Tensor], viewmat: Tensor, K: Tensor, size: tuple[int, int], centres: Tensor) -> Tensor:
    """[P,n]: how far alpha's exponent moves for each unit of relative rounding. Its three terms with positive signs (a
    needle's exponent is their small difference), and its slope times the pixel coordinates that the centre is made of
    (far from the origin a float32 coordinate is coarse)."""
    means, covariances, _ = project_reference(*inputs[:3], viewmat, K, *size)
    dx, dy = (centres[:, None] - means).unbind(-1)
    a, b, c = (m for m in covariances.inverse().flatten(1)[:, [0, 1, 3]].unbind(1))
    centre = K[:2, 2]
    reach = (means - centre).abs() + centre.abs()
    slope = (a * dx + b * dy).abs() * reach[:, 0] + (b * dx + c * dy).abs() * reach[:, 1]
    return a * dx * dx + 2 * (b * dx * dy).abs() + c * dy * dy + slope


@dataclass
class Doubt:
    """Decisions that rounding could turn: at the cut-off and at the stop [P,n]; for other reasons, whole pixels [P]."""

    cut: Tensor
    stop: Tensor
    pixel: Tensor

    @property
    def any(self) -> Tensor:
        return self.cut.any(1) | self.stop.any(1) | self.pixel


def doubts(view: View, probes: list[tuple[list[Tensor], Tensor, Tensor, Tensor]]) -> Doubt:
    """Where rounding may decide otherwise than float64 did."""
    alpha_move, z_move = torch.zeros_like(view.alpha), torch.zeros_like(view.z)
    for inputs, viewmat, K, noise in probes:
        alpha, z = alpha_reference(*inputs[:4], viewmat, K, view.width, view.height, view.centres)
        alpha_move = torch.maximum(alpha_move, (alpha * noise - view.alpha).abs())
        z_move = torch.maximum(z_move, (z - view.z).abs())
    margin = MARGIN * (alpha_move + UNIT * view.alpha)
    cut = (view.alpha - ALPHA_MIN).abs() <= margin
    clamp = (view.alpha - ALPHA_MAX).abs() <= margin
    visible = torch.where(view.alpha >= ALPHA_MIN, view.alpha.clamp(max=ALPHA_MAX), torch.zeros_like(view.alpha))
    after = torch.cumprod(1 - visible, 1)
    before = after / (1 - visible)
    drift = after * (torch.cumsum(margin * (visible > 0) / (1 - visible), 1) + MARGIN * UNIT)
    stop = (visible > 0) & ((after - STOP).abs() <= drift) & (before + drift >= STOP)
    tied = _near_ties(view, MARGIN * (z_move + UNIT * view.z.abs()))
    near = ((view.z - view.near_plane).abs() <= MARGIN * (z_move + UNIT * view.z.abs())) & (view.alpha >= ALPHA_MIN)
    return Doubt(cut, stop, clamp.any(1) | near.any(1) | tied)


def _near_ties(view: View, margin: Tensor) -> Tensor:
    """[P]: two Gaussians are drawn whose depths float32 may order the other way (equal means cannot be reordered)."""
    if len(view.z) < 2:
        return torch.zeros(len(view.centres), dtype=torch.bool)
    means = view.inputs[0]
    close = (view.z[1:] - view.z[:-1] <= margin[1:] + margin[:-1]) & (means[1:] != means[:-1]).any(1)
    group = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cumsum((~close).long(), 0)])
    drawn = torch.zeros(len(view.centres), int(group[-1]) + 1, dtype=torch.int64)
    drawn.index_add_(1, group, view.choices.drawn.long())
    return (drawn > 1).any(1)


def outcomes(view: View, doubt: Doubt, p: int, limit: int = 64) -> Tensor:
    """[outcomes,5] (image, alpha, depth) of pixel ``p`` for every way in which its decisions in doubt can fall."""
    colors, background = view.inputs[4], view.inputs[5]
    found: list[Tensor] = []

    def walk(i: int, T: float, value: Tensor) -> None:
        if len(found) >= limit:
            return
        while i < len(view.z):
            alpha = min(float(view.alpha[p, i]), ALPHA_MAX)
            taken = alpha >= ALPHA_MIN
            if doubt.cut[p, i]:
                walk(i + 1, T, value)  # without it
                taken = True
            if taken:
                if T * (1 - alpha) < STOP or doubt.stop[p, i]:
                    finish(T, value)
                    if T * (1 - alpha) < STOP and not doubt.stop[p, i]:
                        return
                weight = T * alpha
                value = value + weight * torch.cat([colors[i], torch.ones(1), view.z[i : i + 1]]).double()
                T *= 1 - alpha
            i += 1
        finish(T, value)

    def finish(T: float, value: Tensor) -> None:
        found.append(torch.cat([value[:3] + T * background[0], value[3:]]))

    walk(0, 1.0, torch.zeros(5, dtype=torch.float64))
    return torch.stack(found)


@dataclass
class Expected:
    """What the oracle says of a batch: outputs at the chosen pixels and gradients, each with its unit of error."""

    weights: list[Tensor]  # [B,H,W,3|1|1] of the loss: random where nothing is in doubt, zero elsewhere
    views: list[View]
    doubt: list[Doubt]
    outputs: list[list[Tensor]]  # per image: [P,3], [P,1], [P,1]
    output_units: list[list[Tensor]]
    grads: list[Tensor]  # NAMES
    grad_units: list[Tensor]


def expect(scene: SceneData, seed: int = 0, pixels: Tensor | None = None, near_plane: float = 0.01) -> Expected:
    """Outputs and every gradient of a random loss over ``pixels`` (all when None), with their units of error."""
    g = torch.Generator().manual_seed(seed)
    images = scene.viewmats.shape[0]
    flat = [torch.zeros(images, scene.width * scene.height, c, dtype=torch.float64) for c in (3, 1, 1)]
    zeros = [torch.zeros(t.shape, dtype=torch.float64) for t in (*scene.gaussians, scene.backgrounds)]
    result = Expected([], [], [], [], [], zeros, [z.clone() for z in zeros])
    for b in range(images):
        view = look(scene, b, pixels, near_plane)
        probes = [probe(view, g) for _ in range(PROBES)]
        doubt = doubts(view, probes)
        certain = (~doubt.any)[:, None]
        weights = [torch.randn(len(view.pixels), c, generator=g).double() * certain for c in (3, 1, 1)]
        for plane, weight in zip(flat, weights, strict=True):
            plane[b, view.pixels] = weight
        outputs, grads = _evaluate(view, view.inputs, view.viewmat, view.K, None, weights)
        moves = [torch.zeros_like(t) for t in (*outputs, *grads)]
        for inputs, viewmat, K, noise in probes:
            shaken = [w * (1 + UNIT * torch.randn(w.shape, generator=g, dtype=w.dtype)) for w in weights]
            near_outputs, near_grads = _evaluate(view, inputs, viewmat, K, noise, shaken)
            for move, there, here in zip(moves, (*near_outputs, *near_grads), (*outputs, *grads), strict=True):
                move += (there - here) ** 2 / PROBES
        result.views.append(view)
        result.doubt.append(doubt)
        result.outputs.append(outputs)
        units = [_unit(o, m) for o, m in zip(outputs, moves[:3], strict=True)]
        units[1] = units[1] + UNIT / 4  # alpha is what the transmittance, near one and rounded, leaves of one
        result.output_units.append(units)
        for all_grads, all_units, grad, move in zip(result.grads, result.grad_units, grads, moves[3:], strict=True):
            rows = [b] if all_grads is result.grads[-1] else (b, view.order)
            all_grads[rows], all_units[rows] = grad, _unit(grad, move)
    planes = zip(flat, (3, 1, 1), strict=True)
    result.weights = [plane.reshape(images, scene.height, scene.width, c).float() for plane, c in planes]
    return result


def _evaluate(
    view: View, inputs: list[Tensor], viewmat: Tensor, K: Tensor, noise: Tensor | None, weights: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    outputs = view.outputs(leaves, viewmat, K, noise)
    loss = sum((o * w.float().double()).sum() for o, w in zip(outputs, weights, strict=True))
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [o.detach() for o in outputs], [
        torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, grads, strict=True)
    ]


def _unit(value: Tensor, squared_move: Tensor) -> Tensor:
    """One unit for all components of a pixel or a Gaussian: what rounding moves them by, at least UNIT of themselves,
    and of a thousandth of the largest value in the array (terms that cancel are summed in an order of the kernel's)."""
    if not value.numel():
        return torch.zeros_like(value)
    squares = (squared_move + (UNIT * value) ** 2).reshape(len(value), -1).sum(1)
    unit = squares.sqrt() + 1e-3 * UNIT * value.abs().max() + SMALLEST
    return unit.reshape(-1, *(1,) * (value.dim() - 1)).expand(value.shape)


@dataclass
class Verdict:
    """Worst error of each array in its units; how many pixels were in doubt, and which of them no outcome explains."""

    worst: dict[str, float]
    doubtful: int
    unexplained: int


def judge(expected: Expected, scene: SceneData, renderer: Renderer, bound: float) -> Verdict:
    """Run ``renderer`` and compare. ``bound`` (units) is what a pixel in doubt must meet for one of its outcomes."""
    outputs, grads = renderer(scene, expected.weights, expected.views[0].near_plane if expected.views else 0.01)
    worst = dict.fromkeys((*OUTPUTS, *NAMES), 0.0)
    doubtful = unexplained = 0
    for b, (view, doubt) in enumerate(zip(expected.views, expected.doubt, strict=True)):
        got = [o[b].reshape(-1, o.shape[-1])[view.pixels].double() for o in outputs]
        certain = ~doubt.any
        for name, value, want, unit in zip(OUTPUTS, got, expected.outputs[b], expected.output_units[b], strict=True):
            worst[name] = max(worst[name], _worst((value - want)[certain], unit[certain]))
        doubtful += int((~certain).sum())
        units = torch.cat([u.expand(len(view.pixels), -1) for u in expected.output_units[b]], 1)
        for p in torch.nonzero((doubt.cut.any(1) | doubt.stop.any(1)) & ~doubt.pixel)[:, 0].tolist()[:20]:
            errors = (torch.cat([value[p] for value in got]) - outcomes(view, doubt, p)).abs()
            unexplained += int(not (errors <= 4 * bound * units[p]).all(1).any())
    for name, value, want, unit in zip(NAMES, grads, expected.grads, expected.grad_units, strict=True):
        worst[name] = max(worst[name], _worst(value.double() - want, unit))
    return Verdict(worst, doubtful, unexplained)


def _worst(error: Tensor, unit: Tensor) -> float:
    """Largest |error| / unit; a NaN, or an error where nothing may be, is infinitely wrong."""
    if error.numel() == 0:
        return 0.0
    ratio = torch.where(error == 0, torch.zeros_like(error), error.abs() / unit)
    return math.inf if ratio.isnan().any() else float(ratio.max())
