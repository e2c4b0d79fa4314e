# SPDX-License-Identifier: Apache-2.0
"""People who do not exist: random identity, expression, looks, hair, clothes, place and light on any head model.

They are the licence-free training data of whatever must learn to see heads; the head's parameters are the truth.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.heads.human import CHILD
from blendsplat.heads.human.appearance import Look, random_look
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.render import Light, Props
from blendsplat.synthetic.attached import Attached, posed, together
from blendsplat.synthetic.backdrops import KINDS as BACKDROPS
from blendsplat.synthetic.backdrops import Backdrop, paint_backdrop
from blendsplat.synthetic.clothes import Outfit, clothes, surface_of
from blendsplat.synthetic.eyewear import KINDS as FRAMES
from blendsplat.synthetic.eyewear import Glasses, eyewear
from blendsplat.synthetic.hair import HairStyle, ears_under_hair, hair
from blendsplat.synthetic.surface import anatomy
from blendsplat.synthetic.textures import ring_colours, texture_of

IDENTITY_SPREAD = 0.85  # standard deviations of a head's identity coefficients
EXPRESSIONS_AT_ONCE = 7
CHILDREN = 0.12  # their share among people
ELDER = 0.68  # a look's age from which hair greys and goes

Rng = np.random.Generator
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Wardrobe:
    """What makes a person besides the head's parameters: looks, hair, clothes, glasses or none."""

    look: Look
    hair: HairStyle
    outfit: Outfit
    glasses: Glasses | None = None


@dataclass(frozen=True)
class Dressed:
    """A head of one identity with its wardrobe on: texture [H,W,3] sRGB, offsets [V,3] of ears under hair, and what is
    attached."""

    head: HeadModel
    texture: Tensor
    offsets: Tensor
    attached: Attached

    def pose(self, params: HeadParams) -> tuple[Tensor, Props]:
        """Vertices [V,3] to draw and the props, in the pose of ``params`` (B = 1)."""
        return self.head(params, self.offsets)[0], posed(self.attached, self.head, params)


@dataclass
class Person:
    """One random person in one pose: parameters (B = 1), texture [H,W,3] sRGB, vertices to draw [V,3] (posed), hair and
    clothes, the light, what stands behind (its mean colour [3] sRGB, and the place). ``dressed`` takes other poses."""

    params: HeadParams
    texture: Tensor
    drawn: Tensor
    props: Props | None
    light: Light
    backdrop: RGB
    place: Backdrop
    dressed: Dressed


def dress(head: HeadModel, shape: Tensor, wardrobe: Wardrobe, texture_size: int = 512) -> Dressed:
    """The head of identity ``shape`` [1,S] in its wardrobe. The same arguments give the same person."""
    body = anatomy(head, shape)
    rng = np.random.default_rng([wardrobe.look.seed, wardrobe.outfit.seed])
    texture = texture_of(head, wardrobe.look, wardrobe.hair, texture_size)
    parts: list[Attached] = []
    if "neck_ring" in head.regions:
        parts = clothes(body, wardrobe.outfit, ring_colours(head, texture))
    strands = hair(body, wardrobe.hair, rng, surface_of(parts) if parts else None)
    if strands is not None:
        parts.append(strands)
    if wardrobe.glasses is not None:
        parts.append(eyewear(body, wardrobe.glasses))
    offsets = torch.from_numpy(ears_under_hair(body, wardrobe.hair) - body.vertices)
    return Dressed(head, texture, offsets, together(parts) if parts else _nothing())


def random_person(head: HeadModel, rng: Rng, texture_size: int = 512) -> Person:
    """A person on ``head`` (whose identity must not be built in). The same rng state gives the same person."""
    params = random_params(head, rng)
    wardrobe = random_wardrobe(rng, childhood(head, params.shape))
    dressed = dress(head, params.shape, wardrobe, texture_size)
    drawn, props = dressed.pose(params)
    light, place = random_light(rng), random_backdrop(rng)
    mean = paint_backdrop(place, light, 32).mean((0, 1))
    return Person(params, dressed.texture, drawn, props, light, _tuple(mean), place, dressed)


def childhood(head: HeadModel, shape: Tensor) -> float:
    """How much of a child ``shape`` [1,S] is, 0..1 (heads without that direction: 0)."""
    if CHILD not in head.shape_names:
        return 0.0
    return float(shape[0, head.shape_names.index(CHILD)].clamp(0, 1))


