# SPDX-License-Identifier: Apache-2.0
"""Head models and others' recordings of them, weights, and scans."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..hostile_pickles import odd_pickle, odd_torch
from ..mutate import any_of, damaged, odd_json
from ..mutate_arrays import odd_npy, odd_npz
from ..mutate_pictures import odd_glb, odd_ply, odd_png
from .kind import Kind, Target, finite, odd_capture, odd_csv, safetensors


def _recording(folder: Path) -> None:
    from blendsplat.exchange.registry import format_of

    known = format_of(folder)
    for read in filter(None, (known.read, known.read_views)):
        recording = read(folder)
        assert len(recording.images) == len(recording.viewmats) == len(recording.expression)
        finite(recording.viewmats, recording.K, recording.expression, recording.jaw)


def _flame(folder: Path) -> None:
    from blendsplat.heads.flame import load_flame

    head = load_flame(folder / "flame.pkl", identities=6)
    finite(head.template, head.expression_directions, head.eyelid_directions, head.uvs)
    assert int(head.faces.max()) < head.vertex_count and int(head.uv_faces.max()) < len(head.uvs)


def _weights(folder: Path) -> None:
    from blendsplat.kaolrm.describe_weights import describe_weights
    from blendsplat.kaolrm.weights import load_model

    json.dumps(describe_weights(str(folder)))
    load_model(folder)


def _scan(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.evaluation.scan_views import read_coloured_scan
        from blendsplat.evaluation.scans import read_scan

        scan = read_scan(folder / name, folder / "points.txt")
        finite(scan.vertices, scan.landmarks)
        assert 0 <= scan.faces.min() <= scan.faces.max() < len(scan.vertices)
        coloured = read_coloured_scan(folder / name, folder / "map.png" if name.endswith("glb") else None)
        finite(coloured.colours)
        assert 0 <= coloured.faces.min() <= coloured.faces.max() < len(coloured.vertices)

    return read


def _points(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.evaluation.scans import read_landmarks

        finite(read_landmarks(folder / name))

    return read


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


KINDS = (
    Kind(
        "FLAME and what lies beside it",
        _write_flame,
        (
            Target("flame.pkl", odd_pickle, _flame),
            Target("flame.pkl", odd_pickle, _flame),
            Target("FLAME_masks.pkl", odd_pickle, _flame),
            Target("l_eyelid.npy", odd_npy, _flame),
            Target("landmark_embedding.npy", any_of(odd_npy, odd_pickle), _flame),
            Target("template.obj", odd_csv, _flame),
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
            Target("model.safetensors", safetensors, _weights),
            Target("config.json", any_of(odd_json, odd_json, damaged), _weights),
        ),
    ),
    Kind(
        "scans and their landmarks",
        _write_scans,
        (
            Target("scan.glb", odd_glb, _scan("scan.glb")),
            Target("scan.ply", odd_ply, _scan("scan.ply")),
            Target("scan.obj", odd_csv, _scan("scan.obj")),
            Target("map.png", odd_png, _scan("scan.glb")),
            Target("points.txt", odd_csv, _points("points.txt")),
            Target("points.npy", odd_npy, _points("points.npy")),
            Target("points.json", odd_capture, _points("points.json")),
        ),
    ),
)
