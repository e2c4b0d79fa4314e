# SPDX-License-Identifier: Apache-2.0
"""Faces are cut as the network has seen them, whatever their place, size and tilt, and strangers are told apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from blendsplat.errors import FormatError, InputError
from blendsplat.evaluation import arcface
from blendsplat.evaluation.arcface import (
    SIDE,
    TEMPLATE,
    aligned,
    csim,
    embeddings,
    five_points,
    open_session,
    similarity,
)
from blendsplat.landmarks import points as pts


def landmarks(five: np.ndarray) -> np.ndarray:
    """[478,2] whose five points are these [5,2]."""
    points = np.zeros((478, 2))
    points[list(pts.RIGHT_IRIS)], points[list(pts.LEFT_IRIS)] = five[0], five[1]
    points[[arcface.NOSE_TIP, arcface.RIGHT_CORNER, arcface.LEFT_CORNER]] = five[2:]
    return points


def turned(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, shift])


def moved(points: np.ndarray, how: np.ndarray) -> np.ndarray:
    return np.asarray(points @ how[:, :2].T + how[:, 2])


def test_the_right_eye_is_on_the_pictures_left() -> None:
    five = five_points(landmarks(TEMPLATE))
    np.testing.assert_allclose(five, TEMPLATE)
    assert five[0, 0] < five[1, 0] and five[3, 0] < five[4, 0]


def test_a_similarity_is_found_exactly_and_least_squares_else() -> None:
    how = turned(23, 0.4, (7.0, -3.0))
    np.testing.assert_allclose(similarity(TEMPLATE, moved(TEMPLATE, how)), how, atol=1e-9)
    rng = np.random.default_rng(0)
    wanted = moved(TEMPLATE, how) + rng.normal(size=(5, 2))
    best = similarity(TEMPLATE, wanted)
    error = ((moved(TEMPLATE, best) - wanted) ** 2).sum()
    for _ in range(200):
        other = best + rng.normal(scale=0.01, size=(2, 3)) * [[1, 1, 30]]
        a, b = (other[0, 0] + other[1, 1]) / 2, (other[1, 0] - other[0, 1]) / 2
        other[:, :2] = [[a, -b], [b, a]]
        assert ((moved(TEMPLATE, other) - wanted) ** 2).sum() >= error - 1e-12


def test_a_turned_face_is_cut_upright() -> None:
    yy, xx = np.mgrid[:SIDE, :SIDE]
    upright = np.stack([xx * 2, yy * 2, 255 - xx - yy], -1).clip(0, 255).astype(np.uint8)
    how = turned(-31, 2.1, (150.0, 220.0))
    picture = cv2.warpAffine(upright, how, (600, 600))
    crop = aligned(picture, landmarks(moved(TEMPLATE, how) + 0.5))
    inner = slice(8, -8), slice(8, -8)
    assert np.abs(crop[inner].astype(int) - upright[inner]).mean() < 2


def colours(batch: np.ndarray) -> np.ndarray:
    """A network that knows people by their mean colour."""
    assert batch.dtype == np.float32 and batch.shape[1:] == (3, SIDE, SIDE) and np.abs(batch).max() <= 1
    return batch.mean((2, 3)) * 5


def face(colour: tuple[int, int, int], count: int = 1) -> list[np.ndarray]:
    return [np.full((SIDE, SIDE, 3), colour, np.uint8)] * count


def test_csim_is_one_for_the_same_and_less_for_others() -> None:
    red, blue = embeddings(face((255, 100, 100), 20), colours), embeddings(face((100, 100, 255), 3), colours)
    assert red.shape == (20, 3) and np.allclose(np.linalg.norm(red, axis=1), 1)
    assert csim(red, red) == pytest.approx(1) and csim(red, blue) < 0.5
    mixed = np.concatenate([red[:1], blue[:1]])
    assert csim(red, blue) < csim(red, mixed) < 1


@pytest.mark.parametrize("made", [np.zeros((1, 3, 4)), np.zeros((2, 3)), np.full((1, 3), np.nan)])
def test_a_network_of_another_kind_is_refused(made: np.ndarray) -> None:
    with pytest.raises(FormatError, match="ArcFace network gave"):
        embeddings(face((1, 2, 3)), lambda batch: made)


def test_without_onnxruntime_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install .*identity"):
        open_session("x.onnx")


def _field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer: a number, or bytes with their length before them."""

    def varint(rest: int) -> bytes:
        made = bytearray()
        while rest > 127:
            made.append(rest & 127 | 128)
            rest >>= 7
        return bytes([*made, rest])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def mean_colour_network(path: Path, shape: tuple[int | bytes, ...]) -> Path:
    """An ONNX file (onnx.proto, written out): pictures of ``shape`` (bytes: a free size) -> their mean colour."""

    def value(name: bytes, sizes: tuple[int | bytes, ...]) -> bytes:
        dims = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in sizes)
        return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))

    def node(kind: bytes, takes: bytes, gives: bytes) -> bytes:
        return _field(1, _field(1, takes) + _field(2, gives) + _field(4, kind))

    graph = node(b"GlobalAveragePool", b"faces", b"pooled") + node(b"Flatten", b"pooled", b"out") + _field(2, b"mean")
    graph += _field(11, value(b"faces", shape)) + _field(12, value(b"out", (shape[0], 3)))
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 13)))
    return path


def test_a_network_in_a_file_is_run(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    crops = [*face((255, 100, 100), 3), *face((100, 100, 255))]
    for first in (b"n", 1):
        session = open_session(mean_colour_network(tmp_path / "ä.onnx", (first, 3, SIDE, SIDE)))
        np.testing.assert_allclose(embeddings(crops, session), embeddings(crops, colours), atol=3e-5)
    with pytest.raises(FormatError, match=r"not pictures \[N,3,112,112\]"):
        open_session(mean_colour_network(tmp_path / "b.onnx", (b"n", 3, 224, 224)))
    (tmp_path / "c.onnx").write_bytes(b"no network")
    with pytest.raises(FormatError, match=r"c\.onnx cannot be opened"):
        open_session(tmp_path / "c.onnx")
