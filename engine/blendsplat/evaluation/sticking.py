# SPDX-License-Identifier: Apache-2.0
"""Whether an overlay sticks to the skin: its motion from frame to frame against the picture's own, by optical flow.

An artist who watches an overlay sees three faults: the whole trembles, parts of it crawl over the skin, and it comes
late (or too short) when the head moves fast. Each is measured by itself, at points of the face that the camera sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from blendsplat.errors import InputError
from blendsplat.geometry import face_normals
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, frame_intrinsics, head_vertices
from blendsplat.progress import Progress
from blendsplat.splatting import rasterize_mesh
from blendsplat.video import Clip

SIDE = 512  # pixels across the picture to which every figure is scaled
STILL, FAST = 1.0, 2.0  # pixels a frame at SIDE: the face's median speed below and above which a moment is so
POINTS = 400
CLEAR = 0.006  # metres that points keep from lips, lids and what else does not move as skin does
FOREHEAD = 0.75  # distances between the eyes above them, over which hair may hang
FACING = 0.4  # cosine to the camera below which the surface is seen too obliquely
HIDDEN = 0.004  # metres behind the nearest surface from which on a point is hidden
MARGIN = 0.03  # of the picture: points nearer to its border are left out
WINDOW, LEVELS = 25, 4  # pixels at SIDE of the window that optical flow compares, and its pyramid
RETURN = 0.35  # pixels at SIDE that flow there and back may miss by
TEXTURE = 4e-4  # smallest eigenvalue (of OpenCV's normalised gradients) below which a window says nothing
NEIGHBOURS = 25  # points whose median difference stands for each: finer than that is the flow's own noise
FEWEST = 20  # points that a pair of frames must show
LAGS = 3.0  # frames, the longest lag that is looked for
_NOT_SKIN = (
    "lips", "left_eyelids", "right_eyelids", "left_eyeball", "right_eyeball", "mouth_interior", "teeth_upper",
    "teeth_lower", "tongue", "left_ear", "right_ear", "scalp", "neck",
)  # fmt: skip


@dataclass(frozen=True)
class Motions:
    """The face's motion over F - 1 pairs of neighbouring frames at P points, pixels at SIDE. overlay, picture
    [F-1,P,2]; known [F-1,P]: both ends seen, the picture's motion certain; places [P,3]: metres on the mean head."""

    overlay: np.ndarray
    picture: np.ndarray
    known: np.ndarray
    places: np.ndarray


def evaluate_sticking(
    clip: Clip, tracking: Performance, head: HeadModel, progress: Progress | None = None
) -> dict[str, float]:
    """Figures of measure() for a tracked clip. Raises InputError where clip and tracking do not belong together."""
    return measure(motions_of(clip, tracking, head, progress))


def motions_of(clip: Clip, tracking: Performance, head: HeadModel, progress: Progress | None = None) -> Motions:
    """Follow the face's points through every pair of neighbouring frames of a shot that are valid."""
    progress = progress or Progress()
    if tracking.frame_count != clip.frame_count:
        raise InputError(
            f"The tracking has {tracking.frame_count} frames and {clip.directory} {clip.frame_count}: they are of "
            "different clips."
        )
    faces = face_points(head)
    pixels, seen = overlay_paths(tracking, head, faces)
    scale = SIDE / tracking.width
    count = clip.frame_count - 1
    picture, known = np.zeros((max(count, 0), len(faces), 2)), np.zeros((max(count, 0), len(faces)), bool)
    cuts = set(clip.info.shots)
    before = _grey(clip.image(0))
    for frame in range(count):
        progress.check()
        after = _grey(clip.image(frame + 1))
        both = seen[frame] & seen[frame + 1]
        if tracking.valid[frame] and tracking.valid[frame + 1] and frame + 1 not in cuts and both.any():
            picture[frame, both], known[frame, both] = picture_motion(before, after, pixels[frame, both])
        before = after
        progress.update("optical flow", frame + 1, count)
    places = head.template.numpy()[head.faces.numpy()[faces]].mean(1)
    return Motions(np.diff(pixels, axis=0) * scale, picture * scale, known, places)


