# SPDX-License-Identifier: Apache-2.0
"""How much of a person's bare head the tracked or fitted mesh leaves uncovered: too narrow ears, jaws and necks.

What should be covered is told by the picture alone (matte, landmarks, colours), never by the mesh, so that figures of
different heads compare: the person's pixels above the chin that lie inside the detected outline or beside it, below
the brows and no farther than ears reach (from the mouth down no wider than the outline: shoulders are), with the
colours of the face's own skin and joined to it. Hair is told by the colours of what the matte has above the forehead. A
mesh that is simply larger covers more, so what it covers outside of the matte is measured too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from blendsplat.errors import InputError, NoFaceError
from blendsplat.fitting.skin_border import skin_mask
from blendsplat.heads.load import load_head_of
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, frame_intrinsics, head_vertices
from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import load_landmarks, make_detector
from blendsplat.progress import Progress
from blendsplat.splatting import rasterize_mesh
from blendsplat.tracking.neck_cut import learn_hair
from blendsplat.video import Clip

EYES_APART = 96.0  # pixels between the eyes of the copy that is looked at: figures do not hang on a picture's size
BROWS, MOUTH = (70, 300), (61, 291)  # landmarks: the brows' middles, the mouth's corners
FOREHEAD, CHIN = 10, 152  # the outline's highest and lowest
NECK = 0.1  # how much wider than the outline a neck may be, of the distance between the eyes: shoulders are
REACH = 0.75  # how far ears reach beyond the detected outline, of the distance between the eyes
STRAND = 0.06  # skin narrower than this, of the same, is light between strands of hair
ABOVE = 0.2  # how far above the outline the matte is hair, of the same
FRAMES = 20


@dataclass(frozen=True)
class Coverage:
    """Counts of pixels of one picture, all above the chin and near the face, in a copy with EYES_APART.

    skin: of the person's bare head; bare: of them those without mesh; person, person_bare: the same of the whole matte,
    hair included; beyond: mesh outside of the matte.
    """

    skin: int
    bare: int
    person: int
    person_bare: int
    beyond: int


def measure_folder(
    folder: Path, frames: int = FRAMES, pictures_to: Path | None = None, progress: Progress | None = None
) -> dict[str, float]:
    """Coverage of a tracked clip's folder (``frames`` of its frames, evenly spread) or of a fitted photograph's.

    -> {uncovered, uncovered_with_hair, beyond: percent of the bare head, of the person, of the bare head; frames}.
    pictures_to: a folder for pictures in which covered skin is green, bare skin red, mesh beyond the matte blue.
    Raises InputError for a folder that is neither, or without mattes or landmarks, NoFaceError without a usable frame.
    """
    progress = progress or Progress()
    if (folder / "clip.json").is_file():
        return _measure_clip(folder, frames, pictures_to, progress)
    if (folder / "fit.json").is_file():
        return _measure_photograph(folder, pictures_to, progress)
    raise InputError(f"{folder} is neither a clip folder (clip.json) nor a fitted photograph's (fit.json).")


def measure_picture(
    image: np.ndarray, matte: np.ndarray, landmarks: np.ndarray, vertices: np.ndarray, faces: np.ndarray, K: np.ndarray
) -> tuple[Coverage, np.ndarray]:
    """image [H,W,3] and matte [H,W] uint8, landmarks [478,2] in its pixels, a mesh in the camera's axes (vertices
    [V,3] in metres, faces [F,3]) and K [3,3] in its pixels -> counts, and the painted part of the picture [h,w,3]."""
    eyes = float(np.linalg.norm(landmarks[list(pts.LEFT_IRIS)].mean(0) - landmarks[list(pts.RIGHT_IRIS)].mean(0)))
    scale = EYES_APART / max(eyes, 1e-6)
    corner = np.maximum((landmarks.min(0) - 1.5 * eyes).astype(int), 0)
    end = np.minimum((landmarks.max(0) + 1.5 * eyes).astype(int) + 1, image.shape[1::-1])
    part = (slice(corner[1], end[1]), slice(corner[0], end[0]))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small, alpha = (cv2.resize(plane[part], None, fx=scale, fy=scale, interpolation=how) for plane in (image, matte))
    height, width = alpha.shape
    face = (landmarks - corner) * scale
    mesh = _mesh_mask(vertices, faces, K, corner, scale, width, height)
    places = _places(face, (height, width))
    matted = alpha > 127
    skin, person = _bare_skin(small, face, matted, places), matted & places.around
    beyond = places.around & mesh & ~matted
    counts = Coverage(*(int(plane.sum()) for plane in (skin, skin & ~mesh, person, person & ~mesh, beyond)))
    painted = small // 2 + 64
    for plane, colour in ((skin & mesh, (60, 200, 90)), (skin & ~mesh, (235, 40, 40)), (beyond, (50, 90, 250))):
        painted[plane] = painted[plane] // 2 + np.array(colour, np.uint8) // 2
    return counts, painted


@dataclass(frozen=True)
class _Places:
    """Where a face [478,2] lies in a picture: the outline's inside, the rest above the chin within ears' reach, of that
    the part below the brows without shoulders, and what lies well above the forehead; [H,W] bool."""

    inside: np.ndarray
    around: np.ndarray
    beside: np.ndarray
    above: np.ndarray


def _places(face: np.ndarray, shape: tuple[int, int]) -> _Places:
    across = face[list(pts.LEFT_LIDS)].mean(0) - face[list(pts.RIGHT_LIDS)].mean(0)
    eyes = max(float(np.linalg.norm(across)), 1e-6)
    right = across / eyes
    down = np.array([-right[1], right[0]])
    outline = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(outline, cv2.convexHull(np.round(face[list(pts.OVAL)]).astype(np.int32)), (255,))
    near = cv2.distanceTransform(255 - outline, cv2.DIST_L2, 5) <= REACH * eyes
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    height = columns * down[0] + rows * down[1]
    over_chin, under_brows = height < face[CHIN] @ down, height > face[list(BROWS)].mean(0) @ down
    side = columns * right[0] + rows * right[1]
    widest = face[list(pts.OVAL)] @ right
    as_wide = (side > widest.min() - NECK * eyes) & (side < widest.max() + NECK * eyes)
    shoulders = (height > face[list(MOUTH)].mean(0) @ down) & ~as_wide
    around = near & over_chin
    return _Places(
        (outline > 0) & over_chin,
        around,
        around & under_brows & ~shoulders,
        height < face[FOREHEAD] @ down - ABOVE * eyes,
    )


def _bare_skin(image: np.ndarray, face: np.ndarray, person: np.ndarray, places: _Places) -> np.ndarray:
    """[H,W] bool: of the person's pixels the face's inside, whatever its colours (eyes, lips, glasses, beard), and what
    beside it is skin, is not the hair's colour, and hangs together with it."""
    beside = skin_mask(image, face) & places.beside
    hair = learn_hair([(image, person & places.above, person & places.inside)])
    if hair is not None:
        beside &= hair.of(cv2.GaussianBlur(image, (0, 0), 1.0)) == 0
    skin = ((beside | places.inside) & person).astype(np.uint8)
    size = 2 * max(round(STRAND * EYES_APART / 2), 1) + 1
    skin = cv2.morphologyEx(skin, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    _, labels = cv2.connectedComponents(skin)
    own = np.unique(labels[places.inside & (skin > 0)])
    hangs: np.ndarray = np.isin(labels, own)
    return hangs


def summary(counts: list[Coverage]) -> dict[str, float]:
    """Percentages over the pictures' sums, and their number."""
    total = Coverage(*(sum(getattr(one, name) for one in counts) for name in Coverage.__dataclass_fields__))
    return {
        "uncovered": 100 * total.bare / max(total.skin, 1),
        "uncovered_with_hair": 100 * total.person_bare / max(total.person, 1),
        "beyond": 100 * total.beyond / max(total.skin, 1),
        "frames": len(counts),
    }


def _mesh_mask(
    vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, corner: np.ndarray, scale: float, width: int, height: int
) -> np.ndarray:
    """[H,W] bool: where the mesh is in the part of the picture that begins at ``corner`` and is enlarged by scale."""
    moved = np.array(K, np.float64)
    moved[:2, 2] -= corner
    moved[:2] *= scale
    ids, _, _ = rasterize_mesh(
        torch.as_tensor(vertices, dtype=torch.float32)[None], torch.as_tensor(np.asarray(faces, np.int32)),
        torch.eye(4)[None], torch.as_tensor(moved, dtype=torch.float32)[None], width, height,
    )  # fmt: skip
    mask: np.ndarray = ids[0].numpy() >= 0
    return mask


def _measure_clip(folder: Path, frames: int, pictures_to: Path | None, progress: Progress) -> dict[str, float]:
    clip, tracking = Clip.open(folder), Performance.load(folder)
    if not clip.has_mattes or not (folder / "landmarks.npz").is_file():
        raise InputError(f"{folder} has no mattes or no landmarks: import the video with a matte and track it.")
    points, found = load_landmarks(folder / "landmarks.npz")
    usable = np.flatnonzero(tracking.valid & found)
    if not len(usable):
        raise NoFaceError(f"{folder} has no tracked frame with a face.")
    chosen = np.unique(usable[np.linspace(0, len(usable) - 1, frames).astype(int)])
    head, Ks = load_head_of(tracking), frame_intrinsics(tracking)
    counts = []
    for row, index in enumerate(chosen):
        progress.check()
        vertices = head_vertices(tracking, head, np.array([index]))[0]
        picture = clip.image(int(index)), clip.matte(int(index)), points[index, :, :2]
        one, painted = measure_picture(*picture, vertices, _faces(head), Ks[index])
        counts.append(one)
        _keep(painted, pictures_to, f"{folder.resolve().name}_{index:06d}.png")
        progress.update("coverage", row + 1, len(chosen))
    return summary(counts)


def _measure_photograph(folder: Path, pictures_to: Path | None, progress: Progress) -> dict[str, float]:
    from blendsplat.photographs.fit_images import crop_and_matte
    from blendsplat.photographs.photograph import find_face, read_photograph

    tracking = Performance.load(folder)
    photograph = read_photograph(folder / "photograph.jpg")
    with make_detector(max_faces=4, moving=False) as detector:
        face = find_face(photograph, detector)
    _, matte = crop_and_matte(photograph, face)
    progress.check()
    head = load_head_of(tracking)
    height, width = photograph.image.shape[:2]
    K = tracking.K * np.array([[width / tracking.width], [height / tracking.height], [1.0]])
    picture = photograph.image, matte, face.points * photograph.scale
    one, painted = measure_picture(*picture, head_vertices(tracking, head)[0], _faces(head), K)
    _keep(painted, pictures_to, f"{folder.resolve().name}.png")
    return summary([one])


def _faces(head: HeadModel) -> np.ndarray:
    faces: np.ndarray = head.faces.numpy()
    return faces


def _keep(picture: np.ndarray, folder: Path | None, name: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), picture[..., ::-1])
