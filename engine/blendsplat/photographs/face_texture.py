# SPDX-License-Identifier: Apache-2.0
"""The texture of a fitted head: its photograph carried onto the UV layout, whole even where the camera saw nothing.

What one half of the face hides, the other half shows, mirrored and shifted to the colours at the seam. What neither
shows takes the colours of the surface around it, spread over the mesh; eyes, teeth and mouth come from a painted head.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu

from blendsplat.geometry import vertex_normals
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.families import HUMAN
from blendsplat.heads.human.appearance import Look, paint_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.portrait import Palette, eye_distance, painted_texture, region_mask
from blendsplat.heads.uv import texture_texels
from blendsplat.splatting import rasterize_mesh

SIZE = 1024
PAINTED = 512  # texels of what is painted: eyes, teeth and mouth are small
DEPTH_SIDE = 768  # pixels of the depth map over the head
GRAZING, SQUARE_ON = 0.22, 0.5  # cosines between normal and view from which a pixel is stretched, is trusted
CLEARANCE = 0.05  # of the eyes' distance: how far behind the depth map a point is hidden for sure
BORDER = 14  # texels over which the photograph fades into what fills the rest
FIRM = 30.0  # how much more a colour that was seen counts than its neighbours' wish to be alike
EYES = ("left_eyeball", "right_eyeball")
INSIDE_MOUTH = ("mouth_interior", "teeth_upper", "teeth_lower", "tongue")


@dataclass
class View:
    """A photograph for texturing: image [H,W,3] uint8, matte [H,W] uint8 of the person, K [3,3] of these pixels."""

    image: np.ndarray
    matte: np.ndarray
    K: np.ndarray


@dataclass
class _Head:
    """The posed head before the camera: points, normals [V,3] in camera axes, its depth map and that map's K."""

    points: np.ndarray
    normals: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    clearance: float


def project_texture(view: View, vertices: np.ndarray, head: HeadModel, size: int = SIZE) -> np.ndarray:
    """Texture [size,size,3] uint8 (v = 1 in the first row) from vertices [V,3] in the camera's axes, metres."""
    posed = _before_camera(vertices, head)
    faces = head.faces.numpy()
    twins = _mirrored(head, posed)
    texels, triangles, weights = texture_texels(head.uvs, head.uv_faces, size)
    corners, weights = faces[triangles], weights[:, :, None]
    own, seen = _project(view, posed, _mix(posed.points, corners, weights), _mix(posed.normals, corners, weights))
    fill, shift = _spread_colours(view, posed, twins, head)
    colours = _mix(fill, corners, weights)
    apart = region_mask(head, *EYES, *INSIDE_MOUTH)[corners].all(1)
    colours[apart] = _painted(head, size).reshape(-1, 3)[texels[apart]] * _exposure(fill)
    _mirror_onto(colours, ~apart & (seen[:, 0] < 1), view, posed, twins, shift, corners, weights, texels, size)
    colours += _soften(seen, texels, size) * (own - colours)
    return _as_image(colours, texels, size)


def _mirror_onto(
    colours: np.ndarray, wanted: np.ndarray, view: View, posed: _Head, twins: _Head, shift: np.ndarray,
    corners: np.ndarray, weights: np.ndarray, texels: np.ndarray, size: int,
) -> None:  # fmt: skip
    """Lay what the other half shows over ``colours`` [P,3] of the ``wanted`` [P] texels."""
    corners, weights = corners[wanted], weights[wanted]
    other, seen = _project(view, posed, _mix(twins.points, corners, weights), _mix(twins.normals, corners, weights))
    other += _mix(shift, corners, weights)
    colours[wanted] += _soften(seen, texels[wanted], size) * (other - colours[wanted])


