# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's tracked head as Blender's own things: a mesh with expression shape keys, an armature, a matching camera.

FLAME's structure maps onto Blender's exactly: shape keys first, then linear skinning. Every bone's own axes are the
head model's (X to the person's left, Y up, Z out of the face), so keyframes hold the tracked numbers and pose
correctives become shape keys with plain driver expressions, which play without the add-on and without running scripts.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import bpy
import numpy as np

from . import keyframes
from .drive import HeadState
from .formats import Performance, Rig
from .space import TO_BLENDER, camera_matrix_world, matrix_to_euler, rotation_to_engine, to_blender

BONES = ("root", "neck", "jaw", "eye.L", "eye.R")
_PARENTS = (None, "root", "neck", "neck", "neck")
_LENGTHS = (0.06, 0.08, 0.05, 0.025, 0.025)
EYELID_KEYS = ("Eyelid L", "Eyelid R")
_CORRECTIVE_BONES = BONES[1:]
# Entries of R(w, x, y, z) - I, row-major, as Blender's simple driver expressions (no scripts need to run for them).
_ROTATION_ENTRIES = (
    "-2*(y*y+z*z)", "2*(x*y-w*z)", "2*(x*z+w*y)",
    "2*(x*y+w*z)", "-2*(x*x+z*z)", "2*(y*z-w*x)",
    "2*(x*z-w*y)", "2*(y*z+w*x)", "-2*(x*x+y*y)",
)  # fmt: skip
_CUSTOM = "blendsplat_data"


def rig_id(rig: Rig) -> str:
    """The same for the same person's head: a tracked head and the avatar trained from it."""
    digest = hashlib.sha256(rig.faces.astype("<i4").tobytes())
    digest.update(np.round(rig.template.astype(float) * 1e5).astype("<i4").tobytes())
    return digest.hexdigest()[:16]


def find_head(scene: bpy.types.Scene, rig: Rig) -> bpy.types.Object | None:
    """The head object in the scene that was built from the same rig."""
    wanted = rig_id(rig)
    return next(
        (item for item in scene.objects if item.blendsplat.kind == "HEAD" and item.blendsplat.rig_id == wanted), None
    )


def build_head(context: bpy.types.Context, rig: Rig, name: str) -> bpy.types.Object:
    """Build mesh, shape keys and armature in a collection ``name``; returns the head mesh object."""
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    armature = _build_armature(context, rig, name, collection)
    mesh = _build_mesh(rig, name)
    head = bpy.data.objects.new(f"{name} Head", mesh)
    collection.objects.link(head)
    head.parent = armature
    head.hide_render = True
    _add_shape_keys(head, rig)
    _skin(head, armature, rig)
    _drive_correctives(head, armature, rig)
    head.blendsplat.kind, head.blendsplat.rig, head.blendsplat.rig_id = "HEAD", armature, rig_id(rig)
    armature.blendsplat.kind = "RIG"
    _store_joints(head, rig)
    return head


def apply_performance(head: bpy.types.Object, performance: Performance, start: float, fps: float) -> np.ndarray:
    """Key the head and its bones from a tracked performance; returns the frames [F'] of its valid rows.

    Times come from the clip's time stamps, so clips of variable frame rate keep their timing at the scene's ``fps``.
    """
    rows = performance.valid_rows
    frames = start + performance.timestamps[rows] * fps
    state = HeadState.of(performance)
    keys = head.data.shape_keys
    names = json.loads(head[_CUSTOM]["expressions"])
    theirs = list(performance.meta.get("expression_names") or names)
    curves = []
    for column, expression in enumerate(theirs[: performance.expression.shape[1]]):
        if expression in keys.key_blocks:
            curves.append(_key_curve(expression, frames, performance.expression[rows, column]))
    for side, eyelid in enumerate(EYELID_KEYS):
        if eyelid in keys.key_blocks:
            curves.append(_key_curve(eyelid, frames, performance.eyelids[rows, side]))
    keyframes.write(keys, curves, f"{head.name} expressions")
    rig = head.blendsplat.rig
    if rig is not None:
        keyframes.write(rig, _bone_curves(head, state, rows, frames, names, theirs), f"{head.name} pose")
    return frames


