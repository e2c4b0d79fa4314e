# SPDX-License-Identifier: Apache-2.0
"""Every kind of file that a user can point at: a sound one, what may have happened to it, and who reads it.

A reader gives a valid result, which is then looked at, or raises an expected error. Heavy modules load when needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np

from .hostile_pickles import odd_pickle, odd_torch
from .mutate import Mutator, any_of, damaged, length_prefixed_json, odd_json, odd_table, odd_toml
from .mutate_arrays import odd_npy, odd_npz
from .mutate_pictures import odd_boxes, odd_glb, odd_ply, odd_png

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Target:
    """One file in a kind's folder: what may happen to it, and read(folder), which reads it as the product does."""

    name: str
    mutate: Mutator
    read: Callable[[Path], Any]
    whole: bool = True  # False: what make writes is a small stand-in, which is refused as such


@dataclass(frozen=True)
class Kind:
    """make(folder): writes the sound files."""

    name: str
    make: Callable[[Path], None]
    targets: tuple[Target, ...]


# --- what is asked of a valid result


def _finite(*arrays: Any) -> None:
    for array in arrays:
        assert np.isfinite(np.asarray(array, dtype=np.float64)).all(), "values that are not finite"


def _avatar(folder: Path, name: str) -> None:
    from blendsplat.systems import describe_avatar, load_avatar

    avatar = load_avatar(folder / name)
    assert avatar.gaussian_count == describe_avatar(folder / name)["gaussians"]
    json.dumps(describe_avatar(folder / name))
    for value in avatar.state_dict().values():  # type: ignore[attr-defined]
        _finite(value.float().cpu().numpy())


def _performance(folder: Path) -> Any:
    from blendsplat.heads.performance import Performance, describe_head, frame_intrinsics, shown_frames

    read = Performance.load(folder)
    frames = read.frame_count
    assert all(
        len(getattr(read, name)) == frames for name in ("valid", "expression", "translation", "zoom", "confidence")
    )
    _finite(read.params().expression.numpy(), frame_intrinsics(read), read.timestamps)
    assert read.valid.dtype == bool and read.width > 0 and len(shown_frames(read)) == frames
    assert all(isinstance(name, str) for name in (*read.expression_names, *read.regions, *read.notes, read.head_source))
    describe_head(read)
    return read


def _clip(folder: Path) -> None:
    from blendsplat.video.clip import Clip

    clip = Clip.open(folder)
    _finite(clip.timestamps, clip.fps)
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
    _finite(points)


def _corrections(folder: Path) -> None:
    from blendsplat.fitting.corrections import Corrections

    read = Corrections.load(folder)
    _finite(read.expression, read.focal, read.frames)


