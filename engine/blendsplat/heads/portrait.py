# SPDX-License-Identifier: Apache-2.0
"""Pictures of any head, painted just enough for a face detector: skin, lips, brows, hair, eyes with iris and pupil.

The paint is a function of the point on the resting head, so it sticks to the surface in every pose, and is evaluated
per pixel, never per vertex.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from blendsplat.geometry import vertex_normals
from blendsplat.heads.model import LEFT_EYE_JOINT, RIGHT_EYE_JOINT, HeadModel, HeadParams
from blendsplat.heads.render import Light, render_head
from blendsplat.heads.uv import rasterize_uv_faces
from blendsplat.splatting import rasterize_mesh

_INSIDE, _WHITE, _TEETH, _BACKDROP = (0.30, 0.08, 0.08), (0.90, 0.88, 0.86), (0.88, 0.85, 0.78), (0.55, 0.58, 0.60)
_LIGHT = (0.25, 0.55, 0.80)
_IRIS_RADIUS = 0.0059  # metres
EYES_APART = 0.17  # distance between the eyes over the size of the picture


@dataclass(frozen=True)
class Palette:
    """A person's colours, sRGB in [0,1]."""

    skin: tuple[float, float, float] = (0.80, 0.60, 0.50)
    lips: tuple[float, float, float] = (0.66, 0.33, 0.31)
    hair: tuple[float, float, float] = (0.22, 0.15, 0.11)
    iris: tuple[float, float, float] = (0.30, 0.20, 0.13)


@dataclass
class Portrait:
    """One picture and what each of its pixels shows."""

    image: np.ndarray  # [H,W,3] uint8 sRGB
    face_ids: np.ndarray  # [H,W] int32, -1 where nothing
    barycentrics: np.ndarray  # [H,W,3]
    facing: np.ndarray  # [H,W]: cosine between the normal and the direction to the camera
    viewmat: np.ndarray  # [4,4]
    K: np.ndarray  # [3,3]


Renderer = Callable[[HeadModel, HeadParams, np.ndarray, np.ndarray, int, float], Portrait]


def look_at(target: np.ndarray, distance: float, yaw: float, pitch: float) -> np.ndarray:
    """World-to-camera [4,4] (OpenCV axes) of a camera at ``distance`` in the direction yaw, pitch (radians) from +z."""
    outward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    forward = -outward
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = -rotation @ (target + distance * outward)
    return viewmat


def eye_distance(head: HeadModel) -> float:
    """Metres between the centres of the eyeballs: the unit in which faces are measured."""
    return float((head.joints[LEFT_EYE_JOINT] - head.joints[RIGHT_EYE_JOINT]).norm())


