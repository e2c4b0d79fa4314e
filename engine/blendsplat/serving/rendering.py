# SPDX-License-Identifier: Apache-2.0
"""What Blender shows: one rasterized image for its render engine, a tracked head's rig, an avatar's header."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from blendsplat.errors import InputError
from blendsplat.jobs.arrays import Arrays, Shape, checked_floats
from blendsplat.jobs.devices import resolve_device
from blendsplat.jobs.options import AnyPath, Device, Options

_SHAPES: dict[str, Shape] = {
    "means": ("N", 3), "quats": ("N", 4), "scales": ("N", 3), "opacities": ("N",), "colors": ("N", 3),
    "viewmat": (4, 4), "K": (3, 3),
}  # fmt: skip
_MESH = {"occluders", "occluder_faces"}  # come together or not at all
_OUTPUTS = {"image": 3, "alpha": 1, "depth": 1}
_MAX_PIXELS = 2**27  # about 11,600 x 11,600: the answer then stays below the protocol's 4 GiB
Side = Annotated[int, Field(ge=1, le=16384, strict=True)]


class RenderRequest(Options):
    """Parameters of ``render.gaussians``."""

    width: Side
    height: Side
    device: Device = "auto"


class PathRequest(Options):
    """Parameters of ``avatar.describe``."""

    path: AnyPath


class RigRequest(Options):
    """Parameters of ``head.rig``. identity: the model's mean head with the person's shape beside it."""

    directory: AnyPath
    identity: bool = False


def render_gaussians(request: RenderRequest, arrays: Arrays) -> Arrays:
    """One image of N Gaussians in world space: {image [H,W,3] premultiplied, alpha [H,W,1], depth [H,W,1] (times
    alpha)}, float32, without what the mesh ``occluders`` [V,3], ``occluder_faces`` [F,3] hides, where there is one.

    Raises InputError for missing, wrongly shaped or non-finite arrays and for images above the protocol's size.
    """
    width, height = request.width, request.height
    if width * height > _MAX_PIXELS:
        raise InputError(f"An image of {width} x {height} pixels is too large for one answer; render it in parts.")
    mesh = _mesh(arrays)
    checked = checked_floats(
        "render.gaussians", {name: array for name, array in arrays.items() if name not in _MESH}, _SHAPES
    )
    if not (checked["K"][0, 0] > 0 and checked["K"][1, 1] > 0):
        raise InputError("The attachment 'K' needs focal lengths above zero.")
    if not len(checked["means"]):
        return {name: np.zeros((height, width, channels), np.float32) for name, channels in _OUTPUTS.items()}
    import torch

    from blendsplat.splatting import rasterize_gaussians
    from blendsplat.splatting.occlusion import visible_share

    device = resolve_device(request.device)
    means, quats, scales, opacities, colors, viewmats, Ks = (
        torch.from_numpy(checked[name])[None].to(device) for name in _SHAPES
    )
    with torch.inference_mode():
        try:
            outputs = rasterize_gaussians(means, quats, scales, opacities, colors, viewmats, Ks, width, height)
        except ValueError as error:
            raise InputError(f"These Gaussians, or this camera, cannot be drawn: {error}.") from error
        planes = [tensor[0] for tensor in outputs]
        if mesh is not None:
            vertices, faces = (torch.from_numpy(array).to(device) for array in mesh)
            share = visible_share(planes[1], planes[2], vertices, faces, viewmats[0], Ks[0])
            planes = [plane * share for plane in planes]
    return {name: tensor.cpu().numpy() for name, tensor in zip(_OUTPUTS, planes, strict=True)}


def _mesh(arrays: Arrays) -> tuple[np.ndarray, np.ndarray] | None:
    """What hides Gaussians: vertices [V,3] float32, faces [F,3] int32; None without. Raises InputError."""
    if not _MESH & set(arrays):
        return None
    if not set(arrays) >= _MESH:
        raise InputError("The attachments 'occluders' and 'occluder_faces' come together.")
    vertices = checked_floats("render.gaussians", {"occluders": arrays["occluders"]}, {"occluders": ("V", 3)})
    faces = arrays["occluder_faces"]
    if faces.dtype != np.int32 or faces.ndim != 2 or faces.shape[1] != 3:
        raise InputError("The attachment 'occluder_faces' needs the shape [F,3] and the type int32.")
    if faces.size and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices["occluders"]):
        raise InputError("The attachment 'occluder_faces' points outside of 'occluders'.")
    return (vertices["occluders"], faces.copy()) if len(faces) else None


def describe_avatar(request: PathRequest) -> dict[str, Any]:
    """The header of an avatar file."""
    from blendsplat.systems import describe_avatar as describe

    return describe(request.path)


def head_rig(request: RigRequest) -> tuple[dict[str, Any], Arrays]:
    """The tracked person's head, shape and offsets built in -> ({head, expression_names, ...}, rig.* arrays).

    With ``identity`` the offsets alone are built in, and rig.shape_directions [S,V,3], rig.joint_shape_directions
    [S,5,3], rig.shape [S] (with it they give the person) and ``vertices`` [V,3] (the first frame, posed) come along.
    """
    import torch

    from blendsplat.avatars.rig import rig_arrays
    from blendsplat.heads.load import load_head_of
    from blendsplat.heads.performance import Performance

    tracking = Performance.load(Path(request.directory))
    head = load_head_of(tracking)
    offsets = torch.from_numpy(tracking.vertex_offsets).float()
    shape = torch.from_numpy(tracking.shape).float()
    described: dict[str, Any] = {
        "head": head.name,
        "expression_names": list(head.expression_names),
        "expression_range": list(head.expression_range),
    }
    if not request.identity:
        return described, rig_arrays(head.personalise(shape, offsets))
    arrays = rig_arrays(head.personalise(torch.zeros_like(shape), offsets))
    arrays |= {
        "rig.shape_directions": head.shape_directions.numpy(),
        "rig.joint_shape_directions": head.joint_shape_directions.numpy(),
        "rig.shape": shape.numpy(),
        "vertices": head(tracking.select([0]).params(), offsets)[0].numpy(),
    }
    return described | {"shape_names": list(head.shape_names)}, arrays
