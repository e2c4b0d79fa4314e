# SPDX-License-Identifier: GPL-3.0-or-later
"""One view layer's frame: the avatars of a moment, splatted by the engine into the planes of Blender's passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import bpy
import numpy as np

from ..client.link import LinkError
from . import blur, camera, gather, occluders, passes
from .color import compose, film
from .networks import Networks

# (method, parameters, arrays) -> the arrays of the engine's answer. Raises LinkError, EngineError.
Ask = Callable[[str, dict[str, Any], dict[str, np.ndarray]], dict[str, np.ndarray]]
Seek = Callable[[float], None]  # evaluate the depsgraph at an offset in frames from the frame
Planes = dict[str, np.ndarray]  # by pass: [H,W,C] float32, the first row at the top


class Frame:
    """Renders a view layer at its depsgraph's frame. Raises CameraError, NetworksError, LinkError, EngineError."""

    def __init__(
        self, depsgraph: bpy.types.Depsgraph, ask: Ask, seek: Seek, device: str, wanted: Sequence[passes.Pass]
    ) -> None:
        self._depsgraph, self._ask, self._seek, self._device = depsgraph, ask, seek, device
        self._names = [one.name for one in wanted]
        self.seen = 0  # Gaussians of the last picture

    def planes(self) -> Planes:
        """Every wanted pass."""
        scene, item = self._depsgraph.scene, self._depsgraph.scene.camera
        self.view()  # a camera that cannot be rendered is said before anything is asked
        lens = blur.lens_of(item.evaluated_get(self._depsgraph))
        moments = blur.moments(scene, lens)
        mixed: Planes = {}
        offset = 0.0
        for moment in moments:
            if moment.offset != offset:
                self._seek(offset := moment.offset)
            view = self.view()
            if lens is not None:
                view = view.from_beside(moment.aside, lens.focus)
            for name, plane in self._moment(view).items():
                share = plane / np.float32(len(moments))
                mixed[name] = mixed[name] + share if name in mixed else share
        if offset:
            self._seek(0.0)
        depth = mixed.pop(passes.DEPTH)
        return mixed | self._sharp(depth if len(moments) == 1 else None)

    def view(self) -> camera.View:
        return camera.view_of(self._depsgraph.scene, self._depsgraph, self._depsgraph.scene.camera)

    def _moment(self, view: camera.View) -> Planes:
        """The passes that blur mixes, of one moment, and its depth."""
        scene, driven, mesh = self._depsgraph.scene, self._networks(), self._mesh()
        planes: Planes = {}
        for name in self._names:
            if name not in (gather.COMBINED, gather.BASE, gather.RESIDUAL):
                continue
            found = self._parts(view, name, driven)
            if name == gather.COMBINED:
                self.seen = sum(len(part.gaussians) for part in found)
            image, alpha, depth = self._splatted(view, found, mesh)
            planes[name] = compose(image, alpha, film(scene))
            if name == gather.COMBINED:
                planes |= self._told(view, found, mesh, alpha)
                planes[passes.DEPTH] = passes.expected_depth(depth, alpha, view.back)
        return planes

    def _told(self, view: camera.View, found: list[gather.Part], mesh: occluders.Mesh, alpha: np.ndarray) -> Planes:
        """Alpha and mattes: three avatars a picture, each in a colour of its own."""
        planes: Planes = {passes.ALPHA: alpha} if passes.ALPHA in self._names else {}
        mattes = [name for name in self._names if name.startswith(passes.MATTE)]
        owner = np.repeat(
            [_index(mattes, passes.matte_name(part.carrier.name)) for part in found],
            [len(part.gaussians) for part in found],
        )
        for first in range(0, len(mattes), 3):
            colors = (owner[:, None] == np.arange(first, first + 3)).astype(np.float32)
            image = self._splatted(view, found, mesh, colors)[0]
            planes |= {name: image[..., index : index + 1] for index, name in enumerate(mattes[first : first + 3])}
        return planes

    def _sharp(self, depth: np.ndarray | None) -> Planes:
        """Depth (where it is not known yet), normals and motion of the frame itself, through the middle of the lens."""
        wanted = {passes.DEPTH, passes.NORMAL, passes.VECTOR} & set(self._names)
        planes: Planes = {passes.DEPTH: depth} if depth is not None and passes.DEPTH in wanted else {}
        if wanted <= set(planes):
            return planes  # the scene need not be gathered, nor networks asked, once more
        view, mesh = self.view(), self._mesh()
        found = self._parts(view, gather.COMBINED, self._networks())
        if passes.DEPTH in wanted - set(planes):
            _, alpha, far = self._splatted(view, found, mesh)
            planes[passes.DEPTH] = passes.expected_depth(far, alpha, view.back)
        if passes.NORMAL in wanted:
            colors = passes.normal_colors(gather.joined([part.gaussians for part in found]), view)
            image, alpha, _ = self._splatted(view, found, mesh, colors)
            planes[passes.NORMAL] = passes.normals(image, alpha)
        if passes.VECTOR in wanted:
            planes[passes.VECTOR] = self._motion(view, mesh)
        return planes

    def _motion(self, view: camera.View, mesh: occluders.Mesh) -> np.ndarray:
        """The Vector pass; an avatar that has other Gaussians a frame before or after stands still in it."""
        whole, moved = self._parts(view, gather.COMBINED, self._networks(), clip=False), []
        for offset in (-1.0, 1.0):
            self._seek(offset)
            there = self.view()
            others = self._parts(there, gather.COMBINED, self._networks(), clip=False)
            moved.append({_who(part): there.pixels(part.gaussians.means) for part in others})
        self._seek(0.0)
        found, values = [], [np.zeros((0, 4))]
        for part in whole:
            kept, now = _ahead(view, part.gaussians), view.pixels(part.gaussians.means)
            earlier, later = (side.get(_who(part), now) for side in moved)
            known = len(earlier) == len(now) == len(later)
            values.append(passes.motion(earlier, now, later)[kept] if known else np.zeros((kept.sum(), 4)))
            found.append(replace(part, gaussians=part.gaussians.only(kept)))
        vectors = np.concatenate(values)
        low, planes = vectors.min(0, initial=0.0), []
        for pair in (slice(0, 2), slice(2, 4)):
            colors = np.concatenate([vectors[:, pair] - low[pair], np.zeros((len(vectors), 1))], 1)
            image, alpha, _ = self._splatted(view, found, mesh, colors)
            planes.append(np.where(alpha > passes.SEEN, image[..., :2] / np.maximum(alpha, 1e-6) + low[pair], 0))
        return np.concatenate(planes, -1).astype(np.float32)

    def _parts(self, view: camera.View, name: str, driven: Networks, clip: bool = True) -> list[gather.Part]:
        """The avatars that a picture shows, cut at the camera's clip start and end."""
        found = [part for part in gather.parts(self._depsgraph, name, driven) if part.place.visible_camera]
        if not clip:
            return found
        return [
            part if (kept := _ahead(view, part.gaussians)).all() else replace(part, gaussians=part.gaussians.only(kept))
            for part in found
        ]

    def _networks(self) -> Networks:
        return Networks(self._depsgraph, self._ask)

    def _mesh(self) -> occluders.Mesh:
        settings = self._depsgraph.scene.blendsplat_render
        if not settings.hidden_by_others:
            return occluders.Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
        return occluders.gather(self._depsgraph)

    def _splatted(
        self, view: camera.View, found: list[gather.Part], mesh: occluders.Mesh, colors: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """premultiplied [H,W,3], alpha [H,W,1], depth [H,W,1] of all of them (colors [N,3]: other colours), without
        what is held out. A scene without avatars needs no engine."""
        layer = self._depsgraph.view_layer
        held = [part.place.original.holdout_get(view_layer=layer) for part in found]
        gaussians = gather.joined([part.gaussians for part in found])
        if colors is not None:
            gaussians = replace(gaussians, colors=colors.astype(np.float32))
        if not any(held):
            return self._picture(view, gaussians, mesh)
        shown = np.repeat([not out for out in held], [len(part.gaussians) for part in found])
        image, _, depth = self._picture(view, replace(gaussians, colors=gaussians.colors * shown[:, None]), mesh)
        white = replace(gaussians, colors=np.repeat(shown[:, None], 3, 1).astype(np.float32))
        weights, alpha, _ = self._picture(view, white, mesh)
        part = weights[..., :1]
        return image, part, depth * part / np.maximum(alpha, 1e-6)

    def _picture(
        self, view: camera.View, gaussians: gather.Gaussians, mesh: occluders.Mesh
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the engine draws."""
        size = (view.height, view.width)
        if not len(gaussians):
            return np.zeros((*size, 3), np.float32), np.zeros((*size, 1), np.float32), np.zeros((*size, 1), np.float32)
        arrays = gaussians.as_arrays() | {"viewmat": view.viewmat.astype(np.float32), "K": view.K.astype(np.float32)}
        params = {"width": view.width, "height": view.height, "device": self._device}
        answer = self._ask("render.gaussians", params, arrays | mesh.as_arrays())
        for name, channels in (("image", 3), ("alpha", 1), ("depth", 1)):
            if answer.get(name) is None or answer[name].shape != (*size, channels):
                raise LinkError(f"The engine's answer lacks {name!r} in the right size; install the engine again.")
        return answer["image"], answer["alpha"], answer["depth"]


def _ahead(view: camera.View, gaussians: gather.Gaussians) -> np.ndarray:
    """Which of them the camera does not clip [N]."""
    depth = view.depth(gaussians.means)
    return (depth > view.near) & (depth < view.far)


def _who(part: gather.Part) -> tuple[str, str]:
    return part.carrier.name_full, part.place.name_full


def _index(names: list[str], name: str) -> int:
    """Where a name is; -1: nowhere."""
    return names.index(name) if name in names else -1
