# SPDX-License-Identifier: Apache-2.0
"""Does an avatar do what another person did? Its rendered video is tracked again, as a stranger's would be.

There is no picture to compare with. So the literature of image animation compares what a tracker reads from the driving
video with what the same tracker reads from the render: expression (AED), pose (APD), and the person (CSIM).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar
from blendsplat.avatars.rendering import render_performance
from blendsplat.errors import InputError, NoFaceError
from blendsplat.evaluation.arcface import Session, aligned, csim, embeddings, open_session
from blendsplat.fitting.fit import FitOptions, fit_clip
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks.detector import load_landmarks, make_detector
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar
from blendsplat.training.tracked_clip import TrackedClip
from blendsplat.video import Clip

GREY = (0.5, 0.5, 0.5)  # behind the render
FACES = 30  # pictures of each side that CSIM is over


def evaluate_reenactment(
    avatar_path: Path | str,
    driver: Path | str,
    own: Path | str | None = None,
    arcface: Path | str | None = None,
    frames: int = 200,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    session: Session | None = None,
) -> dict[str, Any]:
    """Drive an avatar by the first ``frames`` frames of a tracked clip and measure what comes of it.

    own: the avatar's own clip, arcface: an ONNX file; with both there is "csim" (and "csim_driver", of the render with
    the driving person: how much of him shows). session: stands in for the file. Returns compared()'s figures, "frames"
    (that were compared), "lost" (in whose render no face was found), "notes". Raises InputError for clips that cannot
    be compared, NoFaceError where no render shows a face.
    """
    progress = progress or Progress()
    if (arcface is not None or session is not None) and own is None:
        raise InputError("Identity similarity needs the avatar's own clip beside the ArcFace network: name it, too.")
    if arcface is not None and session is None:
        session = open_session(arcface)
    avatar, clip = load_avatar(avatar_path, device), TrackedClip.open(driver)
    rows = np.arange(min(frames, clip.tracking.frame_count))
    points, found = _driver_landmarks(clip.clip)
    pictures, drawn, seen = rendered_faces(avatar, clip.tracking, rows, device, progress)
    if not seen.any():
        raise NoFaceError("In no frame of the render a face was found: look at it (blendsplat render).")
    head = load_head(clip.tracking.head_source, landmarks=True)
    both = clip.tracking.valid[rows] & found[rows] & seen
    made = fitted_faces(head, drawn, seen, clip.tracking, rows, progress)
    wanted = fitted_faces(head, points[rows], found[rows] & clip.tracking.valid[rows], clip.tracking, rows, progress)
    figures: dict[str, Any] = compared(made, wanted, head, both)
    notes = []
    if avatar.owns(clip.tracking):
        notes.append("The driving clip is the avatar's own: this is the tracker's own error, and no reenactment.")
    if session is not None and own is not None:
        figures |= _identity(session, pictures, drawn, seen, Clip.open(own), clip.clip)
    return {
        **figures,
        "frames": int(both.sum()),
        "lost": int((clip.tracking.valid[rows] & ~seen).sum()),
        "notes": notes,
    }


def compared(made: Performance, wanted: Performance, head: HeadModel, both: np.ndarray) -> dict[str, float]:
    """Figures of two trackings of the same head model over the frames ``both`` [F] bool that are valid in each.

    aed: mean absolute difference of the expression's coefficients; aed_relative: of their differences from each
    tracking's own mean, which takes out that two people's neutral faces are read differently; aed_mm: mean distance of
    the face's vertices when both expressions, jaws and lids move the head's mean face; apd_deg: mean angle between the
    heads' rotations in the camera's axes. Raises InputError where there is no such frame.
    """
    rows = np.flatnonzero(both & made.valid & wanted.valid)
    if not len(rows):
        raise InputError("No frame shows a face both in the driving video and in the render.")
    one, two = made.expression[rows], wanted.expression[rows]
    apart = one - two
    relative = (one - one.mean(0)) - (two - two.mean(0))
    face = head.regions.get("face", np.arange(head.vertex_count))
    moved = [_expressions(track, head, rows)[:, face] for track in (made, wanted)]
    turned = [_rotations(track, rows) for track in (made, wanted)]
    angles = matrix_to_rotvec(turned[0].transpose(-1, -2) @ turned[1]).norm(dim=-1)
    return {
        "aed": float(np.abs(apart).mean()),
        "aed_relative": float(np.abs(relative).mean()),
        "aed_mm": 1000 * float((moved[0] - moved[1]).norm(dim=-1).mean()),
        "apd_deg": float(torch.rad2deg(angles).mean()),
    }


@torch.no_grad()
def _expressions(track: Performance, head: HeadModel, rows: np.ndarray) -> torch.Tensor:
    """Vertices [F,V,3] of the model's mean face with nothing but the expressions, jaws and lids of ``rows``."""
    params = track.params()[torch.as_tensor(rows)]
    still = torch.zeros(1, 3)
    params = replace(
        params, shape=torch.zeros_like(params.shape), root_pose=still, neck_pose=still, translation=still,
        eyes_pose=torch.zeros(1, 2, 3),
    )  # fmt: skip
    return head(params)


