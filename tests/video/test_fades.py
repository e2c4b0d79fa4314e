# SPDX-License-Identifier: Apache-2.0
"""Fades from and to one colour and between shots are found to the frame; what moves or changes its light is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from blendsplat.landmarks.detector import load_landmarks
from blendsplat.video import ClipOptions, import_clip
from blendsplat.video.fades import FadeFinder
from video_files import encode_video

BLACK, WHITE = 0.0, 255.0


def room(which: int, frame: float = 0.0) -> np.ndarray:
    """One of several places with somebody in it who sways, [128,128,3] float."""
    coarse = np.random.default_rng(which).integers(20, 200, (8, 8, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_LINEAR)
    at = (64 + round(8 * np.sin(frame / 4)), 70 + 5 * which)
    return cv2.circle(picture, at, 26, (200 - 30 * which, 150, 120), -1).astype(float)


def shot(which: int, frames: int) -> list[np.ndarray]:
    return [room(which, frame) for frame in range(frames)]


def mixed(one: np.ndarray, other: np.ndarray | float, share: float) -> np.ndarray:
    return one * (1 - share) + other * share


def out(frames: list[np.ndarray], length: int, colour: float = BLACK) -> list[np.ndarray]:
    """The frames, of which the last ``length`` fade until one colour is all that is left."""
    whole, rest = frames[:-length], frames[-length:]
    return whole + [mixed(picture, colour, (at + 1) / length) for at, picture in enumerate(rest)]


def across(one: list[np.ndarray], other: list[np.ndarray], length: int) -> list[np.ndarray]:
    """One shot, and the other, with so many frames of both between them."""
    between = [
        mixed(a, b, (at + 1) / (length + 1))
        for at, (a, b) in enumerate(zip(one[-length:], other[:length], strict=True))
    ]
    return one[:-length] + between + other[length:]


def found(frames: list[np.ndarray]) -> FadeFinder:
    """What is found in a film of these frames, with the noise that a codec leaves."""
    noise, finder = np.random.default_rng(0), FadeFinder()
    for picture in frames:
        finder.see((picture + noise.normal(0, 1.5, picture.shape)).round().clip(0, 255).astype(np.uint8))
    finder.finish()
    return finder


@pytest.mark.parametrize("colour", [BLACK, WHITE])
@pytest.mark.parametrize("length", [5, 12, 25, 60])
def test_a_fade_to_and_from_one_colour_is_found_to_the_frame(colour, length):
    frames = out(shot(0, 40 + length), length, colour)
    ended, begun = found(frames), found(frames[::-1])
    count = len(frames)
    for finder in (ended, begun):
        assert not finder.mixed and not finder.starts
        assert abs(len(finder.faded) - length) <= max(2, length // 12)
    assert ended.faded[-1] == count - 1 and begun.faded[0] == 0
    assert np.diff(ended.faded).max() == np.diff(begun.faded).max() == 1


def test_one_shot_fades_out_and_the_next_one_in():
    """Between the two is a shot's beginning, where each frame looks like the one before."""
    frames = out(shot(0, 50), 10) + [room(0) * 0] * 4 + out(shot(1, 50), 10)[::-1]
    finder = found(frames)
    assert finder.faded == list(range(finder.faded[0], finder.faded[-1] + 1))
    assert abs(finder.faded[0] - 40) <= 1 and abs(finder.faded[-1] - 63) <= 1
    assert len(finder.starts) == 1 and 49 <= finder.starts[0] <= 54


@pytest.mark.parametrize("length", [3, 8, 15, 30, 48])
def test_one_shot_fades_into_the_next(length):
    finder = found(across(shot(0, 40 + length), shot(1, 40 + length), length))
    assert finder.mixed == finder.faded == list(range(finder.faded[0], finder.faded[-1] + 1))
    slack = 1 + length // 10
    assert abs(finder.faded[0] - 40) <= slack and abs(finder.faded[-1] - (39 + length)) <= slack
    assert len(finder.starts) == 1 and abs(finder.starts[0] - (40 + length / 2)) <= slack


def test_a_clip_that_begins_in_the_middle_of_a_fade():
    assert found(out(shot(0, 40), 20)[:34][::-1]).faded == list(range(14)), "the last one with a twentieth of black"


def sliding(frames: int, speed: float) -> list[np.ndarray]:
    """A camera that turns through a large place."""
    coarse = np.random.default_rng(3).integers(20, 200, (10, 30, 3)).astype(np.uint8)
    wide = cv2.resize(coarse, (640, 128), interpolation=cv2.INTER_CUBIC).astype(float)
    return [wide[:, round(speed * frame) : round(speed * frame) + 128] for frame in range(frames)]


@pytest.mark.parametrize("frames", [
    shot(0, 80),
    shot(0, 40) + shot(1, 40),
    shot(0, 30) + [room(0) * 0] * 6 + shot(0, 30),
    [picture * (0.6 + 0.4 * np.clip((at - 30) / 12, 0, 1)) for at, picture in enumerate(shot(0, 80))],
    sliding(80, 1.0),
    sliding(80, 4.0),
    sliding(20, 0.0) + sliding(12, 3.0) + [sliding(12, 3.0)[-1]] * 30,
    [room(0, 6 * frame) for frame in range(60)],
], ids=["somebody moves", "a cut", "black without a fade", "a lamp is turned up", "a slow camera", "a quick camera",
        "a camera that turns once", "somebody moves quickly"])  # fmt: skip
def test_what_is_no_fade(frames):
    finder = found(frames)
    assert not finder.faded and not finder.starts


def test_a_faded_clip_says_so_and_its_mixtures_show_nobody(portrait, tmp_path):
    """From black, and into another shot, with a face in both."""
    first = cv2.resize(portrait[:400, 30:430], (192, 192), interpolation=cv2.INTER_AREA).astype(float)
    second = 255 - np.roll(first[:, ::-1], (14, 20), (0, 1)) * 0.2  # another place
    second[30:170, 40:160] = np.roll(first[:, ::-1], 8, 0)[30:170, 40:160]
    film = out([first] * 24, 8)[::-1]
    film = across([*film, *[first] * 10], [second] * 24, 10)
    video = encode_video(tmp_path / "fades.mp4", [picture.round().clip(0, 255).astype(np.uint8) for picture in film])
    clip = import_clip(video, tmp_path / "clip", ClipOptions(size=128, crop=(0, 0, 192), matte="none"))
    _, faces = load_landmarks(tmp_path / "clip" / "landmarks.npz")
    info = clip.info
    assert set(range(0, 6)) <= set(info.faded) and set(range(26, 32)) <= set(info.faded)
    assert not set(info.faded) & {*range(10, 22), *range(36, 48)}
    assert len(info.shots) == 2 and 26 <= info.shots[1] <= 32
    assert not faces[26:32].any() and faces[10:22].all()
    assert any("fades in the frames 0 to " in note and "not trusted" in note for note in info.notes)
    assert not any("a cut at" in note or "show no face" in note for note in info.notes)
