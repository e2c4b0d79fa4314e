# SPDX-License-Identifier: Apache-2.0
"""Where MediaPipe's 478 points lie on a head, found by detecting them on the head's own pictures and casting them back.

So any head can be tracked, and no embedding file with a licence of its own is needed. The result is kept per head in
the user's cache folder; the head ``human`` brings its own (``python -m blendsplat.heads.embed_head human``).
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from blendsplat.errors import BlendsplatError, FormatError, NoFaceError
from blendsplat.files import read_npz, write_npz
from blendsplat.folders import cache_folder
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.families import HUMAN
from blendsplat.heads.model import HeadModel, LandmarkEmbedding
from blendsplat.heads.portrait import (
    EYES_APART,
    Portrait,
    Renderer,
    eye_distance,
    opened_mouth,
    portrait_camera,
    region_mask,
    take_portrait,
    textured_portrait,
)
from blendsplat.progress import Progress

COUNT, SKIN_COUNT = 478, 468
FORMAT, VERSION = "blendsplat-landmark-embedding", 1
RECIPE = 3  # part of the key: raise it when the embedding of an unchanged head would come out otherwise
SHIPPED = Path(__file__).with_name("human") / "human_embedding.npz"
SIZE = 512
_MIDDLE = (*range(3), *range(4, 7), *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200)
# the slit between the lips: found best where it opens, so read from pictures with an open mouth, at its border
_INNER_LIPS = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95])
_RIGHT_IRIS, _LEFT_IRIS = slice(468, 473), slice(473, 478)
_TURNS = ((0, 0), (-12, 0), (12, 0), (-24, 0), (24, 0), (-36, 0), (36, 0), (0, 12), (0, -12), (-18, 10), (18, 10))
# yaw, pitch (degrees), opening of the mouth, lamp (degrees): both sides alike
_VIEWS = [(yaw, pitch, mouth, 0.5 * yaw) for mouth in (0.0, 0.7, 1.2) for yaw, pitch in _TURNS]


class Detector(Protocol):
    """What is asked of blendsplat.landmarks.detector.LandmarkDetector."""

    def detect(self, image: np.ndarray, timestamp_s: float) -> Any:
        """An object with ``points`` [478,3] in pixels, or None."""


def mirrored_points() -> np.ndarray:
    """[478]: the index of each point's mirror image. The canonical mesh lists one side's points, then the other's."""
    mirror = np.arange(COUNT)
    right = np.setdiff1d(np.arange(248), _MIDDLE)
    left = np.arange(248, SKIN_COUNT)
    mirror[right], mirror[left] = left, right
    # an iris: centre, then four points around it, numbered from the outside of the picture's left eye alike
    for a, b in ((468, 473), (469, 476), (470, 475), (471, 474), (472, 477)):
        mirror[a], mirror[b] = b, a
    return mirror


def embed_landmarks(
    head: HeadModel,
    renderer: Renderer = take_portrait,
    detector: Detector | None = None,
    progress: Progress | None = None,
) -> LandmarkEmbedding:
    """Detect the points on some thirty pictures of ``head`` and combine them on its surface. About 15 seconds.

    renderer(head, params, viewmat, K, size, light) draws one Portrait; detector finds one face in single pictures
    (default: mediapipe's own). Points average where they agree, weighted by how squarely the camera saw the surface;
    ``weights`` [478] in [0,1] tell how well they agree. Raises NoFaceError when too few pictures show a face.
    """
    progress = progress or Progress()
    reference = (
        head(opened_mouth(head))[0].double().numpy()
    )  # lips and lids apart: a point cannot land on the wrong one
    with contextlib.ExitStack() as stack:
        if detector is None:
            from blendsplat.landmarks.detector import make_detector  # the detector's home; only this default needs it

            detector = stack.enter_context(make_detector(moving=False))
        positions, weights = _detect_all(head, reference, renderer, detector, progress)
    if len(positions) < len(_VIEWS) // 3:
        raise NoFaceError(
            f"A face was found in {len(positions)} of {len(_VIEWS)} pictures of the head {head.name!r}, too few to "
            "place its landmarks: check that its eyeballs, lips and scalp are named in its regions."
        )
    return _combine(head, reference, np.stack(positions), np.stack(weights))


