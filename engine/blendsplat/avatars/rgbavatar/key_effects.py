# SPDX-License-Identifier: Apache-2.0
"""What each learned blendshape of an avatar does, in words and figures: where on the head, and how much of all that
moves. Works for every avatar with blendshapes, of earlier versions too.

Blendshapes that nobody made perpendicular all move a little of everything, and most where a face is largest, at its
cheeks. So a key is called by the part where it does more than keys usually do; one that nowhere does, by the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.heads.face_places import PLACES, face_places
from blendsplat.splatting.bind import SH_DC

MOVED, COLORED = 1e-3, 0.05  # metres, and a step of rgb: what counts as much as each other
_MORE = 1.08  # times what keys usually do there: less is nothing of a key's own
_SMALL = 0.01  # of all that keys do: a part that has less names no key
WHOLE = "whole face"
_ONE_SIDE = 0.8  # of what a key does, from which on it is that side's
_TWO_SIDED = ("mouth", "chin", "nose", "forehead", "hair", "neck")  # in the middle: their halves have no name


@dataclass(frozen=True)
class KeyEffect:
    """Learned key ``index`` (from 0): where it acts, its share of all keys' variance, and of its weight in training the
    mean, standard deviation, least and greatest (a deviation of 1 about 0 and no ends where the file does not know)."""

    index: int
    place: str
    share: float
    mean: float
    deviation: float
    low: float | None
    high: float | None

    @property
    def name(self) -> str:
        """As Blender's key is called."""
        return f"GB {self.index + 1:02d} {self.place}, {100 * self.share:.0f} %"


def places_and_shares(avatar: RGBAvatar) -> tuple[tuple[str, float], ...]:
    """(place, share) of every key, as the avatar's header keeps them."""
    return tuple((effect.place, round(effect.share, 4)) for effect in key_effects(avatar))


@torch.no_grad()
def key_effects(avatar: RGBAvatar) -> list[KeyEffect]:
    """Of all K blendshapes, in the network's order."""
    count, seen = avatar.blendshape_count, avatar.seen_weights
    if not count:
        return []
    deviations = seen.deviations().double().cpu() if seen is not None else torch.ones(count, dtype=torch.float64)
    energy = _energy(avatar, deviations)  # [K,N]
    total = float(energy.sum())
    shares = energy.sum(1).numpy() / total if total > 0 else np.full(count, 1 / count)
    corners = avatar.corners.cpu().numpy()
    nearest = corners[np.arange(len(corners)), avatar.barycentrics.cpu().numpy().argmax(1)]
    place = face_places(avatar.head)[nearest]
    left = avatar.head.template.detach().cpu().numpy()[nearest, 0] > 0
    told = _places(energy.numpy(), place, left)
    mean = seen.mean.cpu().double() if seen is not None else torch.zeros(count, dtype=torch.float64)
    ends = [(None, None)] * count if seen is None else [tuple(pair) for pair in seen.range.T.cpu().double().tolist()]
    return [
        KeyEffect(index, told[index], float(shares[index]), float(mean[index]), float(deviations[index]), *ends[index])
        for index in range(count)
    ]


def _energy(avatar: RGBAvatar, deviations: Tensor) -> Tensor:
    """[K,N] float64: how much each key does to each Gaussian at one deviation, squared, as far as it is opaque."""
    opaque = avatar.opacity_logits.detach().cpu().double().sigmoid()
    rows = []
    for moved, colored, deviation in zip(avatar.delta_positions, avatar.delta_colors, deviations, strict=True):
        metres, rgb = moved.detach().cpu().double(), SH_DC * colored.detach().cpu().double()
        both = (metres / MOVED).square().sum(1) + (rgb / COLORED).square().sum(1)
        rows.append(opaque * deviation.square() * both)
    return torch.stack(rows)


def _places(energy: np.ndarray, place: np.ndarray, left: np.ndarray) -> list[str]:
    """In words where each key [K,N] acts more than keys usually do."""
    inside = np.stack([energy[:, place == part].sum(1) for part in range(len(PLACES))], 1)
    part = inside / np.maximum(inside.sum(1, keepdims=True), 1e-30)
    usual = part.mean(0)
    lift = np.where(usual > _SMALL, part / np.maximum(usual, 1e-30), 0)
    words = []
    for key, best in enumerate(lift.argmax(1)):
        if len(energy) > 1 and lift[key, best] < _MORE:
            words.append(WHOLE)
            continue
        here = energy[key] * (place == best)
        on_left = here[left].sum() / max(here.sum(), 1e-30)
        sided = PLACES[best] not in _TWO_SIDED and max(on_left, 1 - on_left) >= _ONE_SIDE
        words.append(f"{PLACES[best]}{(' left' if on_left > 0.5 else ' right') if sided else ''}")
    return words
