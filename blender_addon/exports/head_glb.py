# SPDX-License-Identifier: GPL-3.0-or-later
"""A head with its animation as a GLB, by Blender's own glTF exporter.

glTF knows no drivers and no constraints. So what they come to is read frame by frame and keyed on copies of head and
bones that have none, in a scene of their own; only those copies are exported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

from ..scene import head_rig, keyframes
from ..scene.head_drivers import BONES, key_path
from . import ExportError
from .whole_files import whole

_NAME = ".Blendsplat exports a head"
_FAINT = 1e-3  # of a bone's weight
_CHANNELS = {"location": 3, "rotation_quaternion": 4, "scale": 3}


def problem(head: bpy.types.Object) -> str:
    """Why the head cannot be exported, or ""."""
    rig = head.blendsplat.rig
    if head.data.shape_keys is None:
        return f"{head.name} has no sliders."
    if rig is None or any(bone not in rig.pose.bones for bone in BONES):
        return f"{head.name} has lost its bones: press Repair Avatar in the panel 4 Avatar."
    return ""


class Reading:
    """What a head does in successive frames: every slider's value and every bone's local place, with what drivers and
    constraints make of them. A muted slider is at 0."""

    def __init__(self, head: bpy.types.Object) -> None:
        self._head = head
        self.keys = [key.name for key in head.data.shape_keys.key_blocks[1:]]
        self.values: list[list[float]] = []  # [F][K]
        self.bones: list[dict[str, np.ndarray]] = []  # [F]{bone: location 3, quaternion 4 wxyz, scale 3}
        self.places: list[np.ndarray] = []  # [F] matrix_world of the bones' object [4,4]

    def take(self, depsgraph: bpy.types.Depsgraph) -> None:
        """Read the frame that the depsgraph is in."""
        head, rig = self._head, self._head.blendsplat.rig.evaluated_get(depsgraph)
        blocks = head.data.shape_keys.evaluated_get(depsgraph).key_blocks
        self.values.append([0.0 if blocks[name].mute else blocks[name].value for name in self.keys])
        found = {}
        for name in BONES:
            bone = rig.pose.bones[name]
            local = rig.convert_space(pose_bone=bone, matrix=bone.matrix, from_space="POSE", to_space="LOCAL")
            place, quat, scale = local.decompose()
            found[name] = np.array([*place, *quat, *scale])
        self.bones.append(found)
        self.places.append(np.array(rig.matrix_world))

    def __len__(self) -> int:
        return len(self.values)


def write(context: bpy.types.Context, head: bpy.types.Object, reading: Reading, start: int, path: Path) -> int:
    """Write the frames that were read, the first of them at ``start`` -> the morph targets. Raises ExportError,
    OSError."""
    _enable_exporter()
    frames = np.arange(start, start + len(reading), dtype=float)
    with _stage(context, head, reading, frames) as scene, whole(path) as temporary:
        layer = scene.view_layers[0]
        with context.temp_override(scene=scene, view_layer=layer, selected_objects=[], active_object=None):
            try:
                bpy.ops.export_scene.gltf(
                    filepath=str(temporary), export_format="GLB", use_active_scene=True, export_animations=True,
                    export_animation_mode="SCENE", export_anim_scene_split_object=False, export_force_sampling=True,
                    export_anim_slide_to_zero=True, export_all_influences=_many_bones(head),
                    export_def_bones=True, export_morph=True, export_morph_animation=True, export_morph_normal=False,
                    export_optimize_animation_size=False, export_apply=False, export_yup=True,
                )  # fmt: skip
            except RuntimeError as error:  # whatever the exporter says
                raise ExportError(f"Blender's glTF exporter failed: {str(error).strip()[-300:]}") from error
        if not temporary.is_file():
            raise ExportError("Blender's glTF exporter wrote no file: its words are in Blender's console.")
    return len(reading.keys)


def _many_bones(head: bpy.types.Object) -> bool:
    """Whether leaving out all but the four strongest bones of a vertex, which is all that some programs read, shows."""
    for vertex in head.data.vertices:
        weights = sorted((group.weight for group in vertex.groups), reverse=True)
        if len(weights) > 4 and weights[4] > _FAINT:
            return True
    return False


def _enable_exporter() -> None:
    """Raises ExportError."""
    import addon_utils

    if not addon_utils.check("io_scene_gltf2")[1] and addon_utils.enable("io_scene_gltf2") is None:
        raise ExportError('This Blender lacks its add-on "glTF 2.0 format", which writes GLB files.')


@contextlib.contextmanager
def _stage(
    context: bpy.types.Context, head: bpy.types.Object, reading: Reading, frames: np.ndarray
) -> Iterator[bpy.types.Scene]:
    """A scene with copies of head and bones that are keyed and not driven; all of it is gone afterwards."""
    scene = bpy.data.scenes.new(_NAME)
    made: list[bpy.types.ID] = []
    names = (head.name, head.blendsplat.rig.name)
    try:
        render = context.scene.render
        scene.render.fps, scene.render.fps_base = render.fps, render.fps_base
        scene.frame_start, scene.frame_end = int(frames[0]), int(frames[-1])
        rig = _copy_of_bones(head.blendsplat.rig, reading, frames, made)
        copy = _copy_of_head(head, rig, reading, frames, made)
        for item in (rig, copy):
            scene.collection.objects.link(item)
        with _called(((head, copy), (head.blendsplat.rig, rig))):
            scene.frame_set(int(frames[0]))
            yield scene
    finally:
        bpy.data.scenes.remove(scene)
        for item in reversed(made):
            bpy.data.batch_remove([item])
        head.name, head.blendsplat.rig.name = names
    context.view_layer.update()


@contextlib.contextmanager
def _called(pairs: tuple[tuple[bpy.types.Object, bpy.types.Object], ...]) -> Iterator[None]:
    """Let copies bear the originals' names, which stand in the file, for as long as the block runs."""
    names = [original.name for original, _ in pairs]
    for (original, copy), name in zip(pairs, names, strict=True):
        original.name, copy.name = f"{_NAME} {name}"[:60], name
    try:
        yield
    finally:
        for (original, copy), name in zip(pairs, names, strict=True):
            copy.name = f"{_NAME} copy"
            original.name = name


