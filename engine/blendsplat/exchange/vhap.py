# SPDX-License-Identifier: Apache-2.0
"""VHAP's export, read and written: transforms.json with a camera a frame, flame_param/*.npz, images/ and fg_masks/."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import FormatError, InputError, StorageError
from blendsplat.exchange.format import Format, Recording, checked, parameter_rows
from blendsplat.exchange.recording import fit_offsets
from blendsplat.files import atomic_path, opened_npz, read_json, save_arrays, write_json
from blendsplat.heads.families import FLAME, FLAME_VERTICES
from blendsplat.heads.performance import Performance, describe_head
from blendsplat.progress import Progress
from blendsplat.video.clip import Clip, write_png

VERTICES = 5143  # FLAME's and 120 of VHAP's teeth
# Keys of ours in VHAP's files, whose own have no time, no lids and no teeth but VHAP's; other readers pass them over
FPS, SECONDS, TEETH, EYELIDS = "blendsplat_fps", "blendsplat_seconds", "blendsplat_teeth_offset", "blendsplat_eyelids"
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def is_vhap(folder: Path) -> bool:
    """Whether ``folder`` is one."""
    return (folder / "transforms.json").is_file()


def read_vhap(folder: Path, views: bool = False) -> Recording:
    """VHAP's export: transforms.json, flame_param/*.npz. Of several cameras the first is taken, or, as ``views``, all:
    every moment as each of them shows it, one after the other. Raises FormatError."""
    index = folder / "transforms.json"
    try:
        content = read_json(index)
        entries = content["frames"]
        if not entries:
            raise FormatError(f"{index} names no frames; export it again.")
        cameras = {entry.get("camera_index", 0) for entry in entries}
        views = views and len(cameras) > 1
        if not views:
            entries = [entry for entry in entries if entry.get("camera_index", 0) == min(cameras)]
        entries.sort(key=lambda entry: (entry.get("timestep_index", 0), entry.get("camera_index", 0)))
        files = dict.fromkeys(entry["flame_param_path"] for entry in entries)
        read = {name: _read_parameters(folder / name) for name in files}
        parameters = [read[entry["flame_param_path"]] for entry in entries]
        camera_to_world = np.array([entry["transform_matrix"] for entry in entries], dtype=np.float64)
        intrinsics = [[[e["fl_x"], 0, e["cx"]], [0, e["fl_y"], e["cy"]], [0, 0, 1]] for e in entries]
        recording = Recording(
            made_by="VHAP",
            images=[folder / entry["file_path"] for entry in entries],
            masks=[folder / entry["fg_mask_path"] if entry.get("fg_mask_path") else None for entry in entries],
            shape=parameters[0]["shape"].reshape(-1),
            offsets=_offsets(parameters[0]),
            expression=parameter_rows(parameters, "expr"),
            root=parameter_rows(parameters, "rotation", 3),
            neck=parameter_rows(parameters, "neck_pose", 3),
            jaw=parameter_rows(parameters, "jaw_pose", 3),
            eyes=parameter_rows(parameters, "eyes_pose", 6).reshape(-1, 2, 3),
            eyelids=_all_or_none(parameters, EYELIDS, 2),
            translation=parameter_rows(parameters, "translation", 3),
            K=np.array(intrinsics, dtype=np.float64),
            viewmats=np.linalg.inv(camera_to_world @ _OPENGL),
            steps=None if views else _rising([entry.get("timestep_index") for entry in entries]),
            seconds=None if views else _seconds([entry.get(SECONDS) for entry in entries]),
            fps=_rate(content.get(FPS)),
            views=views,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, np.linalg.LinAlgError) as error:
        raise FormatError(
            f"{index} or a file it names is damaged or not VHAP's export: {error}.", repr(error)
        ) from error
    return checked(recording, folder)


def _read_parameters(path: Path) -> dict[str, np.ndarray]:
    try:
        with opened_npz(path) as archive:
            return {name: np.asarray(archive[name], dtype=np.float64) for name in archive.files}
    except Exception as error:  # zip, zlib and numpy each raise their own on damaged input
        raise FormatError(f"{path} is missing or damaged; export it again.", repr(error)) from error


def _offsets(parameters: dict[str, np.ndarray]) -> np.ndarray | None:
    """static_offset [V,3]; with FLAME's vertices followed by our own teeth's, where the file has theirs."""
    if "static_offset" not in parameters:
        return None
    offsets = parameters["static_offset"].reshape(-1, 3)
    if TEETH not in parameters:
        return offsets
    return np.concatenate([offsets[:FLAME_VERTICES], parameters[TEETH].reshape(-1, 3)])


def _all_or_none(parameters: list[dict[str, np.ndarray]], name: str, columns: int) -> np.ndarray:
    """The parameter of every frame [F,columns]; zeros where a frame lacks it."""
    if any(name not in values for values in parameters):
        return np.zeros((len(parameters), columns))
    return parameter_rows(parameters, name, columns)


def _rising(indices: list[Any]) -> np.ndarray | None:
    """Time steps [F]; None where they are none that rise: they may be names, or the same for all."""
    if not all(isinstance(index, int) for index in indices):
        return None
    steps = np.array(indices, dtype=np.float64)
    return steps if (np.diff(steps) > 0).all() else None


def _seconds(seconds: list[Any]) -> np.ndarray | None:
    return None if any(second is None for second in seconds) else np.array(seconds, dtype=np.float64)


def _rate(fps: Any) -> float | None:
    if fps is None:
        return None
    rate = float(fps)
    if not 0 < rate < np.inf:
        raise ValueError(f"{FPS} is {rate}")
    return rate


def write_vhap(clip: Clip, performance: Performance, output: Path, progress: Progress) -> None:
    """A clip tracked with FLAME as VHAP's export, into the empty folder ``output``.

    The last 30 % of the frames are the test (and validation) split. Raises InputError (the head is not FLAME),
    StorageError. What the format has no place for (time, lids, our teeth's offsets) lies there under keys of our own.
    """
    if performance.family != FLAME:
        raise InputError(
            f"The clip was tracked with the head {performance.head!r} ({describe_head(performance)}); VHAP's format "
            "holds FLAME heads only."
        )
    canonical = _canonical(performance)  # raises for other sizes, before anything is written
    try:
        for folder in ("images", "fg_masks", "flame_param"):
            (output / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"Could not make {output}: {error.strerror}. Choose another folder.", repr(error)) from error
    frames = []
    for index in range(clip.frame_count):
        progress.check()
        frames.append(_frame(index, performance))
        write_png(output / frames[-1]["file_path"], clip.image(index))
        write_png(output / frames[-1]["fg_mask_path"], clip.matte(index))
        _write_npz(output / frames[-1]["flame_param_path"], _parameters_of(performance, index))
        progress.update("export frames", index + 1, clip.frame_count)
    _write_npz(output / "canonical_flame_param.npz", canonical)
    split = max(1, int(clip.frame_count * 0.7))
    for name, part in (("_train", frames[:split]), ("_val", frames[split:]), ("_test", frames[split:]), ("", frames)):
        write_json(output / f"transforms{name}.json", {**_index(part, performance), FPS: clip.fps})


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_path(path) as temporary:
        save_arrays(temporary, arrays)


def _frame(index: int, tracking: Performance) -> dict[str, Any]:
    opengl = np.linalg.inv(tracking.viewmat.astype(np.float64)) @ np.diag([1.0, -1.0, -1.0, 1.0])
    return {
        "timestep_index": index, "timestep_index_original": index, "timestep_id": f"{index:06d}", "camera_index": 0,
        "camera_id": "0", **_camera(tracking, float(tracking.zoom[index])), "transform_matrix": opengl.tolist(),
        "file_path": f"images/{index:05d}_00.png", "fg_mask_path": f"fg_masks/{index:05d}_00.png",
        "flame_param_path": f"flame_param/{index:05d}.npz", SECONDS: float(tracking.timestamps[index]),
    }  # fmt: skip


def _camera(tracking: Performance, zoom: float = 1.0) -> dict[str, float]:
    (fl_x, _, cx), (_, fl_y, cy) = (tracking.K[:2].astype(np.float64) * [zoom, zoom, 1.0]).tolist()
    angles = (
        2 * float(np.arctan(size / (2 * focal))) for size, focal in ((tracking.width, fl_x), (tracking.height, fl_y))
    )
    camera = {"cx": cx, "cy": cy, "fl_x": fl_x, "fl_y": fl_y, "h": tracking.height, "w": tracking.width}
    return {**camera, **dict(zip(("camera_angle_x", "camera_angle_y"), angles, strict=True))}


def _index(frames: list[dict[str, Any]], tracking: Performance) -> dict[str, Any]:
    times = [frame["timestep_index"] for frame in frames]
    return {"frames": frames, **_camera(tracking), "timestep_indices": times, "camera_indices": [0]}


def _parameters_of(tracking: Performance, index: int) -> dict[str, np.ndarray]:
    row = slice(index, index + 1)
    offsets = tracking.vertex_offsets
    ours = {TEETH: offsets[None, FLAME_VERTICES:]} if FLAME_VERTICES < len(offsets) != VERTICES else {}
    return {
        "translation": tracking.translation[row],
        "rotation": tracking.root_pose[row],
        "neck_pose": tracking.neck_pose[row],
        "jaw_pose": tracking.jaw_pose[row],
        "eyes_pose": tracking.eyes_pose[row].reshape(1, 6),
        "shape": tracking.shape,
        "expr": tracking.expression[row],
        "static_offset": fit_offsets(offsets, VERTICES)[None],
        EYELIDS: tracking.eyelids[row],
        **ours,
    }


def _canonical(tracking: Performance) -> dict[str, np.ndarray]:
    """The neutral head with the mouth a little open, as consumers of the format expect it."""
    parameters = _parameters_of(tracking, 0)
    keep = {"shape", "static_offset", TEETH}
    canonical = {name: value if name in keep else np.zeros_like(value) for name, value in parameters.items()}
    canonical["jaw_pose"] = np.array([[0.3, 0, 0]], np.float32)
    return canonical


FORMAT = Format(
    "vhap", "VHAP's export (it has transforms.json)", is_vhap, read_vhap, write_vhap, partial(read_vhap, views=True)
)
