# SPDX-License-Identifier: GPL-3.0-or-later
"""Expressions: those that ship and those an artist saved, put onto the face, and kept as assets with thumbnails."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ...client import session
from ...scene import (
    avatar_rig,
    expression_assets,
    expressions,
    face_owners,
    face_pose,
    handlers,
    networks,
    portrait,
    sides,
)
from .. import face_pictures
from . import common, face_posing
from .face_clipboard import NO_SIDES

_OTHER_NAMES = (
    "The expressions that ship have ARKit's names, and this head has none of them: save expressions of your own (Save "
    "Expression)."
)

_LIBRARIES = [  # with Blender's own numbers
    ("LOCAL", "This File", "The face is in this file", 1),
    ("ALL", "All", "The face is in any of the libraries", 2),
    ("ESSENTIALS", "Essentials", "The face came with Blender", 3),
    ("CUSTOM", "Custom", "The face is in a library of the preferences", 100),
]


class ApplyExpression(face_posing.PosesFace, bpy.types.Operator):
    """Put an expression onto the face, from this person's resting face. Mouth shapes leave eyes and brows alone"""

    bl_idname = "blendsplat.apply_expression"
    bl_label = "Apply Expression"
    bl_options = {"REGISTER", "UNDO"}

    expression: StringProperty(
        name="Expression", default="Neutral", options={"SKIP_SAVE"},
        description="Which of the expressions and mouth shapes that ship, by its name",
    )  # fmt: skip
    strength: face_posing.STRENGTH
    key: face_posing.KEY

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head, _ = face_posing.meant(context)
        return face_owners.why_not(head) or no_expressions(head)

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        viseme = expressions.shipped().get(properties.expression)
        if viseme is not None and viseme.kind == expressions.VISEME:
            return f"The mouth of the sound {properties.expression}; eyes and brows stay as they are"
        return f"{properties.expression}, from this person's resting face"

    def execute(self, context: bpy.types.Context) -> set[str]:
        chosen = expressions.shipped().get(self.expression)
        if chosen is None:
            known = ", ".join(expressions.shipped())
            return self.failed(context, f"There is no expression {self.expression!r}; there are {known}.")
        return face_posing.put(self, context, chosen.pose(rest(context)), self.strength, self.key)