def _capture(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.exchange.captures import is_capture, read_capture

        is_capture(folder / name)
        capture = read_capture(folder / name)
        _finite(capture.seconds, capture.head, *capture.values.values())
        assert (np.diff(capture.seconds) > 0).all() and len(capture.valid) == len(capture.seconds)

    return read


def _video(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.video.images import open_source

        source = open_source(folder / name)
        assert np.isfinite(source.fps) and source.fps > 0
        for count, frame in enumerate(source.frames()):
            assert frame.image.shape == (source.height, source.width, 3) and np.isfinite(frame.timestamp)
            if count > 20:
                break

    return read


def _photograph(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.photographs.photograph import photograph_files, read_photograph

        for path in photograph_files([folder / name]):
            picture = read_photograph(path)
            assert picture.image.dtype == np.uint8 and max(picture.image.shape) <= 2048 and picture.image.shape[2] == 3
            _finite(picture.camera_focal())

    return read


def _recording(folder: Path) -> None:
    from blendsplat.exchange.registry import format_of

    known = format_of(folder)
    for read in filter(None, (known.read, known.read_views)):
        recording = read(folder)
        assert len(recording.images) == len(recording.viewmats) == len(recording.expression)
        _finite(recording.viewmats, recording.K, recording.expression, recording.jaw)


def _flame(folder: Path) -> None:
    from blendsplat.heads.flame import load_flame

    head = load_flame(folder / "flame.pkl", identities=6)
    _finite(head.template, head.expression_directions, head.eyelid_directions, head.uvs)
    assert int(head.faces.max()) < head.vertex_count and int(head.uv_faces.max()) < len(head.uvs)


def _ict(folder: Path) -> None:
    from blendsplat.heads.load import load_head

    load_head(folder / "ict.npz", landmarks=False)


def _weights(folder: Path) -> None:
    from blendsplat.kaolrm.describe_weights import describe_weights
    from blendsplat.kaolrm.weights import load_model

    json.dumps(describe_weights(str(folder)))
    load_model(folder)


def _preset(folder: Path) -> None:
    from blendsplat.systems import load_preset

    load_preset(folder / "own.toml")


def _kaolrm_preset(folder: Path) -> None:
    from blendsplat.kaolrm.training.presets import load_preset

    load_preset(folder / "kaolrm.toml")


def _scan(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.evaluation.scan_views import read_coloured_scan
        from blendsplat.evaluation.scans import read_scan

        scan = read_scan(folder / name, folder / "points.txt")
        _finite(scan.vertices, scan.landmarks)
        assert 0 <= scan.faces.min() <= scan.faces.max() < len(scan.vertices)
        coloured = read_coloured_scan(folder / name, folder / "map.png" if name.endswith("glb") else None)
        _finite(coloured.colours)
        assert 0 <= coloured.faces.min() <= coloured.faces.max() < len(coloured.vertices)

    return read


def _points(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.evaluation.scans import read_landmarks

        _finite(read_landmarks(folder / name))

    return read


def _fit(folder: Path) -> None:
    from blendsplat.photographs.convert_fit import fit_description

    assert isinstance(fit_description(folder / "fit.json"), dict)


def _take(folder: Path) -> None:
    from blendsplat.live.take import complete_take, unfinished
    from blendsplat.video.clip import Clip

    if unfinished(folder) and complete_take(folder) is not None:
        assert Clip.open(folder).frame_count == _performance(folder).frame_count


def _record(folder: Path) -> None:
    from blendsplat.batch.record import Record

    record = Record(folder / "record.json")
    for stage in ("import", "track", "train"):
        record.is_done(stage, "key")  # type: ignore[arg-type]


def _lpips(folder: Path) -> None:
    from blendsplat.image_metrics.lpips import Lpips

    Lpips(folder / "lpips.npz")


class _Trainings:
    """A training of the tiny clip that goes on from whatever checkpoint lies there. Made once, as it takes a second."""

    _made: ClassVar[dict[Path, tuple[Any, Any]]] = {}

    @classmethod
    def make(cls, folder: Path) -> None:
        from blendsplat.training.checkpoint import save_checkpoint
        from blendsplat.training.continuation import continuation_path
        from small_training import new_trainer
        from tiny_clip import tiny_head, write_tiny_clip

        clip = folder.with_name(f"{folder.name} clip")
        write_tiny_clip(clip)
        with patch("blendsplat.heads.load.load_head", lambda source, **_: tiny_head()):
            trainer = new_trainer(clip, blendshapes=2, images=8)
        while not trainer.done:
            trainer.step()
        snapshot = trainer.snapshot()
        snapshot.plain |= {"head_model": trainer.avatar.head.model_id, "scale": 1.0}
        save_checkpoint(folder / "a.checkpoint.safetensors", snapshot, "fingerprint")
        save_checkpoint(continuation_path(folder / "a.avatar.npz"), snapshot, "none")
        cls._made[folder.parent] = trainer, trainer.preset

    @classmethod
    def resume(cls, folder: Path) -> None:
        from blendsplat.progress import Progress
        from blendsplat.training.checkpoint import load_checkpoint
        from blendsplat.training.loop import Run

        trainer, preset = cls._made[folder.parent]
        path = folder / "a.checkpoint.safetensors"
        before = path.read_bytes() if path.is_file() else None
        try:
            snapshot, note = load_checkpoint(path, "fingerprint")
            assert snapshot is not None or not before or note, "nothing said of a checkpoint that was not used"
            Run(trainer, preset, folder / "a.avatar.npz", "fingerprint", Progress()).begin(snapshot, note)
        finally:
            kept = {one.name: one.read_bytes() for one in folder.glob("*.checkpoint.safetensors") if one.is_file()}
            for one in folder.glob("a.*-*.checkpoint.safetensors"):
                one.unlink()
        assert before is None or before in kept.values(), "the checkpoint is gone"

    @classmethod
    def go_on(cls, folder: Path) -> None:
        from blendsplat.training.continuation import go_on_from, load_continuation

        trainer, preset = cls._made[folder.parent]
        go_on_from(trainer, load_continuation(folder / "a.avatar.npz"), preset, folder / "a.avatar.npz")


# --- the add-on's readers, which know nothing of bpy


def addon(name: str) -> ModuleType:
    """A module of the add-on, without running the add-on's own beginning, which needs Blender."""
    if "blender_addon" not in sys.modules:
        package = ModuleType("blender_addon")
        package.__path__ = [str(ROOT / "blender_addon")]
        sys.modules["blender_addon"] = package
    return __import__(f"blender_addon.{name}", fromlist=["*"])


def _addon_avatar(folder: Path) -> None:
    formats = addon("formats")
    read = formats.read_avatar(folder / "a.avatar.npz")
    formats.read_header(folder / "a.avatar.npz")
    assert read.gaussians == len(read.arrays["triangle"]) and read.blendshapes == len(read.arrays["delta_colors"])
    json.dumps([read.system, read.figures, read.places, read.rig.expression_range])
    formats.head_model_id(read.rig)


def _addon_tracking(folder: Path) -> None:
    formats = addon("formats")
    read = formats.read_performance(folder)
    _finite(read.fps, read.expression, read.timestamps)
    assert read.fps > 0 and len(read.expression) == read.frame_count and isinstance(read.steady, bool)
    formats.is_of_earlier_head(folder / "tracking.npz")
    _finite(*formats.lens_of(folder, read))


def _addon_fit(folder: Path) -> None:
    fit = addon("formats").read_fit(folder)
    assert isinstance(fit.name, str) and all(isinstance(warning, str) for warning in fit.warnings)


def _addon_corrections(folder: Path) -> None:
    formats = addon("formats")
    before = formats.read_corrections(folder)
    _finite(*before.values())
    performance = formats.read_performance(folder)
    frame = {name: np.asarray(performance.arrays[name][0]) for name in formats._FRAME_SHAPES}
    formats.add_correction(folder, performance, 0, frame, np.ones(15 + len(frame["expression"]), bool))


# --- sound files


def _write_avatar(folder: Path) -> None:
    from tiny_clip import tiny_avatar, tiny_head

    tiny_avatar(tiny_head(), blendshapes=2).save(folder / "a.avatar.npz")


def _write_dipguava(folder: Path) -> None:
    import torch

    from blendsplat.avatars.rgbavatar.model import RGBAvatar
    from tiny_dipguava import tiny_dipguava

    avatar = tiny_dipguava()
    thirds = torch.full((avatar.gaussian_count, 3), 1 / 3)
    avatar.take_sliders(RGBAvatar(avatar.head, avatar.triangle, thirds, avatar.camera, blendshapes=2, hidden=(8, 8)))
    avatar.save(folder / "d.avatar.npz")


def _write_clip(folder: Path) -> None:
    from blendsplat.fitting.corrections import corrected_frame, empty
    from blendsplat.landmarks.detector import save_landmarks
    from tiny_clip import write_tiny_clip

    tracking = write_tiny_clip(folder, frames=3)
    save_landmarks(folder / "landmarks.npz", np.ones((3, 478, 3), np.float32), np.ones(3, bool), "truth")
    jaw = np.array([0.1, 0, 0], np.float32)
    corrected_frame(empty(tracking), tracking, 1, jaw_pose=jaw).save(folder / "corrections.npz")


def _write_flame(folder: Path) -> None:
    from make_pickles import dump, write_flame

    arrays = write_flame(folder / "flame.pkl")
    names = ("face", "lips", "scalp", "left_eyeball", "right_eyeball", "neck", "boundary")
    rows = np.arange(280)
    (folder / "FLAME_masks.pkl").write_bytes(dump({name: rows[place::9] for place, name in enumerate(names)}))
    lids = np.zeros_like(arrays["v_template"])
    np.save(folder / "l_eyelid.npy", lids), np.save(folder / "r_eyelid.npy", lids)
    embedding = {"static_lmk_faces_idx": np.arange(51), "static_lmk_b_coords": np.full((51, 3), 1 / 3)}
    np.save(folder / "landmark_embedding.npy", np.array(embedding, dtype=object), allow_pickle=True)
    lines = [f"v {x} {y} {z}" for x, y, z in arrays["v_template"]] + ["vt 0 0", "vt 1 0", "vt 0 1"]
    lines += [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3" for a, b, c in arrays["f"]]
    (folder / "template.obj").write_text("\n".join(lines))


def _write_metrical_tracker(folder: Path) -> None:
    import torch

    from flame_recordings import FRAMES, HEIGHT, WIDTH, K, cameras, write_pictures

    rng = np.random.default_rng(2)
    write_pictures(folder / "images", rng)
    (folder / "checkpoint").mkdir()
    for index, viewmat in enumerate(cameras(rng)):
        content = {
            "flame": {
                "exp": rng.normal(size=(1, 7)),
                "shape": rng.normal(size=(1, 8)),
                "eyes": rng.normal(size=(1, 12)),
                "jaw": rng.normal(size=(1, 6)),
                "eyelids": np.zeros((1, 2)),
            },
            "opencv": {"R": viewmat[None, :3, :3], "t": viewmat[None, :3, 3], "K": K[None]},
            "img_size": np.array([HEIGHT, WIDTH]),
            "frame_id": f"{index:05d}",
            "camera": {"R": torch.zeros(1, 3, 3)},
        }
        torch.save(
            content, folder / "checkpoint" / f"{index:05d}.frame", _use_new_zipfile_serialization=index != FRAMES - 1
        )


def _write_vhap(folder: Path) -> None:
    from flame_recordings import write_vhap

    write_vhap(folder)


def _write_weights(folder: Path) -> None:
    from blendsplat.kaolrm.weights import save_model
    from tiny_kaolrm import tiny

    save_model(folder, tiny())


def _write_scans(folder: Path) -> None:
    import trimesh
    from PIL import Image

    points, faces, uvs = _ball()
    texture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=texture)
    visual = trimesh.visual.TextureVisuals(uv=uvs, material=material)
    trimesh.Trimesh(points, faces, visual=visual, process=False).export(folder / "scan.glb")
    colours = np.full((len(points), 4), 200, np.uint8)
    trimesh.Trimesh(points, faces, vertex_colors=colours, process=False).export(folder / "scan.ply")
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in points] + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces]
    (folder / "scan.obj").write_text("\n".join(lines))
    texture.save(folder / "map.png")
    seven = points[[0, 20, 40, 60, 80, 100, 110]]
    (folder / "points.txt").write_text("\n".join(" ".join(map(str, point)) for point in seven))
    np.save(folder / "points.npy", seven)
    (folder / "points.json").write_text(json.dumps(seven.tolist()))


def _ball() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """vertices [120,3], faces [F,3], uvs [120,2]."""
    u, v = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0.05, 0.95, 10))
    longitude, latitude = 2 * np.pi * u.ravel(), np.pi * v.ravel()
    points = 0.1 * np.stack(
        [np.sin(latitude) * np.cos(longitude), np.cos(latitude), np.sin(latitude) * np.sin(longitude)], 1
    )
    corner = (np.arange(9)[:, None] * 12 + np.arange(11)).reshape(-1, 1)
    quads = corner + np.array([0, 1, 13, 12])
    return points, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), np.stack([u.ravel(), v.ravel()], 1)


