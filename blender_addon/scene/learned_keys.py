# SPDX-License-Identifier: GPL-3.0-or-later
"""The learned blendshapes among a carrier's shape keys: found whatever an artist calls them, read and set as weights.

Shape keys have no custom properties, and names, order, relative key and vertex group are the artist's. So a key's id
lies in its own vertices: two coordinates of the carrier that no node reads (``free`` in carrier_mesh). Blender itself
keeps it through renaming, reordering, deleting others, duplicating, appending, linking, undo and saving. The second
coordinate is the square of the first: a mix of several keys ("New Shape from Mix") has sums there, and is no learned
key.

Blender ends a shape key's value at 10. A key whose weights go farther holds its deltas times a scale (a power of two,
in the mesh's custom properties), and its value is the weight divided by it.
"""

from __future__ import annotations

import json

import bpy
import numpy as np

from ..formats import AvatarFile
from . import carrier_mesh, keyframes, linked
from .hold_back import HEADROOM, SeenWeights

LIMIT = 10.0  # Blender's own end of a shape key's slider
_UNIT = 1 / 1024  # ids and their squares are exact in float32 up to 4096 keys
_SAME = 1e-5  # values this near are one
_SCALES, _NAMES = "blendsplat_scales", "blendsplat_key_names"


def default_name(index: int) -> str:
    """What a learned key is called before an artist does."""
    return f"Blendshape {index + 1:02d}"


def made_name(mesh: bpy.types.Mesh, index: int) -> str:
    """What the learned key was called when it was made, or last named by what it does."""
    try:
        return str(json.loads(mesh.get(_NAMES, "[]"))[index])
    except (ValueError, IndexError, TypeError):
        return default_name(index)


def keep_names(mesh: bpy.types.Mesh, avatar: AvatarFile) -> list[str]:
    """The names of all learned keys, by what they do where the avatar's file tells that, kept on the mesh."""
    places = avatar.places
    names = [
        effect_name(index, *places[index]) if places else default_name(index) for index in range(avatar.blendshapes)
    ]
    set_made_names(mesh, names)
    return names


def set_made_names(mesh: bpy.types.Mesh, names: list[str]) -> None:
    """Keep what the learned keys are called by themselves, in the network's order."""
    mesh[_NAMES] = json.dumps(names)


def effect_name(index: int, place: str, share: float) -> str:
    """A learned key's name by where it acts and by its share of all that the learned keys do."""
    return f"GB {index + 1:02d} {place}, {100 * share:.0f} %"[:60]


def by_effect(avatar: AvatarFile) -> list[int]:
    """The learned keys' places in the network's order, the one that does most first where the file tells."""
    places = avatar.places
    return sorted(range(avatar.blendshapes), key=lambda index: -places[index][1] if places else index)


def slider_ends(avatar: AvatarFile, index: int, scale: float) -> tuple[float, float]:
    """A learned key's slider: as far as training went, and what holds an avatar back lets it go, 0 included; where the
    file does not say, Blender's own ends."""
    seen = avatar.arrays.get("weight_range")
    if seen is None:
        return -LIMIT, LIMIT
    low, high = (float(end[index]) for end in seen)
    room = HEADROOM * max(high - low, 1e-3)
    return max(-LIMIT, min(0.0, low - room) / scale), min(LIMIT, max(0.0, high + room) / scale)


def seen_ends(carrier: bpy.types.Object, index: int) -> tuple[float, float] | None:
    """The least and the greatest value that the key had in the clip; None where the avatar does not know."""
    packed = carrier.data.get("blendsplat_data")
    seen = SeenWeights.unpack(packed) if packed else None
    if seen is None or index >= len(seen.mean):
        return None
    scale = scale_of(carrier.data, index)
    return float(seen.range[0, index]) / scale, float(seen.range[1, index]) / scale


def mark(mesh: bpy.types.Mesh, key: bpy.types.ShapeKey, index: int) -> None:
    """Make the carrier's key the learned key ``index``."""
    code = (index + 1) * _UNIT
    for (vertex, axis), value in zip(_places(mesh), (code, code * code), strict=False):
        key.data[vertex].co[axis] = value


def found(carrier: bpy.types.Object) -> dict[int, bpy.types.ShapeKey]:
    """The learned keys that are there, by their place in the network's order.

    Of copies of one key, the one that is still called as it was made, else the first, is meant. Files from before keys
    had ids are read by names.
    """
    keys = carrier.data.shape_keys
    blocks = keys.key_blocks if keys is not None else ()
    marked: dict[int, bpy.types.ShapeKey] = {}
    for key in blocks:
        index = _index_of(carrier.data, key)
        if index is not None and (index not in marked or key.name == made_name(carrier.data, index)):
            marked[index] = key
    if not marked:
        names = {default_name(index): index for index in range(len(blocks))}
        marked = {names[key.name]: key for key in blocks if key.name in names}
    return dict(sorted(marked.items()))


