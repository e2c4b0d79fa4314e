# SPDX-License-Identifier: Apache-2.0
"""Clips with their tracking, and what becomes one or is one: fits, takes, batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..mutate import any_of, damaged, odd_json
from ..mutate_arrays import odd_npz
from ..mutate_pictures import odd_png
from .kind import Kind, Target, finite


def read_tracking(folder: Path) -> Any:
    from blendsplat.heads.performance import Performance, describe_head, frame_intrinsics, shown_frames

    read = Performance.load(folder)
    frames = read.frame_count
    assert all(
        len(getattr(read, name)) == frames for name in ("valid", "expression", "translation", "zoom", "confidence")
    )
    finite(read.params().expression.numpy(), frame_intrinsics(read), read.timestamps)
    assert read.valid.dtype == bool and read.width > 0 and len(shown_frames(read)) == frames
    assert all(isinstance(name, str) for name in (*read.expression_names, *read.regions, *read.notes, read.head_source))
    describe_head(read)
    return read


def _clip(folder: Path) -> None:
    from blendsplat.video.clip import Clip

    clip = Clip.open(folder)
    finite(clip.timestamps, clip.fps)
    assert clip.fps > 0 and all(isinstance(frame, int) for frame in (*clip.info.shots, *clip.info.repeats))
    assert all(
        isinstance(text, str) for text in (clip.info.source, clip.info.matte, clip.info.detector, *clip.info.notes)
    )
    for read in (clip.image, clip.matte, clip.valid):
        assert read(0).shape[:2] == (clip.height, clip.width)


def _landmarks(folder: Path) -> None:
    from blendsplat.landmarks.detector import load_landmarks

    points, found = load_landmarks(folder)
    assert found.dtype == bool and points.shape == (len(found), 478, 3)
    finite(points)


def _corrections(folder: Path) -> None:
    from blendsplat.fitting.corrections import Corrections

    read = Corrections.load(folder)
    finite(read.expression, read.focal, read.frames)


def _fit(folder: Path) -> None:
    from blendsplat.photographs.convert_fit import fit_description

    assert isinstance(fit_description(folder / "fit.json"), dict)


def _take(folder: Path) -> None:
    from blendsplat.live.take import complete_take, unfinished
    from blendsplat.video.clip import Clip

    if unfinished(folder) and complete_take(folder) is not None:
        assert Clip.open(folder).frame_count == read_tracking(folder).frame_count


def _record(folder: Path) -> None:
    from blendsplat.batch.record import Record

    record = Record(folder / "record.json")
    for stage in ("import", "track", "train"):
        record.is_done(stage, "key")  # type: ignore[arg-type]


def _ict(folder: Path) -> None:
    from blendsplat.heads.load import load_head

    load_head(folder / "ict.npz", landmarks=False)


def _lpips(folder: Path) -> None:
    from blendsplat.image_metrics.lpips import Lpips

    Lpips(folder / "lpips.npz")


def write_clip(folder: Path) -> None:
    from blendsplat.fitting.corrections import corrected_frame, empty
    from blendsplat.landmarks.detector import save_landmarks
    from tiny_clip import write_tiny_clip

    tracking = write_tiny_clip(folder, frames=3)
    save_landmarks(folder / "landmarks.npz", np.ones((3, 478, 3), np.float32), np.ones(3, bool), "truth")
    jaw = np.array([0.1, 0, 0], np.float32)
    corrected_frame(empty(tracking), tracking, 1, jaw_pose=jaw).save(folder / "corrections.npz")


def _write_others(folder: Path) -> None:
    from blendsplat.live.look import Looked
    from blendsplat.live.take import Take
    from blendsplat.live.tracker import TrackedFrame
    from blendsplat.video.clip import ClipInfo
    from tiny_clip import SIZE, tiny_head, tiny_tracking

    write = {"format": "blendsplat-batch", "version": 1, "stages": {"track": {"key": "key", "done": True}}}
    (folder / "record.json").write_text(json.dumps(write))
    np.savez(
        folder / "ict.npz",
        v=np.zeros((30, 3)),
        vt=np.zeros((30, 2)),
        f=np.zeros((9, 4), int),
        ft=np.zeros((9, 4), int),
        expr_names=np.array(["a", "b"]),
        expr_delta=np.zeros((2, 30, 3)),
        id_delta=np.zeros((2, 30, 3)),
    )
    np.savez(folder / "lpips.npz", **{"lpips.lin0.weight": np.zeros((1, 64, 1, 1), np.float16)})
    write_fit(folder)
    tracking = tiny_tracking(tiny_head(), 3)
    info = ClipInfo("cam", (64, 48), 0.0, None, (1, 2, 40), SIZE, SIZE, 25.0, [], "none")
    take, grey = Take(folder / "take", tracking, info, "truth"), np.full((SIZE, SIZE, 3), 90, np.uint8)
    for number in range(3):
        looked = Looked(number, number / 10, grey, grey[..., 0], np.ones((478, 3), np.float32))
        take.add(TrackedFrame(looked, tracking.params()[[number]], 0.02, grey[..., 1], None))


def write_fit(folder: Path) -> None:
    from PIL import Image

    from tiny_clip import tiny_head, tiny_tracking

    tiny_tracking(tiny_head(), 1).save(folder / "tracking.npz")
    Image.new("RGB", (32, 32)).save(folder / "photograph.jpg")
    told = {
        "format": "blendsplat-fit",
        "version": 1,
        "image": "C:\\pictures\\anna.jpg",
        "method": "landmarks",
        "warnings": ["blurred"],
    }
    (folder / "fit.json").write_text(json.dumps(told))


KINDS = (
    Kind("tracking.npz", write_clip, (Target("tracking.npz", odd_npz, read_tracking),)),
    Kind(
        "clip.json and its pictures",
        write_clip,
        (
            Target("clip.json", any_of(odd_json, odd_json, damaged), _clip),
            Target("clip.json", odd_json, _clip),
            Target("images/000000.png", odd_png, _clip),
            Target("mattes/000000.png", odd_png, _clip),
        ),
    ),
    Kind(
        "landmarks and corrections",
        write_clip,
        (
            Target("landmarks.npz", odd_npz, _landmarks),
            Target("corrections.npz", odd_npz, _corrections),
        ),
    ),
    Kind(
        "fits, takes, batches, other heads",
        _write_others,
        (
            Target("fit.json", any_of(odd_json, damaged), _fit),
            Target("ict.npz", odd_npz, _ict, whole=False),
            Target("lpips.npz", odd_npz, _lpips, whole=False),
            Target("record.json", any_of(odd_json, damaged), _record),
            *(
                Target(f"take/live-journal/{name}", how, lambda folder: _take(folder / "take"))
                for name, how in (("take.json", odd_json), ("rows.bin", damaged), ("person.npz", odd_npz))
            ),
        ),
    ),
)