def _rotations(track: Performance, rows: np.ndarray) -> torch.Tensor:
    """The head in the camera's axes [F,3,3]."""
    params = track.params()[torch.as_tensor(rows)]
    view = torch.as_tensor(track.viewmat, dtype=torch.float32)[:3, :3]
    return view @ rotvec_to_matrix(params.root_pose) @ rotvec_to_matrix(params.neck_pose)


def _driver_landmarks(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """points [F,478,2], found [F]. Raises InputError for a clip without landmarks."""
    path = clip.directory / "landmarks.npz"
    if not path.is_file():
        raise InputError(
            f"{clip.directory} has no landmarks, which both videos are tracked by here: choose a clip that Blendsplat "
            "imported itself (blendsplat track VIDEO -o CLIP)."
        )
    points, found = load_landmarks(path)
    return points[..., :2], found


def rendered_faces(
    avatar: Avatar, driver: Performance, rows: np.ndarray, device: torch.device | str, progress: Progress,
    bounded: bool | None = None,
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:  # fmt: skip
    """The render of ``rows`` on grey as pictures [H,W,3] uint8, the landmarks found in it [F,478,2], found [F]."""
    pictures: list[np.ndarray] = []
    points, found = np.zeros((len(rows), 478, 2)), np.zeros(len(rows), bool)
    part = slice(int(rows[0]), int(rows[-1]) + 1)
    frames = render_performance(avatar, driver, driver.width, driver.height, GREY, device, part, bounded)
    with make_detector() as detector:
        for index, (rgba, _) in enumerate(frames):
            progress.check()
            pictures.append((rgba[..., :3].clip(0, 1) * 255 + 0.5).astype(np.uint8))
            face = detector.detect(pictures[-1], float(driver.timestamps[rows[index]]))
            if face is not None:
                points[index], found[index] = face.points[:, :2], True
            progress.update("render and find the face", index + 1, len(rows))
    return pictures, points, found


def fitted_faces(
    head: HeadModel, points: np.ndarray, found: np.ndarray, driver: Performance, rows: np.ndarray, progress: Progress
) -> Performance:
    """The landmarks' fit through the driving clip's known lens (a zoom undone); nothing is refined on pictures."""
    centre = driver.K[:2, 2].astype(np.float64)
    straight = centre + (points - centre) / driver.zoom[rows][:, None, None]
    options = FitOptions(focal=float(driver.K[0, 0]), focal_sigma=1e-3, centre=(float(centre[0]), float(centre[1])))
    return fit_clip(
        head, straight, found, driver.timestamps[rows], driver.width, driver.height, options, driver.head_source,
        progress,
    )  # fmt: skip


def _identity(
    session: Session, pictures: list[np.ndarray], drawn: np.ndarray, seen: np.ndarray, own: Clip, driver: Clip
) -> dict[str, float]:
    """{"csim", "csim_driver"}: the render's likeness to the avatar's own clip and to the driving one."""
    rows = _spread(seen)
    render = embeddings([aligned(pictures[row], drawn[row]) for row in rows], session)
    figures = {}
    for name, clip in (("csim", own), ("csim_driver", driver)):
        points, found = _driver_landmarks(clip)
        if not found.any():
            raise InputError(f"No face was found in {clip.directory}.")
        crops = [aligned(clip.image(int(row)), points[row]) for row in _spread(found)]
        figures[name] = csim(render, embeddings(crops, session))
    return figures


def _spread(found: np.ndarray) -> np.ndarray:
    """At most FACES of the frames that are ``found`` [F], evenly through them."""
    rows = np.flatnonzero(found)
    return rows[np.linspace(0, len(rows) - 1, min(FACES, len(rows))).round().astype(int)]
