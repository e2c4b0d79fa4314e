# SPDX-License-Identifier: Apache-2.0
"""What a mesh leaves bare: nothing where it is the person, as much as is missing where it is narrower, never hair."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from blendsplat.errors import InputError
from blendsplat.evaluation.coverage import measure_folder
from blendsplat.heads import load_head
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import load_landmarks, save_landmarks
from blendsplat.splatting import rasterize_mesh
from blendsplat.tracking.coverage import (
    CHIN,
    Coverage,
    coverage_figures,
    coverage_notes,
    measure_picture,
    summary,
    with_coverage,
)
from blendsplat.video import Clip
from blendsplat.video.clip import ClipInfo, encode_png, frame_path, write_info
from tiny_clip import tiny_tracking

SIDE, FOCAL, AWAY = 384, 1100.0, 1.0
SKIN, HAIR, WALL = (205, 150, 125), (40, 30, 28), (90, 120, 150)


@dataclass
class Scene:
    """A picture of the mean head with a dark hair cap, its matte, landmarks and mesh."""

    image: np.ndarray
    matte: np.ndarray
    landmarks: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    K: np.ndarray

    def measured(self, vertices: np.ndarray | None = None) -> dict[str, float]:
        vertices = self.vertices if vertices is None else vertices
        one, _ = measure_picture(self.image, self.matte, self.landmarks, vertices, self.faces, self.K)
        return summary([one])


@pytest.fixture(scope="module")
def scene() -> Scene:
    head = load_head("human")
    vertices = head.template.numpy() * [1, -1, -1] + [0, 0, AWAY]
    faces = head.faces.numpy()
    K = np.array([[FOCAL, 0, SIDE / 2], [0, FOCAL, SIDE / 2], [0, 0, 1]])
    points = head.landmarks_of(torch.as_tensor(vertices, dtype=torch.float32)[None])[0].numpy() @ K.T
    landmarks = points[:, :2] / points[:, 2:]
    ids = rasterized(vertices, faces, K)
    inside = ids >= 0
    image = np.full((SIDE, SIDE, 3), WALL, np.uint8)
    noise = np.random.default_rng(0).normal(0, 3, (SIDE, SIDE, 1))
    image[inside] = np.clip(np.array(SKIN) + noise, 0, 255)[inside]
    matte = inside.copy()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    forehead = landmarks[10]
    cap = (np.hypot((columns - SIDE / 2) / 105, (rows - forehead[1] - 70) / 125) < 1) & (rows < landmarks[70, 1])
    cap &= ~(np.hypot((columns - SIDE / 2) / 70, (rows - landmarks[1, 1]) / 110) < 1)
    image[cap] = np.clip(np.array(HAIR) + noise, 0, 255)[cap]
    matte |= cap
    return Scene(image, np.where(matte, 255, 0).astype(np.uint8), landmarks, vertices, faces, K)


def rasterized(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Face ids [H,W] of a mesh in the camera's axes."""
    tensors = (torch.as_tensor(array, dtype=torch.float32)[None] for array in (vertices, np.eye(4), K))
    points, view, camera = tensors
    return rasterize_mesh(points, torch.as_tensor(faces.astype(np.int32)), view, camera, SIDE, SIDE)[0][0].numpy()


def narrower(scene: Scene, share: float) -> np.ndarray:
    return scene.vertices * [share, 1, 1]


def test_the_person_himself_leaves_nothing_bare(scene: Scene) -> None:
    figures = scene.measured()
    assert figures["uncovered"] < 0.6 and figures["beyond"] < 0.6


def test_a_narrow_head_leaves_bare_what_is_missing(scene: Scene) -> None:
    """Against a count of our own: the person's pixels above the chin and below the brows, beside the narrow mesh."""
    missing = (scene.matte > 0) & (rasterized(narrower(scene, 0.85), scene.faces, scene.K) < 0)
    rows = np.arange(SIDE)[:, None]
    below_brows, above_chin = rows > scene.landmarks[[70, 300], 1].mean(), rows < scene.landmarks[CHIN, 1]
    counts, _ = measure_picture(scene.image, scene.matte, scene.landmarks, narrower(scene, 0.85), scene.faces, scene.K)
    eyes = np.linalg.norm(scene.landmarks[468:473].mean(0) - scene.landmarks[473:478].mean(0))
    assert counts.bare * (eyes / 96) ** 2 == pytest.approx((missing & below_brows & above_chin).sum(), rel=0.12)
    shares = [scene.measured(narrower(scene, share))["uncovered"] for share in (0.95, 0.9, 0.8)]
    assert 1 < shares[0] < shares[1] < shares[2]