def random_params(head: HeadModel, rng: Rng) -> HeadParams:
    """Identity, expression and jaw of one person, upright at the origin; the eyes turn a little.

    Where the head knows children, about one in eight is one.
    """
    params = head.neutral()
    shape = IDENTITY_SPREAD * rng.standard_normal((1, head.shape_count))
    if CHILD in head.shape_names:
        shape[0, head.shape_names.index(CHILD)] = rng.uniform(0.6, 1.1) if rng.random() < CHILDREN else 0.0
    params.shape = torch.as_tensor(shape, dtype=torch.float32)
    params.expression = torch.as_tensor(_expression(head, rng)[None], dtype=torch.float32)
    if float(head.skin_weights[:, 2].sum()) > 0:
        params.jaw_pose[0, 0] = max(0.0, rng.normal(0.03, 0.09))
        params.jaw_pose[0, 1] = rng.normal(0, 0.015)
    params.eyes_pose = torch.as_tensor(rng.normal(0, [0.06, 0.14, 0.0], (1, 1, 3)), dtype=torch.float32).repeat(1, 2, 1)
    return params


# What faces do as a whole, by ARKit's names; a pair of sides is named once.
_MOODS: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.8, "cheekSquint": 0.5, "eyeSquint": 0.3},
    {"mouthSmile": 0.45, "mouthUpperUp": 0.3, "mouthLowerDown": 0.3, "cheekSquint": 0.4},
    {"browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.5},
    {"browDown": 0.7, "mouthPress": 0.4, "eyeSquint": 0.4},
    {"mouthFrown": 0.6, "browInnerUp": 0.4, "mouthShrugLower": 0.4},
    {"eyeBlink": 1.0},
    {"mouthFunnel": 0.6},
    {"mouthPucker": 0.7},
)


def _expression(head: HeadModel, rng: Rng) -> np.ndarray:
    """Blendshapes: a mood or none and a few at once, most of them on both sides alike. Linear bases: a normal with
    fading deviations."""
    low, high = head.expression_range
    if low < 0:
        fade = 1 / (1 + np.arange(head.expression_count) / 10)
        return np.clip(rng.standard_normal(head.expression_count) * fade * rng.uniform(0, 1.2), low, high)
    weights = np.zeros(head.expression_count)
    at = {name: index for index, name in enumerate(head.expression_names)}
    if rng.random() < 0.55:
        strength = rng.uniform(0.4, 1.2)
        for name, amount in _MOODS[rng.integers(len(_MOODS))].items():
            for full in (name, f"{name}Left", f"{name}Right"):
                if full in at:
                    weights[at[full]] = amount * strength * rng.uniform(0.85, 1.0)
    for index in rng.integers(head.expression_count, size=rng.integers(EXPRESSIONS_AT_ONCE + 1)):
        amount = high * rng.beta(1.2, 1.8)
        weights[index] = amount
        other = _other_side(head.expression_names[index])
        if other in at and rng.random() < 0.75:
            weights[at[other]] = amount * rng.uniform(0.8, 1.0)
    return weights.clip(low, high)


def _other_side(name: str) -> str:
    for here, there in (("Left", "Right"), ("_L", "_R")):
        if here in name:
            return name.replace(here, there)
        if there in name:
            return name.replace(there, here)
    return name


def random_wardrobe(rng: Rng, child: float = 0.0) -> Wardrobe:
    """Looks, hair and clothes that go together. child: 0..1, as the head's identity has it."""
    look = random_look(rng)
    if child > 0.3:
        look = replace(
            look, age=float(rng.uniform(0.0, 0.06)), stubble=0.0, lipstick=0.0, eye_shadow=0.0, liner=0.0,
            brow_density=0.7 * look.brow_density, hair=_tuple(np.clip(np.array(look.hair) * 1.1, 0, 1)),
        )  # fmt: skip
    return Wardrobe(look, _random_hair(look, child, rng), _random_outfit(child, rng), _random_glasses(child, rng))


# kind: how often among women and girls, among men and boys, and among old men
_HABITS: dict[str, tuple[float, float, float]] = {
    "bald": (0.0, 0.05, 0.14), "shaved": (0.01, 0.13, 0.08), "crop": (0.05, 0.34, 0.20), "receding": (0.0, 0.05, 0.34),
    "parting": (0.05, 0.19, 0.14), "swept_back": (0.06, 0.10, 0.08), "fringe": (0.11, 0.01, 0.0),
    "bob": (0.19, 0.01, 0.0), "long": (0.26, 0.03, 0.01), "bun": (0.10, 0.01, 0.0), "ponytail": (0.10, 0.02, 0.01),
    "curls": (0.05, 0.04, 0.0), "afro": (0.02, 0.02, 0.0),
}  # fmt: skip