def _before_camera(vertices: np.ndarray, head: HeadModel) -> _Head:
    points = vertices.astype(np.float32)
    normals = vertex_normals(torch.from_numpy(points)[None], head.faces)[0].numpy()
    flat = points[:, :2] / points[:, 2:]
    low, high = flat.min(0), flat.max(0)
    focal = DEPTH_SIDE / float((high - low).max())
    K = np.array([[focal, 0, -focal * low[0]], [0, focal, -focal * low[1]], [0, 0, 1]], np.float32)
    placed, camera = torch.from_numpy(points)[None], torch.from_numpy(K)[None]
    _, _, depth = rasterize_mesh(placed, head.faces, torch.eye(4)[None], camera, DEPTH_SIDE, DEPTH_SIDE)
    far = np.where(depth[0].numpy() > 0, depth[0].numpy(), np.float32(1e3))
    return _Head(points, normals, far, K, CLEARANCE * eye_distance(head))


def _mirrored(head: HeadModel, posed: _Head) -> _Head:
    """Every vertex at its mirror image's place on the posed head."""
    rest, faces = head.template.numpy(), head.faces.numpy()
    face, weights, _ = closest_on_mesh(rest * [-1, 1, 1], rest, faces, 12)
    corners, weights = faces[face], weights.astype(np.float32)[:, :, None]
    points, normals = _mix(posed.points, corners, weights), _mix(posed.normals, corners, weights)
    return _Head(points, normals, posed.depth, posed.K, posed.clearance)


