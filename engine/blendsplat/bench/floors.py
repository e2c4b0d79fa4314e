# SPDX-License-Identifier: Apache-2.0
"""The least time that a piece of work can take on a machine of known ceilings, in milliseconds.

Every input is read once, every output written once, every pair and product computed once, and arithmetic hides behind
memory or the other way round, whichever takes longer. Projection, sorting and waiting are free: a floor is no forecast.
"""

from __future__ import annotations

from blendsplat.bench.machine import Ceilings

FLOAT = 4  # bytes
GAUSSIAN = 14 * FLOAT  # means, quats, scales, opacity, colour
RECORD = 16 * FLOAT  # a projected Gaussian
OUTPUT = 5 * FLOAT  # image, alpha and depth of a pixel
COLOR = 3 * FLOAT
BASIS = 10 * FLOAT  # position, quaternion and colour of a Gaussian in one blendshape


def rasterize_forward(pairs: int, gaussians: int, pixels: int, ceilings: Ceilings) -> float:
    """``pairs`` are evaluated; ``gaussians`` and ``pixels`` count those of all images."""
    return _longer(pairs / ceilings.pairs, GAUSSIAN * gaussians + OUTPUT * pixels, ceilings)


def rasterize_backward(pairs: int, gaussians: int, pixels: int, ceilings: Ceilings) -> float:
    """The image's gradient to those of every parameter."""
    return _longer(pairs / ceilings.pair_gradients, 2 * GAUSSIAN * gaussians + COLOR * pixels, ceilings)


def sort(entries: int, gaussians: int, ceilings: Ceilings) -> float:
    """Gaussians to projected records and lists of 4-byte entries."""
    return _longer(0.0, (GAUSSIAN + RECORD) * gaussians + FLOAT * entries, ceilings)


def blend_forward(gaussians: int, blendshapes: int, images: int, ceilings: Ceilings) -> float:
    """Base and bases of ``gaussians`` Gaussians to those of every image."""
    products = gaussians * blendshapes * images * (BASIS // FLOAT)
    return _longer(
        products / ceilings.multiply_adds, BASIS * gaussians * (1 + blendshapes) + BASIS * gaussians * images, ceilings
    )


def play(gaussians: int, blendshapes: int, images: int, ceilings: Ceilings) -> float:
    """As blend_forward, with bases in half precision."""
    products = gaussians * blendshapes * images * (BASIS // FLOAT)
    moved = BASIS * gaussians * (1 + blendshapes / 2) + BASIS * gaussians * images
    return _longer(products / ceilings.multiply_adds, moved, ceilings)


def blend_backward(gaussians: int, blendshapes: int, images: int, ceilings: Ceilings) -> float:
    """Gradients of every image to those of base, bases and weights: the bases are read and their gradients written."""
    products = 2 * gaussians * blendshapes * images * (BASIS // FLOAT)
    moved = BASIS * gaussians * (2 * blendshapes + 1 + images)
    return _longer(products / ceilings.multiply_adds, moved, ceilings)


def adam(parameters: int, ceilings: Ceilings) -> float:
    """Value, gradient and two moments are read, three of them written."""
    return _longer(0.0, 7 * FLOAT * parameters, ceilings)


def photometric(pixels: int, ceilings: Ceilings) -> float:
    """Image and 8-bit target to the image's gradient."""
    return _longer(0.0, (2 * COLOR + 5) * pixels, ceilings)


def _longer(arithmetic: float, moved: float, ceilings: Ceilings) -> float:
    return 1e3 * max(arithmetic, moved / ceilings.bytes)
