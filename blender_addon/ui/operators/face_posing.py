# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators that pose a face share: which head is meant, setting and keying a pose, the avatars that follow."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, FloatProperty

from ...scene import avatar_rig, face_owners, face_pose, keyframes, learned_keys
from ...scene.face_pose import FacePose
from ...scene.head_drivers import key_path
from . import avatar, common

# For operators: ``strength: face_posing.STRENGTH``, ``key: face_posing.KEY``.
STRENGTH = FloatProperty(
    name="Blend", default=1.0, min=0.0, soft_max=1.0, max=2.0, subtype="FACTOR", options={"SKIP_SAVE"},
    description="How far to go from what the face does now: 0 nothing happens, 1 all the way, beyond 1 exaggerated",
)  # fmt: skip
KEY = BoolProperty(
    name="Key It", options={"SKIP_SAVE"},
    description="Also set keyframes of all that is changed in this frame. With Auto Keying on that is done anyway",
)  # fmt: skip
_CHANNELS = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}


def meant(context: bpy.types.Context) -> tuple[bpy.types.Object | None, bpy.types.Object | None]:
    """The head whose face is meant (the active one, that of the active bones or avatar, else the scene's first), and
    its avatar, where it has one in the scene."""
    active = context.view_layer.objects.active if context.view_layer is not None else None
    heads = [item for item in context.scene.objects if item.blendsplat.kind == "HEAD"]
    head = next((item for item in heads if active is not None and active in (item, item.blendsplat.rig)), None)
    carrier = avatar.selected_avatar(context)
    if head is None or (carrier is not None and carrier.blendsplat.head == head):
        mine = carrier.blendsplat.head if carrier is not None else None
        return (mine, carrier) if mine is not None else (next(iter(heads), None), None)
    own = [item for item in face_owners.avatars_on(head) if item.name in context.scene.objects]
    return head, own[0] if own else None


class PosesFace(common.Grey):
    """Mix-in: a button that needs a head whose face can be posed."""

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return face_owners.why_not(meant(context)[0])


def put(
    operator: bpy.types.Operator, context: bpy.types.Context, pose: FacePose, strength: float, key: bool
) -> set[str]:
    """Bring the meant head's face to the pose, key it where that is wanted, and say what did not fit -> the operator's
    result."""
    head, _ = meant(context)
    assert head is not None  # it is grey else
    try:
        fitting, lacking = face_pose.fits(head, pose)
    except face_pose.PoseError as error:
        return operator.failed(context, str(error))
    key = key or context.scene.tool_settings.use_keyframe_insert_auto
    if key and (sentence := face_owners.why_no_keys(head)):
        return operator.failed(context, sentence)
    done = face_pose.apply(head, fitting, strength)
    context.view_layer.update()
    locked = _key(head, done, context.scene.frame_current) if key else 0
    _let_follow(context, head, key)
    kept_back = len(fitting.sliders) - len(done.sliders)
    notes = [
        f"{len(lacking)} of its sliders are not on {head.name!r}." if lacking else "",
        f"{kept_back} sliders are muted or driven, and stayed." if kept_back else "",
        f"{locked} curves are locked, and got no key." if locked else "",
    ]
    if said := " ".join(note for note in notes if note):
        operator.report({"WARNING"}, said)
    return operator.solved(context)


def _key(head: bpy.types.Object, pose: FacePose, frame: float) -> int:
    """Keyframes of what was set, as Blender sets them (layers of the NLA included) -> how many curves are locked."""
    keys, rig = head.data.shape_keys, head.blendsplat.rig
    places = [(keys, key_path(name), -1, "") for name in pose.sliders]
    for bone in pose.turns:
        channel = _CHANNELS.get(rig.pose.bones[bone].rotation_mode, "rotation_euler")
        places.append((rig, f'pose.bones["{bone}"].{channel}', -1, bone))
    return _insert(places, frame)


def _insert(places: list[tuple[bpy.types.ID, str, int, str]], frame: float) -> int:
    locked = {
        (owner.name_full, curve.data_path) for owner in {place[0] for place in places}
        for curve in keyframes.fcurves(owner) if curve.lock
    }  # fmt: skip
    for owner, path, index, group in places:
        if (owner.name_full, path) not in locked:
            owner.keyframe_insert(path, index=index, frame=frame, group=group)
    return sum((owner.name_full, path) in locked for owner, path, _, _ in places)


def _let_follow(context: bpy.types.Context, head: bpy.types.Object, key: bool) -> None:
    """Avatars that do not follow by themselves show the pose as well; keyed, where the head is and they have keys."""
    for carrier in face_owners.avatars_on(head):
        if carrier.blendsplat.live or not avatar_rig.can_follow(carrier) or not carrier.data.shape_keys.is_editable:
            continue
        avatar_rig.update_from_head(carrier, context.evaluated_depsgraph_get())
        keys = carrier.data.shape_keys
        if key and any(True for _ in keyframes.fcurves(keys)):
            found = learned_keys.found(carrier).values()
            _insert([(keys, learned_keys.value_path(one), -1, "") for one in found], context.scene.frame_current)
