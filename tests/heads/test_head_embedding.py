# SPDX-License-Identifier: Apache-2.0
"""The landmark embedding: an oracle detector is inverted, mediapipe is agreed with on views it was not made from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from blendsplat.errors import FormatError, NoFaceError
from blendsplat.geometry import project_points
from blendsplat.heads import embedding as emb
from blendsplat.heads import load_head
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.ict import load_ict
from blendsplat.heads.model import HeadModel, LandmarkEmbedding
from blendsplat.heads.portrait import eye_distance, opened_mouth, portrait_camera, take_portrait

OUTER_LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
LIDS = [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246]
CANTHI = [33, 133, 362, 263]
IRISES = [468, 473]


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human", landmarks=False)


@pytest.fixture(scope="module")
def shipped(head: HeadModel) -> LandmarkEmbedding:
    return emb.load_embedding(emb.SHIPPED, head)


@pytest.fixture(scope="module")
def detector():
    from blendsplat.landmarks.detector import has_builtin_models, make_detector

    if not has_builtin_models():
        pytest.skip("this mediapipe has no face models inside")
    with make_detector(moving=False) as made:
        yield made


@pytest.fixture
def few_views(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [(yaw, 4, mouth, 0.0) for mouth in (0.0, 1.0) for yaw in (-20, 0, 20)]
    monkeypatch.setattr(emb, "_VIEWS", views)


def test_the_shipped_embedding_is_of_the_shipped_head(head: HeadModel) -> None:
    """When this fails, the head has changed: run ``python -m blendsplat.heads.embed_head human`` and look at it."""
    emb.load_embedding(emb.SHIPPED, head)


class Oracle:
    """Renders as usual and "detects" a known embedding's projections, plus noise."""

    def __init__(self, truth: LandmarkEmbedding, noise: float) -> None:
        self.truth, self.noise, self.rng = truth, noise, np.random.default_rng(0)

    def render(self, head, params, viewmat, K, size, light):
        known = dataclasses.replace(head, landmarks=self.truth)
        cameras = [torch.from_numpy(array.astype(np.float32))[None] for array in (viewmat, K)]
        pixels = project_points(known.landmarks_of(head(params)), *cameras)[0].numpy()
        self.points = pixels + self.rng.normal(size=pixels.shape) * self.noise * size
        return take_portrait(head, params, viewmat, K, size, light)

    def detect(self, image, timestamp_s):
        assert image.dtype == np.uint8 and image.shape == (emb.SIZE, emb.SIZE, 3)
        return SimpleNamespace(points=np.concatenate([self.points, 0 * self.points[:, :1]], 1))


def test_an_oracle_is_inverted(head: HeadModel, shipped: LandmarkEmbedding, few_views: None) -> None:
    oracle = Oracle(shipped, noise=0.002)
    found = emb.embed_landmarks(head, renderer=oracle.render, detector=oracle)
    unit = eye_distance(head)
    places = [
        dataclasses.replace(head, landmarks=e).landmarks_of(head(opened_mouth(head)))[0] for e in (found, shipped)
    ]
    error = (places[0] - places[1]).norm(dim=1).numpy() / unit
    trusted = (found.weights > 0.3).numpy()
    assert trusted.mean() > 0.6
    assert np.median(error[trusted]) < 0.02 and np.quantile(error[trusted], 0.98) < 0.08
    assert error[OUTER_LIPS].max() < 0.08 and error[CANTHI].max() < 0.06 and error[emb._INNER_LIPS].max() < 0.08


def test_no_face(head: HeadModel, few_views: None) -> None:
    blind = SimpleNamespace(detect=lambda image, timestamp_s: None)
    with pytest.raises(NoFaceError, match="human"):
        emb.embed_landmarks(head, renderer=lambda *_: SimpleNamespace(image=None), detector=blind)


def errors_on_view(head: HeadModel, landmarks: LandmarkEmbedding, detector, view, flip: bool = False) -> np.ndarray:
    """Distance [478] between embedded and detected points on a fresh picture, in distances between the eyes."""
    yaw, pitch, mouth = view
    size, params = 640, opened_mouth(head, mouth)
    viewmat, K = portrait_camera(head, np.radians(yaw), np.radians(pitch), size)
    image = emb.renderer_of(head)(head, params, viewmat, K, size, 0.0).image
    face = detector.detect(np.ascontiguousarray(image[:, ::-1]) if flip else image, 0.0)
    assert face is not None
    detected = face.points[:, :2].astype(np.float64)
    if flip:
        detected = detected[emb.mirrored_points()]
        detected[:, 0] = size - detected[:, 0]
    cameras = [torch.from_numpy(array.astype(np.float32))[None] for array in (viewmat, K)]
    known = dataclasses.replace(head, landmarks=landmarks)
    projected = project_points(known.landmarks_of(head(params)), *cameras)[0].numpy()
    return np.linalg.norm(projected - detected, axis=1) / (0.17 * size)


