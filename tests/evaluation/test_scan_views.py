# SPDX-License-Identifier: Apache-2.0
"""Photographs of a scan: it is found upright whichever way it stands, its landmarks lie on it, colours come through,
and damaged scans and colour maps are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from blendsplat.errors import FormatError, InputError, NoFaceError
from blendsplat.evaluation.fits import ScanViews, evaluate_scan
from blendsplat.evaluation.scan_metrics import neutral_mesh
from blendsplat.evaluation.scan_views import draw_scan, portrait_cameras, read_coloured_scan, upright_scan
from blendsplat.heads import load_head
from blendsplat.heads.human.appearance import Look, paint_head
from blendsplat.kaolrm.regressor import make_regressor


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """The mean face in centimetres, z up, as a GLB with its colour map; and its true landmarks in metres, y up."""
    head, folder = load_head("human"), tmp_path_factory.mktemp("scan")
    pairs, corners = np.unique(
        np.stack([head.faces.numpy().ravel(), head.uv_faces.numpy().ravel()], 1), axis=0, return_inverse=True
    )
    vertices = 100 * head.template.numpy()[pairs[:, 0]] @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    texture = Image.fromarray((255 * paint_head(Look(), 512)).clip(0, 255).astype(np.uint8))
    uvs, faces = head.uvs.numpy()[pairs[:, 1]], corners.reshape(-1, 3)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=texture)
    for name, visual in (
        ("scan.glb", trimesh.visual.TextureVisuals(uv=uvs, material=material)),
        ("bare.glb", trimesh.visual.TextureVisuals(uv=uvs)),
    ):
        trimesh.Trimesh(vertices, faces, visual=visual, process=False).export(folder / name)
    texture.save(folder / "map.png")
    return folder, neutral_mesh(head, np.zeros(head.shape_count))


def test_a_scan_is_turned_upright_and_its_landmarks_found(scan):
    folder, (vertices, landmarks) = scan
    _, found = upright_scan(folder / "scan.glb", None, None, None)
    assert np.ptp(found.vertices, axis=0) == pytest.approx(np.ptp(vertices, axis=0), abs=0.03)
    ours, theirs = (points - points.mean(0) for points in (found.landmarks, landmarks))
    assert np.linalg.norm(ours - theirs, axis=1).max() < 0.008


def test_colour_maps_inside_and_beside_the_file_give_one_picture(scan):
    folder, _ = scan
    inside, beside = (
        upright_scan(*where, None, None)
        for where in ((folder / "scan.glb", None), (folder / "bare.glb", folder / "map.png"))
    )
    camera = portrait_cameras(inside[1].landmarks, 4, 96, 2.5, 40.0, 0)[1]
    one, other = (draw_scan(coloured, camera)[0].astype(int) for coloured, _ in (inside, beside))
    assert np.abs(one - other).mean() < 3 and one.std() > 10


def test_cameras_look_at_the_face_from_both_sides(scan):
    landmarks = scan[1][1]
    cameras = portrait_cameras(landmarks, 8, 200, 2.5, 40.0, 0)
    for camera in cameras:
        seen = landmarks @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixels = (seen @ camera.K.T)[:, :2] / seen[:, 2:]
        assert (pixels > 40).all() and (pixels < 160).all()
    sides = [np.sign(-camera.viewmat[:3, :3].T @ camera.viewmat[:3, 3])[0] for camera in cameras]
    assert sides == [-1] * 4 + [1] * 4


def test_what_cannot_be_photographed_is_named(scan, tmp_path):
    folder, _ = scan
    damaged = tmp_path / "scan.glb"
    damaged.write_bytes((folder / "scan.glb").read_bytes().decode("utf-8", "replace").encode())
    with pytest.raises(FormatError, match=r"scan\.glb is damaged"):
        read_coloured_scan(damaged)
    colours = tmp_path / "map.jpg"
    colours.write_bytes(b"\xef\xbf\xbd\xef\xbf\xbd JFIF")
    with pytest.raises(FormatError, match=r"map\.jpg is damaged"):
        read_coloured_scan(folder / "scan.glb", colours)
    with pytest.raises(InputError, match="does not exist"):
        read_coloured_scan(folder / "scan.glb", tmp_path / "none.png")
    ball = trimesh.creation.icosphere(3)
    ball.export(tmp_path / "ball.ply")
    with pytest.raises(InputError, match="no texture coordinates"):
        read_coloured_scan(tmp_path / "ball.ply", folder / "map.png")
    torch.manual_seed(0)
    with pytest.raises(NoFaceError, match="seven landmarks"):
        upright_scan(tmp_path / "ball.ply", None, None, None)


def test_fits_of_a_scans_photographs_are_judged_for_the_named_head(scan, monkeypatch):
    folder, _ = scan
    asked = []
    monkeypatch.setattr(
        "blendsplat.evaluation.fits.load_head", lambda name, **_: asked.append(name) or load_head("human")
    )
    judged = evaluate_scan(
        folder / "scan.glb", job=ScanViews(views=2, size=256, widest=20.0), head="mine.pkl", same_person=True
    )
    methods = ["landmarks"] if make_regressor("auto", load_head("human")) is None else ["landmarks", "kaolrm"]
    assert asked == ["mine.pkl"] and judged["fitted"] == 2 * len(methods) and judged["missed"] == 0
    assert list(judged["rows"]) == ["mean face", *methods, *(f"{method}, all together" for method in methods)]
    assert judged["rows"]["mean face"]["median_mm"] < 0.3, "the scan is the mean face"
    assert all(0 < row["median_mm"] < 2 for row in list(judged["rows"].values())[1:])
