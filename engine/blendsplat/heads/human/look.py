# SPDX-License-Identifier: Apache-2.0
"""What a person's colours are, and random people's."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from blendsplat.errors import InputError

RGB = tuple[float, float, float]
SCALP_HAIR = ("short", "shaved", "none")


@dataclass(frozen=True)
class Look:
    """Colours are display-referred sRGB in [0,1]; amounts run from 0 to 1. Raises InputError for anything else.

    ``age`` counts wrinkles, spots and thin skin under the eyes: 0 is a child's skin, 1 is eighty years. The colours of
    make-up show by their amounts. ``scalp_hair`` is painted: "short", "shaved" or "none" (bald).
    """

    skin: RGB = (0.82, 0.62, 0.52)
    hair: RGB = (0.17, 0.11, 0.075)
    eyes: RGB = (0.32, 0.21, 0.12)
    lips: RGB = (0.70, 0.42, 0.39)
    blush: float = 0.5
    stubble: float = 0.25
    freckles: float = 0.0
    seed: int = 0
    age: float = 0.3
    moles: float = 0.3
    lipstick: float = 0.0
    lipstick_colour: RGB = (0.62, 0.10, 0.14)
    eye_shadow: float = 0.0
    eye_shadow_colour: RGB = (0.36, 0.24, 0.22)
    liner: float = 0.0
    lashes: float = 0.5
    brow_thickness: float = 0.5
    brow_arch: float = 0.5
    brow_density: float = 0.7
    scalp_hair: str = "short"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "scalp_hair":
                if value not in SCALP_HAIR:
                    raise InputError(f"A look's scalp_hair is {value!r}; choose one of {', '.join(SCALP_HAIR)}.")
            elif field.name == "seed":
                object.__setattr__(self, "seed", int(value))
            elif isinstance(field.default, tuple):
                object.__setattr__(self, field.name, _numbers(field.name, value, 3))
            else:
                object.__setattr__(self, field.name, _numbers(field.name, (value,), 1)[0])


def _numbers(name: str, values: object, count: int) -> tuple[float, ...]:
    """The values as plain floats; InputError unless they are ``count`` numbers in [0,1]."""
    try:
        numbers = tuple(float(value) for value in values)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(number) and 0 <= number <= 1 for number in numbers):
        what = "a number" if count == 1 else f"{count} numbers"
        raise InputError(f"A look's {name} is {values!r}; give {what} from 0 to 1.")
    return numbers


# sRGB from very light to very dark, and the hair and eyes that go with them: (skin, share of light hair and eyes)
_SKINS = (
    ((0.90, 0.73, 0.65), 0.75), ((0.86, 0.67, 0.58), 0.55), ((0.81, 0.61, 0.50), 0.30), ((0.74, 0.55, 0.44), 0.12),
    ((0.63, 0.45, 0.345), 0.05), ((0.49, 0.33, 0.245), 0.0), ((0.37, 0.245, 0.185), 0.0), ((0.28, 0.185, 0.145), 0.0),
)  # fmt: skip
_DARK_HAIR = ((0.055, 0.045, 0.042), (0.09, 0.065, 0.052), (0.15, 0.10, 0.07))
_LIGHT_HAIR = ((0.25, 0.165, 0.105), (0.36, 0.25, 0.155), (0.55, 0.42, 0.27), (0.68, 0.55, 0.37), (0.45, 0.21, 0.11))
_GREY_HAIR = (0.52, 0.51, 0.50)
_DARK_EYES = ((0.19, 0.115, 0.07), (0.26, 0.165, 0.095), (0.34, 0.23, 0.13))
_LIGHT_EYES = ((0.36, 0.34, 0.21), (0.36, 0.44, 0.50), (0.44, 0.53, 0.60), (0.42, 0.46, 0.42))
_LIPSTICKS = ((0.62, 0.10, 0.14), (0.55, 0.16, 0.22), (0.70, 0.30, 0.32), (0.42, 0.10, 0.14), (0.74, 0.38, 0.36))
_SHADOWS = ((0.36, 0.24, 0.22), (0.24, 0.20, 0.24), (0.45, 0.30, 0.24), (0.30, 0.30, 0.38))


def random_look(rng: np.random.Generator) -> Look:
    """A person of any tone, age and habit. The same state of ``rng`` gives the same person."""
    place = rng.uniform(0, len(_SKINS) - 1)
    low = int(place)
    part, (a, light_a), (b, light_b) = place - low, _SKINS[low], _SKINS[min(low + 1, len(_SKINS) - 1)]
    skin = np.array(a) * (1 - part) + np.array(b) * part
    skin = skin * rng.normal(1, 0.012, 3) * rng.normal(1, 0.03)
    light = light_a * (1 - part) + light_b * part
    age = float(rng.beta(1.6, 2.2))
    hair = np.array(_pick(rng, _LIGHT_HAIR if rng.random() < light else _DARK_HAIR)) * rng.uniform(0.85, 1.15)
    grey = float(np.clip((age - 0.45) / 0.4, 0, 1) * rng.uniform(0, 1.2))
    hair = hair + min(grey, 1) * (np.array(_GREY_HAIR) - hair)
    eyes = np.array(_pick(rng, _LIGHT_EYES if rng.random() < 0.9 * light else _DARK_EYES)) * rng.uniform(0.85, 1.15)
    feminine = rng.random() < 0.5 and age > 0.08
    painted = bool(feminine and rng.random() < 0.6)
    grown = age > 0.12 and not feminine
    return Look(
        skin=_rgb(skin), hair=_rgb(hair), eyes=_rgb(eyes), lips=natural_lips(_rgb(skin), float(rng.uniform(0.7, 1.2))),
        blush=float(rng.uniform(0.2, 0.9)),
        stubble=float(rng.choice([0.05, 0.2, 0.4, 0.7, 0.95]) * rng.uniform(0.8, 1.05)) if grown else 0.0,
        freckles=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.3 * light else 0.0,
        seed=int(rng.integers(2**31)), age=age, moles=float(rng.uniform(0, 0.8)),
        lipstick=float(rng.uniform(0.4, 1.0)) if painted else 0.0, lipstick_colour=_pick(rng, _LIPSTICKS),
        eye_shadow=float(rng.uniform(0, 0.8)) if painted else 0.0, eye_shadow_colour=_pick(rng, _SHADOWS),
        liner=float(rng.uniform(0, 1)) if painted else 0.0,
        lashes=float(rng.uniform(0.5, 1.0) if feminine else rng.uniform(0.2, 0.6)),
        brow_thickness=float(rng.uniform(0.1, 0.55) if feminine else rng.uniform(0.35, 0.95)),
        brow_arch=float(rng.uniform(0.3, 1.0) if feminine else rng.uniform(0.1, 0.7)),
        brow_density=float(rng.uniform(0.45, 1.0)),
        scalp_hair=str(rng.choice(SCALP_HAIR, p=(0.8, 0.14, 0.06) if grown else (1.0, 0.0, 0.0))),
    )  # fmt: skip


def natural_lips(skin: RGB, redness: float = 1.0) -> RGB:
    """Lips without make-up for a tone of skin: redder and darker on light skin, towards brown on dark skin."""
    tone = np.array(skin)
    factor = 1 - redness * (1 - np.array((0.87, 0.67, 0.71)))
    lips = tone * factor + 0.05 * np.array((1.0, 0.35, 0.45)) * (1 - tone.mean())
    return _rgb(lips)


def _pick(rng: np.random.Generator, colours: tuple[RGB, ...]) -> RGB:
    return colours[int(rng.integers(len(colours)))]


def _rgb(colour: np.ndarray) -> RGB:
    red, green, blue = np.clip(colour, 0.01, 0.98).tolist()
    return red, green, blue
