# SPDX-License-Identifier: GPL-3.0-or-later
"""Fitted photographs (the engine's fit-image folders) as scene objects: head with sliders, rig, cameras, texture.

Everything takes plain folders, objects and the engine's answer to ``head.rig`` (with ``identity``); nothing here asks.
Photographs of one person share one head: each has its own camera and its own frame of the timeline, where the head is
posed as in that photograph. Bringing a fit again updates what it brought, except for what an artist changed since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from .. import formats, paths
from . import arkit, head_drivers, head_rig, keyframes, matched_camera, photo_material, photo_projection

_CUSTOM = "blendsplat_fit"
_HIDDEN = "blendsplat_hidden"  # of a head that is hidden while another's photograph is looked at: what was shown
_HEADER = ("head", "head_source", "head_model", "head_family", "width", "height")  # of the fit's tracking.npz
_APART = 0.4  # metres between the heads of different people
_MATCHED = 1e-4  # a camera this near to what it was matched to was not moved


Answer = tuple[Any, dict[str, np.ndarray]]  # the engine's result and arrays


def bring_fits(
    context: bpy.types.Context, fits: Sequence[tuple[Path, Answer | str]]
) -> tuple[list[bpy.types.Object], list[str]]:
    """Bring fitted photographs into the scene: (folder, the engine's answer or a sentence where there is none) in order
    -> the head of each folder that could be brought (one head for one person's), a sentence for each that could not.

    The first photograph's camera becomes the scene's, and its head the active object.
    """
    brought, sentences = [], []
    for folder, answer in fits:
        try:
            brought.append((bring_fit(context, folder, answer), folder))
        except formats.FileError as error:
            sentences.append(str(error))
    if len(brought) > 1:
        head, folder = brought[0]
        _show(context, head, _camera_of(head, Path(folder)))
    return [head for head, _ in brought], sentences


def bring_fit(context: bpy.types.Context, folder: Path, answer: Answer | str) -> bpy.types.Object:
    """Bring one fitted photograph, with the engine's answer to ``head.rig`` -> the head's mesh object, active.

    Raises FileError; the scene is then as it was.
    """
    fit = formats.read_fit(folder)
    if isinstance(answer, str):
        raise formats.FileError(answer)
    result, arrays = answer
    rig = formats.rig_from(result if isinstance(result, dict) else {}, arrays, fit.folder)
    posed = arrays.get("vertices", np.zeros(0))
    if posed.shape != rig.template.shape or len(rig.shape) != len(fit.performance.shape):
        raise formats.FileError("This engine is older than the add-on and tells no fitted heads: update it.")
    head = _find_head(context.scene, fit, rig) or _new_head(context, fit, rig)
    head.blendsplat.rig_id = head_rig.rig_id(rig)
    camera = _camera_of(head, fit.folder) or _new_camera(context.scene, head, fit)
    _take_numbers(head, camera, fit, rig)
    _match(context, head, camera, fit)
    _texture(head, int(camera[_CUSTOM]["number"]), fit, rig, posed)
    _show(context, head, camera)
    return head


def is_fitted(head: bpy.types.Object) -> bool:
    """It was brought from photographs."""
    return head.blendsplat.kind == "HEAD" and _CUSTOM in head


def move_folders(head: bpy.types.Object, moved: Callable[[str], str]) -> Callable[[], None]:
    """Write the folders that the head keeps as ``moved`` says -> a function that takes it back."""
    before = head[_CUSTOM]["photographs"]
    known = {moved(folder): photograph for folder, photograph in json.loads(before).items()}
    head[_CUSTOM]["photographs"] = json.dumps(known, ensure_ascii=False)

    def undo() -> None:
        head[_CUSTOM]["photographs"] = before

    return undo


def fits_of(head: bpy.types.Object) -> list[Path]:
    """Folders of the photographs that this head was fitted to, in the order they were brought; [] for other heads."""
    return [Path(_folder(camera)) for camera in cameras_of(head)]


def cameras_of(head: bpy.types.Object) -> list[bpy.types.Object]:
    """The cameras of the head's photographs, in the order of ``fits_of``."""
    cameras = [
        item for item in bpy.data.objects
        if item.blendsplat.kind == "CAMERA" and item.blendsplat.fit_path and item.blendsplat.head == head
    ]  # fmt: skip
    return sorted(cameras, key=lambda item: int(item[_CUSTOM]["number"]))


def look_through(scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    """Make it the scene's camera, at its photograph's size and frame, its head alone: that lies on the photograph."""
    scene.camera = camera
    matched_camera.match_size(scene, *(int(side) for side in camera[_CUSTOM]["size"]))
    head = camera.blendsplat.head
    if head is None:
        return
    show_alone(scene, head)
    if len(cameras_of(head)) > 1:
        scene.frame_set(int(camera[_CUSTOM]["frame"]))


def show_alone(scene: bpy.types.Scene, head: bpy.types.Object) -> None:
    """Hide the heads of the scene's other photographs, which would stand in this one's picture, as the eye icon of the
    outliner and the camera icon do; this head, where it was hidden so, is shown again."""
    for other in _fitted(scene):
        for item in _parts(other):
            if other == head:
                _unhide(scene, item)
            elif _HIDDEN not in item:
                shown = [layer.name for layer in _layers(scene, item) if not item.hide_get(view_layer=layer)]
                item[_HIDDEN] = json.dumps({"shown": shown, "render": item.hide_render})
                for layer in _layers(scene, item):
                    item.hide_set(True, view_layer=layer)
                item.hide_render = True


def show_all(scene: bpy.types.Scene) -> None:
    """Show the heads again that ``show_alone`` has hidden."""
    for head in _fitted(scene):
        for item in _parts(head):
            _unhide(scene, item)


def hidden_heads(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The heads that ``show_alone`` has hidden."""
    return [head for head in _fitted(scene) if _HIDDEN in head]


def _unhide(scene: bpy.types.Scene, item: bpy.types.Object) -> None:
    if _HIDDEN in item:
        before = json.loads(item[_HIDDEN])
        for layer in _layers(scene, item):
            if layer.name in before["shown"]:
                item.hide_set(False, view_layer=layer)
        item.hide_render = before["render"]
        del item[_HIDDEN]


def _parts(head: bpy.types.Object) -> list[bpy.types.Object]:
    return [item for item in (head, head.blendsplat.rig) if item is not None]


def _layers(scene: bpy.types.Scene, item: bpy.types.Object) -> list[bpy.types.ViewLayer]:
    return [layer for layer in scene.view_layers if item.name in layer.objects]


def _fitted(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    return [item for item in scene.objects if is_fitted(item)]


def reset_sliders(head: bpy.types.Object) -> None:
    """Give sliders and bones the fitted numbers back (of a person's several photographs: at each one's frame)."""
    keyframes.take(head.data.shape_keys, _curves(json.loads(head[_CUSTOM]["identity"])), None, {})
    for name in arkit.TURNS:
        slider = head.data.shape_keys.key_blocks.get(name)
        if slider is not None:
            slider.value = 0.0  # what a photograph says of jaw and eyes is in the bones
    cameras = cameras_of(head)
    for camera in cameras:
        keys, bones = _offered(head, camera)
        _take_pose(head, camera, keys, bones, keyed=len(cameras) > 1, again=True)


def write_state(head: bpy.types.Object, depsgraph: bpy.types.Depsgraph, path: Path) -> Path:
    """Write what sliders and bones say now as a tracking.npz of one frame at ``path``: the job ``export_head`` takes it
    as ``performance`` beside the fit's folder, so an export shows the artist's own changes."""
    state, packed = head_rig.head_state(head, depsgraph), head[_CUSTOM]
    tracking = json.loads(packed["tracking"])
    vertices = len(head.data.vertices)
    offsets = np.frombuffer(packed["offsets"], "<f4") if packed["offsets"] else np.zeros(3 * vertices)
    numbers = {
        "expression": state.expression, "eyelids": state.eyelids, "translation": state.translation,
        "root_pose": state.root, "neck_pose": state.neck, "jaw_pose": state.jaw, "eyes_pose": state.eyes,
        "shape": head_rig.identity_of(head), "vertex_offsets": offsets.reshape(vertices, 3),
        "K": np.array(tracking.pop("K")), "viewmat": np.array(tracking.pop("viewmat")),
    }  # fmt: skip
    formats.write_performance(path, tracking, numbers)
    return path


# --- head and camera


def _find_head(scene: bpy.types.Scene, fit: formats.Fit, rig: formats.Rig) -> bpy.types.Object | None:
    """The head that this folder brought before, else the same person's; None when it is of another head model.

    A folder that now holds another photograph is another fit.
    """
    for item in scene.objects:
        if item.blendsplat.kind == "HEAD" and _CUSTOM in item and _fits_model(item, rig):
            earlier = _photographs(item).get(str(fit.folder))
            if earlier is not None and earlier["name"] == fit.name:
                return item
    same = head_rig.find_head(scene, rig)
    return same if same is not None and _fits_model(same, rig) else None


def _fits_model(head: bpy.types.Object, rig: formats.Rig) -> bool:
    keys = head.data.shape_keys
    wanted = {*rig.expression_names, *(head_drivers.identity_key(name) for name in rig.shape_names)}
    known = json.loads(head[_CUSTOM]["names"]) if _CUSTOM in head and keys is not None else None
    return len(head.data.vertices) == len(rig.template) and known == sorted(wanted)


def _new_head(context: bpy.types.Context, fit: formats.Fit, rig: formats.Rig) -> bpy.types.Object:
    """A head in a collection named after the photograph, beside the heads that are there."""
    others = [item.blendsplat.rig for item in context.scene.objects if item.blendsplat.kind == "HEAD"]
    taken = [item.matrix_world.translation.x for item in others if item is not None]
    head = head_rig.build_head(context, rig, fit.name, fit.performance.expression[0])
    head.hide_render = False
    head.blendsplat.rig.show_in_front = False  # bones across a face that is compared with its photograph
    if taken:
        head.blendsplat.rig.location.x = max(taken) + _APART
    wanted = [*rig.expression_names, *(head_drivers.identity_key(name) for name in rig.shape_names)]
    meta = {key: fit.performance.meta[key] for key in _HEADER if key in fit.performance.meta}
    meta |= {name: fit.performance.arrays[name].tolist() for name in ("K", "viewmat")}
    meta["expression_names"] = list(rig.expression_names)
    offsets = fit.performance.arrays["vertex_offsets"].astype("<f4")
    head[_CUSTOM] = {
        "names": json.dumps(sorted(wanted)),
        "tracking": json.dumps(meta),
        "offsets": offsets.tobytes() if offsets.any() else b"",
        "identity": "{}",
        "photographs": "{}",
    }
    return head


def _camera_of(head: bpy.types.Object, folder: Path) -> bpy.types.Object | None:
    return next((camera for camera, of in zip(cameras_of(head), fits_of(head), strict=True) if of == folder), None)


def _new_camera(scene: bpy.types.Scene, head: bpy.types.Object, fit: formats.Fit) -> bpy.types.Object:
    """A camera for this photograph, whose number it keeps when the artist deleted an earlier one."""
    known = _photographs(head)
    photograph = known.get(str(fit.folder)) or {"number": len(known) + 1, "keys": {}, "bones": {}}
    _remember(head, fit.folder, {**photograph, "name": fit.name, "camera": []})
    camera = matched_camera.new_camera(head.users_collection[0], f"{fit.name} Camera")
    camera.blendsplat.head, camera.blendsplat.fit_path = head, paths.kept(fit.folder)
    frame = scene.blendsplat.performance_start + photograph["number"] - 1
    camera[_CUSTOM] = {"number": photograph["number"], "frame": frame, "size": [1, 1]}
    return camera


def _photographs(head: bpy.types.Object) -> dict[str, dict[str, Any]]:
    """By folder: name, number, and what was offered: keys, bones (numbers by place) and the camera's place."""
    kept = json.loads(head[_CUSTOM]["photographs"])
    return {_absolute(folder): photograph for folder, photograph in kept.items()}


def _remember(head: bpy.types.Object, folder: Path | str, changes: dict[str, Any]) -> None:
    known = _photographs(head)
    known[str(folder)] = known.get(str(folder), {}) | changes
    relative = {paths.kept(Path(name)): photograph for name, photograph in known.items()}
    head[_CUSTOM]["photographs"] = json.dumps(relative, ensure_ascii=False)


def _match(context: bpy.types.Context, head: bpy.types.Object, camera: bpy.types.Object, fit: formats.Fit) -> None:
    """Lens, place and background; a camera that the artist moved stays where it is."""
    camera[_CUSTOM]["size"] = list(matched_camera.size_of(fit.performance))
    context.view_layer.update()  # the rig's matrix_world
    before = _photographs(head)[str(fit.folder)]["camera"]
    if not before or np.abs(np.array(_placed(head, camera)) - before).max() < _MATCHED:
        matched_camera.match_camera(camera, fit.performance)
        camera.matrix_world = head.blendsplat.rig.matrix_world @ Matrix(camera.matrix_world)
        context.view_layer.update()
        _remember(head, fit.folder, {"camera": _placed(head, camera)})
    matched_camera.show_photograph(camera, photo_material.load_image(fit.photograph, f"{fit.name} photograph"))
    cameras = cameras_of(head)
    scene = context.scene
    if len(cameras) > 1 and all(marker.camera in (None, *cameras) for marker in scene.timeline_markers):
        for item in cameras:
            _mark(scene, item)


def _placed(head: bpy.types.Object, camera: bpy.types.Object) -> list[float]:
    """The camera's place beside its head, and its lens, as plain numbers."""
    matrix = head.blendsplat.rig.matrix_world.inverted_safe() @ camera.matrix_world
    data = camera.data
    return [value for row in matrix for value in row] + [data.lens, data.shift_x, data.shift_y]


def _mark(scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    """A marker that switches to the camera at its photograph's frame."""
    if not any(marker.camera == camera for marker in scene.timeline_markers):
        name = camera.name.removesuffix(" Camera")
        scene.timeline_markers.new(name, frame=int(camera[_CUSTOM]["frame"])).camera = camera


def _show(context: bpy.types.Context, head: bpy.types.Object, camera: bpy.types.Object | None) -> None:
    """The head active and alone selected, seen through its photograph's camera in the photograph's colours."""
    for item in context.view_layer.objects:
        item.select_set(False)
    if head.name in context.view_layer.objects:
        context.view_layer.objects.active = head
    if camera is None:
        return
    if context.scene.blendsplat.match_scene or context.scene.camera is None:
        context.scene.view_settings.view_transform = "Standard"
        look_through(context.scene, camera)


# --- numbers


def _take_numbers(head: bpy.types.Object, camera: bpy.types.Object, fit: formats.Fit, rig: formats.Rig) -> None:
    """Sliders and bones take the fit's numbers, but for those that the artist changed since the last time."""
    row, frame = np.zeros(1, int), np.zeros(1)
    identity = head_rig.identity_curves(head, rig, 0.0)
    keys, bones = head_rig.performance_curves(head, fit.performance, row, frame)
    head_rig.widen_sliders(head, [*identity, *keys])
    before = json.loads(head[_CUSTOM]["identity"])
    offered = keyframes.take(head.data.shape_keys, identity, None, before)
    head[_CUSTOM]["identity"] = json.dumps(offered, ensure_ascii=False)
    cameras = cameras_of(head)
    if len(cameras) > 1 and not _offered(head, camera)[0]:  # a first photograph's numbers are not keyed until now
        for earlier in cameras:
            if earlier != camera:
                _take_pose(head, earlier, *_offered(head, earlier), keyed=True)
    _take_pose(head, camera, _numbers(keys), _numbers(bones), keyed=len(cameras) > 1)


def _take_pose(
    head: bpy.types.Object, camera: bpy.types.Object, keys: dict[str, float], bones: dict[str, float], *, keyed: bool,
    again: bool = False,
) -> None:  # fmt: skip
    """The numbers of one photograph by place; ``again``: the artist's changes go."""
    frame = float(camera[_CUSTOM]["frame"]) if keyed else None
    before = ({}, {}) if again else _offered(head, camera)
    owners = (head.data.shape_keys, head.blendsplat.rig)
    for owner, numbers, earlier in zip(owners, (keys, bones), before, strict=True):
        if owner is not None:
            keyframes.take(owner, _curves(numbers), frame, earlier)
    _remember(head, _folder(camera), {"keys": keys, "bones": bones})


def _offered(head: bpy.types.Object, camera: bpy.types.Object) -> tuple[dict[str, float], dict[str, float]]:
    """What a photograph said the last time: numbers by place, of shape keys and of bones."""
    photograph = _photographs(head).get(_folder(camera), {})
    return photograph.get("keys", {}), photograph.get("bones", {})


def _folder(camera: bpy.types.Object) -> str:
    return _absolute(camera.blendsplat.fit_path)


def _absolute(path: str) -> str:
    return str(Path(bpy.path.abspath(path)))


def _numbers(curves: list[keyframes.Curve]) -> dict[str, float]:
    return {curve.place: float(curve.values[0]) for curve in curves}


def _curves(numbers: dict[str, float]) -> list[keyframes.Curve]:
    return [keyframes.Curve.at(place, value) for place, value in numbers.items()]


# --- texture


def _texture(head: bpy.types.Object, number: int, fit: formats.Fit, rig: formats.Rig, posed: np.ndarray) -> None:
    """The photograph on the skin as the camera saw it; elsewhere the engine's texture or the skin's colour."""
    p = fit.performance
    image = photo_material.load_image(fit.photograph, f"{fit.name} photograph")
    points = photo_projection.camera_points(posed.astype(float), p.viewmat.astype(float))
    uvs = photo_projection.picture_uvs(points, p.K.astype(float), *matched_camera.size_of(p))
    seen, turned = photo_projection.seen(points, rig.faces, uvs)
    texture = photo_material.load_image(fit.texture, f"{fit.name} texture") if fit.texture is not None else None
    photo_material.project(head, photo_material.Projection(number, image, texture, uvs, seen, turned))