def _detect_all(
    head: HeadModel, reference: np.ndarray, renderer: Renderer, detector: Detector, progress: Progress
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Places [478,3] and weights [478] from every picture in which a face was found."""
    positions: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for number, view in enumerate(_VIEWS):
        progress.check()
        yaw, pitch, mouth, light = view
        cameras = portrait_camera(head, np.radians(yaw), np.radians(pitch), SIZE)
        portrait = renderer(head, opened_mouth(head, mouth), *cameras, SIZE, float(np.radians(light)))
        found = detector.detect(portrait.image, 2.0 * number)
        if found is not None:
            where, weight = _cast(
                head, reference, portrait, np.asarray(found.points)[:, :2].astype(np.float64), mouth > 0.5
            )
            positions.append(where)
            weights.append(weight)
        progress.update("embedding", number + 1, len(_VIEWS))
    return positions, weights


def _allowed_faces(head: HeadModel) -> list[tuple[slice | np.ndarray, np.ndarray]]:
    """[(points, mask [F])]: which faces carry which points. Skin points never lie on eyeballs, teeth or the throat."""
    inner = region_mask(
        head,
        "left_eyeball",
        "right_eyeball",
        "teeth_upper",
        "teeth_lower",
        "mouth_interior",
        "tongue",
        "left_ear",
        "right_ear",
    )
    lips = region_mask(head, "lips")
    faces = head.faces.numpy()
    skin = ~(inner & ~lips)[faces].any(1)
    # the open end of the mouth's inside belongs to the inner lips
    return [
        (slice(0, SKIN_COUNT), skin),
        (_RIGHT_IRIS, region_mask(head, "right_eyeball")[faces].all(1)),
        (_LEFT_IRIS, region_mask(head, "left_eyeball")[faces].all(1)),
    ]


def _cast(
    head: HeadModel, reference: np.ndarray, portrait: Portrait, points: np.ndarray, mouth_open: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [478,2] -> (their places [478,3] on the reference surface, weights [478], 0 where nothing was hit)."""
    size = portrait.face_ids.shape[0]
    positions, weights = np.zeros((COUNT, 3)), np.zeros(COUNT)
    reach = 0.05 * EYES_APART * size  # a twentieth of the distance between the eyes
    column = np.clip(np.floor(points[:, 0]), 0, size - 1).astype(int)
    row = np.clip(np.floor(points[:, 1]), 0, size - 1).astype(int)
    for which, allowed in _allowed_faces(head):
        usable = (portrait.face_ids >= 0) & allowed[portrait.face_ids] & (portrait.facing > 0.1)
        if not usable.any():
            continue
        away, (near_row, near_column) = distance_transform_edt(~usable, return_indices=True)
        distance = away[row[which], column[which]]
        r, c = near_row[row[which], column[which]], near_column[row[which], column[which]]
        facing = portrait.facing[r, c].clip(0, 1) ** 2
        if which == slice(0, SKIN_COUNT):
            edge_row, edge_column, edge_distance = _opening_border(portrait, usable, points, row, column)
            r[_INNER_LIPS], c[_INNER_LIPS] = near_row[edge_row, edge_column], near_column[edge_row, edge_column]
            # the border is where the lip turns away, so facing says nothing; a closed mouth does not show it
            facing[_INNER_LIPS] = float(mouth_open)
            distance[_INNER_LIPS] = edge_distance
        corners = head.faces.numpy()[portrait.face_ids[r, c]]
        positions[which] = (reference[corners] * portrait.barycentrics[r, c][:, :, None]).sum(1)
        weights[which] = np.exp(-((distance / reach) ** 2)) * facing
    weights[weights < 0.02] = 0
    return positions, weights


def _opening_border(
    portrait: Portrait, usable: np.ndarray, points: np.ndarray, row: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every inner lip point the nearest pixel (row, column, distance) of what shows between the lips."""
    polygon = points[_INNER_LIPS]
    low, high = polygon.min(0), polygon.max(0)
    margin = 0.2 * (high[1] - low[1]) + 4
    rows, columns = np.indices(usable.shape)
    near = (
        (columns > low[0] - margin)
        & (columns < high[0] + margin)
        & (rows > low[1] - margin)
        & (rows < high[1] + margin)
    )
    opening = near & ~usable
    if not opening.any():
        return row[_INNER_LIPS], column[_INNER_LIPS], np.full(len(_INNER_LIPS), np.inf)
    away, (near_row, near_column) = distance_transform_edt(~opening, return_indices=True)
    r, c = row[_INNER_LIPS], column[_INNER_LIPS]
    return near_row[r, c], near_column[r, c], away[r, c]


def _combine(head: HeadModel, reference: np.ndarray, positions: np.ndarray, weights: np.ndarray) -> LandmarkEmbedding:
    """Places [P,478,3] and weights [P,478] of P pictures -> one embedding."""
    unit = eye_distance(head)
    if _is_symmetric(head):
        mirror = mirrored_points()
        flipped = (positions * [-1.0, 1.0, 1.0])[:, mirror]
        positions, weights = np.concatenate([positions, flipped]), np.concatenate([weights, weights[:, mirror]])
    mean = (positions * weights[:, :, None]).sum(0) / np.maximum(weights.sum(0), 1e-9)[:, None]
    for _ in range(6):
        residual = np.linalg.norm(positions - mean, axis=2)
        robust = weights / (1 + (residual / (0.03 * unit)) ** 2)
        mean = (positions * robust[:, :, None]).sum(0) / np.maximum(robust.sum(0), 1e-9)[:, None]
    spread = np.sqrt((robust * residual**2).sum(0) / np.maximum(robust.sum(0), 1e-9))
    seen = np.clip(robust.sum(0) / (0.15 * len(positions)), 0, 1)
    trust = seen / (1 + (spread / (0.05 * unit)) ** 2)

    faces = np.zeros(COUNT, np.int64)
    barycentrics = np.tile([1.0, 0.0, 0.0], (COUNT, 1))
    for which, allowed in _allowed_faces(head):
        index = np.flatnonzero(allowed)
        face, weight, _ = closest_on_mesh(mean[which], reference, head.faces.numpy()[index])
        faces[which], barycentrics[which] = index[face], weight
    return LandmarkEmbedding(
        torch.from_numpy(faces),
        torch.from_numpy(barycentrics.astype(np.float32)),
        torch.from_numpy(np.where(trust > 0.05, trust, 0).astype(np.float32)),
    )


def _is_symmetric(head: HeadModel) -> bool:
    """Whether the template is its own mirror image, to a hundredth of the distance between the eyes at most places."""
    template = head.template.numpy()
    distance, _ = cKDTree(template).query(template * [-1.0, 1.0, 1.0])
    return bool(np.quantile(distance, 0.9) < 0.02 * eye_distance(head))


def head_key(head: HeadModel) -> str:
    """Hash of the arrays that decide where landmarks lie: changes when the head does, or this file's recipe."""
    digest = hashlib.sha256(f"{RECIPE}".encode())
    rounded = (head.template.numpy().astype(np.float64) * 1e6).round().astype(np.int64)  # micrometres
    for array in (rounded, head.faces.numpy().astype(np.int64)):
        digest.update(np.ascontiguousarray(array).tobytes())
    for name in sorted(head.regions):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(head.regions[name].astype(np.int64)).tobytes())
    return digest.hexdigest()[:32]


def cached_embedding(head: HeadModel, progress: Progress | None = None) -> LandmarkEmbedding:
    """The head's embedding: shipped, or from the user's cache, or detected now and kept there."""
    key = head_key(head)
    own = cache_folder() / f"landmarks-{key}.npz"
    for path in (SHIPPED, own):
        try:
            return load_embedding(path, head, key)
        except FormatError:
            continue  # absent, damaged or of another head: the next place, in the end detection, replaces it
    embedding = embed_landmarks(head, renderer=renderer_of(head), progress=progress)
    try:
        save_embedding(own, embedding, head, key)
    except BlendsplatError as error:  # a cache that cannot be written costs time, never the result
        print(f"warning: {error.sentence}", file=sys.stderr)
    return embedding


def renderer_of(head: HeadModel) -> Renderer:
    """The painter that suits a head: the shipped one has a texture, the others are painted by region."""
    if head.family != HUMAN:
        return take_portrait
    from blendsplat.heads.human.appearance import head_texture

    return textured_portrait(torch.tensor(head_texture()))


def save_embedding(path: Path, embedding: LandmarkEmbedding, head: HeadModel, key: str | None = None) -> None:
    """Write an embedding with the key of its head."""
    meta = {"format": FORMAT, "version": VERSION, "head": head.name, "key": key or head_key(head)}
    arrays = {
        "faces": embedding.faces.numpy().astype(np.int32),
        "barycentrics": embedding.barycentrics.numpy(),
        "weights": embedding.weights.numpy(),
    }
    write_npz(path, meta, arrays)


def load_embedding(path: Path, head: HeadModel, key: str | None = None) -> LandmarkEmbedding:
    """Read an embedding. Raises FormatError when it is damaged or was made for a head of other arrays."""
    meta, arrays = read_npz(path, FORMAT, VERSION)
    if meta.get("key") != (key or head_key(head)):
        raise FormatError(f"{path} was made for another head, or another state of {head.name!r}; detect it again.")
    shapes = {"faces": (COUNT,), "barycentrics": (COUNT, 3), "weights": (COUNT,)}
    if any(name not in arrays or arrays[name].shape != shape for name, shape in shapes.items()):
        raise FormatError(f"{path} lacks arrays of a landmark embedding; detect it again.")
    if not 0 <= arrays["faces"].min() <= arrays["faces"].max() < len(head.faces):
        raise FormatError(f"{path} names faces that the head {head.name!r} does not have; detect it again.")
    return LandmarkEmbedding(
        torch.from_numpy(arrays["faces"].astype(np.int64)),
        torch.from_numpy(arrays["barycentrics"].astype(np.float32)),
        torch.from_numpy(arrays["weights"].astype(np.float32)),
    )