def face_points(head: HeadModel, count: int = POINTS) -> np.ndarray:
    """Faces [P] of the mesh whose middles are the points: spread evenly over forehead, nose, cheeks and chin. Raises
    InputError for a head that does not say where its face is."""
    if "face" not in head.regions:
        raise InputError(f"The head {head.name!r} does not say which of its vertices are the face.")
    vertices, faces = head.template.numpy(), head.faces.numpy()
    other = np.concatenate([np.zeros(0, np.int64), *(head.regions[name] for name in _NOT_SKIN if name in head.regions)])
    skin = np.zeros(head.vertex_count, bool)
    skin[head.regions["face"]] = True
    if len(other):
        skin &= cKDTree(vertices[other]).query(vertices)[0] > CLEAR
    eyes = head.joints[3:].numpy()
    skin &= vertices[:, 1] < eyes[:, 1].mean() + FOREHEAD * np.linalg.norm(eyes[0] - eyes[1])
    chosen = np.flatnonzero(skin[faces].all(1))
    if not len(chosen):
        raise InputError(f"The head {head.name!r} has no skin that could be followed.")
    middles = vertices[faces[chosen]].mean(1)
    rows, nearest = [0], np.linalg.norm(middles - middles[0], axis=1)
    while len(rows) < min(count, len(chosen)):
        rows.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(middles - middles[rows[-1]], axis=1))
    return np.asarray(chosen[rows])