def _random_hair(look: Look, child: float, rng: Rng) -> HairStyle:
    feminine = look.lashes > 0.5 if child <= 0.3 else rng.random() < 0.5
    old = look.age > ELDER
    chances = np.array([row[0 if feminine else 2 if old else 1] for row in _HABITS.values()])
    if child > 0.3:
        chances = chances * np.array([kind not in ("bald", "receding") for kind in _HABITS])
    if float(np.mean(look.skin)) < 0.42:  # tight curls are commoner
        chances = chances * np.array([4.0 if kind in ("afro", "curls") else 1.0 for kind in _HABITS])
    kind = str(rng.choice(list(_HABITS), p=chances / chances.sum()))
    grey = float(np.clip((look.age - 0.5) / 0.4, 0, 1)) * rng.random()
    return HairStyle(
        kind, look.hair, float(rng.uniform(0.75, 1.25)), grey,
        float(rng.uniform(2, 16) if look.age > 0.4 and not feminine else rng.uniform(-1, 5)),
        float(rng.choice([-1.0, 1.0])), float(rng.uniform(0.75, 1.1) if not old else rng.uniform(0.6, 0.9)),
    )  # fmt: skip


def _random_outfit(child: float, rng: Rng) -> Outfit:
    kind = str(rng.choice(["t_shirt", "v_neck", "shirt", "turtleneck", "hoodie"], p=[0.36, 0.14, 0.24, 0.10, 0.16]))
    bright = rng.beta(1.3, 1.6)
    colour = colorsys.hsv_to_rgb(rng.random(), rng.beta(1.2, 2.8), 0.06 + 0.86 * bright)
    second = colorsys.hsv_to_rgb(rng.random(), rng.beta(1.0, 3.0), 0.9 - 0.8 * bright)
    stripes = float(rng.uniform(0.028, 0.07)) if kind in ("t_shirt", "v_neck") and rng.random() < 0.2 else 0.0
    shoulders = rng.uniform(0.185, 0.23) * (1 - 0.24 * child)
    return Outfit(
        kind, colour, second, float(shoulders), stripes, float(rng.uniform(0.4, 1.5)), int(rng.integers(1 << 31))
    )


def _random_glasses(child: float, rng: Rng) -> Glasses | None:
    wears, kind, metal = rng.random() < (0.08 if child > 0.3 else 0.22), str(rng.choice(FRAMES)), rng.random() < 0.4
    colour = (0.55, 0.53, 0.50) if metal else _tuple(rng.uniform(0.03, 0.25) * np.array([1.0, 0.8, 0.7]))
    glasses = Glasses(kind, colour, float(rng.uniform(0.6, 0.8) if metal else rng.uniform(0.9, 1.6)))
    return glasses if wears else None


def random_backdrop(rng: Rng) -> Backdrop:
    """A place of any kind, more or less out of focus."""
    return Backdrop(str(rng.choice(BACKDROPS)), int(rng.integers(1 << 31)), float(rng.uniform(0.0, 0.7)))


def random_light(rng: Rng) -> Light:
    """A key light from the front half of the sky, with a fill and a sky of related colours."""
    warmth = rng.normal(0, 0.08)
    tint = np.array([1 + warmth, 1, 1 - warmth])
    level = rng.uniform(0.75, 1.2)
    key = rng.uniform(0.5, 1.3)
    side = rng.normal(0, 0.7)
    return Light(
        direction=(side, rng.uniform(0.0, 1.0), rng.uniform(0.4, 1.0)),
        key=_tuple(1.65 * level * key * tint),
        fill_direction=(-side, rng.uniform(-0.2, 0.5), 0.6),
        fill=_tuple(level * rng.uniform(0.1, 0.5) / tint),
        sky=_tuple(level * rng.uniform(0.4, 0.9) / tint),
        ground=_tuple(level * rng.uniform(0.2, 0.5) * tint),
        softness=rng.uniform(0.12, 0.4),
    )


def _nothing() -> Attached:
    none = torch.zeros(0, 3)
    return Attached(Props(none, torch.zeros(0, 3, dtype=torch.int64), none), torch.zeros(0), none)


def _tuple(values: np.ndarray) -> RGB:
    return float(values[0]), float(values[1]), float(values[2])