def _copy_of_bones(
    rig: bpy.types.Object, reading: Reading, frames: np.ndarray, made: list[bpy.types.ID]
) -> bpy.types.Object:
    copy = rig.copy()
    made.append(copy)
    copy.animation_data_clear()
    copy.parent = None
    for bone in copy.pose.bones:
        for constraint in list(bone.constraints):
            bone.constraints.remove(constraint)
        bone.rotation_mode = "QUATERNION"
    for constraint in list(copy.constraints):
        copy.constraints.remove(constraint)
    curves = []
    for name in BONES:
        values = np.stack([frame[name] for frame in reading.bones])
        values[:, 3:7] = _without_flips(values[:, 3:7])
        columns = iter(range(10))
        for channel, width in _CHANNELS.items():
            for axis in range(width):
                path = f'pose.bones["{name}"].{channel}'
                curves.append(keyframes.Curve(path, axis, frames, values[:, next(columns)], name))
    curves += _curves_of_place(copy, np.stack(reading.places), frames)
    made.append(keyframes.write(copy, curves, "Animation"))
    return copy


def _curves_of_place(rig: bpy.types.Object, places: np.ndarray, frames: np.ndarray) -> list[keyframes.Curve]:
    """Where the whole head goes in the world; a still one is put there and gets no curves."""
    from mathutils import Matrix

    rig.rotation_mode = "QUATERNION"
    rig.matrix_world = Matrix(places[0].tolist())
    if np.ptp(places, axis=0).max() < 1e-7:
        return []
    decomposed = [Matrix(place.tolist()).decompose() for place in places]
    parts = np.array([[*place, *quat, *scale] for place, quat, scale in decomposed])
    parts[:, 3:7] = _without_flips(parts[:, 3:7])
    columns = iter(range(10))
    return [
        keyframes.Curve(channel, axis, frames, parts[:, next(columns)])
        for channel, width in _CHANNELS.items()
        for axis in range(width)
    ]


def _without_flips(quats: np.ndarray) -> np.ndarray:
    """Quaternions [F,4] of successive frames, each the nearer one to that before: q and -q are one turn."""
    signs = np.where((quats[1:] * quats[:-1]).sum(1) < 0, -1.0, 1.0)
    return quats * np.concatenate([[1.0], np.cumprod(signs)])[:, None]


def _copy_of_head(
    head: bpy.types.Object, rig: bpy.types.Object, reading: Reading, frames: np.ndarray, made: list[bpy.types.ID]
) -> bpy.types.Object:
    copy = head.copy()
    copy.data = head.data.copy()
    made += [copy.data, copy]
    copy.animation_data_clear()
    copy.parent, copy.matrix_parent_inverse = rig, head.matrix_parent_inverse
    copy.hide_render = copy.hide_viewport = False
    for modifier in copy.modifiers:
        if modifier.type == "ARMATURE":
            modifier.object = rig
    keys = copy.data.shape_keys
    keys.animation_data_clear()
    values = np.array(reading.values).reshape(len(frames), len(reading.keys))
    curves = []
    for column, name in enumerate(reading.keys):
        key = keys.key_blocks[name]
        key.mute, key.slider_min, key.slider_max = False, -head_rig.LIMIT, head_rig.LIMIT
        curves.append(keyframes.Curve(key_path(name), 0, frames, values[:, column]))
    made.append(keyframes.write(keys, curves, "Animation"))
    return copy
