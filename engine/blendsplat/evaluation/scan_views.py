# SPDX-License-Identifier: Apache-2.0
"""Photographs of a scan that we take ourselves: many views of one person whose true surface is known.

The scan (GLB, OBJ, PLY with vertex colours or a colour map) is turned upright by looking for its face, its seven
landmarks are detected on frontal pictures and cast back onto it, and it is drawn from any camera.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from blendsplat.errors import FormatError, InputError, NoFaceError
from blendsplat.evaluation.scan_metrics import OF_68
from blendsplat.evaluation.scans import EYES_APART, Scan, guess_unit, mesh_of, read_landmarks, read_with_trimesh
from blendsplat.evaluation.surface import face_axes
from blendsplat.files import check_file
from blendsplat.geometry import vertex_normals
from blendsplat.heads.landmarks68 import OF_478
from blendsplat.heads.portrait import look_at
from blendsplat.landmarks.detector import LandmarkDetector, make_detector
from blendsplat.splatting import rasterize_mesh

PLAIN, BACKDROP = (0.78, 0.62, 0.54), (0.62, 0.63, 0.64)
LAMP, AMBIENT = (-0.3, 0.5, 0.8), 0.62  # colour maps of scans carry light already: the lamp only models the form
FACES_SEEN = ((0.0, 0.0), (-14.0, 0.0), (14.0, 0.0), (0.0, 10.0))  # yaw, pitch of the pictures landmarks are found on
UPRIGHT, FRONTAL = 0.8, 0.35  # how far down the chin lies from the forehead, and how far the eyes lie apart
SEARCHED = 256  # pixels of the pictures on which the face is looked for
FIRST_FOCAL, FIRST_DISTANCE = 2.0, 5.0  # over the picture, and over the scan's height, while its face is unknown


@dataclass
class ColouredScan:
    """vertices [V,3] and faces [F,3]; colours [V,3] sRGB in [0,1], or uvs [V,2] into a texture [H,W,3]."""

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    uvs: np.ndarray | None = None
    texture: np.ndarray | None = None


@dataclass(frozen=True)
class Camera:
    """viewmat [4,4] (OpenCV axes, world-to-camera), K [3,3] in pixels, and the picture's side."""

    viewmat: np.ndarray
    K: np.ndarray
    size: int


def read_coloured_scan(path: Path, texture: Path | None = None) -> ColouredScan:
    """texture: a colour map, instead of the file's own. Raises InputError, FormatError (damaged, no mesh, no UVs)."""
    loaded = read_with_trimesh(path)
    vertices, faces = mesh_of(loaded, path)
    uvs = getattr(loaded.visual, "uv", None)
    uvs = None if uvs is None or len(uvs) != len(vertices) else np.asarray(uvs, np.float64)
    picture = _picture(texture) if texture is not None else _own_picture(loaded)
    if texture is not None and uvs is None:
        raise InputError(f"{path.name} has no texture coordinates, so {texture.name} cannot be put on it.")
    colours = np.broadcast_to(np.array(PLAIN), vertices.shape)
    if uvs is None or picture is None:
        own = getattr(loaded.visual, "vertex_colors", None) if loaded.visual.kind == "vertex" else None
        colours = colours if own is None else np.asarray(own)[:, :3] / 255
        uvs = picture = None
    return ColouredScan(vertices, faces, np.ascontiguousarray(colours), uvs, picture)


def _picture(path: Path) -> np.ndarray:
    check_file(path)
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return np.asarray(image.convert("RGB"), np.float32) / 255
    except FileNotFoundError as error:
        raise InputError(f"The colour map {path} does not exist; check the path.") from error
    except Exception as error:  # each of Pillow's readers raises its own on damaged input
        raise FormatError(f"The colour map {path.name} is damaged; fetch it again.", repr(error)) from error