@pytest.mark.parametrize(("view", "flip"), [((7, 3, 0.3), False), ((-16, 5, 0.9), False), ((5, -5, 0.6), True)])
def test_mediapipe_agrees_on_fresh_views(head, shipped, detector, view, flip) -> None:
    error = errors_on_view(head, shipped, detector, view, flip)
    weight = shipped.weights.numpy()
    assert (error * weight).sum() / weight.sum() < 0.04
    for points, limit in (
        (OUTER_LIPS, 0.05),
        (list(emb._INNER_LIPS), 0.06),
        (LIDS, 0.05),
        (CANTHI, 0.04),
        (IRISES, 0.04),
    ):
        assert error[points].mean() < limit


def test_sides_and_mirror(head: HeadModel, shipped: LandmarkEmbedding) -> None:
    points = dataclasses.replace(head, landmarks=shipped).landmarks_of(head.template[None])[0].numpy()
    assert points[33, 0] < points[133, 0] < 0 < points[362, 0] < points[263, 0]  # the person's right is at -x
    assert points[468, 0] < 0 < points[473, 0] and points[13, 1] >= points[14, 1] - 1e-3
    assert points[10, 1] > points[151, 1] > points[9, 1] > points[4, 1] > points[0, 1] > points[17, 1] > points[152, 1]
    mirror = emb.mirrored_points()
    assert (mirror[mirror] == np.arange(478)).all()
    trusted = shipped.weights.numpy() > 0.3
    apart = np.linalg.norm(points[mirror] * [-1, 1, 1] - points, axis=1)[trusted]
    assert np.quantile(apart, 0.95) < 0.02 * eye_distance(head)
    for iris, joint in ((468, 4), (473, 3)):
        eyeball = head.joints[joint].numpy()
        assert np.linalg.norm((points[iris] - eyeball)[:2]) < 0.0015 and points[iris, 2] > eyeball[2] + 0.009


def test_ict_against_its_own_landmarks(test_data, detector, few_views: None) -> None:
    """FaceKit marks 68 landmarks on its mesh; where MediaPipe means the same place, the embedding lies there."""
    path = test_data("heads/ict_facekit/ict_facekit_packed.npz")
    head = load_ict(path)
    found = emb.embed_landmarks(head, detector=detector)
    points = dataclasses.replace(head, landmarks=found).landmarks_of(head.template[None])[0].numpy()
    with np.load(path) as archive:
        vertices = archive["v"] / 100
    for landmark, vertex, limit in (
        (33, 1507, 0.004), (133, 1528, 0.003), (362, 3742, 0.003), (263, 3721, 0.004), (61, 5708, 0.003),
        (291, 6213, 0.003), (0, 0, 0.004), (17, 5518, 0.003), (4, 4857, 0.004),
    ):  # fmt: skip
        assert np.linalg.norm((points[landmark] - vertices[vertex])[:2]) < limit, landmark
    assert found.weights[[33, 61, 291, 263, 4]].min() > 0.3
    assert found.weights[152] < found.weights[4]  # a contour slides


def test_cache(head: HeadModel, shipped: LandmarkEmbedding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLENDSPLAT_CACHE", str(tmp_path / "cache ü"))
    calls = []

    def count(*args, **kwargs):
        calls.append(1)
        return shipped

    monkeypatch.setattr(emb, "embed_landmarks", count)
    assert torch.equal(emb.cached_embedding(head).faces, shipped.faces) and not calls  # shipped
    other = dataclasses.replace(head, template=head.template * 1.01)
    with pytest.raises(FormatError, match="another"):
        emb.load_embedding(emb.SHIPPED, other)
    for _ in range(2):
        assert torch.equal(emb.cached_embedding(other).barycentrics, shipped.barycentrics)
    assert len(calls) == 1  # detected once, then kept
    (kept,) = (tmp_path / "cache ü").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    emb.cached_embedding(other)
    assert len(calls) == 2  # a damaged file is made again
    monkeypatch.setenv("BLENDSPLAT_CACHE", str(Path(__file__) / "not a folder"))
    # an unwritable cache costs only time
    emb.cached_embedding(dataclasses.replace(head, template=head.template * 1.02))


def test_closest_on_mesh() -> None:
    rng = np.random.default_rng(0)
    vertices, faces = rng.normal(size=(30, 3)), rng.integers(0, 30, (40, 3))
    faces = faces[(np.diff(np.sort(faces, 1), axis=1) > 0).all(1)]
    points = rng.normal(size=(20, 3))
    face, weights, distance = closest_on_mesh(points, vertices, faces, candidates=len(faces))
    grid = rng.dirichlet([0.7] * 3, 4000)
    for i in range(20):
        sampled = np.einsum("gk,fkc->fgc", grid, vertices[faces])
        brute = np.linalg.norm(sampled - points[i], axis=2).min()
        assert distance[i] <= brute + 1e-9 and distance[i] > brute - 0.1
        assert np.isclose(weights[i].sum(), 1) and weights[i].min() >= 0
        there = weights[i] @ vertices[faces[face[i]]]
        assert np.isclose(np.linalg.norm(there - points[i]), distance[i])
