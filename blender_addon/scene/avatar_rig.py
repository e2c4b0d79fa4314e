# SPDX-License-Identifier: GPL-3.0-or-later
"""An avatar file as a Blender object: a carrier mesh whose learned Gaussian blendshapes are real shape keys.

Keyframes, drivers, NLA, mute, solo and undo work because they are Blender's own; a .blend with baked keys plays without
the engine and without this add-on.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import bpy
import numpy as np

from .. import paths
from ..formats import AvatarFile, FileError, Performance
from . import (
    avatar_nodes,
    carrier_mesh,
    forecast,
    head_rig,
    held_avatar,
    keyframes,
    learned_keys,
    linked,
    merged_performance,
    networks,
    neutral_face,
    packed_avatar,
    performance_parts,
    punch_in,
    reenact,
    retarget,
    seen_ranges,
)
from .carrier_mesh import COMPACT, FULL, Layout
from .weight_network import HeadState, WeightNetwork

_CUSTOM, _REFERENCE, _FACE = "blendsplat_data", "blendsplat_reference", "blendsplat_face"
_EARLIER = (
    "Strength, smoothing and neutral faces need an avatar of this version: add it again (Add Avatar), then apply."
)
_SH0 = 0.28209479177387814
_MODIFIER = "Gaussians"


def build_avatar(context: bpy.types.Context, avatar: AvatarFile, name: str) -> bpy.types.Object:
    """Add an avatar (and its head, unless the scene has that person's already); returns the carrier object."""
    head = head_rig.find_head(context.scene, avatar.rig) or head_rig.build_head(context, avatar.rig, name)
    mesh = _carrier_mesh(avatar, name, COMPACT)
    carrier = bpy.data.objects.new(name, mesh)
    linked.collections_for(head, context.scene)[0].objects.link(carrier)
    carrier.parent = head.parent
    carrier.matrix_parent_inverse.identity()
    _add_blendshapes(carrier, avatar, {})
    carrier.blendsplat.kind = "AVATAR"
    carrier.blendsplat.head = head
    carrier.blendsplat.avatar_path = paths.kept(avatar.path)
    linked.tie(carrier)
    seen_ranges.note(head, avatar)
    _add_nodes(carrier)
    context.view_layer.update()  # from 5.0 on a new object is not in the view layer before
    with contextlib.suppress(RuntimeError):  # in a collection that this view layer excludes
        head.hide_set(True)  # it would cover the avatar; hidden, it still moves it
    return carrier


def find_avatars(scene: bpy.types.Scene, avatar: AvatarFile) -> list[bpy.types.Object]:
    """The scene's avatars from the same file (trained further since) whose heads still fit: one, and its duplicates."""
    wanted, found = head_rig.rig_id(avatar.rig), []
    for item in avatars_of(scene, avatar.path):
        head = item.blendsplat.head
        whole = head is not None and item.data.shape_keys is not None and item.data.users == 1
        if whole and head.blendsplat.rig_id == wanted:
            found.append(item)
    return found


def avatars_of(scene: bpy.types.Scene, file: Path) -> list[bpy.types.Object]:
    """The scene's avatars that were made from this file."""
    return [
        item for item in scene.objects
        if item.blendsplat.kind == "AVATAR"
        and paths.same(packed_avatar.own_path(item), file)
    ]  # fmt: skip


def replace_avatar(carrier: bpy.types.Object, avatar: AvatarFile) -> bpy.types.Object:
    """Give an avatar its file's present content; object, modifier, keyframes, drivers and the artist's names, and where
    the number of Gaussians is the same the artist's own shape keys, stay. A carrier of an earlier version becomes a
    compact one, unless a key of the artist's moves what such a one cannot."""
    old, name, packed = carrier.data, carrier.data.name, packed_avatar.is_packed(carrier)
    own = _artists_keys(carrier) if carrier_mesh.count_of(old) == avatar.gaussians else {}
    mesh = _carrier_mesh(avatar, name, FULL if any(_needs_full(moved) for moved in own.values()) else COMPACT)
    holder = bpy.data.objects.new(name, mesh)
    _add_blendshapes(
        holder, avatar, {index: learned_keys.scale_of(old, index) for index in learned_keys.found(carrier)}
    )
    mesh.materials.append(avatar_nodes.preview_material())
    _keep_an_artists_keys(carrier, holder, own)
    keyframes.hand_over(old.shape_keys, mesh.shape_keys)
    for index, key in learned_keys.found(holder).items():
        grown = learned_keys.scale_of(mesh, index) / learned_keys.scale_of(old, index)
        if grown != 1.0:
            keyframes.scale(mesh.shape_keys, learned_keys.value_path(key), 1 / grown)
    carrier.data = mesh
    if carrier.blendsplat.head is not None:
        seen_ranges.note(carrier.blendsplat.head, avatar)
    fit_nodes(carrier)
    carrier.blendsplat.avatar_path = paths.kept(avatar.path)
    linked.tie(carrier)
    if packed:
        packed_avatar.pack(carrier)
    bpy.data.objects.remove(holder)
    bpy.data.meshes.remove(old)
    mesh.name = name
    return carrier


def apply_performance(
    carrier: bpy.types.Object, performance: Performance, start: float, fps: float, foreign: bool | None = None,
    acting: reenact.Acting | None = None, room: bool = True,
) -> int:  # fmt: skip
    """Bake a tracked performance onto the avatar and its head as keyframes; returns the number of frames keyed.

    Another clip's performance is re-based, and its features are kept inside what training saw; whether it is another's
    the avatar tells, unless it is said (``foreign``). acting: it is played so, and one that this changes is kept inside
    as well; None: as it was tracked. Of a part alone (Acting.part) the rest stays as it is keyed, and so does
    what is before and behind Acting.window. room: keys that do
    not reach far enough are changed so that they do. What Blender cannot hold is said in the objects' remarks. Raises
    FileError for one that shows no face.
    """
    head, network = carrier.blendsplat.head, network_of(carrier)
    performance, inside, told = as_played(carrier, performance, foreign, acting)
    rows, window = performance.valid_rows, acting.window if acting is not None else None
    frames = start + performance.timestamps[rows] * fps
    if window is not None and not window.inside(frames).any():
        raise FileError(
            f"The performance has no frame between {window.first:g} and {window.last:g}: it plays from {frames[0]:.0f} "
            f"to {frames[-1]:.0f}."
        )
    carrier.blendsplat.foreign, carrier.blendsplat.remark = inside, ""
    if head is not None:
        part = acting.part if acting is not None else performance_parts.BOTH
        performance = merged_performance.merged(head, performance, start, fps, part)
        head_rig.apply_performance(head, performance, start, fps, part, window)
    if network is not None:
        hold = np.zeros(performance.frame_count)
        hold[rows] = held_avatar.strengths(carrier, frames)
        weights = network.weights(HeadState.of(performance), inside=inside, hold=hold)[rows]
        _key(carrier, frames, weights, room, window)
    if told:
        carrier.blendsplat.remark = f"{told} {carrier.blendsplat.remark}".strip()
    return len(frames) if window is None else int(window.inside(frames).sum())


def as_played(
    carrier: bpy.types.Object, performance: Performance, foreign: bool | None, acting: reenact.Acting | None
) -> tuple[Performance, bool, str]:
    """A tracked performance as the avatar plays it, whether it is kept inside what training saw, and what an artist is
    told. Parameters as of apply_performance."""
    reference, face, told = reference_of(carrier), face_of(carrier), ""
    other = retarget.foreign(performance, reference) if foreign is None else foreign
    played = performance
    if acting is not None and face is not None:
        played, told = reenact.reenacted(performance, face, acting, own=reference is not None and not other)
    elif acting is not None and replace(acting, part=performance_parts.BOTH, window=None) != reenact.Acting():
        told = _EARLIER
    changed = played is not performance
    return (retarget.rebased(played, reference) if other and reference else played), other or changed, told


def key_states(carrier: bpy.types.Object, frames: list[int], states: list[HeadState]) -> None:
    """Keyframes of the blendshapes that a head's states in these frames ask for: what Live shows, without Live."""
    network = network_of(carrier) if can_follow(carrier) else None
    if network is not None:
        hold, inside = held_avatar.strengths(carrier, np.asarray(frames, float)), carrier.blendsplat.foreign
        weights = [
            network.weights(state, inside=inside, hold=float(strength))[0]
            for state, strength in zip(states, hold, strict=True)
        ]
        _key(carrier, np.asarray(frames, float), np.stack(weights))


def _key(
    carrier: bpy.types.Object, frames: np.ndarray, weights: np.ndarray, room: bool = True,
    window: punch_in.Window | None = None,
) -> None:  # fmt: skip
    """Keyframes of weights [F,K] at frames [F], or in a window alone; what Blender cannot hold is said in the avatar's
    remark."""
    carrier.blendsplat.remark = " ".join(learned_keys.make_room(carrier, weights)) if room else ""
    curves = learned_keys.curves(carrier, frames, weights)
    write = keyframes.write if window is None else partial(punch_in.write, window=window)
    write(carrier.data.shape_keys, curves, f"{carrier.name} performance")


def update_from_head(carrier: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> bool:
    """Set the blendshapes to what the head does now; True when a value changed."""
    network = network_of(carrier) if can_follow(carrier) else None
    if network is None:
        return False
    hold = float(carrier.blendsplat.hold_back)
    return _follow(carrier, network, head_rig.head_state(carrier.blendsplat.head, depsgraph), hold)


def foresee(carrier: bpy.types.Object, frame: float) -> None:
    """Set the blendshapes to what the head is likely to do in a frame that is about to be evaluated."""
    network = network_of(carrier) if can_follow(carrier) else None
    if network is not None:
        hold = float(held_avatar.strengths(carrier, np.array([frame]))[0])
        _follow(carrier, network, forecast.head_state(carrier.blendsplat.head, frame), hold)


def _follow(carrier: bpy.types.Object, network: WeightNetwork, state: HeadState, hold: float) -> bool:
    return learned_keys.take(carrier, network.weights(state, inside=carrier.blendsplat.foreign, hold=hold)[0])


def can_follow(carrier: bpy.types.Object) -> bool:
    """Whether there are a head and a network by which the avatar can follow it."""
    head = carrier.blendsplat.head
    return head is not None and head.data is not None and head.data.shape_keys is not None and _CUSTOM in carrier.data


def handle_of(carrier: bpy.types.Object) -> bpy.types.Object | None:
    """What moves the avatar with all that belongs to it: its head's armature, where avatar and head hang on it; else
    the avatar itself. None for another object."""
    if carrier.blendsplat.kind != "AVATAR":
        return None
    head = carrier.blendsplat.head
    rig = head.blendsplat.rig if head is not None else None
    return rig if rig is not None and rig.users_scene and _hangs_on(carrier, rig) else carrier


def _hangs_on(item: bpy.types.Object | None, handle: bpy.types.Object) -> bool:
    while item is not None and item != handle:
        item = item.parent
    return item is not None


def blendshape_keys(carrier: bpy.types.Object) -> list[bpy.types.ShapeKey]:
    """The learned keys that are there, in the network's order."""
    return list(learned_keys.found(carrier).values())


def network_of(carrier: bpy.types.Object) -> WeightNetwork | None:
    """The avatar's network, from its mesh's custom properties; None for an avatar without blendshapes.

    Raises KeyError or ValueError when it is damaged. Unpacking takes a fraction of a millisecond; a network that was
    kept could be another mesh's after an undo.
    """
    packed = carrier.data.get(_CUSTOM)
    return WeightNetwork.unpack(packed) if packed else None


def reference_of(carrier: bpy.types.Object) -> retarget.Reference | None:
    """Where the avatar's own clip held the head; None where its file did not say."""
    packed = carrier.data.get(_REFERENCE)
    return retarget.Reference.unpack(packed) if packed else None


def face_of(carrier: bpy.types.Object) -> neutral_face.Face | None:
    """What the avatar's face does and is at rest; None for an avatar that an earlier version added."""
    packed = carrier.data.get(_FACE)
    return neutral_face.Face.unpack(packed) if packed else None


def _carrier_mesh(avatar: AvatarFile, name: str, layout: Layout) -> bpy.types.Mesh:
    a = avatar.arrays
    opacities = 1 / (1 + np.exp(-a["opacity_logits"].astype(float)))
    base = carrier_mesh.Gaussians(
        a["positions"], a["log_scales"].astype(float), a["quats"], opacities, _SH0 * a["colors"] + 0.5
    )
    tangents, bitangents = tangent_weights(avatar)
    places = carrier_mesh.Places(avatar.rig.faces[a["triangle"]], a["barycentrics"], tangents, bitangents)
    rest = (avatar.rig.template[places.corners] * places.barycentrics[:, :, None]).sum(1)
    steps = np.linalg.norm(np.diff(rest, axis=0), axis=1)
    mesh = carrier_mesh.new_mesh(name, layout, base, places, int(steps.argmin()) if len(steps) else 0)
    networks.mark(mesh, avatar)
    return mesh


def tangent_weights(avatar: AvatarFile) -> tuple[np.ndarray, np.ndarray]:
    """What e1 and e2 are multiplied with for the (unnormalised) tangent and bitangent: [N,2] each.

    (d2.y, -d1.y) / det and (-d2.x, d1.x) / det, divided by their own length: only their direction matters.
    """
    corners = avatar.rig.uvs[avatar.rig.uv_faces[avatar.arrays["triangle"]]].astype(float)
    d1, d2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    sign = np.where(d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1] < 0, -1.0, 1.0)[:, None]

    def unit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        weights = np.stack([x, y], 1) * sign
        weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
        return weights.astype(np.float32)

    return unit(d2[:, 1], -d1[:, 1]), unit(-d2[:, 0], d1[:, 0])


def _add_blendshapes(carrier: bpy.types.Object, avatar: AvatarFile, least: dict[int, float]) -> None:
    """The learned keys and what drives them, their scales at least as given."""
    a, layout = avatar.arrays, carrier_mesh.layout_of(carrier.data)
    base = np.empty(3 * len(carrier.data.vertices), dtype=np.float32)
    carrier.data.vertices.foreach_get("co", base)
    carrier.shape_key_add(name="Basis", from_mix=False)
    reach = np.abs(a["weight_range"]).max(0) if "weight_range" in a else np.zeros(avatar.blendshapes)
    names = learned_keys.keep_names(carrier.data, avatar)
    for index in learned_keys.by_effect(avatar):
        positions, quats, colors = (
            a[name][index].astype(np.float32) for name in ("delta_positions", "delta_quats", "delta_colors")
        )  # files may hold them as float16
        deltas = layout.join(carrier_mesh.Gaussians.moved(positions, quats, _SH0 * colors))
        scale = learned_keys.fitting_scale(float(reach[index]), least.get(index, 1.0))
        key = carrier.shape_key_add(name=names[index], from_mix=False)
        key.slider_min, key.slider_max = learned_keys.slider_ends(avatar, index, scale)
        key.value = 0.0  # Blender 5.0 and later start at 1
        key.data.foreach_set("co", base + np.float32(scale) * deltas.ravel())
        learned_keys.mark(carrier.data, key, index)
        learned_keys.set_scale(carrier.data, index, scale)
    carrier.active_shape_key_index = min(1, avatar.blendshapes)
    network = WeightNetwork.of(avatar)
    if network is not None:
        carrier.data[_CUSTOM] = network.pack()
    reference = retarget.Reference.of_file(avatar)
    if reference is not None:
        carrier.data[_REFERENCE] = reference.pack()
        carrier.data[_FACE] = neutral_face.Face.of_file(avatar).pack()


def _artists_keys(carrier: bpy.types.Object) -> dict[str, carrier_mesh.Gaussians]:
    """What the keys move that are not learned ones, by their names."""
    blocks = carrier.data.shape_keys.key_blocks
    known = {key.name for key in learned_keys.found(carrier).values()} | {blocks[0].name}
    layout, size = carrier_mesh.layout_of(carrier.data), 3 * len(carrier.data.vertices)
    base, own = (np.empty(size, np.float32) for _ in range(2))
    found = {}
    for source in blocks:
        if source.name not in known:
            source.relative_key.data.foreach_get("co", base)
            source.data.foreach_get("co", own)
            found[source.name] = layout.split((own - base).reshape(-1, 3))
    return found


def _needs_full(moved: carrier_mesh.Gaussians) -> bool:
    return bool(moved.log_scales.any() or moved.opacities.any())


def _keep_an_artists_keys(
    carrier: bpy.types.Object, holder: bpy.types.Object, own: dict[str, carrier_mesh.Gaussians]
) -> None:
    """Names, values, slider ranges, mutes of learned keys; and the artist's ``own`` keys."""
    old, new = learned_keys.found(carrier), learned_keys.found(holder)
    made = [learned_keys.made_name(holder.data, index) for index in range(max(new, default=-1) + 1)]
    for index in old.keys() & new.keys():
        source, target = old[index], new[index]
        if source.name == learned_keys.made_name(carrier.data, index):  # what plays the key knows it by that name
            made[index] = source.name
        target.name = source.name
        target.slider_min, target.slider_max = source.slider_min, source.slider_max
        grown = learned_keys.scale_of(holder.data, index) / learned_keys.scale_of(carrier.data, index)
        target.value, target.mute = source.value / grown, source.mute
    learned_keys.set_made_names(holder.data, made)
    layout = carrier_mesh.layout_of(holder.data)
    fresh = np.empty(3 * len(holder.data.vertices), np.float32)
    holder.data.shape_keys.reference_key.data.foreach_get("co", fresh)
    for name, moved in own.items():
        source, target = carrier.data.shape_keys.key_blocks[name], holder.shape_key_add(name=name, from_mix=False)
        target.data.foreach_set("co", fresh + layout.join(moved).ravel())
        target.slider_min, target.slider_max = source.slider_min, source.slider_max
        target.value, target.mute = source.value, source.mute


def _add_nodes(carrier: bpy.types.Object) -> None:
    material = avatar_nodes.preview_material()
    carrier.data.materials.append(material)
    modifier = carrier.modifiers.new(_MODIFIER, "NODES")
    _set_nodes(modifier, carrier, material)
    modifier.show_expanded = True


def nodes_of(carrier: bpy.types.Object) -> bpy.types.NodesModifier | None:
    """The modifier that turns the carrier into Gaussians; None when it or its node group is gone."""
    return next(
        (item for item in carrier.modifiers if item.type == "NODES" and avatar_nodes.is_ours(item.node_group)), None
    )


def restore_nodes(carrier: bpy.types.Object) -> None:
    """The modifier, its node group and its head, where one of them is gone. An artist's modifiers come after it."""
    modifier = nodes_of(carrier) or carrier.modifiers.get(_MODIFIER)
    if modifier is None or modifier.type != "NODES":
        modifier = carrier.modifiers.new(_MODIFIER, "NODES")
        carrier.modifiers.move(len(carrier.modifiers) - 1, 0)
    if modifier.node_group is None or avatar_nodes.input_of(modifier, avatar_nodes.INPUT_HEAD) is None:
        material = avatar_nodes.preview_material()
        if not carrier.data.materials:
            carrier.data.materials.append(material)
        _set_nodes(modifier, carrier, material)


def fit_nodes(carrier: bpy.types.Object) -> None:
    """Give an avatar today's node group where its own is of an older add-on or cannot read its mesh; the artist's own
    modifiers are left alone, and so is a linked node group that fits. An avatar that stood at its head, wherever its
    object had been moved, is moved there."""
    layout, head = carrier_mesh.layout_of(carrier.data), carrier.blendsplat.head
    for modifier in carrier.modifiers:
        tree = modifier.node_group if modifier.type == "NODES" else None
        if not avatar_nodes.is_ours(tree):
            continue
        if not avatar_nodes.reads(tree, layout) or (tree.library is None and avatar_nodes.outdated(tree, layout)):
            if head is not None and avatar_nodes.follows_heads_place(tree):
                carrier.matrix_world = head.matrix_world
            _set_nodes(modifier, carrier, avatar_nodes.preview_material())


def _set_nodes(modifier: bpy.types.NodesModifier, carrier: bpy.types.Object, material: bpy.types.Material) -> None:
    modifier.node_group = avatar_nodes.avatar_group(carrier_mesh.layout_of(carrier.data))
    avatar_nodes.set_input(modifier, avatar_nodes.INPUT_HEAD, carrier.blendsplat.head)
    avatar_nodes.set_input(modifier, avatar_nodes.INPUT_MATERIAL, material)