def _own_picture(loaded: Any) -> np.ndarray | None:
    """The colour map inside the file, if it has one."""
    material = getattr(loaded.visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return None if image is None else np.asarray(image.convert("RGB"), np.float32) / 255


def draw_scan(scan: ColouredScan, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> (picture [H,W,3] uint8 sRGB before a plain wall, face ids [H,W], barycentrics [H,W,3])."""
    twice = np.diag([2.0, 2.0, 1.0]) @ camera.K
    ids, weights = _rasterized(scan, camera.viewmat, twice, 2 * camera.size)
    seen = ids >= 0
    corners = scan.faces[ids[seen]]
    normals = vertex_normals(torch.from_numpy(scan.vertices)[None].float(), torch.from_numpy(scan.faces))[0].numpy()
    normal = (normals[corners] * weights[seen][..., None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    lamp = camera.viewmat[:3, :3].T @ (np.array(LAMP) * [1, -1, -1])  # the lamp stands by the camera
    lit = AMBIENT + (1 - AMBIENT) * 1.3 * np.clip(normal @ (lamp / np.linalg.norm(lamp)), 0, 1)
    picture = np.broadcast_to(np.array(BACKDROP), (*ids.shape, 3)).copy()
    picture[seen] = _albedo(scan, corners, weights[seen]) * lit[:, None]
    small = picture.reshape(camera.size, 2, camera.size, 2, 3).mean((1, 3))
    once = _rasterized(scan, camera.viewmat, camera.K, camera.size)
    return (small.clip(0, 1) * 255 + 0.5).astype(np.uint8), *once


def _rasterized(scan: ColouredScan, viewmat: np.ndarray, K: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float32))[None]

    faces = torch.from_numpy(scan.faces.astype(np.int32))
    ids, weights, _ = rasterize_mesh(tensor(scan.vertices), faces, tensor(viewmat), tensor(K), size, size)
    return ids[0].numpy(), weights[0].numpy()


def _albedo(scan: ColouredScan, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Colour [P,3] at corners [P,3] with weights [P,3]."""
    if scan.texture is None or scan.uvs is None:
        return (scan.colours[corners] * weights[..., None]).sum(1)
    uv = (scan.uvs[corners] * weights[..., None]).sum(1)
    height, width = scan.texture.shape[:2]
    column = ((uv[:, 0] % 1) * width).astype(int).clip(0, width - 1)
    row = ((1 - uv[:, 1] % 1) * height).astype(int).clip(0, height - 1)
    return scan.texture[row, column]


def upright_scan(path: Path, texture: Path | None, landmarks: Path | None, unit: float | None) -> tuple[
    ColouredScan, Scan
]:  # fmt: skip
    """A scan in metres, y up and its face towards +z, and the same with its landmarks: detected, unless given.

    Raises InputError and FormatError as read_coloured_scan, NoFaceError when no side of it shows a face.
    """
    scan = read_coloured_scan(path, texture)
    if landmarks is not None:
        points = read_landmarks(landmarks)
        turn = face_axes(points)
        scan, points = replace(scan, vertices=scan.vertices @ turn.T), points @ turn.T
    else:
        with make_detector(moving=False) as detector:
            scan = _turned_to_face(scan, path, detector)
            points = detect_landmarks(scan, path, detector)
            turn = face_axes(points)
            scan, points = replace(scan, vertices=scan.vertices @ turn.T), points @ turn.T
    scale = guess_unit(points) if unit is None else unit
    scan = replace(scan, vertices=scan.vertices * scale)
    return scan, Scan(scan.vertices, scan.faces, points * scale)


def _turned_to_face(scan: ColouredScan, path: Path, detector: LandmarkDetector) -> ColouredScan:
    """The scan turned so that its face is seen from +z, about upright: the first of the 24 ways a box can stand."""
    for turn in _quarter_turns():
        turned = replace(scan, vertices=scan.vertices @ turn.T)
        for face in detector.detect_all(draw_scan(turned, _first_camera(turned, 0.0, 0.0, SEARCHED))[0], 0.0):
            across, down = (face.points[b, :2] - face.points[a, :2] for a, b in ((33, 263), (10, 152)))
            long = float(np.linalg.norm(down))
            if down[1] > UPRIGHT * long and across[0] > FRONTAL * long:
                return turned
    raise NoFaceError(f"No face was found on {path.name} from any side; give its seven landmarks.")


def _quarter_turns() -> list[np.ndarray]:
    """The 24 rotations of a cube: y up first, then z up, then the rest."""
    turns = []
    for pitch in (0, -90, 90, 180):
        for yaw in (0, 90, 180, 270):
            turns.append(_axis_turn(0, pitch) @ _axis_turn(2 if pitch in (-90, 90) else 1, yaw))
    turns += [_axis_turn(2, roll) @ _axis_turn(1, yaw) for roll in (90, -90) for yaw in (0, 90, 180, 270)]
    return turns


def _axis_turn(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[a, a] = turn[b, b] = c
    turn[a, b], turn[b, a] = -s, s
    return turn.round(12)


def _first_camera(scan: ColouredScan, yaw: float, pitch: float, size: int) -> Camera:
    """A camera that sees the whole scan, wherever its face is."""
    low, high = scan.vertices.min(0), scan.vertices.max(0)
    extent = float((high - low).max())
    focal = FIRST_FOCAL * size * FIRST_DISTANCE / FIRST_FOCAL / 1.15
    viewmat = look_at((low + high) / 2, FIRST_DISTANCE * extent, np.radians(yaw), np.radians(pitch))
    return Camera(viewmat, np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]), size)


def detect_landmarks(scan: ColouredScan, path: Path, detector: LandmarkDetector, size: int = 768) -> np.ndarray:
    """The seven landmarks [7,3] of an upright scan: medians of what several frontal pictures say, cast back onto it."""
    rows = OF_478[list(OF_68)]
    found = []
    for yaw, pitch in FACES_SEEN:
        picture, ids, weights = draw_scan(scan, _first_camera(scan, yaw, pitch, size))
        faces = detector.detect_all(picture, 0.0)
        if not faces:
            continue
        face = max(faces, key=lambda one: float(np.ptp(one.points[:, 1])))
        found.append(_cast(scan, ids, weights, face.points[rows, :2]))
    if not found:
        raise NoFaceError(f"No face was found on {path.name} from the front; give its seven landmarks.")
    points = np.nanmedian(np.stack(found), 0)
    if not np.isfinite(points).all():
        raise NoFaceError(f"The landmarks found on {path.name} lie beside it; give its seven landmarks.")
    return points


def _cast(scan: ColouredScan, ids: np.ndarray, weights: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Points of the surface [P,3] under pixels [P,2]; NaN where nothing is."""
    column, row = (pixels.T.astype(int)[axis].clip(0, ids.shape[1 - axis] - 1) for axis in (0, 1))
    face = ids[row, column]
    points = (scan.vertices[scan.faces[face]] * weights[row, column][..., None]).sum(1)
    points[face < 0] = np.nan
    return points


def portrait_cameras(landmarks: np.ndarray, count: int, size: int, focal: float, widest: float, seed: int) -> list[
    Camera
]:  # fmt: skip
    """``count`` cameras round an upright face [7,3] (metres), up to ``widest`` degrees to the side and a third of that
    up and down; focal over the picture's size."""
    rng = np.random.default_rng(seed)
    eyes = float(np.linalg.norm(landmarks[0] - landmarks[3]))
    target = landmarks.mean(0) - [0, 0.1 * EYES_APART, 0.5 * eyes]
    distance = focal * eyes / 0.22  # the eyes' outer corners are a fifth of the picture apart
    K = np.array([[focal * size, 0, size / 2], [0, focal * size, size / 2], [0, 0, 1]])
    cameras = []
    for index in range(count):
        yaw = widest * (2 * (index + 0.5) / count - 1)
        pitch = rng.uniform(-widest, widest) / 3
        cameras.append(Camera(look_at(target, distance, np.radians(yaw), np.radians(pitch)), K, size))
    return cameras