def _write_captures(folder: Path) -> None:
    from blendsplat.heads.arkit import ARKIT

    rng, names = np.random.default_rng(0), [name[0].upper() + name[1:] for name in ARKIT]
    rows = [
        [f"10:20:30:{frame:02d}.000", "61", *(f"{value:.4f}" for value in rng.random(len(names) + 3))]
        for frame in range(6)
    ]
    header = ["Timecode", "BlendShapeCount", *names, "HeadYaw", "HeadPitch", "HeadRoll"]
    (folder / "take.csv").write_text("\n".join(",".join(row) for row in [header, *rows]))
    table = [
        ["time", *ARKIT[:20]],
        *([f"{frame / 30:.4f}", *(f"{value:.3f}" for value in rng.random(20))] for frame in range(6)),
    ]
    (folder / "table.tsv").write_text("\n".join("\t".join(row) for row in table))
    frames = [
        {
            "time": frame / 30,
            "blendShapes": dict(zip(ARKIT, rng.random(52).tolist(), strict=False)),
            "head": {"yaw": 0.1},
        }
        for frame in range(4)
    ]
    (folder / "take.json").write_text(json.dumps({"fps": 30, "frames": frames}))
    face = {"exportFps": 60, "facsNames": list(ARKIT), "weightMat": rng.random((4, len(ARKIT))).tolist()}
    (folder / "audio.json").write_text(json.dumps(face))