def head_state(head: bpy.types.Object, depsgraph: bpy.types.Depsgraph | None = None) -> HeadState:
    """What the head does now, read from its shape keys and bones (constraints included when evaluated)."""
    keys = head.data.shape_keys
    blocks = (keys.evaluated_get(depsgraph) if depsgraph is not None else keys).key_blocks
    names = json.loads(head[_CUSTOM]["expressions"])
    expression = np.array([[blocks[n].value if n in blocks and not blocks[n].mute else 0.0 for n in names]])
    eyelids = np.array([[blocks[n].value if n in blocks and not blocks[n].mute else 0.0 for n in EYELID_KEYS]])
    rotations, translation = np.tile(np.eye(3), (5, 1, 1)), np.zeros(3)
    rig = head.blendsplat.rig
    if rig is not None:
        pose = (rig.evaluated_get(depsgraph) if depsgraph is not None else rig).pose
        skins = {}
        for index, (bone, parent) in enumerate(zip(BONES, _PARENTS, strict=True)):
            item = pose.bones.get(bone)
            if item is None:
                continue
            skins[bone] = np.array(item.matrix) @ np.linalg.inv(np.array(item.bone.matrix_local))
            local = np.linalg.inv(skins[parent]) @ skins[bone] if parent in skins else skins[bone]
            u, _, vt = np.linalg.svd(local[:3, :3])  # a bone may be scaled; only its rotation counts
            rotations[index] = rotation_to_engine(u @ vt)
            if parent is None:
                joint = np.array(item.bone.head_local)
                translation = TO_BLENDER.T @ ((skins[bone] @ np.append(joint, 1.0))[:3] - joint)
    r = rotations[:, None]
    return HeadState(expression, r[0], r[1], r[2], rotations[None, 3:5], eyelids, translation[None])


def add_camera(
    context: bpy.types.Context,
    performance: Performance,
    collection: bpy.types.Collection,
    clip_directory: Path | None,
    start: int,
) -> bpy.types.Object:
    """A camera that matches the clip's, with the clip as its background; made the scene's camera.

    An earlier one of the same collection is replaced (a clip that was tracked again).
    """
    for old in [item for item in collection.objects if item.blendsplat.kind == "CAMERA"]:
        bpy.data.objects.remove(old)
    data = bpy.data.cameras.new(f"{collection.name} Camera")
    width, height = int(performance.meta["width"]), int(performance.meta["height"])
    set_pinhole(data, performance.K, width, height)
    camera = bpy.data.objects.new(data.name, data)
    camera.matrix_world = camera_matrix_world(performance.viewmat).T.tolist()
    camera.blendsplat.kind = "CAMERA"
    collection.objects.link(camera)
    context.scene.camera = camera
    if clip_directory is not None:
        _add_background(data, clip_directory, performance.frame_count, start)
    return camera


def set_pinhole(camera: bpy.types.Camera, K: np.ndarray, width: int, height: int) -> None:
    """Give a Blender camera the intrinsics K [3,3] (pixels) of a width x height image."""
    longest = max(width, height)
    camera.sensor_fit = "HORIZONTAL" if width >= height else "VERTICAL"
    camera.sensor_width = camera.sensor_height = 36.0
    camera.lens = float(K[0, 0]) * 36.0 / longest
    camera.shift_x = (width / 2 - float(K[0, 2])) / longest
    camera.shift_y = (float(K[1, 2]) - height / 2) / longest
    camera.clip_start, camera.clip_end = 0.01, 100.0


def match_scene(scene: bpy.types.Scene, performance: Performance, start: int) -> None:
    """Set the scene's size, frame rate and range to the clip's."""
    scene.render.resolution_x, scene.render.resolution_y = (
        int(performance.meta["width"]),
        int(performance.meta["height"]),
    )
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0
    fps = performance.fps
    whole = max(1, round(fps))
    scene.render.fps, scene.render.fps_base = whole, 1.0 if abs(fps - whole) < 0.01 else whole / fps
    scene.frame_start = start
    scene.frame_end = start + max(0, round(float(performance.timestamps[-1]) * fps))


