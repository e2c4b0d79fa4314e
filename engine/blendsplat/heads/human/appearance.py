# SPDX-License-Identifier: Apache-2.0
"""Colours for the head human, painted per texel: skin, lips, brows, lashes, hair, eyes, teeth.

Every layer is a mask times a colour over the one before it. Masks are functions of the place on the resting head, fade,
and are broken with noise: nothing on a face has a straight edge. Colours are display-referred sRGB.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from blendsplat.errors import InputError
from blendsplat.heads.human.canvas import Canvas, Noise, sheet
from blendsplat.heads.human.eye_paint import paint_eyes
from blendsplat.heads.human.hair_paint import paint_hair
from blendsplat.heads.human.look import Look, natural_lips, random_look
from blendsplat.heads.human.mouth_paint import paint_mouth
from blendsplat.heads.human.skin_paint import paint_skin

__all__ = ["Look", "head_texture", "natural_lips", "paint_head", "random_look"]


@lru_cache(maxsize=4)
def head_texture(look: Look = Look(), size: int = 1024) -> np.ndarray:
    """paint_head, kept for those who ask again (read-only)."""
    image = paint_head(look, size)
    image.setflags(write=False)
    return image


def paint_head(look: Look, size: int, skin: bool = True) -> np.ndarray:
    """Base colour float32 [size,size,3] of the head human's UV square (sRGB, v = 1 in the first row). The same look
    gives the same picture. skin=False: only the eyes and the inside of the mouth are painted, which is faster."""
    if size < 16:
        raise InputError(f"The texture's size is {size}; choose at least 16 texels, for example 512.")
    whole = sheet(size)
    noise = Noise(look.seed)
    colours = np.zeros((whole.count, 3), np.float32)
    for name, paint in (("skin", _outside), ("eyes", paint_eyes), ("mouth", paint_mouth)):
        if skin or name != "skin":
            rows, at = whole.groups[name]
            canvas = Canvas(at, look, noise)
            paint(canvas)
            colours[rows] = canvas.colour
    return np.clip(colours, 0, 1)[whole.shown].reshape(size, size, 3)


def _outside(canvas: Canvas) -> None:
    paint_skin(canvas)
    paint_hair(canvas)