def _mix(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Vertex values [V,C] at points with corners [P,3] and barycentrics [P,3,1] -> [P,C]."""
    total = values[corners[:, 0]] * weights[:, 0]
    total += values[corners[:, 1]] * weights[:, 1]
    total += values[corners[:, 2]] * weights[:, 2]
    return total


def _project(view: View, posed: _Head, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours [P,3] (0..255) that the photograph shows at points [P,3], and the trust in each [P,1]."""
    distance = np.linalg.norm(points, axis=1)
    lengths = np.maximum(np.linalg.norm(normals, axis=1) * distance, 1e-12)
    facing = -(points * normals).sum(1) / lengths
    flat = points[:, :2] / points[:, 2:]
    on_map = flat * posed.K[0, 0] + posed.K[:2, 2]
    behind = (points[:, 2] - _sample(posed.depth, on_map)) / posed.clearance
    on_image = flat * view.K[[0, 1], [0, 1]] + view.K[:2, 2]
    height, width = view.image.shape[:2]
    inside = ((on_image > 1) & (on_image < [width - 1, height - 1])).all(1)
    trust = _ramp(facing, GRAZING, SQUARE_ON) * _ramp(behind, 1.0, 0.5) * inside
    trust = trust * _ramp(_sample(view.matte, on_image) / 255, 0.6, 1.0)
    return _sample(view.image, on_image).astype(np.float32), trust[:, None].astype(np.float32)


def _sample(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """image [H,W] or [H,W,C] at places [P,2] (pixel corners at whole numbers) -> [P] or [P,C], bilinear."""
    columns = 4096  # OpenCV's maps are limited in each direction
    rows = -(-len(places) // columns)
    padded = np.zeros((rows * columns, 2), np.float32)
    padded[: len(places)] = places - 0.5
    where = padded.reshape(rows, columns, 2)
    found = cv2.remap(image, where, np.zeros(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(rows * columns, -1)[: len(places)].squeeze(1 if image.ndim == 2 else ())


def _ramp(values: np.ndarray, zero: float, one: float) -> np.ndarray:
    """0 at ``zero``, 1 at ``one``, smooth between."""
    t = np.clip((values - zero) / (one - zero), 0, 1)
    return t * t * (3 - 2 * t)


def _soften(trust: np.ndarray, texels: np.ndarray, size: int) -> np.ndarray:
    """Trust [P,1] that falls to 0 over BORDER texels inside of where it was; gaps of the layout are no border."""
    hidden = np.zeros(size * size, np.uint8)
    hidden[texels[trust[:, 0] < 0.5]] = 1
    distance = cv2.distanceTransform(1 - hidden.reshape(size, size), cv2.DIST_L2, 5).ravel()[texels]
    return np.minimum(trust, _ramp(distance * (1024 / size), 0, BORDER)[:, None]).astype(np.float32)


def _painted(head: HeadModel, size: int) -> np.ndarray:
    """Painted eyes, teeth and mouth [size,size,3], 0..255, for what no camera sees of them."""
    if head.family != HUMAN:
        return painted_texture(head, Palette(), size).numpy() * 255
    image = paint_head(Look(), min(size, PAINTED), skin=False) * 255
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def _exposure(colours: np.ndarray) -> float:
    """By what painted parts are darkened so that they stand in the photograph's light."""
    return float(np.clip(np.median(colours) / 140, 0.5, 1.1))


def _spread_colours(view: View, posed: _Head, twins: _Head, head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Vertex colours [V,3] everywhere, and what must be added [V,3] to a mirrored colour so that it meets its own side.

    Both are known where the photograph shows the vertex, and elsewhere as smooth as the mesh allows.
    """
    blur = max(1.0, 0.03 * view.K[0, 0] * 4 * posed.clearance / CLEARANCE / float(posed.points[:, 2].mean()))
    soft = View(_blurred(view, blur), view.matte, view.K)
    own, seen = _project(soft, posed, posed.points, posed.normals)
    other, seen_there = _project(soft, posed, twins.points, twins.normals)
    solve = _Spreader(head)
    shift = solve(own - other, seen * seen_there, np.zeros(3, np.float32))
    known = seen + (1 - seen) * seen_there
    colours = (seen * own + (1 - seen) * seen_there * (other + shift)) / np.maximum(known, 1e-6)
    usual = (known * colours).sum(0) / np.maximum(known.sum(), 1e-6)
    return solve(colours, known, usual), shift


def _blurred(view: View, sigma: float) -> np.ndarray:
    """The photograph blurred over the person alone."""
    share = (view.matte.astype(np.float32) / 255)[..., None]
    shrink = min(1.0, 2 / sigma)
    wide = cv2.resize(view.image * share, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    whole = cv2.resize(share, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(wide, (0, 0), sigma * shrink)
    whole = cv2.GaussianBlur(whole, (0, 0), sigma * shrink)
    mean = wide / np.maximum(whole, 1e-3)[..., None]
    return cv2.resize(mean, view.image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


class _Spreader:
    """Least-squares values on a mesh: near to what is known, else alike along edges."""

    def __init__(self, head: HeadModel) -> None:
        faces = head.faces.numpy()
        a, b = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
        count = head.vertex_count
        links = coo_matrix((np.ones(len(a)), (a, b)), (count, count)).tocsr()
        links = links + links.T
        self._laplacian = diags(np.asarray(links.sum(1)).ravel()) - links

    def __call__(self, values: np.ndarray, weights: np.ndarray, usual: np.ndarray) -> np.ndarray:
        """values [V,C] where weights [V,1] are above 0; usual [C]: what pieces without any known value get."""
        firm, loose = FIRM * weights[:, 0].astype(float), 1e-5
        factor = splu((self._laplacian + diags(firm + loose)).tocsc())
        solved: np.ndarray = factor.solve(firm[:, None] * values + loose * usual).astype(np.float32)
        return solved


def _as_image(colours: np.ndarray, texels: np.ndarray, size: int) -> np.ndarray:
    """Texels' colours -> [size,size,3] uint8, v = 1 in the first row; gaps take their nearest texel's."""
    image, empty = np.zeros((size * size, 3), np.uint8), np.ones(size * size, bool)
    image[texels], empty[texels] = (colours.clip(0, 255) + 0.5).astype(np.uint8), False
    near = distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)
    return np.ascontiguousarray(image.reshape(size, size, 3)[near[0], near[1]])