def _write_presets(folder: Path) -> None:
    (folder / "own.toml").write_bytes((ROOT / "presets" / "draft.toml").read_bytes())
    (folder / "kaolrm.toml").write_bytes((ROOT / "presets" / "kaolrm" / "small.toml").read_bytes())


def _write_pictures(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (24, 32, 4), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 35
    for name in ("a.png", "a.webp", "a.tif", "a.tga", "a.jp2"):
        picture.save(folder / name)
    picture.convert("RGB").save(folder / "a.jpg", exif=exif)
    picture.convert("RGB").save(folder / "a.bmp")
    (folder / "frames").mkdir()
    for index in range(3):
        picture.save(folder / "frames" / f"{index}.png")


def _write_videos(folder: Path) -> None:
    from PIL import Image

    from video_files import encode_video

    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(8)]
    encode_video(folder / "a.mp4", frames)
    encode_video(folder / "a.mov", frames, codec="mpeg4")
    encode_video(folder / "a.webm", frames, codec="libvpx-vp9")
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(folder / "a.gif", save_all=True, append_images=pictures[1:])


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
    _write_fit(folder)
    tracking = tiny_tracking(tiny_head(), 3)
    info = ClipInfo("cam", (64, 48), 0.0, None, (1, 2, 40), SIZE, SIZE, 25.0, [], "none")
    take, grey = Take(folder / "take", tracking, info, "truth"), np.full((SIZE, SIZE, 3), 90, np.uint8)
    for number in range(3):
        looked = Looked(number, number / 10, grey, grey[..., 0], np.ones((478, 3), np.float32))
        take.add(TrackedFrame(looked, tracking.params()[[number]], 0.02, grey[..., 1], None))


