# SPDX-License-Identifier: Apache-2.0
"""Distances of fits from scans: none for the person in any pose and unit, known ones for known displacements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from blendsplat.errors import FormatError, InputError
from blendsplat.evaluation.scan_metrics import (
    chamfer,
    face_part,
    icp,
    neutral_mesh,
    scan_to_mesh,
    similarity,
    view_variance,
)
from blendsplat.evaluation.scans import Scan, guess_unit, read_landmarks, read_scan
from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


@pytest.fixture(scope="module")
def person(head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    generator = torch.Generator().manual_seed(3)
    return neutral_mesh(head, torch.randn(head.shape_count, generator=generator).numpy())


def moved_scan(person: tuple[np.ndarray, np.ndarray], head: HeadModel, scale: float = 1.0) -> Scan:
    turn = Rotation.from_rotvec([0.4, -1.1, 0.3]).as_matrix()
    vertices, landmarks = ((points * scale) @ turn.T + [0.3, -2.0, 0.7] for points in person)
    return Scan(vertices, head.faces.numpy(), landmarks)


def write_obj(path: Path, scan: Scan, factor: float) -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in scan.vertices * factor]
    lines += [f"f {a} {b} {c}" for a, b, c in scan.faces + 1]
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("scale", [1.0, 0.9])
def test_the_person_is_at_no_distance_in_any_pose_and_size(
    person: tuple[np.ndarray, np.ndarray], head: HeadModel, scale: float
) -> None:
    scan = moved_scan(person, head, scale)
    assert scan_to_mesh(scan, person[0], head.faces.numpy(), person[1]).max() < 1e-7
    assert chamfer(scan, person[0], head.faces.numpy(), person[1]) < 1e-6


def test_icp_mends_landmarks_that_are_off(person: tuple[np.ndarray, np.ndarray], head: HeadModel) -> None:
    scan = moved_scan(person, head)
    wrong = person[1] + np.random.default_rng(0).normal(0, 0.003, (7, 3))
    assert np.median(scan_to_mesh(scan, person[0], head.faces.numpy(), wrong)) < 1e-4
    assert chamfer(scan, person[0], head.faces.numpy(), wrong) > 5e-4  # it has no such step


def test_another_person_is_farther_the_more_other(person: tuple[np.ndarray, np.ndarray], head: HeadModel) -> None:
    scan = moved_scan(person, head)
    mean_face, its_landmarks = neutral_mesh(head, np.zeros(head.shape_count))
    means = []
    for share in (0.25, 0.5, 1.0):
        vertices = person[0] + share * (mean_face - person[0])
        landmarks = person[1] + share * (its_landmarks - person[1])
        means.append(scan_to_mesh(scan, vertices, head.faces.numpy(), landmarks).mean())
    assert 0 < means[0] < means[1] < means[2] < 0.01


def test_a_bump_is_measured_as_high_as_it_is(person: tuple[np.ndarray, np.ndarray], head: HeadModel) -> None:
    """Points of the scan raised by 3 mm over one vertex in twenty: the nearest surface stays, so they stand out."""
    scan = moved_scan(person, head)
    middle = scan.vertices[face_part(scan)].mean(0)
    raised = np.flatnonzero(face_part(scan))[::20]
    outward = scan.vertices[raised] - middle
    scan.vertices[raised] += 0.003 * outward / np.linalg.norm(outward, axis=1, keepdims=True)
    distances = scan_to_mesh(scan, person[0], head.faces.numpy(), person[1])
    assert 0.0005 < distances.max() < 0.0035
    assert np.median(distances) < 2e-4


def test_only_the_face_counts(person: tuple[np.ndarray, np.ndarray], head: HeadModel) -> None:
    scan = moved_scan(person, head)
    inside = face_part(scan)
    scan.vertices[~inside] += 5.0  # a ruined back of the head
    assert scan_to_mesh(scan, person[0], head.faces.numpy(), person[1]).max() < 1e-7
    nose = np.linalg.norm(scan.vertices - scan.landmarks[4], axis=1).argmin()
    assert inside[nose] and 0.02 < inside.mean() < 0.9


def test_what_lies_inside_the_head_does_not_count(person: tuple[np.ndarray, np.ndarray], head: HeadModel) -> None:
    """A mouth of the scan's own, as the Lee Perry-Smith scan has one: nobody sees it, no other head has it."""
    import trimesh

    scan = moved_scan(person, head)
    deep = person[1][5:].mean(0) - [0, 0, 0.045]
    bag = trimesh.creation.icosphere(3, 0.02).vertices + deep
    turn = Rotation.from_rotvec([0.4, -1.1, 0.3]).as_matrix()
    more = trimesh.creation.icosphere(3).faces + len(scan.vertices)
    both = Scan(
        np.concatenate([scan.vertices, bag @ turn.T + [0.3, -2.0, 0.7]]), np.concatenate([scan.faces, more]),
        scan.landmarks,
    )  # fmt: skip
    assert face_part(both)[: len(scan.vertices)].sum() == face_part(scan).sum()
    assert not face_part(both)[len(scan.vertices) :].any()
    assert scan_to_mesh(both, person[0], head.faces.numpy(), person[1]).max() < 1e-7