class _PutsFace(face_posing.PosesFace):
    """Mix-in: puts the face of an asset on."""

    mirrored: BoolProperty(
        name="Mirrored", options={"SKIP_SAVE"}, description="Exchange left and right: a left wink becomes a right one"
    )
    strength: face_posing.STRENGTH
    key: face_posing.KEY

    def face(self, context: bpy.types.Context) -> face_pose.FacePose:
        """The face to put on. Raises PoseError."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            pose = self.face(context)
        except face_pose.PoseError as error:
            return self.failed(context, str(error))
        if self.mirrored:
            if pose.sliders and not sides.have_sides(pose.sliders):
                return self.failed(context, NO_SIDES)
            pose = pose.mirrored()
        return face_posing.put(self, context, pose, self.strength, self.key)


class ApplyFace(_PutsFace, bpy.types.Operator):
    """Put a saved face onto this head: sliders of the same names, the jaw and the gaze"""

    bl_idname = "blendsplat.apply_face"
    bl_label = "Apply Face"
    bl_options = {"REGISTER", "UNDO"}

    action: StringProperty(name="Face", options={"SKIP_SAVE"}, description="The action that holds the face, by name")

    def face(self, context: bpy.types.Context) -> face_pose.FacePose:
        action = bpy.data.actions.get(self.action)
        if action is None:
            raise face_pose.PoseError(f"There is no action {self.action!r} in this file.")
        return expression_assets.read(action)


class ApplyFaceAsset(_PutsFace, bpy.types.Operator):
    """Put the chosen face of the Asset Browser, of this file or of another, onto the head: sliders of the same names,
    the jaw and the gaze"""

    bl_idname = "blendsplat.apply_face_asset"
    bl_label = "Apply Face to Head"
    bl_options = {"REGISTER", "UNDO"}

    # Blender's shelf says by these which asset was clicked; it is in the context as well.
    asset_library_type: EnumProperty(
        name="Library Type", items=_LIBRARIES, options={"SKIP_SAVE", "HIDDEN"},
        description="Which kind of asset library the face is in (set by Blender)",
    )  # fmt: skip
    asset_library_identifier: StringProperty(
        name="Library", options={"SKIP_SAVE", "HIDDEN"}, description="The face's asset library (set by Blender)"
    )
    relative_asset_identifier: StringProperty(
        name="Asset", options={"SKIP_SAVE", "HIDDEN"}, description="The face in its asset library (set by Blender)"
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        asset = getattr(context, "asset", None)
        if asset is None or not is_face(asset):
            return "Choose a face in the Asset Browser first (Make Expression Library makes some)."
        return super().reason(context)

    def face(self, context: bpy.types.Context) -> face_pose.FacePose:
        return _face_of(context.asset)


class SaveExpression(common.Grey, bpy.types.Operator):
    """Keep what the face does now as an asset with a picture of this avatar: it is found in the Asset Browser, also of
    other files, and in this panel"""

    bl_idname = "blendsplat.save_expression"
    bl_label = "Save Expression"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(name="Name", default="Expression", description="What the expression is called")

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head, _ = face_posing.meant(context)
        if not face_owners.has_face(head):
            return face_owners.why_not(head)
        return "Pictures are being drawn: wait for them or cancel them." if face_pictures.running() else ""

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        head, carrier = face_posing.meant(context)
        owner, pose = owner_of(context), face_pose.read(head)
        action = expression_assets.make(self.name.strip() or "Expression", pose, owner)
        expression_assets.put_into_catalog([action], owner)
        _enter_catalogs()
        _draw(context, [(action.name, pose)])
        missing = "It has no picture: that needs an avatar on this head." if carrier is None else _no_pictures(carrier)
        self.report({"INFO"}, f"{action.name} is kept as an asset of this file. {missing}".strip())
        return self.solved(context)


class MakeLibrary(common.Grey, bpy.types.Operator):
    """Keep all expressions and mouth shapes as assets of this file, each with a picture of this avatar, in a catalog of
    their own. You go on working meanwhile. What is there already only gets a new picture"""

    bl_idname = "blendsplat.make_expression_library"
    bl_label = "Make Expression Library"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head, carrier = face_posing.meant(context)
        if not face_owners.has_face(head) or carrier is None:
            return common.NO_AVATAR
        if sentence := no_expressions(head):
            return sentence
        if face_pictures.running():
            return "Pictures are being drawn: wait for them or cancel them."
        return _no_pictures(carrier)

    def execute(self, context: bpy.types.Context) -> set[str]:
        owner, resting, faces = owner_of(context), rest(context), []
        for name, expression in expressions.shipped().items():
            action = expression_assets.shipped_one(owner, name)
            if action is None:
                action = expression_assets.make(f"{owner} {name}", expression.pose(resting), owner, name)
            expression_assets.put_into_catalog([action], owner)
            faces.append((action.name, expression_assets.read(action)))
        told = _enter_catalogs()
        _draw(context, faces)
        self.report({"INFO"}, f"{len(faces)} faces of {owner} are assets of this file. {told}".strip())
        return self.solved(context)


class CancelPictures(common.Grey, bpy.types.Operator):
    """Draw no more pictures. The assets stay, those without a picture as well"""

    bl_idname = "blendsplat.cancel_face_pictures"
    bl_label = "Cancel"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        series = face_pictures.latest(context.scene)
        return "" if series is not None and not series.ended else "No pictures are being drawn."

    def execute(self, context: bpy.types.Context) -> set[str]:
        series = face_pictures.latest(context.scene)
        if series is not None:
            series.cancel()
        return {"FINISHED"}


def no_expressions(head: bpy.types.Object) -> str:
    """Why a head cannot show the expressions that ship, or ""."""
    return "" if expressions.usable(face_pose.slider_names(head)) else _OTHER_NAMES


def rest(context: bpy.types.Context) -> face_pose.FacePose:
    """The resting face of the meant avatar's person."""
    _, carrier = face_posing.meant(context)
    return expressions.rest_of(avatar_rig.face_of(carrier) if carrier is not None else None)


