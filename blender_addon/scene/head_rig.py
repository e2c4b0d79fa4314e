# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's head as Blender's own things: a mesh whose expressions (and identity) are shape keys, and an armature.

FLAME's structure maps onto Blender's exactly: shape keys first, then linear skinning. Every bone's own axes are the
head model's (X to the person's left, Y up, Z out of the face), so keyframes hold the tracked numbers and pose
correctives become shape keys with plain driver expressions, which play without the add-on and without running scripts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial

import bpy
import numpy as np

from ..formats import FileError, Performance, Rig, head_model_id
from ..space import TO_BLENDER, matrix_to_euler, rotation_to_engine, to_blender
from . import arkit, bone_shapes, control_board, keyframes, linked, performance_parts, punch_in
from .head_drivers import (
    BONES,
    bone_sliders,
    corrective_name,
    drive_correctives,
    drive_joints,
    drive_turns,
    identity_key,
    key_path,
    pivot_offset,
    slider_bone,
)
from .learned_keys import LIMIT
from .weight_network import HeadState

_PARENTS = (None, "root", "neck", "neck", "neck")
_LENGTHS = (0.06, 0.08, 0.05, 0.025, 0.025)
EYELID_KEYS = ("Eyelid L", "Eyelid R")
PLAIN_SKIN = "blendsplat_skin"  # on a material that nobody has worked on yet
CUSTOM = "blendsplat_data"
_CHILD = "child"  # the direction of shape of the head that ships at which 1 is a child's face


