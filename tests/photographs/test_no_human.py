# SPDX-License-Identifier: Apache-2.0
"""A face that may be no human's is told, of photographs and of clips; people, painted and small ones too, are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blendsplat.fitting.likely_human import MAY_NOT_BE_HUMAN, may_not_be_human
from blendsplat.heads import load_head
from blendsplat.photographs.fit_images import ImageFitOptions, fit_images
from blendsplat.tracking import TrackOptions, track_clip
from blendsplat.tracking.human_face import human_face_notes, yaw_degrees
from blendsplat.video.clip import ClipInfo, frame_path, write_info, write_png
from painted_ape import paint_ape

SENTENCE = MAY_NOT_BE_HUMAN.split(":")[0]


@pytest.mark.parametrize(
    ("spread", "error", "yaw", "odd"),
    [
        (0.006, 0.020, 0, False),  # a person
        (0.012, 0.036, 1, False),  # a grimace
        (0.016, 0.037, 20, False),  # a painting out of focus
        (0.022, 0.017, 0, False),  # a mask over nose and mouth
        (0.037, 0.024, 2, False),  # strong grain
        (0.029, 0.071, 40, False),  # turned far, and small
        (0.026, 0.043, 1, True),  # a kitten
        (0.174, 0.068, 12, True),  # a panda
        (0.150, 0.049, 16, True),  # Blender's monkey
        (0.107, 0.026, 9, True),  # a comic's face
        (0.433, 0.065, 40, True),  # a fish
    ],
)
def test_people_and_others_as_they_were_measured(spread: float, error: float, yaw: float, odd: bool) -> None:
    assert may_not_be_human(np.full(478, spread), error, yaw) is odd
    hidden = np.full(478, spread)
    hidden[:150] = 0.5  # a hand before a third of the face
    assert may_not_be_human(hidden, error, yaw) is odd


@pytest.fixture(name="fit")
def fitted_without_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """What fit-image says of pictures; textures and overlays, which take longest, are left out."""
    monkeypatch.setattr("blendsplat.photographs.fit_images.save_fit", lambda *_: None)
    options = ImageFitOptions(head_model=load_head("human"), weights="none")
    return lambda *paths: fit_images(list(paths), tmp_path / "out", options)["fits"]


def test_a_painted_ape_is_fitted_and_told(fit: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    Image.fromarray(paint_ape()).save(tmp_path / "ape.png")
    (told,) = fit(tmp_path / "ape.png")
    assert told["warnings"][0].startswith(SENTENCE) and "overlay.png" in told["warnings"][0]


def test_a_painting_and_a_child_are_people(
    fit: Callable[..., list[dict[str, Any]]], test_data: Callable[[str], Path]
) -> None:
    for told in fit(*(test_data(f"images/portrait_{name}.jpg") for name in ("s9", "s11"))):
        assert told["warnings"] == [] and told["uncovered"] < 0.03 and told["beyond"] < 0.03


def test_a_clip_of_it_is_tracked_and_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index in range(3):
        write_png(frame_path(tmp_path, "images", index), paint_ape(seed=index))
    times = [0.0, 0.04, 0.08]
    write_info(tmp_path, ClipInfo("v", (512, 512), 0.0, None, (0, 0, 512), 512, 512, 25.0, times, "none"))
    options = TrackOptions(head_model=load_head("human"), refine="none", overlay=False, valid_maps=False)
    tracking = track_clip(tmp_path, options)
    assert [note for note in tracking.notes if note.startswith(SENTENCE)]
    assert np.abs(yaw_degrees(tracking)).max() < 15
    assert "uncovered" not in tracking.figures, "without a matte nobody knows"


def test_a_fit_as_good_as_peoples_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tracking:
        valid, landmark_errors = np.ones(4, bool), np.full(4, 0.02)

    monkeypatch.setattr("blendsplat.tracking.human_face.make_detector", None)
    assert human_face_notes(None, Tracking(), np.zeros((4, 478, 2)), np.ones(4, bool)) == []  # type: ignore[arg-type]