def overlay_paths(
    tracking: Performance, head: HeadModel, faces: np.ndarray, batch: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Where the middles of ``faces`` [P] are drawn, pixels [F,P,2], and whether the camera sees them [F,P]."""
    pixels, seen = [], []
    Ks = torch.as_tensor(frame_intrinsics(tracking))
    width, height, corners = tracking.width, tracking.height, head.faces[torch.as_tensor(faces)]
    for start in range(0, tracking.frame_count, batch):
        rows = np.arange(start, min(start + batch, tracking.frame_count))
        vertices = torch.as_tensor(head_vertices(tracking, head, rows))
        K = Ks[rows]
        _, _, depth = rasterize_mesh(vertices, head.faces, torch.eye(4).expand(len(rows), 4, 4), K, width, height)
        middles = vertices[:, corners].mean(2)
        normals = torch.nn.functional.normalize(face_normals(vertices, corners), dim=-1)
        facing = -(normals * torch.nn.functional.normalize(middles, dim=-1)).sum(-1) > FACING
        image = middles @ K.transpose(1, 2)
        at = image[..., :2] / image[..., 2:]
        edge = MARGIN * width
        inside = (at > edge).all(-1) & (at[..., 0] < width - edge) & (at[..., 1] < height - edge)
        column = at[..., 0].long().clamp(0, width - 1)
        row = at[..., 1].long().clamp(0, height - 1)
        nearest = depth[torch.arange(len(rows))[:, None], row, column]
        pixels.append(at.numpy().astype(np.float64))
        seen.append((facing & inside & (middles[..., 2] < nearest + HIDDEN)).numpy())
    return np.concatenate(pixels), np.concatenate(seen)


def picture_motion(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the picture moves at points [P,2] (pixels; a pixel's middle is at its half) from one grey picture [H,W] uint8
    to the next: motion [P,2] and whether it is certain [P]: pyramidal Lucas-Kanade (Bouguet 2000), there and back."""
    scale = before.shape[1] / SIDE
    side = max(5, round(WINDOW * scale) | 1)
    settings: dict[str, Any] = {
        "winSize": (side, side), "maxLevel": LEVELS, "minEigThreshold": TEXTURE,
        "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 0.003),
    }  # fmt: skip

    def follow(source: np.ndarray, target: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found: Any = cv2.calcOpticalFlowPyrLK(source, target, places, None, **settings)  # type: ignore[call-overload]
        return found[0], found[1]

    start = (points - 0.5).astype(np.float32)[:, None]
    there, ok = follow(before, after, start)
    back, ok_back = follow(after, before, there)
    missed = np.linalg.norm(back - start, axis=-1)[:, 0]
    certain = (ok[:, 0] == 1) & (ok_back[:, 0] == 1) & (missed < RETURN * scale)
    # There and back have opposite errors of the same kind: their mean has less of it.
    return 0.5 * ((there - start) - (back - there))[:, 0].astype(np.float64), certain


def measure(motions: Motions) -> dict[str, float]:
    """How an overlay's motion differs from the picture's, in pixels at SIDE per frame; NaN where no moment tells.

    On still moments: stick_px, the median over points of the root mean square difference; tremble_px, that of the mean
    over points (the head as a whole); crawl_px, the median over points of what remains. On fast moments: fast_px, as
    stick_px. Over all: lag_frames, by how much the overlay's mean motion comes after the picture's, and follow, how
    much of the picture's motion it then does (1: all). moments_still, moments_fast: shares of pairs; points: seen in a
    pair.
    """
    known = motions.known & (motions.known.sum(1) >= FEWEST)[:, None]
    told = known.any(1)
    if not told.any():
        return dict.fromkeys(
            ("stick_px", "tremble_px", "crawl_px", "fast_px", "lag_frames", "follow"), float("nan")
        ) | {"moments_still": 0.0, "moments_fast": 0.0, "points": 0.0}  # fmt: skip
    speed = np.full(len(known), np.nan)
    speed[told] = _over_points(np.linalg.norm(motions.picture, axis=-1), known)[told]
    still, fast = told & (speed < STILL), told & (speed > FAST)
    difference = _of_neighbours(motions.overlay - motions.picture, known, motions.places)
    rigid = np.stack([_over_points(difference[..., axis], known) for axis in (0, 1)], -1)
    lag, follow = _lag(motions, known, told)
    return {
        "stick_px": _typical(difference, known, still),
        "tremble_px": float(np.sqrt((rigid[still] ** 2).sum(-1).mean())) if still.any() else float("nan"),
        "crawl_px": _typical(difference - rigid[:, None], known, still),
        "fast_px": _typical(difference, known, fast),
        "lag_frames": lag,
        "follow": follow,
        "moments_still": float(still.mean()),
        "moments_fast": float(fast.mean()),
        "points": float(known[told].sum(1).mean()),
    }


def _typical(difference: np.ndarray, known: np.ndarray, moments: np.ndarray) -> float:
    """The median over points of the root mean square length of differences [T,P,2] over the moments [T] that know them;
    points known in fewer than a fifth of the moments say nothing."""
    count = (known & moments[:, None]).sum(0)
    enough = count >= max(1, 0.2 * moments.sum())
    if not moments.any() or not enough.any():
        return float("nan")
    squares = np.where(known, (difference**2).sum(-1), 0)[moments].sum(0)
    return float(np.median(np.sqrt(squares[enough] / count[enough])))


def _over_points(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The median [T] over known points of values [T,P]; 0 where none is known."""
    medians = np.zeros(len(values))
    told = known.any(1)
    medians[told] = np.nanmedian(np.where(known[told], values[told], np.nan), axis=1)
    return medians


def _of_neighbours(difference: np.ndarray, known: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Each point's difference [T,P,2] replaced by the median over its known neighbours on the skin and itself."""
    near = cKDTree(places).query(places, min(NEIGHBOURS, len(places)))[1].reshape(len(places), -1)
    smooth = np.empty_like(difference)
    for pair in range(len(difference)):
        hidden = np.where(known[pair], difference[pair].T, np.nan)[:, near]  # [2,P,K]
        hidden[:, ~known[pair]] = 0  # whoever is unknown has no neighbours to be asked for either
        smooth[pair] = np.nanmedian(hidden, axis=-1).T
    return smooth


def _lag(motions: Motions, known: np.ndarray, told: np.ndarray) -> tuple[float, float]:
    """Frames by which the face's mean motion in the overlay comes after the picture's, and the share of it that the
    overlay then does. NaN where the face hardly moves."""
    mean = [np.stack([_over_points(m[..., a], known) for a in (0, 1)], -1) for m in (motions.overlay, motions.picture)]
    runs = [run for run in np.split(np.arange(len(told)), np.flatnonzero(~told)) if told[run].sum() >= 4]
    runs = [run[told[run]] for run in runs]
    lags = np.arange(-LAGS, LAGS + 1e-9, 0.02)
    missed, across, own, moved = (np.zeros(len(lags)) for _ in range(4))
    for run in runs:
        ours, theirs = mean[0][run], CubicSpline(np.arange(len(run)), mean[1][run])
        inner = np.arange(int(LAGS), len(run) - int(LAGS))
        if not len(inner):
            continue
        for number, lag in enumerate(lags):
            shifted = theirs(inner - lag)
            missed[number] += ((ours[inner] - shifted) ** 2).sum()
            across[number] += (ours[inner] * shifted).sum()
            own[number] += (shifted**2).sum()
            moved[number] += len(inner)
    best = int(missed.argmin())
    if not moved[best] or own[best] / moved[best] < STILL**2 / 4:
        return float("nan"), float("nan")
    return float(lags[best]), float(across[best] / own[best])


def _grey(picture: np.ndarray) -> np.ndarray:
    grey: np.ndarray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return grey
