# SPDX-License-Identifier: Apache-2.0
"""How much of a person's bare head a mesh leaves uncovered, and how much of it lies beyond the person: too narrow ears,
jaws and necks, and ears that grew out under sunglasses.

What should be covered is told by the picture alone (matte, landmarks, colours), never by the mesh, so that figures of
different heads compare: the person's pixels above the chin that lie inside the detected outline or beside it, below
the brows and no farther than ears reach (from the mouth down no wider than the outline: shoulders are), with the
colours of the face's own skin and joined to it. Hair is told by the colours of what the matte has above the forehead. A
mesh that is simply larger covers more, so what it covers outside of the matte is measured too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from blendsplat.fitting.skin_border import skin_mask
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, frame_intrinsics, head_vertices
from blendsplat.landmarks import points as pts
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
JAW = 0.2  # how far beside the jaw, from the mouth down, bare skin is surely a jaw, of the same: then collars begin
FRAMES = 12  # of a clip
UNCOVERED, BEYOND = 0.06, 0.045  # shares of the bare head from which an overlay looks wrong (docs/tracking.md)
_MESH = "The overlay's mesh"
_LOOK = (
    "look at ears and jaw in {}. A known lens (--focal), a matte that holds just the person, pictures that show the "
    "head from its sides as well, or another head (--head) may sit better."
)


@dataclass(frozen=True)
class Coverage:
    """Counts of pixels of one picture, all above the chin and near the face, in a copy with EYES_APART.

    skin: of the person's bare head; bare: of them those without mesh; person, person_bare: the same of the whole matte,
    hair included; beyond: mesh outside of the matte; sure, sure_bare: as skin and bare, without what lies beside the
    jaw at the height where collars are, whose colours may be the skin's.
    """

    skin: int
    bare: int
    person: int
    person_bare: int
    beyond: int
    sure: int
    sure_bare: int


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
    beyond, sure = places.around & mesh & ~matted, skin & places.sure
    planes = (skin, skin & ~mesh, person, person & ~mesh, beyond, sure, sure & ~mesh)
    counts = Coverage(*(int(plane.sum()) for plane in planes))
    painted = small // 2 + 64
    for plane, colour in ((skin & mesh, (60, 200, 90)), (skin & ~mesh, (235, 40, 40)), (beyond, (50, 90, 250))):
        painted[plane] = painted[plane] // 2 + np.array(colour, np.uint8) // 2
    return counts, painted


@dataclass(frozen=True)
class _Places:
    """Where a face [478,2] lies in a picture: the outline's inside, the rest above the chin within ears' reach, of that
    the part below the brows without shoulders, what lies well above the forehead, and all but what lies beside the jaw
    where collars are; [H,W] bool."""

    inside: np.ndarray
    around: np.ndarray
    beside: np.ndarray
    above: np.ndarray
    sure: np.ndarray


def _places(face: np.ndarray, shape: tuple[int, int]) -> _Places:
    across = face[list(pts.LEFT_LIDS)].mean(0) - face[list(pts.RIGHT_LIDS)].mean(0)
    eyes = max(float(np.linalg.norm(across)), 1e-6)
    right = across / eyes
    down = np.array([-right[1], right[0]])
    outline = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(outline, cv2.convexHull(np.round(face[list(pts.OVAL)]).astype(np.int32)), (255,))
    away = cv2.distanceTransform(255 - outline, cv2.DIST_L2, 5)
    near = away <= REACH * eyes
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    height = columns * down[0] + rows * down[1]
    over_chin, under_brows = height < face[CHIN] @ down, height > face[list(BROWS)].mean(0) @ down
    side = columns * right[0] + rows * right[1]
    widest = face[list(pts.OVAL)] @ right
    as_wide = (side > widest.min() - NECK * eyes) & (side < widest.max() + NECK * eyes)
    under_mouth = height > face[list(MOUTH)].mean(0) @ down
    shoulders = under_mouth & ~as_wide
    around = near & over_chin
    return _Places(
        (outline > 0) & over_chin,
        around,
        around & under_brows & ~shoulders,
        height < face[FOREHEAD] @ down - ABOVE * eyes,
        ~under_mouth | (away <= JAW * eyes),
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


def measure_clip(
    clip: Clip, head: HeadModel, tracking: Performance, landmarks: np.ndarray, found: np.ndarray
) -> list[Coverage]:
    """Of at most FRAMES frames with a face, spread over the clip. landmarks [F,478,2] in its pixels, found [F] bool."""
    usable = np.flatnonzero(tracking.valid & found)
    if not clip.has_mattes or not len(usable):
        return []
    rows = np.unique(usable[np.linspace(0, len(usable) - 1, FRAMES).astype(int)])
    meshes, Ks, faces = head_vertices(tracking, head, rows), frame_intrinsics(tracking), head.faces.numpy()
    return [
        measure_picture(clip.image(int(row)), clip.matte(int(row)), landmarks[row], mesh, faces, Ks[row])[0]
        for row, mesh in zip(rows, meshes, strict=True)
    ]


def coverage_figures(counts: list[Coverage]) -> dict[str, float]:
    """{uncovered, beyond}: the medians over pictures, as shares of the bare head; {} where there is none to see."""
    seen = [one for one in counts if one.sure]
    if not seen:
        return {}
    return {
        "uncovered": float(np.median([one.sure_bare / one.sure for one in seen])),
        "beyond": float(np.median([one.beyond / one.sure for one in seen])),
    }


def coverage_notes(figures: dict[str, float], overlay: str) -> list[str]:
    """What is said of a mesh that does not sit on the head. overlay: the name of the picture that shows it."""
    uncovered, beyond = figures.get("uncovered", 0.0), figures.get("beyond", 0.0)
    bare = f"leaves {uncovered:.0%} of the bare head uncovered" if uncovered > UNCOVERED else ""
    wide = f"lies on {beyond:.0%} more than the bare head, on what is behind it" if beyond > BEYOND else ""
    said = " and ".join(part for part in (bare, wide) if part)
    return [f"{_MESH} {said}: {_LOOK.format(overlay)}"] if said else []


def with_coverage(
    clip: Clip, head: HeadModel, tracking: Performance, landmarks: np.ndarray, found: np.ndarray
) -> Performance:
    """The tracking with what it covers in its figures and, where that is bad, its notes; earlier ones go."""
    figures = coverage_figures(measure_clip(clip, head, tracking, landmarks, found))
    others = {name: value for name, value in tracking.figures.items() if name not in ("uncovered", "beyond")}
    said = [note for note in tracking.notes if not note.startswith(_MESH)]
    notes = (*said, *coverage_notes(figures, "overlay.mp4"))
    return replace(tracking, figures=others | figures, notes=notes)