def test_hair_is_no_bare_skin(scene: Scene) -> None:
    """The cap is beside the mesh, and counts only where hair is asked for."""
    figures = scene.measured()
    assert figures["uncovered_with_hair"] > figures["uncovered"] + 2


def test_hair_of_the_skins_tint_is_told_by_what_is_above_the_forehead(scene: Scene) -> None:
    image = scene.image.copy()
    dyed = (image == np.clip(image, 0, 60)).all(-1)
    image[dyed] = (180, 128, 92)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    lock = (np.abs(rows - scene.landmarks[1, 1]) < 45) & (np.abs(columns - SIDE / 2) < 125) & (scene.matte == 0)
    image[lock] = (180, 128, 92)
    dyed_scene = Scene(image, np.where(lock, 255, scene.matte), scene.landmarks, scene.vertices, scene.faces, scene.K)
    assert dyed_scene.measured()["uncovered"] < 1
    image[lock] = SKIN  # the same place as skin
    assert dyed_scene.measured()["uncovered"] > 5


def test_a_shirt_of_the_skins_colours_beside_the_neck_is_no_head(scene: Scene) -> None:
    image, matte = scene.image.copy(), scene.matte.copy()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    oval = scene.landmarks[list(pts.OVAL), 0]
    eyes = np.linalg.norm(scene.landmarks[468:473].mean(0) - scene.landmarks[473:478].mean(0))
    shoulders = (rows > scene.landmarks[CHIN, 1] - 25) & (matte == 0)
    outer = (columns < oval.min() - 0.12 * eyes) | (columns > oval.max() + 0.12 * eyes)
    image[shoulders & outer], matte[shoulders & outer] = SKIN, 255
    shirt = Scene(image, matte, scene.landmarks, scene.vertices, scene.faces, scene.K)
    assert shirt.measured()["uncovered"] < scene.measured()["uncovered"] + 0.3
    assert shirt.measured()["uncovered_with_hair"] > scene.measured()["uncovered_with_hair"] + 1


def test_a_wide_head_covers_all_and_is_told_from_a_right_one(scene: Scene) -> None:
    figures = scene.measured(narrower(scene, 1.1))
    assert figures["uncovered"] < 0.6 and figures["beyond"] > 4


def test_the_pictures_size_does_not_matter(scene: Scene) -> None:
    larger = Scene(
        cv2.resize(scene.image, None, fx=2, fy=2), cv2.resize(scene.matte, None, fx=2, fy=2), 2 * scene.landmarks,
        scene.vertices, scene.faces, scene.K * np.array([[2], [2], [1]]),
    )  # fmt: skip
    one, two = (each.measured(narrower(scene, 0.9)) for each in (scene, larger))
    assert two["uncovered"] == pytest.approx(one["uncovered"], rel=0.06)


def test_pictures_are_summed_by_their_pixels() -> None:
    figures = summary([Coverage(100, 10, 100, 10, 0, 90, 9), Coverage(300, 0, 300, 30, 40, 300, 0)])
    assert figures == {"uncovered": 2.5, "uncovered_with_hair": 10.0, "beyond": 10.0, "frames": 2}
    assert summary([])["uncovered"] == 0


@pytest.mark.parametrize(("share", "side"), [(0.9, 11.7), (0.85, 17.6)])
def test_the_verdict_is_the_share_that_a_narrowed_mesh_lacks(scene: Scene, share: float, side: float) -> None:
    """Against a count of our own, and told: such cheeks lie 12 and 18 pixels of 512 too far in on each side."""
    narrow = narrower(scene, share)
    person, mesh = (rasterized(v, scene.faces, scene.K) >= 0 for v in (scene.vertices, narrow))
    width = person[round(scene.landmarks[1, 1])].sum()
    assert (1 - share) / 2 * width * 512 / SIDE == pytest.approx(side, rel=0.05)
    rows = np.arange(SIDE)[:, None]
    outline = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(outline, cv2.convexHull(np.round(scene.landmarks[list(pts.OVAL)]).astype(np.int32)), (1,))
    below_brows, above_chin = rows > scene.landmarks[[70, 300], 1].mean(), rows < scene.landmarks[CHIN, 1]
    bare_head = person & above_chin & ((outline > 0) | below_brows)
    figures = coverage_figures([counts_of(scene, narrow)])
    assert figures["uncovered"] == pytest.approx((bare_head & ~mesh).sum() / bare_head.sum(), rel=0.15)
    assert figures["beyond"] < 0.005
    (note,) = coverage_notes(figures, "overlay.mp4")
    assert f"leaves {figures['uncovered']:.0%} of the bare head uncovered" in note and "overlay.mp4" in note