def rig_id(rig: Rig) -> str:
    """The same for the same person's head: a tracked head and the avatar trained from it, photographs of one person."""
    digest = hashlib.sha256(rig.faces.astype("<i4").tobytes())
    digest.update(np.round(rig.template.astype(float) * 1e5).astype("<i4").tobytes())
    digest.update(rig.shape.astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def find_head(scene: bpy.types.Scene, rig: Rig) -> bpy.types.Object | None:
    """The head object in the scene that was built from the same rig; those of other files are theirs."""
    wanted = rig_id(rig)
    heads = (item for item in scene.objects if item.blendsplat.kind == "HEAD" and item.library is None)
    return next((item for item in heads if item.blendsplat.rig_id == wanted), None)


def build_head(context: bpy.types.Context, rig: Rig, name: str, fitted: np.ndarray | None = None) -> bpy.types.Object:
    """Build mesh, shape keys and armature in a collection ``name``; returns the head mesh object.

    With the expression ``fitted`` [E] to a photograph the head is one to model on: identity keys over the mean head as
    Basis, set to the person's shape, and sliders that move the joints as the head model does.
    """
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    armature = _build_armature(context, rig, fitted, name, collection)
    mesh = _build_mesh(rig, name)
    head = bpy.data.objects.new(f"{name} Head", mesh)
    collection.objects.link(head)
    head.parent = armature
    head.hide_render = True  # what an avatar's head is for; a fitted head is shown
    _add_shape_keys(head, rig)
    _skin(head, armature, rig)
    drive_correctives(head, armature, rig)
    drive_turns(head, armature, rig)
    if fitted is not None:
        drive_joints(head, armature, rig, fitted)
    head.blendsplat.kind, head.blendsplat.rig, head.blendsplat.rig_id = "HEAD", armature, rig_id(rig)
    armature.blendsplat.kind = "RIG"
    bone_shapes.dress(head)
    _store_joints(head, rig, driven=fitted is not None)
    return head


def check_performance(head: bpy.types.Object, performance: Performance) -> None:
    """Raise FileError naming both heads unless the performance is of a head of this model: by the model's id where both
    say it (older files and scenes do not), else by counts and the expressions' names."""
    mine, meta = head[CUSTOM], performance.meta
    model, theirs = str(mine.get("model", "")), str(meta.get("head_model", ""))
    names, other_names = json.loads(mine["expressions"]), list(meta.get("expression_names") or [])
    if model and theirs:
        same = model == theirs
    else:
        vertices = int(mine.get("vertices", 0)) or len(head.data.vertices)
        counts = len(performance.vertex_offsets), performance.expression.shape[1]
        same = counts == (vertices, len(names)) and other_names in ([], names)
    if not same:
        raise FileError(
            f"{performance.path} was tracked with the head {meta.get('head')!r} ({performance.expression.shape[1]} "
            f"expressions, model {theirs[:8] or 'unknown'}), and {head.name!r} is another ({len(names)} expressions, "
            f"model {model[:8] or 'unknown'}): track that clip with this avatar's head model, or carry it over to it "
            "(blendsplat reenact, with an .npz file as its output)."
        )


def apply_performance(
    head: bpy.types.Object, performance: Performance, start: float, fps: float, part: str = performance_parts.BOTH,
    window: punch_in.Window | None = None,
) -> np.ndarray:  # fmt: skip
    """Key the head and its bones from a tracked performance; returns the frames [F'] of its valid rows.

    Times come from the clip's time stamps, so clips of variable frame rate keep their timing at the scene's ``fps``.
    part: of the face or of the head's movement alone curves are added to what else is keyed, whoever keyed it. window:
    only there, between the keys that are before and behind it.
    """
    rows = performance.valid_rows
    frames = start + performance.timestamps[rows] * fps
    expressions, pose = performance_parts.chosen(*performance_curves(head, performance, rows, frames), part)
    head.blendsplat.remark = " ".join(widen_sliders(head, expressions))
    write = keyframes.write if part == performance_parts.BOTH else keyframes.add
    if window is not None:
        write = partial(punch_in.write, window=window)
    write(head.data.shape_keys, expressions, f"{head.name} expressions")
    if head.blendsplat.rig is not None:
        write(head.blendsplat.rig, pose, f"{head.name} pose")
    return frames


def performance_curves(
    head: bpy.types.Object, performance: Performance, rows: np.ndarray, frames: np.ndarray
) -> tuple[list[keyframes.Curve], list[keyframes.Curve]]:
    """What the shape keys and the armature do in ``rows`` of a performance, at ``frames``."""
    keys = head.data.shape_keys
    names = json.loads(head[CUSTOM]["expressions"])
    theirs = list(performance.meta.get("expression_names") or names)
    expressions = []
    for column, expression in enumerate(theirs[: performance.expression.shape[1]]):
        if expression in keys.key_blocks:
            expressions.append(key_curve(expression, frames, performance.expression[rows, column]))
    for side, eyelid in enumerate(EYELID_KEYS):
        if eyelid in keys.key_blocks:
            expressions.append(key_curve(eyelid, frames, performance.eyelids[rows, side]))
    return expressions, _bone_curves(head, HeadState.of(performance), rows, frames, names, theirs)


def identity_curves(head: bpy.types.Object, rig: Rig, frame: float) -> list[keyframes.Curve]:
    """The identity keys' values that make the rig's person."""
    return [
        key_curve(identity_key(name), np.array([frame]), value[None])
        for name, value in zip(rig.shape_names, rig.shape, strict=True)
        if identity_key(name) in head.data.shape_keys.key_blocks
    ]


def widen_sliders(head: bpy.types.Object, curves: list[keyframes.Curve]) -> list[str]:
    """Make room for the curves' values, which Blender would otherwise cut at the sliders' ends -> a sentence on each
    that goes farther than Blender's sliders can (values are the head model's own, so that they cannot be scaled)."""
    sentences = []
    for curve in curves:
        key = head.data.shape_keys.path_resolve(curve.data_path.rpartition(".")[0])
        low, high = float(curve.values.min()), float(curve.values.max())
        if (fixed := linked.too_narrow(head.data, key, low, high)) is not None:
            sentences += [fixed] if fixed else []
            continue
        key.slider_min = min(key.slider_min, low)
        key.slider_max = max(key.slider_max, high)
        if max(-low, high) > LIMIT:
            sentences.append(f"{key.name} reaches {max(-low, high):.1f}; Blender's sliders end at {LIMIT:g}.")
    return sentences


def expression_names(head: bpy.types.Object) -> list[str]:
    """The head model's expressions, in its order."""
    return list(json.loads(head[CUSTOM]["expressions"]))


def identity_of(head: bpy.types.Object) -> np.ndarray:
    """The shape [S] that the identity keys say now; [0] for a head with its shape built in."""
    blocks = head.data.shape_keys.key_blocks
    names = json.loads(head[CUSTOM].get("identity", "[]"))
    return np.array([_value(blocks, identity_key(name)) for name in names], np.float32)


def head_state(head: bpy.types.Object, depsgraph: bpy.types.Depsgraph | None = None) -> HeadState:
    """What the head does now, read from its shape keys and bones (constraints included when evaluated)."""
    keys = head.data.shape_keys
    blocks = (keys.evaluated_get(depsgraph) if depsgraph is not None else keys).key_blocks
    rig = head.blendsplat.rig
    pose = None if rig is None else (rig.evaluated_get(depsgraph) if depsgraph is not None else rig).pose
    matrices = {} if pose is None else {bone: np.array(pose.bones[bone].matrix) for bone in BONES if bone in pose.bones}
    return state_of(head, lambda name: _value(blocks, name), pose, matrices)


def state_of(
    head: bpy.types.Object,
    value: Callable[[str], float],
    pose: bpy.types.Pose | None,
    matrices: dict[str, np.ndarray],
) -> HeadState:
    """The state of a head whose shape keys have these values, and the bones of whose pose these matrices [4,4]."""
    names = json.loads(head[CUSTOM]["expressions"])
    expression = np.array([[value(name) for name in names]])
    eyelids = np.array([[value(name) for name in EYELID_KEYS]])
    rotations, translation = np.tile(np.eye(3), (5, 1, 1)), np.zeros(3)
    skins: dict[str, np.ndarray] = {}
    for index, (bone, parent) in enumerate(zip(BONES, _PARENTS, strict=True)):
        if pose is None or bone not in matrices:
            continue
        item = pose.bones[bone]
        skins[bone] = matrices[bone] @ np.linalg.inv(np.array(item.bone.matrix_local))
        local = np.linalg.inv(skins[parent]) @ skins[bone] if parent in skins else skins[bone]
        u, _, vt = np.linalg.svd(local[:3, :3])  # a bone may be scaled; only its rotation counts
        rotations[index] = rotation_to_engine(u @ vt)
        if parent is None:
            joint = np.array(item.bone.head_local) + TO_BLENDER @ pivot_offset(item)
            translation = TO_BLENDER.T @ ((skins[bone] @ np.append(joint, 1.0))[:3] - joint)
    r = rotations[:, None]
    return HeadState(expression, r[0], r[1], r[2], rotations[None, 3:5], eyelids, translation[None])


def _value(blocks: bpy.types.bpy_prop_collection, name: str) -> float:
    key = blocks.get(name)
    return (key.value if key is not None and not key.mute else 0.0) + control_board.added(blocks, name)


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
    material[PLAIN_SKIN] = True
    mesh.materials.append(material)
    return mesh


def _add_shape_keys(head: bpy.types.Object, rig: Rig) -> None:
    basis = to_blender(rig.template)
    head.shape_key_add(name="Basis", from_mix=False)
    low, high = (max(-10.0, rig.expression_range[0]), min(10.0, rig.expression_range[1]))
    moves = dict(zip(rig.expression_names, rig.expression_directions, strict=True))
    turns = bone_sliders(
        rig
    )  # shape keys that move nothing but a bone, so that all of ARKit's names can be keyed alike
    for names in arkit.in_groups([*moves, *turns]).values():
        for name in names:
            if name in moves:
                _add_key(head, name, basis + to_blender(moves[name]), low, high)
            else:
                _add_key(head, name, basis, 0.0, 1.0).lock_shape = True
    for eyelid, directions in zip(EYELID_KEYS, rig.eyelid_directions, strict=True):
        if np.abs(directions).max() > 1e-7:
            _add_key(head, eyelid, basis + to_blender(directions), 0.0, 1.0)
    for name, directions, value in zip(rig.shape_names, rig.shape_directions, rig.shape, strict=True):
        if np.abs(directions).max() > 1e-7:
            key = _add_key(
                head, identity_key(name), basis + to_blender(directions), *_identity_range(name, float(value))
            )
            key.value = float(value)
    for index, directions in enumerate(rig.pose_directions):
        if np.abs(directions).max() > 1e-7:
            key = _add_key(head, corrective_name(index), basis + to_blender(directions), -2.0, 2.0)
            key.lock_shape = True
    head.active_shape_key_index = min(1, len(head.data.shape_keys.key_blocks) - 1)


def _add_key(head: bpy.types.Object, name: str, positions: np.ndarray, low: float, high: float) -> bpy.types.ShapeKey:
    key = head.shape_key_add(name=name, from_mix=False)
    key.slider_min, key.slider_max = low, high
    key.value = 0.0  # Blender 5.0 and later start at 1
    key.data.foreach_set("co", positions.astype(np.float32).ravel())
    return key


def _identity_range(name: str, value: float) -> tuple[float, float]:
    """Three standard deviations to both sides (of the step from an adult to a child: one, as faces end there), and room
    for an unusual person's own number."""
    widest = max(1.0 if name == _CHILD else 3.0, np.ceil(abs(value)))
    return -widest, widest


def _build_armature(
    context: bpy.types.Context, rig: Rig, fitted: np.ndarray | None, name: str, collection: bpy.types.Collection
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
    expression = np.zeros(len(rig.expression_names)) if fitted is None else fitted
    joints = to_blender(rig.joints_of(rig.shape, expression))
    for index, (bone, parent) in enumerate(zip(BONES, _PARENTS, strict=True)):
        item = data.edit_bones.new(bone)
        item.head = joints[index].tolist()
        item.tail = (joints[index] + TO_BLENDER @ [0.0, _LENGTHS[index], 0.0]).tolist()
        item.align_roll((TO_BLENDER @ [0.0, 0.0, 1.0]).tolist())  # the bone's Z out of the face
        item.parent = data.edit_bones.get(parent) if parent else None
    turning = [slider_bone(bone) for bone in BONES if any(arkit.TURNS[name][0] == bone for name in bone_sliders(rig))]
    for name in turning:
        turned = data.edit_bones[name.removesuffix(slider_bone(""))]
        item = data.edit_bones.new(name)
        item.head, item.tail, item.roll, item.parent = turned.head, turned.tail, turned.roll, turned.parent
        item.use_deform = False
    bpy.ops.object.mode_set(mode="OBJECT")
    if turning:
        hidden = data.collections.new("Sliders")
        hidden.is_visible = False
        for name in turning:
            hidden.assign(data.bones[name])
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


def _store_joints(head: bpy.types.Object, rig: Rig, *, driven: bool) -> None:
    """What applying a performance needs later: the names, which model's head it is, and how expressions move the
    joints (FLAME; where drivers do that already, nothing)."""
    moves = rig.joint_expression_directions.astype("<f4")
    head[CUSTOM] = {
        "expressions": json.dumps(list(rig.expression_names), ensure_ascii=False),
        "identity": json.dumps(list(rig.shape_names), ensure_ascii=False),
        "model": head_model_id(rig),
        "vertices": len(rig.template),
        "joint_moves": moves.tobytes() if np.abs(moves).max(initial=0.0) > 1e-7 and not driven else b"",
    }


def _bone_curves(
    head: bpy.types.Object, state: HeadState, rows: np.ndarray, frames: np.ndarray, names: list[str], theirs: list[str]
) -> list[keyframes.Curve]:
    """Rotation curves of every bone; location curves of the root, and of all where expressions move the joints."""
    rotations = (state.root, state.neck, state.jaw, state.eyes[:, 0], state.eyes[:, 1])
    offsets = joint_offsets(head, state, names, theirs)
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


def joint_offsets(head: bpy.types.Object, state: HeadState, names: list[str], theirs: list[str]) -> np.ndarray | None:
    """How far expressions move the joints [F,5,3] in every row; None where drivers do that, or nothing does."""
    packed = head[CUSTOM]["joint_moves"]
    if not packed:
        return None
    moves = np.frombuffer(packed, "<f4").reshape(len(names), 5, 3)
    order = {expression: column for column, expression in enumerate(theirs)}
    columns = [order.get(expression, -1) for expression in names]
    values = np.concatenate([state.expression, np.zeros((len(state.expression), 1))], 1)[:, columns]
    return np.einsum("fe,ejc->fjc", values, moves)


def key_curve(name: str, frames: np.ndarray, values: np.ndarray) -> keyframes.Curve:
    """A shape key's value as a curve."""
    return keyframes.Curve(key_path(name), 0, frames, values)