def test_a_head_too_narrow_is_not_blown_up(person: tuple[np.ndarray, np.ndarray], head: HeadModel) -> None:
    """Where a model lacks the scan's wide cheeks ICP must not make it larger everywhere, till nothing fits."""
    scan = moved_scan((person[0] * [1.15, 1, 1], person[1]), head)
    faces = head.faces.numpy()
    points = scan.vertices[face_part(scan)]
    scale, _, _ = icp(points, person[0], faces, person[1], scan.landmarks)
    assert scale == pytest.approx(1, abs=0.06)


def test_similarity_is_no_mirror() -> None:
    points = np.random.default_rng(0).normal(size=(7, 3))
    scale, rotation, shift = similarity(points, 2.5 * points @ Rotation.from_rotvec([1, 2, 0.3]).as_matrix().T + 4)
    assert scale == pytest.approx(2.5) and np.allclose(rotation, Rotation.from_rotvec([1, 2, 0.3]).as_matrix())
    assert np.allclose(shift, 4)
    assert np.linalg.det(similarity(points, points * [-1, 1, 1])[1]) == pytest.approx(1)


def test_view_variance_by_hand() -> None:
    values = np.array([[0.0, 10.0], [2.0, 10.0]])
    assert view_variance(values) == pytest.approx(0.5) and view_variance(values, 1) == pytest.approx(1.0)
    with pytest.raises(InputError, match="at least two"):
        view_variance(values[:1])


@pytest.mark.parametrize("factor", [1.0, 100.0, 1000.0])
def test_units_are_guessed(
    person: tuple[np.ndarray, np.ndarray], head: HeadModel, tmp_path: Path, factor: float
) -> None:
    scan = moved_scan(person, head)
    write_obj(tmp_path / "s.obj", scan, factor)
    np.savetxt(tmp_path / "s.txt", scan.landmarks * factor)
    read = read_scan(tmp_path / "s.obj", tmp_path / "s.txt")
    assert np.allclose(read.vertices, scan.vertices, atol=1e-5) and np.array_equal(read.faces, scan.faces)
    assert guess_unit(scan.landmarks * factor) == pytest.approx(1 / factor)


def test_a_scan_in_no_known_unit_gets_a_persons_size(person: tuple[np.ndarray, np.ndarray]) -> None:
    """The Lee Perry-Smith scan's eyes are 1.6 apart: a power of ten would make them 16 cm."""
    assert guess_unit(person[1] * 18) * 18 * np.linalg.norm(person[1][0] - person[1][3]) == pytest.approx(0.09)
    child = person[1] * 0.07 / np.linalg.norm(person[1][0] - person[1][3])
    assert guess_unit(child * 1000) == pytest.approx(0.001)


@pytest.mark.parametrize("suffix", ["ply", "glb"])
def test_other_formats(person: tuple[np.ndarray, np.ndarray], head: HeadModel, tmp_path: Path, suffix: str) -> None:
    import trimesh

    scan = moved_scan(person, head)
    trimesh.Trimesh(scan.vertices, scan.faces, process=False).export(tmp_path / f"s.{suffix}")
    np.save(tmp_path / "s.npy", scan.landmarks)
    read = read_scan(tmp_path / f"s.{suffix}", tmp_path / "s.npy")
    assert np.allclose(read.vertices, scan.vertices, atol=1e-5) and read.faces.shape == scan.faces.shape


@pytest.mark.parametrize(
    "text", ["", "1 2 3", "a b c", "\n".join(["1 2 nan"] * 7), "\n".join(["1 2 3"] * 7), "\n".join(["1 2"] * 7)]
)
def test_landmarks_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises((FormatError, InputError), match=r"l\.txt"):
        read_landmarks(tmp_path / "l.txt")


def test_scans_that_are_none(person: tuple[np.ndarray, np.ndarray], head: HeadModel, tmp_path: Path) -> None:
    scan = moved_scan(person, head)
    np.savetxt(tmp_path / "l.txt", scan.landmarks)
    with pytest.raises(InputError, match="seven landmarks"):
        read_scan(tmp_path / "s.obj", None)
    for name, content, words in (
        ("s.stl", b"", "must be an .obj"), ("s.ply", b"ply\nnothing", "damaged or no mesh"),
        ("s.glb", b"glTF\xef\xbf\xbd", "damaged or no mesh"),
        ("s.obj", b"v 1 2 3\nf 1 1 1\n", "no triangle mesh"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_scan(tmp_path / name, tmp_path / "l.txt")
    write_obj(tmp_path / "far.obj", scan, 1.0)
    np.savetxt(tmp_path / "far.txt", scan.landmarks + 50)
    with pytest.raises(InputError, match="lie outside the scan"):
        read_scan(tmp_path / "far.obj", tmp_path / "far.txt")