def _write_fit(folder: Path) -> None:
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


def _write_addon(folder: Path) -> None:
    _write_avatar(folder)
    _write_clip(folder)
    _write_fit(folder)


_safetensors = any_of(damaged, length_prefixed_json)
_odd_capture = any_of(odd_json, odd_json, damaged)
_odd_csv = any_of(odd_table, odd_table, damaged)
_odd_preset = any_of(odd_toml, odd_toml, odd_toml, damaged)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "avatar, RGBAvatar",
            _write_avatar,
            (Target("a.avatar.npz", odd_npz, lambda folder: _avatar(folder, "a.avatar.npz")),),
        ),
        Kind(
            "avatar, DipGuava",
            _write_dipguava,
            (Target("d.avatar.npz", odd_npz, lambda folder: _avatar(folder, "d.avatar.npz")),),
        ),
        Kind("tracking.npz", _write_clip, (Target("tracking.npz", odd_npz, _performance),)),
        Kind(
            "clip.json and its pictures",
            _write_clip,
            (
                Target("clip.json", any_of(odd_json, odd_json, damaged), _clip),
                Target("clip.json", odd_json, _clip),
                Target("images/000000.png", odd_png, _clip),
                Target("mattes/000000.png", odd_png, _clip),
            ),
        ),
        Kind(
            "landmarks and corrections",
            _write_clip,
            (
                Target("landmarks.npz", odd_npz, _landmarks),
                Target("corrections.npz", odd_npz, _corrections),
            ),
        ),
        Kind(
            "checkpoint, live session",
            _Trainings.make,
            (
                Target("a.checkpoint.safetensors", _safetensors, _Trainings.resume),
                Target("a.live.safetensors", _safetensors, _Trainings.go_on),
            ),
        ),
        Kind(
            "FLAME and what lies beside it",
            _write_flame,
            (
                Target("flame.pkl", odd_pickle, _flame),
                Target("flame.pkl", odd_pickle, _flame),
                Target("FLAME_masks.pkl", odd_pickle, _flame),
                Target("l_eyelid.npy", odd_npy, _flame),
                Target("landmark_embedding.npy", any_of(odd_npy, odd_pickle), _flame),
                Target("template.obj", _odd_csv, _flame),
            ),
        ),
        Kind(
            "metrical-tracker's .frame",
            _write_metrical_tracker,
            (
                Target("checkpoint/00000.frame", odd_torch, _recording),
                Target("checkpoint/00002.frame", odd_torch, _recording),
                Target("checkpoint/00005.frame", odd_torch, _recording),
            ),
        ),
        Kind(
            "VHAP's export",
            _write_vhap,
            (
                Target("transforms.json", any_of(odd_json, odd_json, damaged), _recording),
                Target("flame_param/00000.npz", odd_npz, _recording),
            ),
        ),
        Kind(
            "KaoLRM's weights",
            _write_weights,
            (
                Target("model.safetensors", _safetensors, _weights),
                Target("config.json", any_of(odd_json, odd_json, damaged), _weights),
            ),
        ),
        Kind(
            "scans and their landmarks",
            _write_scans,
            (
                Target("scan.glb", odd_glb, _scan("scan.glb")),
                Target("scan.ply", odd_ply, _scan("scan.ply")),
                Target("scan.obj", _odd_csv, _scan("scan.obj")),
                Target("map.png", odd_png, _scan("scan.glb")),
                Target("points.txt", _odd_csv, _points("points.txt")),
                Target("points.npy", odd_npy, _points("points.npy")),
                Target("points.json", _odd_capture, _points("points.json")),
            ),
        ),
        Kind(
            "face capture, tables",
            _write_captures,
            (
                Target("take.csv", _odd_csv, _capture("take.csv")),
                Target("table.tsv", _odd_csv, _capture("table.tsv")),
            ),
        ),
        Kind(
            "face capture, JSON",
            _write_captures,
            (
                Target("take.json", _odd_capture, _capture("take.json")),
                Target("audio.json", _odd_capture, _capture("audio.json")),
            ),
        ),
        Kind(
            "presets",
            _write_presets,
            (Target("own.toml", _odd_preset, _preset), Target("kaolrm.toml", _odd_preset, _kaolrm_preset)),
        ),
        Kind(
            "pictures",
            _write_pictures,
            (
                *(
                    Target(name, odd_png if name == "a.png" else damaged, _photograph(name))
                    for name in ("a.png", "a.png", "a.jpg", "a.webp", "a.tif", "a.tga", "a.jp2", "a.bmp")
                ),
                Target("a.png", odd_png, _video("a.png")),
                Target("frames/0.png", odd_png, _video("frames")),
                Target("frames/1.png", odd_png, _video("frames")),
            ),
        ),
        Kind(
            "videos",
            _write_videos,
            (
                Target("a.mp4", odd_boxes, _video("a.mp4")),
                Target("a.mp4", odd_boxes, _video("a.mp4")),
                Target("a.mov", odd_boxes, _video("a.mov")),
                Target("a.webm", damaged, _video("a.webm")),
                Target("a.gif", damaged, _video("a.gif")),
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
        Kind(
            "what the add-on reads",
            _write_addon,
            (
                Target("a.avatar.npz", odd_npz, _addon_avatar),
                Target("a.avatar.npz", odd_npz, _addon_avatar),
                Target("tracking.npz", odd_npz, _addon_tracking),
                Target("clip.json", odd_json, _addon_tracking),
                Target("fit.json", any_of(odd_json, damaged), _addon_fit),
                Target("corrections.npz", odd_npz, _addon_corrections),
            ),
        ),
    )
}