def test_the_verdict_on_a_right_mesh_a_wide_one_and_a_nearly_right_one(scene: Scene) -> None:
    for share in (1.0, 0.95, 1.03):
        assert coverage_notes(coverage_figures([counts_of(scene, narrower(scene, share))]), "o") == []
    (note,) = coverage_notes(coverage_figures([counts_of(scene, narrower(scene, 1.12))]), "o")
    assert "behind it" in note and "uncovered" not in note
    assert coverage_figures([]) == {} and coverage_notes({}, "o") == []


def test_long_hair_and_a_collar_of_the_skins_colours_are_no_fault(scene: Scene) -> None:
    """A curtain of hair on both sides of the face down to the picture's end, and a shirt from the chin on."""
    image, matte = scene.image.copy(), scene.matte.copy()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across = np.abs(columns - SIDE / 2)
    hair = (rows > scene.landmarks[10, 1]) & (across < 130) & (matte == 0)
    image[hair], matte[hair] = HAIR, 255
    shirt = (rows > scene.landmarks[CHIN, 1] - 20) & (across > 62) & (across < 150)
    image[shirt], matte[shirt] = SKIN, 255
    dressed = Scene(image, matte, scene.landmarks, scene.vertices, scene.faces, scene.K)
    figures = coverage_figures([counts_of(dressed, scene.vertices)])
    assert figures["uncovered"] < 0.02 and coverage_notes(figures, "o") == []
    assert coverage_figures([counts_of(dressed, narrower(dressed, 0.85))])["uncovered"] > 0.06


def counts_of(scene: Scene, vertices: np.ndarray) -> Coverage:
    return measure_picture(scene.image, scene.matte, scene.landmarks, vertices, scene.faces, scene.K)[0]


def write_clip(scene: Scene, folder: Path) -> Performance:
    """Three frames of the scene and its tracking, of which the last shows no face."""
    head = load_head("human")
    tracking = tiny_tracking(head, 3, SIDE)
    tracking.head_source, tracking.K = "human", scene.K.astype(np.float32)
    tracking.expression[:], tracking.neck_pose[:] = 0, 0
    tracking.viewmat = np.diag([1, -1, -1, 1]).astype(np.float32)
    tracking.viewmat[2, 3] = AWAY
    tracking.valid[2] = False  # what such a frame shows counts for nothing
    for index in range(3):
        for name, plane in (("images", scene.image), ("mattes", scene.matte)):
            (folder / name).mkdir(exist_ok=True)
            frame_path(folder, name, index).write_bytes(encode_png(plane if index < 2 else 0 * plane))
    tracking.save(folder / "tracking.npz")
    points = np.repeat(np.pad(scene.landmarks, ((0, 0), (0, 1)))[None], 3, 0).astype(np.float32)
    save_landmarks(folder / "landmarks.npz", points, np.ones(3, bool), "test")
    times = tracking.timestamps.tolist()
    write_info(folder, ClipInfo("v", (SIDE, SIDE), 0.0, None, (0, 0, SIDE), SIDE, SIDE, 25.0, times, "alpha"))
    return tracking


def test_a_tracking_says_what_it_covers_and_forgets_what_it_said(scene: Scene, tmp_path: Path) -> None:
    head, tracking = load_head("human"), write_clip(scene, tmp_path)
    points, found = load_landmarks(tmp_path / "landmarks.npz")
    clip, narrow = Clip.open(tmp_path), (head.template.numpy() * [-0.15, 0, 0]).astype(np.float32)
    tracking.notes = ("Another note.",)
    bad = with_coverage(clip, head, replace(tracking, vertex_offsets=narrow), points[..., :2], found)
    assert bad.figures["uncovered"] == pytest.approx(0.12, abs=0.02) and bad.figures["beyond"] < 0.005
    assert bad.notes[0] == "Another note." and "uncovered" in bad.notes[1] and len(bad.notes) == 2
    good = with_coverage(clip, head, replace(bad, vertex_offsets=0 * narrow), points[..., :2], found)
    assert good.notes == ("Another note.",) and good.figures["uncovered"] < 0.01
    blind = with_coverage(clip, head, bad, points[..., :2], np.zeros(3, bool))
    assert blind.notes == ("Another note.",) and "uncovered" not in blind.figures


def test_a_clips_folder_is_measured_and_painted(scene: Scene, tmp_path: Path) -> None:
    write_clip(scene, tmp_path)
    figures = measure_folder(tmp_path, 20, tmp_path / "pictures")
    assert figures == {**scene.measured(), "frames": 2}
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    (tmp_path / "landmarks.npz").unlink()
    with pytest.raises(InputError, match="no landmarks"):
        measure_folder(tmp_path)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a clip folder"):
        measure_folder(tmp_path)