# --- building


def _build_mesh(rig: Rig, name: str) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new(f"{name} Head")
    mesh.from_pydata(to_blender(rig.template).tolist(), [], rig.faces.tolist())
    layer = mesh.uv_layers.new(name="UVMap")
    layer.data.foreach_set("uv", rig.uvs[rig.uv_faces.reshape(-1)].astype(np.float32).ravel())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), dtype=bool))
    mesh.update()
    material = bpy.data.materials.new(f"{name} Skin")
    material.diffuse_color = (0.62, 0.46, 0.38, 1.0)
    if material.node_tree is None:  # from 5.0 on every material has nodes
        material.use_nodes = True
    shader = next((node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    if shader is not None:
        shader.inputs["Base Color"].default_value = material.diffuse_color
    mesh.materials.append(material)
    return mesh


def _add_shape_keys(head: bpy.types.Object, rig: Rig) -> None:
    basis = to_blender(rig.template)
    head.shape_key_add(name="Basis", from_mix=False)
    low, high = (max(-10.0, rig.expression_range[0]), min(10.0, rig.expression_range[1]))
    for expression, directions in zip(rig.expression_names, rig.expression_directions, strict=True):
        _add_key(head, expression, basis + to_blender(directions), low, high)
    for eyelid, directions in zip(EYELID_KEYS, rig.eyelid_directions, strict=True):
        if np.abs(directions).max() > 1e-7:
            _add_key(head, eyelid, basis + to_blender(directions), 0.0, 1.0)
    for index, directions in enumerate(rig.pose_directions):
        if np.abs(directions).max() > 1e-7:
            key = _add_key(head, _corrective_name(index), basis + to_blender(directions), -2.0, 2.0)
            key.lock_shape = True
    head.active_shape_key_index = min(1, len(head.data.shape_keys.key_blocks) - 1)


def _add_key(head: bpy.types.Object, name: str, positions: np.ndarray, low: float, high: float) -> bpy.types.ShapeKey:
    key = head.shape_key_add(name=name, from_mix=False)
    key.slider_min, key.slider_max = low, high
    key.value = 0.0  # Blender 5.0 and later start at 1
    key.data.foreach_set("co", positions.astype(np.float32).ravel())
    return key


def _corrective_name(index: int) -> str:
    return f"corrective {_CORRECTIVE_BONES[index // 9]} {index % 9}"


def _build_armature(
    context: bpy.types.Context, rig: Rig, name: str, collection: bpy.types.Collection
) -> bpy.types.Object:
    data = bpy.data.armatures.new(f"{name} Rig")
    armature = bpy.data.objects.new(data.name, data)
    collection.objects.link(armature)
    data.display_type = "STICK"
    armature.show_in_front = True
    previous = context.view_layer.objects.active
    if previous is not None and previous.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    joints = to_blender(rig.joints)
    for index, (bone, parent) in enumerate(zip(BONES, _PARENTS, strict=True)):
        item = data.edit_bones.new(bone)
        item.head = joints[index].tolist()
        item.tail = (joints[index] + TO_BLENDER @ [0.0, _LENGTHS[index], 0.0]).tolist()
        item.align_roll((TO_BLENDER @ [0.0, 0.0, 1.0]).tolist())  # the bone's Z out of the face
        item.parent = data.edit_bones.get(parent) if parent else None
    bpy.ops.object.mode_set(mode="OBJECT")
    for item in armature.pose.bones:
        item.rotation_mode = "XYZ"
    context.view_layer.objects.active = previous
    return armature


def _skin(head: bpy.types.Object, armature: bpy.types.Object, rig: Rig) -> None:
    for index, bone in enumerate(BONES):
        group = head.vertex_groups.new(name=bone)
        weights = rig.skin_weights[:, index]
        for value in np.unique(weights[weights > 0]):
            group.add(np.flatnonzero(weights == value).tolist(), float(value), "REPLACE")
    modifier = head.modifiers.new("Armature", "ARMATURE")
    modifier.object = armature
    modifier.use_deform_preserve_volume = False  # the head model skins linearly


def _drive_correctives(head: bpy.types.Object, armature: bpy.types.Object, rig: Rig) -> None:
    blocks = head.data.shape_keys.key_blocks
    for index in range(len(rig.pose_directions)):
        key = blocks.get(_corrective_name(index))
        if key is None:
            continue
        driver = key.driver_add("value").driver
        driver.type = "SCRIPTED"
        for letter, channel in zip("wxyz", ("ROT_W", "ROT_X", "ROT_Y", "ROT_Z"), strict=True):
            variable = driver.variables.new()
            variable.name, variable.type = letter, "TRANSFORMS"
            target = variable.targets[0]
            target.id, target.bone_target = armature, _CORRECTIVE_BONES[index // 9]
            target.transform_type, target.rotation_mode, target.transform_space = channel, "QUATERNION", "LOCAL_SPACE"
        driver.expression = _ROTATION_ENTRIES[index % 9]


def _store_joints(head: bpy.types.Object, rig: Rig) -> None:
    """What applying a performance needs later: the names, and how expressions move the joints (FLAME)."""
    moves = rig.joint_expression_directions.astype("<f4")
    head[_CUSTOM] = {
        "expressions": json.dumps(list(rig.expression_names), ensure_ascii=False),
        "joint_moves": moves.tobytes() if np.abs(moves).max(initial=0.0) > 1e-7 else b"",
    }


def _bone_curves(
    head: bpy.types.Object, state: HeadState, rows: np.ndarray, frames: np.ndarray, names: list[str], theirs: list[str]
) -> list[keyframes.Curve]:
    """Rotation curves of every bone; location curves of the root, and of all where expressions move the joints."""
    rotations = (state.root, state.neck, state.jaw, state.eyes[:, 0], state.eyes[:, 1])
    offsets = _joint_offsets(head, state, names, theirs)
    curves = []
    for index, bone in enumerate(BONES):
        path = f'pose.bones["{bone}"]'
        euler = matrix_to_euler(rotations[index][rows])
        for axis in range(3):
            curves.append(keyframes.Curve(f"{path}.rotation_euler", axis, frames, euler[:, axis], bone))
        # A joint that moved by d rotates about the moved place: x -> R x + d - R d.
        location = np.zeros((len(rows), 3))
        if offsets is not None:
            moved = offsets[rows, index]
            location += moved - np.einsum("fij,fj->fi", rotations[index][rows], moved)
        if index == 0:
            location = location + state.translation[rows]
        if index == 0 or offsets is not None:
            for axis in range(3):
                curves.append(keyframes.Curve(f"{path}.location", axis, frames, location[:, axis], bone))
    return curves


def _joint_offsets(head: bpy.types.Object, state: HeadState, names: list[str], theirs: list[str]) -> np.ndarray | None:
    packed = head[_CUSTOM]["joint_moves"]
    if not packed:
        return None
    moves = np.frombuffer(packed, "<f4").reshape(len(names), 5, 3)
    order = {expression: column for column, expression in enumerate(theirs)}
    columns = [order.get(expression, -1) for expression in names]
    values = np.concatenate([state.expression, np.zeros((len(state.expression), 1))], 1)[:, columns]
    return np.einsum("fe,ejc->fjc", values, moves)


def _key_curve(name: str, frames: np.ndarray, values: np.ndarray) -> keyframes.Curve:
    return keyframes.Curve(f'key_blocks["{bpy.utils.escape_identifier(name)}"].value', 0, frames, values)


def _add_background(camera: bpy.types.Camera, directory: Path, frame_count: int, start: int) -> None:
    first = next(iter(sorted((directory / "images").glob("*.png"))), None)
    if first is None:
        return
    image = bpy.data.images.load(str(first), check_existing=True)
    image.source = "SEQUENCE"
    camera.show_background_images = True
    background = camera.background_images.new()
    background.image, background.alpha, background.display_depth = image, 1.0, "BACK"
    user = background.image_user
    user.frame_duration, user.frame_start, user.frame_offset, user.use_auto_refresh = (
        frame_count,
        start,
        -1 + _first_number(first),
        True,
    )


def _first_number(path: Path) -> int:
    return int("".join(c for c in path.stem if c.isdigit()) or 0)
