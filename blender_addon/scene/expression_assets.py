# SPDX-License-Identifier: GPL-3.0-or-later
"""Faces as assets: an action of one frame that holds sliders and turns under the names that any head's curves have.

So a face of one file is found in the Asset Browser of another, and goes onto every head that has sliders of its names.
Blender's own pose library reads the bones of such an action and leaves the sliders; the operators here read both.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import bpy
import numpy as np
from mathutils import Euler, Quaternion

from . import keyframes
from .face_pose import TURNED, FacePose, PoseError, Turn
from .head_drivers import key_path

TAG = "blendsplat face"
_FACE = "blendsplat_face"  # on an action that is a face of ours: whose, and which
_CATALOGS = "blender_assets.cats.txt"
_NEW_CATALOGS = "# Blender's list of asset catalogs.\n\nVERSION 1\n\n"
_NAMESPACE = uuid.UUID("6f6b1c56-3d53-4a27-9d0a-1f0c2b7f6c11")
_SLIDER = re.compile(r'^key_blocks\["((?:[^"\\]|\\.)*)"\]\.value$')
_BONE = re.compile(r'^pose\.bones\["([^"\\]+)"\]\.(rotation_euler|rotation_quaternion)$')


def make(name: str, pose: FacePose, owner: str, expression: str = "") -> bpy.types.Action:
    """A new asset of a pose. owner: the head's or avatar's name; expression: which of those that ship it is."""
    now = np.zeros(1)
    sliders = [keyframes.Curve(key_path(slider), 0, now, np.array([value])) for slider, value in pose.sliders.items()]
    bones = []
    for bone, turn in pose.turns.items():
        angles = _rotation(turn).to_euler("XYZ")
        bones += [
            keyframes.Curve(f'pose.bones["{bone}"].rotation_euler', axis, now, np.array([angles[axis]]), bone)
            for axis in range(3)
        ]
    action = keyframes.action_of(name, [("KEY", "Sliders", sliders), ("OBJECT", "Bones", bones)])
    action[_FACE] = {"owner": owner, "expression": expression}
    action.asset_mark()
    action.asset_data.description = f"A face for heads with the sliders of {owner}"
    action.asset_data.tags.new(TAG, skip_if_exists=True)
    return action


def read(action: bpy.types.Action) -> FacePose:
    """The pose that an action's curves hold at its first frame. Raises PoseError for an action without a face."""
    sliders: dict[str, float] = {}
    angles: dict[tuple[str, str], dict[int, float]] = {}
    first = float(action.frame_range[0])
    for curve in keyframes.curves_in(action):
        if found := _SLIDER.match(curve.data_path):
            sliders[bpy.utils.unescape_identifier(found.group(1))] = float(curve.evaluate(first))
        elif (found := _BONE.match(curve.data_path)) and found.group(1) in TURNED:
            angles.setdefault((found.group(1), found.group(2)), {})[curve.array_index] = float(curve.evaluate(first))
    turns = {bone: _turn(channel, numbers) for (bone, channel), numbers in angles.items()}
    if not sliders and not turns:
        raise PoseError(f"{action.name} holds no face: neither sliders (shape keys) nor the bones of jaw and eyes.")
    return FacePose(sliders, turns)


def _rotation(turn: Turn) -> Quaternion:
    return Quaternion(np.array(turn) / max(np.linalg.norm(turn), 1e-12), float(np.linalg.norm(turn)))


def _turn(channel: str, numbers: dict[int, float]) -> Turn:
    if channel == "rotation_euler":
        rotation = Euler([numbers.get(axis, 0.0) for axis in range(3)], "XYZ").to_quaternion()
    else:
        rotation = Quaternion([numbers.get(axis, float(axis == 0)) for axis in range(4)])
        if rotation.magnitude < 1e-9:
            rotation = Quaternion()
    x, y, z = rotation.normalized().to_exponential_map()
    return x, y, z


def of_this_file() -> list[bpy.types.Action]:
    """The faces of this file, by their names; those of linked files as well."""
    return sorted((one for one in bpy.data.actions if one.get(_FACE)), key=lambda action: action.name.lower())


def saved(owner: str) -> list[bpy.types.Action]:
    """The faces that were saved of this head or avatar, without those that ship."""
    return [one for one in of_this_file() if one[_FACE].get("owner") == owner and not one[_FACE].get("expression")]


def shipped_one(owner: str, expression: str) -> bpy.types.Action | None:
    """The asset of one of the expressions that ship, where this file has it for this avatar."""
    for one in of_this_file():
        told = one[_FACE]
        if one.library is None and told.get("owner") == owner and told.get("expression") == expression:
            return one
    return None


def owners_here() -> list[str]:
    """Whose faces are in a catalog of theirs in this file."""
    local = [one for one in of_this_file() if one.library is None and one.asset_data is not None]
    owners = [(str(one[_FACE].get("owner", "")), one.asset_data.catalog_id) for one in local]
    return sorted({owner for owner, catalog in owners if catalog == catalog_of(owner)})


def set_picture(action: bpy.types.Action, image: np.ndarray) -> None:
    """Give the asset a thumbnail [H,W,4], 0 to 1, premultiplied alpha, first row at the top."""
    preview = action.preview_ensure()
    preview.image_size = image.shape[1], image.shape[0]
    preview.image_pixels_float = np.ascontiguousarray(image[::-1], np.float32).ravel()


# --- catalogs


def catalog_of(owner: str) -> str:
    """The id of the catalog of an avatar's faces: the same in every file."""
    return str(uuid.uuid5(_NAMESPACE, owner))


def catalog_folder(blend: str, libraries: Iterable[str]) -> Path | None:
    """Where Blender looks for the catalogs of a file: in the asset library that it lies in, else beside it; None for a
    file that was never saved."""
    if not blend:
        return None
    path = Path(blend).resolve()
    for folder in libraries:
        if folder and path.is_relative_to(Path(folder).resolve()):
            return Path(folder).resolve()
    return path.parent


def write_catalog(folder: Path, owner: str) -> bool:
    """Enter an avatar's catalog into the folder's list, which else stays as it is, letter for letter -> whether it was
    new. Raises OSError."""
    file, known = folder / _CATALOGS, catalog_of(owner)
    text = file.read_text(encoding="utf-8") if file.exists() else _NEW_CATALOGS
    if any(line.startswith(f"{known}:") for line in text.splitlines()):
        return False
    shown = owner.replace(":", "-").replace("/", "-").replace("\\", "-").strip() or "Avatar"
    line = f"{known}:Expressions/{shown}:Expressions-{shown}\n"
    _replace(file, text + ("" if text.endswith("\n") else "\n") + line)
    return True


def _replace(file: Path, text: str) -> None:
    """Write the file whole or not at all."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def put_into_catalog(actions: Iterable[bpy.types.Action], owner: str) -> None:
    """Sort assets into the avatar's catalog, unless an artist has sorted them already."""
    empty = str(uuid.UUID(int=0))
    for action in _assets(actions):
        if action.asset_data.catalog_id == empty:
            action.asset_data.catalog_id = catalog_of(owner)


def _assets(actions: Iterable[bpy.types.Action]) -> Iterator[bpy.types.Action]:
    yield from (action for action in actions if action.asset_data is not None)