def scale_of(mesh: bpy.types.Mesh, index: int) -> float:
    """What a value of 1 of the learned key means as a weight."""
    return float(mesh.get(_SCALES, {}).get(str(index), 1.0))


def set_scale(mesh: bpy.types.Mesh, index: int, scale: float) -> None:
    """Say what a value of 1 of the learned key means."""
    if _SCALES not in mesh:
        mesh[_SCALES] = {}
    mesh[_SCALES][str(index)] = float(scale)


def fitting_scale(reach: float, least: float = 1.0) -> float:
    """The scale that brings weights up to ``reach`` within Blender's limit: ``least``, doubled as often as needed."""
    return least * 2.0 ** max(0, int(np.ceil(np.log2(max(reach, 1e-9) / (LIMIT * least)))))


def make_room(carrier: bpy.types.Object, weights: np.ndarray) -> list[str]:
    """Let every learned key hold its weights [F,K], which Blender would otherwise cut without a word -> sentences on
    those that cannot: keys whose value a driver of the artist's sets."""
    sentences = []
    for index, key in found(carrier).items():
        low, high = float(weights[:, index].min()), float(weights[:, index].max())
        scale = scale_of(carrier.data, index)
        if (fixed := linked.too_narrow(carrier.data, key, low / scale, high / scale)) is not None:
            sentences += [fixed] if fixed else []
            continue
        wanted = fitting_scale(max(-low, high), scale)
        if wanted > scale and _driven(carrier, key):
            sentences.append(f"{key.name} reaches {max(-low, high):.1f}; its driver ends it at {LIMIT * scale:g}.")
            continue
        if wanted > scale:
            _rescale(carrier, index, key, wanted / scale)
            set_scale(carrier.data, index, wanted)
        key.slider_min = min(key.slider_min, low / wanted)
        key.slider_max = max(key.slider_max, high / wanted)
    return sentences


def curves(carrier: bpy.types.Object, frames: np.ndarray, weights: np.ndarray) -> list[keyframes.Curve]:
    """The learned keys' values that make the weights [F,K] at ``frames`` [F]."""
    return [
        keyframes.Curve(value_path(key), 0, frames, weights[:, index] / scale_of(carrier.data, index))
        for index, key in found(carrier).items()
    ]


def take(carrier: bpy.types.Object, weights: np.ndarray) -> bool:
    """Set the learned keys to the weights [K] -> True when a value changed."""
    keys, changed = found(carrier), False
    values = {index: float(weights[index]) / scale_of(carrier.data, index) for index in keys}
    if any(not keys[i].slider_min - _SAME <= value <= keys[i].slider_max + _SAME for i, value in values.items()):
        make_room(carrier, weights[None])
    for index, key in keys.items():
        value = float(weights[index]) / scale_of(carrier.data, index)
        if abs(key.value - value) > _SAME:
            key.value = value
            changed = True
    return changed


def value_path(key: bpy.types.ShapeKey) -> str:
    """Where the key's value lies, seen from its Key."""
    return f'key_blocks["{bpy.utils.escape_identifier(key.name)}"].value'


def _places(mesh: bpy.types.Mesh) -> tuple[tuple[int, int], ...]:
    """The coordinates (vertex, axis) that hold a key's id and its square; () where there is no room for them."""
    return carrier_mesh.layout_of(mesh).free(len(mesh.vertices))


def _index_of(mesh: bpy.types.Mesh, key: bpy.types.ShapeKey) -> int | None:
    values = [key.data[vertex].co[axis] for vertex, axis in _places(mesh)]
    if not values:
        return None
    code, square = values
    index = round(code / _UNIT) - 1
    return index if index >= 0 and code == (index + 1) * _UNIT and square == code * code else None


def _driven(carrier: bpy.types.Object, key: bpy.types.ShapeKey) -> bool:
    data = carrier.data.shape_keys.animation_data
    return data is not None and any(driver.data_path == value_path(key) for driver in data.drivers)


def _rescale(carrier: bpy.types.Object, index: int, key: bpy.types.ShapeKey, factor: float) -> None:
    """Deltas times ``factor``, value and keyframes divided by it: it looks the same and reaches farther."""
    base, own = (np.empty(3 * len(key.data), np.float32) for _ in range(2))
    key.relative_key.data.foreach_get("co", base)
    key.data.foreach_get("co", own)
    key.data.foreach_set("co", base + np.float32(factor) * (own - base))
    mark(carrier.data, key, index)
    keyframes.scale(carrier.data.shape_keys, value_path(key), 1 / factor)
    key.value /= factor
