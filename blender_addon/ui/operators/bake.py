# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake Networks: what an avatar's networks draw in a range of frames becomes shape keys that play anywhere.

The job runs in the engine; the head's frames are read here in short turns of the pump and sent to it, and the shapes
come back as frames of the job.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.props import FloatProperty, IntProperty

from ...client import jobs, pump, session
from ...client.link import LinkError
from ...scene import baked_avatar, networks, timeline_heads
from . import avatar, common, frame_range, results

_SECONDS = 0.05  # of reading in one turn
_MOST_FRAMES = 64  # in one message


@dataclass
class _Plan:
    """What a bake still has to read, and what came of it. Holds no Blender data, only names."""

    carrier: str
    uid: int
    frames: list[int]
    sent: int = 0
    answered: bool = True  # the job has said whether it took the frames sent last
    mean: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: list[dict[str, np.ndarray]] = field(default_factory=list)

    def find(self, scene: bpy.types.Scene) -> bpy.types.Object | None:
        """The avatar that is baked, undone, renamed or reopened meanwhile."""
        for item in scene.objects:
            if item.session_uid == self.uid:
                return item
        return scene.objects.get(self.carrier)


class BakeNetworks(common.JobOperator, bpy.types.Operator):
    """Bake what the networks draw in a range of frames into a new avatar whose shape keys play it without the engine
    and without the avatar file. This avatar stays, hidden"""

    bl_idname = "blendsplat.bake_networks"
    bl_label = "Bake Networks"
    kind = "bake"
    frame_start: IntProperty(name="Start", options={"SKIP_SAVE"}, description="First frame of the timeline to bake")
    frame_end: IntProperty(name="End", options={"SKIP_SAVE"}, description="Last frame of the timeline to bake")
    most: IntProperty(
        name="Keys at Most", default=60, min=1, max=1000, description="More shape keys are nearer to the networks, but "
        "make the file larger and playing slower",
    )  # fmt: skip
    error: FloatProperty(
        name="Left Out",
        default=0.05,
        min=0.0,
        max=1.0,
        precision=3,
        subtype="FACTOR",
        description="How much of the movement may be missing. No more keys are made than this needs",
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        if not networks.drawn_by_networks(carrier):
            return f"{carrier.name} has no networks: its shape keys are all of it."
        return ("" if session.remote() else networks.missing_file(carrier)) or common.cannot_start(cls.kind)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        frame_range.take(self, context.scene)
        return context.window_manager.invoke_props_dialog(self)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        column = layout.column(align=True)
        column.prop(self, "frame_start")
        column.prop(self, "frame_end")
        layout.prop(self, "most")
        layout.prop(self, "error", slider=True)
        carrier = avatar.selected_avatar(context)
        if carrier is not None:
            layout.label(text=f"{carrier.name} will be hidden, not changed.", icon="INFO")

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        frame_range.take(self, context.scene)
        carrier, count = avatar.selected_avatar(context), self.frame_end - self.frame_start + 1
        if sentence := frame_range.problem(self):
            raise ValueError(sentence)
        if carrier.blendsplat.head is None:
            raise ValueError(f"The avatar {carrier.name!r} has no head that moves it: add the avatar again.")
        return {
            "avatar": session.engine_path(networks.file_of(carrier) or ""), "frames": count, "most": self.most,
            "error": self.error, "bounded": carrier.blendsplat.foreign,
            "hold_back": float(carrier.blendsplat.hold_back), "device": session.device(),
        }  # fmt: skip

    def notes(self, context: bpy.types.Context) -> dict[str, Any]:
        carrier = avatar.selected_avatar(context)
        frames = list(range(self.frame_start, self.frame_end + 1))
        return super().notes(context) | {"plan": _Plan(carrier.name, carrier.session_uid, frames)}

    def tell(self, job: jobs.Job) -> None:
        for remark in job.remarks:
            self.report({"INFO"}, remark)


def _step(_end: float) -> float | None:
    """Read the next frames of the running bake, unless somebody looks at frames already."""
    job = jobs.latest("bake")
    plan = job.context.get("plan") if job is not None else None
    if job is None or plan is None or job.state != "running" or plan.sent == len(plan.frames):
        return None
    if plan.answered and not _frames_run():
        try:
            _send_next(job, plan)
        except Exception as error:  # whatever it is, the job would wait for these frames for ever
            if not isinstance(error, (networks.NetworksError, LinkError)):
                traceback.print_exc()  # for the console: the panel shows one sentence
            jobs.give_up(job, session.sentence_of(error))
    return pump.SOON


def _send_next(job: jobs.Job, plan: _Plan) -> None:
    """Raises NetworksError, LinkError."""
    scene = job.context["place"].find()
    carrier = plan.find(scene) if scene is not None else None
    if carrier is None:
        raise networks.NetworksError(f"{plan.carrier!r} is no longer there to be baked: open its file and bake again.")
    arrays = timeline_heads.read(carrier, plan.frames[plan.sent : plan.sent + _MOST_FRAMES], _SECONDS)
    count = len(arrays["expression"])
    plan.answered = False

    def answered(accepted: bool) -> None:
        plan.answered = True
        plan.sent += count if accepted else 0  # else the engine's line is full: they are read again

    jobs.send_frame(job, arrays, then=answered)


def _frames_run() -> bool:
    """A render or a playback goes through frames: reading others would make it stumble."""
    if common.is_rendering():
        return True
    return any(window.screen.is_animation_playing for window in bpy.context.window_manager.windows)


def _shape(job: jobs.Job, info: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    plan: _Plan = job.context["plan"]
    if "keys" in info:
        plan.mean = arrays
    else:
        plan.shapes.append(arrays)


def _finished(job: jobs.Job) -> None:
    """Raises BakeError where the avatar is gone or another now."""
    plan: _Plan = job.context["plan"]
    scene, gone = job.context["place"].find(), f"{plan.carrier!r} is no longer there: open its file and bake again."
    if scene is None or plan.find(scene) is None:
        raise baked_avatar.BakeError(gone)
    shapes = baked_avatar.Shapes(plan.mean, plan.shapes, plan.frames, job.result)
    plan.mean, plan.shapes = {}, []

    def build(context: bpy.types.Context) -> None:
        carrier = plan.find(context.scene)
        if carrier is None:
            raise baked_avatar.BakeError(gone)
        made = baked_avatar.build(context, carrier, shapes)
        job.result["notes"] = [f"{made.name}: {baked_avatar.line_of(made)}", baked_avatar.hidden_original(made)]

    results.bring(scene, "bake", "Add Baked Avatar", Path(plan.carrier), build)


def register() -> None:
    bpy.utils.register_class(BakeNetworks)
    jobs.on_frame("bake", _shape)
    jobs.on_finished("bake", _finished)
    pump.add_step(_step)


def unregister() -> None:
    bpy.utils.unregister_class(BakeNetworks)
