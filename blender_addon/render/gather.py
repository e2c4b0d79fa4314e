# SPDX-License-Identifier: GPL-3.0-or-later
"""Every avatar's evaluated Gaussians in Blender's world: what a frame is rendered from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from ..scene import live_avatar, networks
from ..space import matrix_to_quat, quat_multiply, quat_to_matrix

_ATTRIBUTES = {"scale": (3, "vector"), "rotation": (4, "value"), "opacity": (1, "value"), "color": (4, "color")}


@dataclass
class Gaussians:
    """means [N,3], quats [N,4] wxyz, scales [N,3], opacities [N], colors [N,3]; float32."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    colors: np.ndarray

    def __len__(self) -> int:
        return len(self.means)

    def only(self, rows: np.ndarray) -> Gaussians:
        """Those of the rows (a mask or indices)."""
        return Gaussians(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def as_arrays(self) -> dict[str, np.ndarray]:
        """By the protocol's names."""
        return {name: np.ascontiguousarray(getattr(self, name), dtype=np.float32) for name in self.__dataclass_fields__}


COMBINED, BASE, RESIDUAL = "Combined", "Base", "Residual"  # pictures of a frame, as Blender calls their passes
_VIEWS = {BASE: networks.BASE, RESIDUAL: networks.RESIDUAL}
_DRAWN = ("AVATAR", live_avatar.KIND)
Drive = Callable[[bpy.types.Object, str], Gaussians]  # (avatar, what is shown) -> Gaussians in the avatar's space
Shows = Callable[[bpy.types.Object], bool]  # whether an original object (the instancer, of an instance) is in the view


@dataclass
class Part:
    """One avatar, or one instance of it: the original carrier, what places it in the scene (the original instancer,
    else the carrier itself), its Gaussians in world space, and whether it is selected."""

    carrier: bpy.types.Object
    place: bpy.types.Object
    gaussians: Gaussians
    selected: bool = False


def parts(
    depsgraph: bpy.types.Depsgraph, picture: str = COMBINED, drive: Drive | None = None, shows: Shows | None = None
) -> list[Part]:
    """All avatars visible in the depsgraph (instances too) that the picture shows. drive: asks the networks; without it
    every avatar is what Blender itself shows of it, its sliders. shows: what a view hides more."""
    found = []
    for instance in depsgraph.object_instances:
        item = instance.object
        if item.type == "MESH" and item.original.blendsplat.kind in _DRAWN and instance.show_self:
            place = (instance.parent or item).original
            if shows is not None and not shows(place):
                continue
            gaussians = read(item.data)
            shown = shown_in(item.original, picture) if drive is not None else networks.SLIDERS
            if gaussians is None or shown is None:
                continue
            if drive is not None and shown != networks.SLIDERS:
                gaussians = drive(item.original, shown)
            moved = transformed(gaussians, np.array(instance.matrix_world))
            found.append(Part(item.original, place, moved, place.select_get()))
    return found


def joined(gaussians: Sequence[Gaussians]) -> Gaussians:
    """All of them as one, in order."""
    if not gaussians:
        return Gaussians(*(np.zeros((0, *tail), np.float32) for tail in ((3,), (4,), (3,), (), (3,))))
    return Gaussians(
        *(np.concatenate([getattr(one, name) for one in gaussians]) for name in Gaussians.__dataclass_fields__)
    )


def gather(depsgraph: bpy.types.Depsgraph, shows: Shows | None = None) -> Gaussians:
    """What Blender itself shows of all visible avatars, in world space."""
    return joined([part.gaussians for part in parts(depsgraph, shows=shows)])


def shown_in(carrier: bpy.types.Object, picture: str) -> str | None:
    """What a picture shows of an avatar; None: nothing. An avatar without networks is all base: it has no residual."""
    if picture == COMBINED:
        return networks.shown_of(carrier)
    if networks.drawn_by_networks(carrier):
        return _VIEWS[picture]
    return networks.SLIDERS if picture == BASE else None


def read(mesh: bpy.types.Mesh) -> Gaussians | None:
    """The Gaussians of an evaluated carrier mesh, in its own space; None when its node group was removed."""
    count = len(mesh.vertices)
    if any(name not in mesh.attributes or len(mesh.attributes[name].data) != count for name in _ATTRIBUTES):
        return None
    found = {"position": _read(mesh.attributes["position"], count, 3, "vector")}
    for name, (width, what) in _ATTRIBUTES.items():
        found[name] = _read(mesh.attributes[name], count, width, what)
    return Gaussians(
        found["position"], found["rotation"], found["scale"], found["opacity"][:, 0], found["color"][:, :3]
    )


def _read(attribute: bpy.types.Attribute, count: int, width: int, what: str) -> np.ndarray:
    values = np.empty(count * width, dtype=np.float32)
    attribute.data.foreach_get(what, values)
    return values.reshape(count, width)


def transformed(g: Gaussians, matrix: np.ndarray) -> Gaussians:
    """The Gaussians moved by a matrix [4,4], which may stretch and shear them."""
    if np.allclose(matrix, np.eye(4)):
        return g
    linear = matrix[:3, :3]
    means = g.means @ linear.T.astype(np.float32) + matrix[:3, 3].astype(np.float32)
    u, singular, vt = np.linalg.svd(linear)
    if np.ptp(singular) > _EVEN * singular.max():
        quats, scales = _stretched(g, linear)
    else:
        rotation = u @ vt * np.sign(np.linalg.det(u @ vt))  # an ellipsoid is its own point reflection
        quats = quat_multiply(np.broadcast_to(matrix_to_quat(rotation), g.quats.shape), g.quats)
        scales = g.scales * np.float32(np.prod(singular) ** (1 / 3))
    return Gaussians(
        means.astype(np.float32), quats.astype(np.float32), scales.astype(np.float32), g.opacities, g.colors
    )


_EVEN = 1e-4  # a scale whose axes differ less is an even one


def _stretched(g: Gaussians, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and sizes of ellipsoids under any linear map [3,3]: the axes of what it makes of them."""
    axes = linear @ (quat_to_matrix(g.quats.astype(float)) * g.scales[:, None, :])
    u, scales, _ = np.linalg.svd(axes)
    u[:, :, 2] *= np.sign(np.linalg.det(u))[:, None]
    return matrix_to_quat(u), scales