def portrait_camera(head: HeadModel, yaw: float, pitch: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(viewmat [4,4], K [3,3]) of a camera 1 m or so before the face; the eyes are a sixth of the picture apart."""
    unit = eye_distance(head)
    target = head.joints[LEFT_EYE_JOINT:].mean(0).double().numpy() + unit * np.array([0.0, -0.35, -0.3])
    distance = 15 * unit
    focal = EYES_APART * size * distance / unit
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return look_at(target, distance, yaw, pitch), K


def take_portrait(
    head: HeadModel, params: HeadParams, viewmat: np.ndarray, K: np.ndarray, size: int, light: float = 0.0
) -> Portrait:
    """Draw one frame of params (B = 1) at size x size pixels. light: the lamp's turn to the side, radians."""
    samples = _sample_head(head, params, viewmat, K, size)
    normals = vertex_normals(samples.vertices, head.faces)[0].numpy()
    seen, corners, weights = samples.seen, samples.corners, samples.weights
    rest = (head.template.numpy()[corners] * weights).sum(1)
    normal = _unit((normals[corners] * weights).sum(1))
    to_camera = _unit(samples.eye - (samples.vertices[0].numpy()[corners] * weights).sum(1))
    facing = (normal * to_camera).sum(1)
    albedo, is_eye = _paint(head, rest, corners, weights, Palette())
    colour = np.broadcast_to(np.array(_BACKDROP), (*seen.shape, 3)).copy()
    behind = facing < 0  # the inside of the skin, seen through a mouth that has no inside of its own
    lit = _shade(albedo, np.where(behind, -1, 1)[:, None] * normal, to_camera, is_eye, light)
    colour[seen] = np.where(behind[:, None], 0.5 * np.array(_INSIDE), lit)
    return _to_portrait(samples, colour.reshape(size, 2, size, 2, 3).mean((1, 3)), facing)


def textured_portrait(texture: torch.Tensor) -> Renderer:
    """A renderer like take_portrait for a head with a texture [H,W,3] of its own (sRGB, v = 1 in the first row)."""

    def draw(
        head: HeadModel, params: HeadParams, viewmat: np.ndarray, K: np.ndarray, size: int, light: float = 0.0
    ) -> Portrait:
        samples = _sample_head(head, params, viewmat, K, size)
        normals = vertex_normals(samples.vertices, head.faces)[0].numpy()
        normal = _unit((normals[samples.corners] * samples.weights).sum(1))
        to_camera = _unit(samples.eye - (samples.vertices[0].numpy()[samples.corners] * samples.weights).sum(1))
        lamp = Light(direction=(_LIGHT[0] + float(np.tan(light)), _LIGHT[1], _LIGHT[2]))
        view, intrinsics = (torch.from_numpy(array.astype(np.float32))[None] for array in (viewmat, K))
        rgba = render_head(head, samples.vertices, texture, view, intrinsics, size, size, light=lamp)[0].numpy()
        image = rgba[..., :3] + (1 - rgba[..., 3:]) * np.array(_BACKDROP)
        return _to_portrait(samples, image, (normal * to_camera).sum(1))

    return draw


@dataclass
class _Samples:
    """What a camera sees of a posed head, with 2 x 2 samples a pixel; the last four hold one row per covered sample."""

    vertices: torch.Tensor  # [1,V,3]
    ids: np.ndarray  # [2H,2W]
    barycentrics: np.ndarray  # [2H,2W,3]
    seen: np.ndarray  # [2H,2W] bool
    corners: np.ndarray  # [P,3] vertices
    weights: np.ndarray  # [P,3,1]
    eye: np.ndarray  # [3] the camera's place
    viewmat: np.ndarray
    K: np.ndarray


def _sample_head(head: HeadModel, params: HeadParams, viewmat: np.ndarray, K: np.ndarray, size: int) -> _Samples:
    vertices = head(params)
    view, fine = (
        torch.from_numpy(array.astype(np.float32))[None] for array in (viewmat, K * np.array([[2.0], [2.0], [1.0]]))
    )
    planes = rasterize_mesh(vertices, head.faces, view, fine, 2 * size, 2 * size)
    ids, barycentrics = planes[0][0].numpy(), planes[1][0].numpy()
    seen = ids >= 0
    eye = -viewmat[:3, :3].T @ viewmat[:3, 3]
    corners = head.faces.numpy()[ids[seen]]
    return _Samples(vertices, ids, barycentrics, seen, corners, barycentrics[seen][:, :, None], eye, viewmat, K)


def _to_portrait(samples: _Samples, image: np.ndarray, facing: np.ndarray) -> Portrait:
    facing_map = np.zeros(samples.seen.shape)
    facing_map[samples.seen] = facing
    pick = (slice(0, None, 2), slice(0, None, 2))  # one of the four samples tells where the pixel lies
    colours = (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return Portrait(
        colours, samples.ids[pick], samples.barycentrics[pick], facing_map[pick], samples.viewmat, samples.K
    )


def painted_texture(head: HeadModel, palette: Palette, size: int) -> torch.Tensor:
    """The same paint as a texture float32 [size,size,3] of the head's UV square (v = 1 in the first row)."""
    texels, triangles, weights = rasterize_uv_faces(head.uvs.numpy(), head.uv_faces.numpy(), size)
    corners, weights = head.faces.numpy()[triangles], weights[:, :, None]
    rest = (head.template.numpy()[corners] * weights).sum(1)
    albedo = _paint(head, rest, corners, weights, palette)[0]
    image, empty = np.zeros((size * size, 3), np.float32), np.ones(size * size, bool)
    image[texels], empty[texels] = albedo, False
    near = distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)
    return torch.from_numpy(np.ascontiguousarray(image.reshape(size, size, 3)[near[0], near[1]][::-1]))


def _paint(
    head: HeadModel, rest: np.ndarray, corners: np.ndarray, weights: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [P,3] of points on the resting head with their triangles' corners [P,3] and barycentrics [P,3,1]; and
    which of them are eyeball [P]."""
    albedo = (vertex_paint(head, palette)[corners] * weights).sum(1)
    albedo = _paint_brows(head, rest, albedo, corners, palette)
    return _paint_eyes(head, rest, albedo, corners, palette)


def vertex_paint(head: HeadModel, palette: Palette = Palette()) -> np.ndarray:
    """Base colours [V,3] by region."""
    paint = np.tile(np.array(palette.skin), (head.vertex_count, 1))
    for names, colour in (
        (("scalp",), palette.hair),
        (("lips",), palette.lips),
        (("mouth_interior", "tongue"), _INSIDE),
        (("teeth_upper", "teeth_lower"), _TEETH),
        (("left_eyeball", "right_eyeball"), _WHITE),
    ):
        for name in names:
            if name in head.regions:
                paint[head.regions[name]] = colour
    return paint


def region_mask(head: HeadModel, *names: str) -> np.ndarray:
    """[V] bool: vertices in any of the regions (absent regions are empty)."""
    mask = np.zeros(head.vertex_count, bool)
    for name in names:
        mask[head.regions.get(name, np.zeros(0, np.int64))] = True
    return mask


def _paint_brows(
    head: HeadModel, rest: np.ndarray, albedo: np.ndarray, corners: np.ndarray, palette: Palette
) -> np.ndarray:
    """Dark strokes a third of the eyes' distance above the eyes, on the front of the face."""
    unit = eye_distance(head)
    on_face = region_mask(head, "face")[corners].all(1)
    strength = np.zeros(len(rest))
    for joint, side in ((3, 1.0), (4, -1.0)):
        centre = head.joints[joint].numpy()
        across = (rest[:, 0] - centre[0]) * side / unit  # grows outwards
        up = (rest[:, 1] - centre[1]) / unit
        line = 0.37 + 0.05 * np.clip(across, -1, 1) - 0.45 * np.clip(across - 0.05, 0, 1) ** 2
        half = 0.055 - 0.05 * np.clip(across, 0, 0.5)
        inside = np.clip((half - np.abs(up - line)) / 0.02 + 0.5, 0, 1)
        ends = np.clip((across + 0.32) / 0.06, 0, 1) * np.clip((0.42 - across) / 0.1, 0, 1)
        strength = np.maximum(strength, inside * ends)
    strength = 0.8 * strength * on_face * (rest[:, 2] > head.joints[LEFT_EYE_JOINT, 2].item())
    return albedo * (1 - strength[:, None]) + np.array(palette.hair) * strength[:, None]


def _paint_eyes(
    head: HeadModel, rest: np.ndarray, albedo: np.ndarray, corners: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """Iris (people's, 5.9 mm in radius; the eyeball may be larger than theirs), dark rim, pupil; returns also who is
    eyeball."""
    albedo = albedo.copy()
    is_eye = np.zeros(len(rest), bool)
    for joint, name in ((LEFT_EYE_JOINT, "left_eyeball"), (RIGHT_EYE_JOINT, "right_eyeball")):
        mine = region_mask(head, name)[corners].all(1)
        is_eye |= mine
        arms = rest[mine] - head.joints[joint].numpy()
        edge = np.degrees(np.arcsin(min(_IRIS_RADIUS / float(np.median(np.linalg.norm(arms, axis=1))), 0.7)))
        away = np.degrees(np.arccos(_unit(arms)[:, 2].clip(-1, 1)))
        iris = np.clip((edge + 0.1 - away) / 1.5, 0, 1)[:, None]
        rim = np.clip(1 - np.abs(away - 0.94 * edge) / 3, 0, 1)[:, None]
        pupil = np.clip((0.39 * edge - away) / 1.5, 0, 1)[:, None]
        colour = albedo[mine] * (1 - iris) + np.array(palette.iris) * iris * (1 - 0.7 * rim)
        albedo[mine] = colour * (1 - pupil) + 0.02 * pupil
    return albedo, is_eye


def _shade(
    albedo: np.ndarray, normal: np.ndarray, to_camera: np.ndarray, is_eye: np.ndarray, light: float
) -> np.ndarray:
    """A soft lamp from above, a fill from the camera; eyes are shaded less, as if lit by the whole room."""
    lamp = _unit(np.array(_LIGHT) + np.array([np.tan(light), 0, 0]))
    key = np.clip((normal @ lamp) * 0.5 + 0.5, 0, 1) ** 2
    fill = np.clip((normal * to_camera).sum(1), 0, 1)
    lit = np.where(is_eye, 0.55 + 0.35 * key, 0.18 + 0.62 * key + 0.30 * fill)
    return albedo * lit[:, None]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def opened_mouth(head: HeadModel, amount: float = 1.0) -> HeadParams:
    """Neutral (B = 1) with the mouth open about a finger wide (times ``amount``): by the jaw joint, or by a shape."""
    params = head.neutral()
    if float(head.skin_weights[:, 2].sum()) > 0:
        params.jaw_pose = params.jaw_pose + params.jaw_pose.new_tensor([0.2 * amount, 0.0, 0.0])
    elif "jawOpen" in head.expression_names:
        expression: Tensor = params.expression.clone()
        expression[0, head.expression_names.index("jawOpen")] = 0.4 * amount
        params.expression = expression
    return params
