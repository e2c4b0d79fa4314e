# SPDX-License-Identifier: Apache-2.0
"""Recordings that other trackers made (VHAP, metrical-tracker) as clip + tracking; and a tracked clip as VHAP's export.

Both describe FLAME with a camera per frame; here the camera stands still and the head moves, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.errors import FormatError, InputError, VideoError
from blendsplat.exchange.vhap import Recording, read_metrical_tracker, read_vhap
from blendsplat.files import write_json
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.families import FLAME
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, describe_head
from blendsplat.progress import Progress
from blendsplat.video.clip import Clip, ClipInfo, frame_path, write_info, write_png
from blendsplat.video.images import read_image
from blendsplat.video.staging import staging


def import_recording(
    source: Path | str,
    directory: Path | str,
    head: str | Path | HeadModel,
    fps: float = 25.0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Clip, Performance]:
    """Copy a recording into a clip's folder, with tracking.npz and camera.json. head: the FLAME it was made with.

    Raises FormatError (no such recording, damaged), InputError (another head, a folder in use), UnsafeFileError.
    """
    source, directory, progress = Path(source), Path(directory), progress or Progress()
    recording = _read(source)
    model, head_source = (head, head.name) if isinstance(head, HeadModel) else (_load(head), str(head))
    with staging(directory, overwrite) as stage:
        width, height, has_mattes = _copy_pictures(recording, stage, progress)
        tracking = to_tracking(recording, model, head_source, width, height, fps)
        tracking.save(stage / "tracking.npz")
        camera = {"width": width, "height": height, "K": tracking.K.tolist(), "viewmat": tracking.viewmat.tolist()}
        write_json(stage / "camera.json", camera)
        info = ClipInfo(
            source=str(source.resolve()), source_size=(width, height), trim_start=0.0, trim_end=None,
            crop=(0, 0, max(width, height)), width=width, height=height, fps=fps,
            timestamps=tracking.timestamps.tolist(), matte="external" if has_mattes else "none",
            notes=[f"Tracked by {recording.made_by}."],
        )  # fmt: skip
        write_info(stage, info)
    return Clip.open(directory), tracking


def _read(source: Path) -> Recording:
    if (source / "transforms.json").is_file():
        return read_vhap(source)
    if (source / "checkpoint").is_dir():
        return read_metrical_tracker(source)
    raise FormatError(
        f"{source} is neither VHAP's export (it has no transforms.json) nor metrical-tracker's folder (no checkpoint/)."
    )


def _load(head: str | Path) -> HeadModel:
    from blendsplat.heads.load import load_head

    return load_head(head, landmarks=False)


def _copy_pictures(recording: Recording, stage: Path, progress: Progress) -> tuple[int, int, bool]:
    """Write images/ and mattes/ -> width, height, whether there are mattes (from masks, or the pictures' own alpha)."""
    size: tuple[int, int] | None = None
    has_mattes = False
    for index, (image, matte) in enumerate(_pictures(recording)):
        progress.check()
        if size is None:
            size, has_mattes = (image.shape[0], image.shape[1]), matte is not None
            for folder in ("images", "mattes") if has_mattes else ("images",):
                (stage / folder).mkdir()
        if image.shape[:2] != size or (matte is not None) != has_mattes or (matte is not None and matte.shape != size):
            raise FormatError(f"{recording.images[index]}: its size, or its mask, is not like the first picture's.")
        write_png(frame_path(stage, "images", index), image)
        if matte is not None:
            write_png(frame_path(stage, "mattes", index), matte)
        progress.update("import frames", index + 1, len(recording.images))
    assert size is not None  # a recording has at least one frame
    return size[1], size[0], has_mattes


def _pictures(recording: Recording) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for path, mask_path in zip(recording.images, recording.masks, strict=True):
        pair = read_image(path)
        mask = read_image(mask_path) if mask_path is not None else None
        if pair is None or (mask_path is not None and mask is None):
            raise VideoError(f"{path if pair is None else mask_path} is missing or damaged.")
        yield pair[0], mask[0].max(-1) if mask is not None else pair[1]


def to_tracking(
    recording: Recording, head: HeadModel, head_source: str, width: int, height: int, fps: float
) -> Performance:
    """The recording's numbers in our convention: the first frame's camera for all, the head's rotation on the neck.

    The skull keeps its place in every picture exactly; the lower neck stays with the torso. Raises InputError when the
    head has another number of vertices than the recording's offsets, FormatError when the focal length changes.
    """
    frames = len(recording.images)
    if np.abs(recording.K - recording.K[0]).max() > 1e-3 * width:
        raise FormatError(
            "The recording's intrinsics change from frame to frame; only one camera for a clip is supported."
        )
    expression = _fit_columns(recording.expression, head.expression_count)
    shape = _fit_columns(recording.shape[None], head.shape_count)[0]
    root, neck, translation = _on_the_neck(recording, head, shape, expression)
    return Performance(
        head=head.name, head_source=head_source, width=width, height=height,
        timestamps=np.arange(frames) / fps, valid=np.ones(frames, bool), shape=shape,
        vertex_offsets=_fit_offsets(recording.offsets, head.vertex_count), expression=expression, root_pose=root,
        neck_pose=neck, jaw_pose=recording.jaw.astype(np.float32), eyes_pose=recording.eyes.astype(np.float32),
        eyelids=recording.eyelids.astype(np.float32), translation=translation,
        K=(recording.K[0] * _pixel_scale(recording, width, height)).astype(np.float32),
        viewmat=recording.viewmats[0].astype(np.float32), expression_names=head.expression_names,
        head_model=head.model_id, head_family=head.family,
    )  # fmt: skip


def _on_the_neck(
    recording: Recording, head: HeadModel, shape: np.ndarray, expression: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """root_pose, neck_pose, translation [F,3] for a camera that stands where the first frame's stood.

    A skull vertex v of frame i is A (R (N (v - n) + n - r) + r + t) + a, with root R about r, neck N about n and (A, a)
    taking the frame's camera to the first one; rewritten as R' (N' (v - n) + n - r) + r + t' with R' the same for all.
    """
    to_first = np.linalg.inv(recording.viewmats[0]) @ recording.viewmats
    rotate, shift = to_first[:, :3, :3], to_first[:, :3, 3]
    joints = (
        head.joints.numpy()
        + np.einsum("s,sjc->jc", shape, head.joint_shape_directions.numpy())
        + np.einsum("fe,ejc->fjc", expression, head.joint_expression_directions.numpy())
    )
    root_joint, neck_joint = joints[:, 0], joints[:, 1]
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


def export_vhap(directory: Path | str, output: Path | str, progress: Progress | None = None) -> None:
    """Write a tracked clip as VHAP's export (transforms*.json, images/, fg_masks/, flame_param/) into an empty folder.

    The last 30 % of the frames are the test (and validation) split. Raises FormatError (no tracked clip), InputError
    (the head is not FLAME; the folder is in use), StorageError.
    """
    clip, tracking, output = Clip.open(directory), Performance.load(directory), Path(output)
    progress = progress or Progress()
    if tracking.family != FLAME:
        raise InputError(
            f"The clip was tracked with the head {tracking.head!r} ({describe_head(tracking)}); VHAP's format holds "
            "FLAME heads only."
        )
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty; choose another folder for the export.")
    for folder in ("images", "fg_masks", "flame_param"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    frames = []
    for index in range(clip.frame_count):
        progress.check()
        frames.append(_vhap_frame(index, clip, tracking))
        write_png(output / frames[-1]["file_path"], clip.image(index))
        write_png(output / frames[-1]["fg_mask_path"], clip.matte(index))
        np.savez(output / frames[-1]["flame_param_path"], **_vhap_parameters(tracking, index))
        progress.update("export frames", index + 1, clip.frame_count)
    np.savez(output / "canonical_flame_param.npz", **_vhap_canonical(tracking))
    split = max(1, int(clip.frame_count * 0.7))
    for name, part in (("_train", frames[:split]), ("_val", frames[split:]), ("_test", frames[split:]), ("", frames)):
        write_json(output / f"transforms{name}.json", _vhap_index(part, tracking))


def _vhap_frame(index: int, clip: Clip, tracking: Performance) -> dict[str, Any]:
    opengl = np.linalg.inv(tracking.viewmat.astype(np.float64)) @ np.diag([1.0, -1.0, -1.0, 1.0])
    return {
        "timestep_index": index, "timestep_index_original": index, "timestep_id": f"{index:06d}", "camera_index": 0,
        "camera_id": "0", **_vhap_camera(tracking), "transform_matrix": opengl.tolist(),
        "file_path": f"images/{index:05d}_00.png", "fg_mask_path": f"fg_masks/{index:05d}_00.png",
        "flame_param_path": f"flame_param/{index:05d}.npz",
    }  # fmt: skip


def _vhap_camera(tracking: Performance) -> dict[str, float]:
    (fl_x, _, cx), (_, fl_y, cy) = tracking.K[:2].astype(np.float64).tolist()
    angles = (
        2 * float(np.arctan(size / (2 * focal))) for size, focal in ((tracking.width, fl_x), (tracking.height, fl_y))
    )
    camera = {"cx": cx, "cy": cy, "fl_x": fl_x, "fl_y": fl_y, "h": tracking.height, "w": tracking.width}
    return {**camera, **dict(zip(("camera_angle_x", "camera_angle_y"), angles, strict=True))}


def _vhap_index(frames: list[dict[str, Any]], tracking: Performance) -> dict[str, Any]:
    times = [frame["timestep_index"] for frame in frames]
    return {"frames": frames, **_vhap_camera(tracking), "timestep_indices": times, "camera_indices": [0]}


def _vhap_parameters(tracking: Performance, index: int) -> dict[str, np.ndarray]:
    row = slice(index, index + 1)
    return {
        "translation": tracking.translation[row],
        "rotation": tracking.root_pose[row],
        "neck_pose": tracking.neck_pose[row],
        "jaw_pose": tracking.jaw_pose[row],
        "eyes_pose": tracking.eyes_pose[row].reshape(1, 6),
        "shape": tracking.shape,
        "expr": tracking.expression[row],
        "static_offset": _fit_offsets(tracking.vertex_offsets, _VHAP_VERTICES)[None],
    }


def _vhap_canonical(tracking: Performance) -> dict[str, np.ndarray]:
    """The neutral head with the mouth a little open, as consumers of the format expect it."""
    parameters = _vhap_parameters(tracking, 0)
    keep = {"shape", "static_offset"}
    canonical = {name: value if name in keep else np.zeros_like(value) for name, value in parameters.items()}
    canonical["jaw_pose"] = np.array([[0.3, 0, 0]], np.float32)
    return canonical


_FLAME_VERTICES = 5023
_VHAP_VERTICES = 5143  # FLAME's and 120 of VHAP's teeth


def _fit_offsets(offsets: np.ndarray | None, vertices: int) -> np.ndarray:
    """Offsets [V',3] for a head of ``vertices``; teeth, which every program adds in its own way, get none."""
    fitted = np.zeros((vertices, 3), np.float32)
    if offsets is not None:
        if min(len(offsets), vertices) < _FLAME_VERTICES and len(offsets) != vertices:
            raise InputError(
                f"The recording has {len(offsets)} vertices and the head {vertices}: choose the FLAME it was made with."
            )
        shared = len(offsets) if len(offsets) == vertices else _FLAME_VERTICES
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
