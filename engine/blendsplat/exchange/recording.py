# SPDX-License-Identifier: Apache-2.0
"""A foreign recording, of whatever format, as clip + performance.

All describe FLAME with a camera per frame; here the camera stands still and the head moves, as everywhere else. So it
is for several cameras: what another one sees is what the first would see of a head that stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch

from blendsplat.errors import FormatError, InputError, VideoError
from blendsplat.exchange.format import Recording
from blendsplat.files import write_json
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.families import FLAME_VERTICES
from blendsplat.heads.model import NECK_JOINT, ROOT_JOINT, HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.video.clip import Clip, ClipInfo, frame_path, write_info, write_png
from blendsplat.video.images import read_image
from blendsplat.video.lens import of_another_lens
from blendsplat.video.matte import Segmenter
from blendsplat.video.shot_mattes import refine_shots
from blendsplat.video.staged_folder import staging

FPS = 25.0  # where neither the recording nor the user says


def write_recording(
    recording: Recording, source: Path, directory: Path, head: HeadModel, head_source: str, fps: float | None,
    overwrite: bool, progress: Progress, matte: str = "auto",
) -> tuple[Clip, Performance]:  # fmt: skip
    """Copy the recording of ``source`` into a clip's folder, with tracking.npz and camera.json. fps: None: the
    recording's own times, where it has none FPS. matte: "auto": found in the pictures, as an import does, where the
    recording has neither masks nor alpha; "none": left out there.

    Raises FormatError, VideoError (damaged pictures), InputError (another head, a folder in use).
    """
    with staging(directory, overwrite) as stage:
        width, height, has_mattes = _copy_pictures(recording, stage, progress)
        found, notes = "external" if has_mattes else "none", []
        if not has_mattes and matte == "auto":
            found, notes = Segmenter.name, find_mattes(recording, stage, progress)
        timestamps, rate = frame_times(recording, fps)
        performance = to_performance(recording, head, head_source, width, height, timestamps)
        performance.save(stage / "tracking.npz")
        camera = {"width": width, "height": height}
        camera |= {"K": performance.K.tolist(), "viewmat": performance.viewmat.tolist()}
        write_json(stage / "camera.json", camera)
        info = ClipInfo(
            source=str(source.resolve()), source_size=(width, height), trim_start=0.0, trim_end=None,
            crop=(0, 0, max(width, height)), width=width, height=height, fps=rate,
            timestamps=performance.timestamps.tolist(), matte=found,
            notes=[f"Tracked by {recording.made_by}.", *notes],
        )  # fmt: skip
        write_info(stage, info)
    return Clip.open(directory), performance


def _copy_pictures(recording: Recording, stage: Path, progress: Progress) -> tuple[int, int, bool]:
    """Write images/ and mattes/ -> width, height, whether there are mattes (from masks, or the pictures' own alpha)."""
    size: tuple[int, int] | None = None
    has_mattes, lenses = False, _other_lenses(recording)
    for index, (image, matte) in enumerate(_pictures(recording)):
        progress.check()
        if size is None:
            size, has_mattes = (image.shape[0], image.shape[1]), matte is not None
            for folder in ("images", *(["mattes"] if has_mattes else []), *(["valid"] if lenses is not None else [])):
                (stage / folder).mkdir()
        if image.shape[:2] != size or (matte is not None) != has_mattes or (matte is not None and matte.shape != size):
            raise FormatError(f"{recording.images[index]}: its size, or its mask, is not like the first picture's.")
        if lenses is not None:
            whole = np.full(image.shape[:2], 255, np.uint8)
            image, inside = (of_another_lens(part, lenses[index], lenses[0]) for part in (image, whole))
            matte = None if matte is None else of_another_lens(matte, lenses[index], lenses[0])
            write_png(frame_path(stage, "valid", index), inside)
        write_png(frame_path(stage, "images", index), image)
        if matte is not None:
            write_png(frame_path(stage, "mattes", index), matte)
        progress.update("import frames", index + 1, len(recording.images))
    assert size is not None  # a recording has at least one frame
    return size[1], size[0], has_mattes


def find_mattes(recording: Recording, stage: Path, progress: Progress) -> list[str]:
    """Write mattes/ of the copied pictures as the import of a video does -> notes. Raises InputError without the
    network, StorageError, Cancelled."""
    (stage / "mattes").mkdir()
    frames, segmenter = len(recording.images), Segmenter()
    try:
        for index in range(frames):
            progress.check()
            image = cv2.imread(str(frame_path(stage, "images", index)), cv2.IMREAD_COLOR)
            if recording.views:  # the picture before is of another camera
                segmenter.forget()
            mask = segmenter(np.ascontiguousarray(image[..., ::-1])).clip(0, 1)
            write_png(frame_path(stage, "mattes", index), (mask * 255 + 0.5).astype(np.uint8))
            progress.update("find mattes", index + 1, frames)
    finally:
        segmenter.close()
    shots = list(range(frames)) if recording.views else [0]
    with ThreadPoolExecutor(2, thread_name_prefix="blendsplat-write") as pool:
        notes = refine_shots(stage, shots, frames, pool, progress)
    return ["The recording has no mattes; they were found in its pictures.", *notes]


def _other_lenses(recording: Recording) -> np.ndarray | None:
    """[F,3,3] of several cameras whose lenses are not the same, which then become the first one's; else None."""
    K = recording.K
    return K if recording.views and np.abs(K - K[0]).max() > 1e-4 * K[0, 0, 0] else None


def _pictures(recording: Recording) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for path, mask_path in zip(recording.images, recording.masks, strict=True):
        pair = read_image(path)
        mask = read_image(mask_path) if mask_path is not None else None
        if pair is None or (mask_path is not None and mask is None):
            raise VideoError(f"{path if pair is None else mask_path} is missing or damaged.")
        yield pair[0], mask[0].max(-1) if mask is not None else pair[1]


def frame_times(recording: Recording, fps: float | None) -> tuple[np.ndarray, float]:
    """When the frames were taken [F], seconds from the first one, and the frames per second."""
    if fps is None and recording.seconds is not None:
        gap = float(np.median(np.diff(recording.seconds))) if len(recording.seconds) > 1 else 1 / FPS
        return recording.seconds - recording.seconds[0], recording.fps or 1 / gap
    rate = fps or recording.fps or FPS
    steps = np.arange(len(recording.images)) if recording.steps is None else recording.steps
    return (steps - steps[0]) / rate, rate


def to_performance(
    recording: Recording, head: HeadModel, head_source: str, width: int, height: int, timestamps: np.ndarray
) -> Performance:
    """The recording's numbers in our convention: the first frame's camera for all, the head's rotation on the neck.

    The skull keeps its place in every picture exactly; the lower neck stays with the torso. Of several cameras the
    whole head keeps it. Raises InputError when the
    head has another number of vertices than the recording's offsets, FormatError when more of the camera changes than
    its focal length.
    """
    frames = len(recording.images)
    zoom = np.ones(frames) if recording.views else _zoom(recording.K, width)
    expression = _fit_columns(recording.expression, head.expression_count)
    shape = _fit_columns(recording.shape[None], head.shape_count)[0]
    pose = _before_the_first if recording.views else _on_the_neck
    root, neck, translation = pose(recording, head, shape, expression)
    return Performance(
        head=head.name, head_source=head_source, width=width, height=height,
        timestamps=timestamps, valid=np.ones(frames, bool), shape=shape,
        vertex_offsets=fit_offsets(recording.offsets, head.vertex_count), expression=expression, root_pose=root,
        neck_pose=neck, jaw_pose=recording.jaw.astype(np.float32), eyes_pose=recording.eyes.astype(np.float32),
        eyelids=recording.eyelids.astype(np.float32), translation=translation,
        K=(recording.K[0] * _pixel_scale(recording, width, height)).astype(np.float32),
        viewmat=recording.viewmats[0].astype(np.float32), expression_names=head.expression_names,
        head_model=head.model_id, head_family=head.family, zoom=zoom.astype(np.float32),
    )  # fmt: skip


def _zoom(K: np.ndarray, width: int) -> np.ndarray:
    """[F]: focal lengths of K [F,3,3] over the first frame's, 1 where they differ by less than anyone measures."""
    allowed = 1e-3 * width
    if np.abs(K - K[0]).max() <= allowed:
        return np.ones(len(K))
    zoom: np.ndarray = K[:, 0, 0] / K[0, 0, 0]
    zooming = np.repeat(K[:1], len(K), 0)
    zooming[:, :2, :2] *= zoom[:, None, None]
    if np.abs(K - zooming).max() > allowed:
        raise FormatError(
            "The recording's principal point or the shape of its pixels changes from frame to frame; only the focal "
            "length may."
        )
    return zoom


def _before_the_first(
    recording: Recording, head: HeadModel, shape: np.ndarray, expression: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """root_pose, neck_pose, translation [F,3] that show the first camera what each frame's own one saw.

    Between cameras everything turns as one: a vertex x of frame i, A (R (x - r) + r + t) + a with (A, a) taking the
    frame's camera to the first one, is R' (x - r) + r + t' with R' = A R and t' = A (r + t) + a - r.
    """
    rotate, shift = _to_first(recording)
    root_joint = _joints(head, shape, expression)[:, ROOT_JOINT]
    translation = np.einsum("fij,fj->fi", rotate, root_joint + recording.translation) + shift - root_joint
    root = _rotvecs(rotate @ _matrices(recording.root))
    return root, recording.neck.astype(np.float32), translation.astype(np.float32)


def _to_first(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [F,3,3] and shifts [F,3] from each frame's camera to the first frame's, in the world."""
    moved = np.linalg.inv(recording.viewmats[0]) @ recording.viewmats
    return moved[:, :3, :3], moved[:, :3, 3]


def _joints(head: HeadModel, shape: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """[F,5,3] of the unposed head."""
    moved = np.einsum("s,sjc->jc", shape, head.joint_shape_directions.numpy())
    joints: np.ndarray = (
        head.joints.numpy() + moved + np.einsum("fe,ejc->fjc", expression, head.joint_expression_directions.numpy())
    )
    return joints


def _on_the_neck(
    recording: Recording, head: HeadModel, shape: np.ndarray, expression: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """root_pose, neck_pose, translation [F,3] for a camera that stands where the first frame's stood.

    A skull vertex v of frame i is A (R (N (v - n) + n - r) + r + t) + a, with root R about r, neck N about n and (A, a)
    taking the frame's camera to the first one; rewritten as R' (N' (v - n) + n - r) + r + t' with R' the same for all.
    """
    rotate, shift = _to_first(recording)
    joints = _joints(head, shape, expression)
    root_joint, neck_joint = joints[:, ROOT_JOINT], joints[:, NECK_JOINT]
    root, neck = _matrices(recording.root), _matrices(recording.neck)
    skull = rotate @ root @ neck
    place = np.einsum("fij,fj->fi", root, neck_joint - root_joint) + root_joint + recording.translation
    place = np.einsum("fij,fj->fi", rotate, place) + shift  # where the neck joint is
    torso = _mean_rotation(rotate @ root)
    translation = place - (neck_joint - root_joint) @ torso.T - root_joint
    return (
        _rotvecs(np.repeat(torso[None], len(skull), 0)),
        _rotvecs(torso.T @ skull),
        translation.astype(np.float32),
    )


def fit_offsets(offsets: np.ndarray | None, vertices: int) -> np.ndarray:
    """Offsets [V',3] for a head of ``vertices``; teeth, which every program adds in its own way, get none."""
    fitted = np.zeros((vertices, 3), np.float32)
    if offsets is not None:
        if min(len(offsets), vertices) < FLAME_VERTICES and len(offsets) != vertices:
            raise InputError(
                f"The recording has {len(offsets)} vertices and the head {vertices}: choose the FLAME it was made with."
            )
        shared = len(offsets) if len(offsets) == vertices else FLAME_VERTICES
        fitted[:shared] = offsets[:shared]
    return fitted


def _fit_columns(values: np.ndarray, columns: int) -> np.ndarray:
    """Coefficients [F,C] for a head with ``columns`` of them: more are zero, fewer would lose something."""
    if values.shape[1] > columns and np.abs(values[:, columns:]).max() > 1e-6:
        raise InputError(
            f"The recording has {values.shape[1]} coefficients but the head {columns}: "
            "choose the FLAME it was made with."
        )
    fitted = np.zeros((len(values), columns), np.float32)
    shared = min(columns, values.shape[1])
    fitted[:, :shared] = values[:, :shared]
    return fitted


def _pixel_scale(recording: Recording, width: int, height: int) -> np.ndarray:
    """[3,1] from the pixels that K is in to the pictures' (trackers may work on a smaller picture)."""
    if recording.size is None:
        return np.ones((3, 1))
    return np.array([[width / recording.size[0]], [height / recording.size[1]], [1.0]])


def _mean_rotation(matrices: np.ndarray) -> np.ndarray:
    """The rotation nearest to all of [F,3,3] (chordal mean)."""
    u, _, vt = np.linalg.svd(matrices.mean(0))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def _matrices(rotvecs: np.ndarray) -> np.ndarray:
    return rotvec_to_matrix(torch.as_tensor(rotvecs, dtype=torch.float64)).numpy()


def _rotvecs(matrices: np.ndarray) -> np.ndarray:
    return matrix_to_rotvec(torch.as_tensor(matrices, dtype=torch.float64)).numpy().astype(np.float32)