def owner_of(context: bpy.types.Context) -> str:
    """Whose the saved faces are: the avatar's name, else the head's."""
    head, carrier = face_posing.meant(context)
    return (carrier or head).name


def is_face(asset: bpy.types.AssetRepresentation) -> bool:
    """Whether an asset is a face of this add-on's."""
    return asset.id_type == "ACTION" and any(tag.name == expression_assets.TAG for tag in asset.metadata.tags)


def _face_of(asset: bpy.types.AssetRepresentation) -> face_pose.FacePose:
    """The pose of an asset of this file or of another, of which nothing is kept here. Raises PoseError."""
    if asset.local_id is not None:
        return expression_assets.read(asset.local_id)
    gone = f"{asset.name} is no longer in {asset.full_library_path}."
    try:
        with bpy.types.BlendData.temp_data() as data:
            with data.libraries.load(asset.full_library_path) as (there, wanted):
                wanted.actions = [name for name in there.actions if name == asset.name]
            if not wanted.actions:
                raise face_pose.PoseError(gone)
            return expression_assets.read(wanted.actions[0])
    except OSError as error:
        raise face_pose.PoseError(f"{asset.full_library_path} cannot be read: {error}") from error


def _no_pictures(carrier: bpy.types.Object) -> str:
    """Why the engine cannot draw an avatar's faces, or ""."""
    path = networks.file_of(carrier)
    if not session.remote() and (path is None or not path.is_file()):
        return f"The pictures are drawn from the avatar's file, and there is no file {path}: choose it (Its File)."
    return common.no_command()


def _draw(context: bpy.types.Context, faces: list[tuple[str, face_pose.FacePose]]) -> None:
    """Let the engine draw the faces' thumbnails, where there is an avatar that can be drawn."""
    head, carrier = face_posing.meant(context)
    if carrier is None or _no_pictures(carrier):
        return
    place = avatar_rig.reference_of(carrier)
    params = {
        "path": session.engine_path(networks.file_of(carrier) or ""), "device": session.device(), "bounded": True,
        "shown": "full",
    }  # fmt: skip
    K, viewmat = portrait.camera(head, place, face_pictures.SIZE)
    arrays = [(name, portrait.arrays_of(head, pose, place)) for name, pose in faces]
    face_pictures.start(face_pictures.Series(context.scene.session_uid, params, K, viewmat, arrays))


def _enter_catalogs() -> str:
    """Name the catalogs of this file's faces where Blender looks for their names -> what an artist has to know."""
    libraries = [library.path for library in bpy.context.preferences.filepaths.asset_libraries]
    folder = expression_assets.catalog_folder(bpy.data.filepath, libraries)
    if folder is None:
        return "Their catalog gets its name when this file is saved."
    try:
        for owner in expression_assets.owners_here():
            expression_assets.write_catalog(folder, owner)
    except OSError as error:
        return f"Their catalog has no name, as {folder} cannot be written ({error.strerror})."
    return ""


@bpy.app.handlers.persistent
def _on_saved(*_args: object) -> None:
    """save_post: a file that is saved for the first time has a place for its catalogs now."""
    if expression_assets.owners_here():
        _enter_catalogs()


_HANDLERS = (("save_post", _on_saved),)
CLASSES = (ApplyExpression, ApplyFace, ApplyFaceAsset, SaveExpression, MakeLibrary, CancelPictures)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    face_pictures.register()
    handlers.add(_HANDLERS)


def unregister() -> None:
    handlers.remove(_HANDLERS)
    face_pictures.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
