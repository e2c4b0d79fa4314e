# SPDX-License-Identifier: Apache-2.0
"""Importing: whose face, which square, which matte, which shots; and that failing leaves everything as it was."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from blendsplat.errors import Cancelled, FormatError, InputError, NoFaceError, StorageError
from blendsplat.landmarks.detector import load_landmarks
from blendsplat.video import Clip, ClipOptions, clip_import, import_clip
from blendsplat.video.clip_import import is_import_of
from blendsplat.video.images import sequence_places
from video_files import encode_video, index_first, set_display_matrix

SMALL = ClipOptions(size=192)


@pytest.fixture
def scene(portrait):
    """scene(x, y, scale, width, height) -> a picture with the portrait's upper part pasted at x, y."""
    person = portrait[:330, 60:420]

    def paste(x=60, y=20, scale=1.0, width=480, height=360, others=()):
        image = np.full((height, width, 3), (70, 90, 110), np.uint8)
        for at_x, at_y, at_scale in (*others, (x, y, scale)):
            small = cv2.resize(person, None, fx=at_scale, fy=at_scale, interpolation=cv2.INTER_AREA)
            h, w = min(small.shape[0], height - at_y), min(small.shape[1], width - at_x)
            image[at_y : at_y + h, at_x : at_x + w] = small[:h, :w]
        return image

    return paste


@pytest.fixture
def video(scene, tmp_path):
    """A small video of a face that moves a little."""
    return encode_video(tmp_path / "in put é.mp4", [scene(60 + i, 20) for i in range(12)])


def eye_line(points: np.ndarray) -> np.ndarray:
    """From the person's right iris to the left one; the right one is on the left of an unmirrored picture."""
    return points[473, :2] - points[468, :2]


def test_a_clip_holds_what_the_formats_promise(video, tmp_path, recorder):
    progress = recorder()
    directory = tmp_path / "Clip ü (1)"
    clip = import_clip(video, directory, SMALL, progress)
    assert (clip.frame_count, clip.width, clip.height, clip.fps) == (12, 192, 192, 25.0)
    np.testing.assert_allclose(clip.timestamps, np.arange(12) / 25, atol=1e-6)
    assert sorted(p.name for p in directory.iterdir()) == ["clip.json", "images", "landmarks.npz", "mattes"]
    assert len(list((directory / "images").iterdir())) == len(list((directory / "mattes").iterdir())) == 12
    image, matte = clip.image(3), clip.matte(3)
    assert image.shape == (192, 192, 3) and matte.shape == (192, 192) and image.dtype == matte.dtype == np.uint8
    points, found = load_landmarks(directory)
    assert found.all() and points.shape == (12, 478, 3)
    assert ((points[..., :2] > 0) & (points[..., :2] < 192)).all()
    assert (eye_line(points[0])[0] > 20) and (points[:, 10, 1] < points[:, 152, 1]).all()
    assert all(matte[int(y), int(x)] > 240 for x, y, _ in points[3][[1, 4, 50, 280]]) and matte.min() < 10
    assert clip.info.matte == "mediapipe-selfie" and clip.info.shots == [0] and clip.info.source == str(video.resolve())
    assert {"find head", "import frames"} <= {stage for stage, _, _ in progress.stages}
    done = [d / t for stage, d, t in progress.stages if stage == "import frames"]
    assert done == sorted(done) and done[-1] == 1


def test_the_crop_shows_the_source_unchanged(video, tmp_path):
    options = ClipOptions(crop=(100, 40, 200), size=200, matte="none", start=0.2, end=0.4)
    clip = import_clip(video, tmp_path / "clip", options)
    assert clip.frame_count == 5 and clip.info.crop == (100, 40, 200) and abs(clip.info.trim_start - 0.2) < 1e-6
    assert clip.timestamps[0] == 0
    from blendsplat.video.images import open_source

    original = list(open_source(video).frames())[5].image
    np.testing.assert_array_equal(clip.image(0), original[40:240, 100:300])
    assert not clip.has_mattes and (clip.matte(0) == 255).all()


def test_two_faces_the_larger_one_is_followed(scene, tmp_path, recorder):
    others = ((580, 60, 0.75),)
    path = encode_video(tmp_path / "two.mp4", [scene(40 + 2 * i, 20, 1.2, 860, 420, others) for i in range(10)])
    progress = recorder()
    clip = import_clip(path, tmp_path / "clip", SMALL, progress)
    assert any("larger" in note for note in clip.info.notes) and any("larger" in m for m in progress.messages)
    points, found = load_landmarks(clip.directory)
    assert found.all()
    x, _, side = clip.info.crop
    nose = points[:, 1, 0] * side / 192 + x
    np.testing.assert_allclose(nose, (226 - 60) * 1.2 + 40 + 2 * np.arange(10), atol=12)


def test_a_face_that_leaves_and_returns(scene, tmp_path):
    away = np.full((360, 480, 3), (70, 90, 110), np.uint8)
    frames = [scene(60, 20)] * 10 + [away] * 15 + [scene(70, 24)] * 10
    clip = import_clip(encode_video(tmp_path / "leave.mp4", frames), tmp_path / "clip", SMALL)
    _, found = load_landmarks(clip.directory)
    assert found[:10].all() and not found[11:24].any() and found[26:].all()
    assert any("no face" in note for note in clip.info.notes)


def test_cuts_are_found_and_movement_is_not_one(scene, portrait, tmp_path):
    other = np.ascontiguousarray(scene(20, 10)[:, ::-1] // 2 + 100)
    frames = [scene(60 + 2 * i, 20) for i in range(12)] + [other] * 12
    clip = import_clip(encode_video(tmp_path / "cut.mp4", frames), tmp_path / "clip", SMALL)
    assert clip.info.shots == [0, 12] and any("12" in note for note in clip.info.notes)
    assert load_landmarks(clip.directory)[1].all()


def test_a_single_frame_is_a_shot_of_its_own_and_black_frames_are_none(scene, tmp_path):
    black = np.zeros((360, 480, 3), np.uint8)
    other = np.ascontiguousarray(scene(20, 10)[:, ::-1] // 2 + 100)
    frames = [scene(60, 20)] * 6 + [black] * 4 + [scene(62, 20)] * 6 + [other] + [scene(60, 22)] * 6
    clip = import_clip(encode_video(tmp_path / "cut.mp4", frames), tmp_path / "clip", SMALL)
    assert clip.info.shots == [0, 16, 17]
    _, found = load_landmarks(clip.directory)
    assert not found[6:10].any() and found[:6].all() and found[10:].all()


def test_portrait_phone_video_is_upright(scene, tmp_path):
    upright = [scene(30, 120, 0.9, 360, 640) for _ in range(6)]
    path = encode_video(tmp_path / "phone.mp4", [np.ascontiguousarray(np.rot90(image)) for image in upright])
    set_display_matrix(path, 0, 1, -1, 0)
    clip = import_clip(path, tmp_path / "clip", SMALL)
    assert clip.info.source_size == (360, 640)
    points, _ = load_landmarks(clip.directory)
    across, down = eye_line(points[0])
    assert across > 20 and abs(down) < across / 2 and points[0, 152, 1] > points[0, 10, 1]


def test_a_small_face_in_a_wide_picture_is_found(scene, tmp_path):
    path = encode_video(tmp_path / "far.mp4", [scene(1500, 420, 0.6, 1920, 1080)] * 3)
    clip = import_clip(path, tmp_path / "clip", SMALL)
    x, y, side = clip.info.crop
    assert x < 1500 + (226 - 60) * 0.6 < x + side and y < 420 + 120 * 0.6 < y + side and side < 400


def test_no_face_is_an_error_and_leaves_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (5, 120, 160, 3), np.uint8)
    path = encode_video(tmp_path / "noise.mp4", noise)
    with pytest.raises(NoFaceError, match=r"noise\.mp4"):
        import_clip(path, tmp_path / "clip", SMALL)
    assert not (tmp_path / "clip").exists()


def test_trim_past_the_end(video, tmp_path):
    with pytest.raises(InputError, match="nothing from 60 s on"):
        import_clip(video, tmp_path / "clip", ClipOptions(start=60, size=192))
    assert not (tmp_path / "clip").exists()


@pytest.mark.parametrize(
    "options",
    [
        ClipOptions(start=2, end=1),
        ClipOptions(size=8),
        ClipOptions(crop=(9999, 0, 100)),
        ClipOptions(matte="nowhere"),
        ClipOptions(matte="alpha"),
        ClipOptions(fps=0),
        ClipOptions(detector="missing.task"),
    ],
)
def test_options_that_make_no_sense(video, tmp_path, options):
    with pytest.raises(InputError):
        import_clip(video, tmp_path / "clip", options)
    assert not (tmp_path / "clip").exists()


def snapshot(directory):
    return {p.relative_to(directory): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_an_existing_clip_is_safe_until_a_new_one_is_complete(video, tmp_path, recorder, monkeypatch):
    directory = tmp_path / "clip"
    clip = import_clip(video, directory, SMALL)
    clip.write_valid(0, np.zeros((192, 192), np.uint8))
    (directory / "my notes.txt").write_text("mine")
    before = snapshot(directory)
    again = ClipOptions(size=128, overwrite=True)

    with pytest.raises(InputError, match="already holds a clip"):
        import_clip(video, directory, SMALL)
    with pytest.raises(Cancelled):
        import_clip(video, directory, again, recorder(cancel_after=5))
    assert snapshot(directory) == before

    def full(path, array):
        raise StorageError("Could not write: disk full.")

    with monkeypatch.context() as patch:
        patch.setattr(clip_import, "write_png", full)
        with pytest.raises(StorageError):
            import_clip(video, directory, again)
    assert snapshot(directory) == before

    clip = import_clip(video, directory, again)
    assert clip.width == 128 and (directory / "my notes.txt").read_text() == "mine"
    assert not (directory / "valid").exists() and not list(directory.glob(".blendsplat*"))


def test_cancelling_while_mattes_are_refined_leaves_nothing(video, tmp_path, recorder):
    progress = recorder()

    def stop(stage, done, total, message="", **figures) -> None:
        if stage == "refine mattes" and done >= 3:
            raise Cancelled

    progress.update = stop
    with pytest.raises(Cancelled):
        import_clip(video, tmp_path / "clip", SMALL, progress)
    assert not (tmp_path / "clip").exists()


def test_a_folder_with_other_things_in_it_is_not_overwritten(video, tmp_path):
    directory = tmp_path / "pictures"
    (directory / "images").mkdir(parents=True)
    (directory / "images" / "holiday.jpg").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="images"):
            import_clip(video, directory, ClipOptions(size=192, overwrite=overwrite))
    assert (directory / "images" / "holiday.jpg").exists()
    with pytest.raises(InputError, match="is a file"):
        import_clip(video, video, SMALL)


def test_an_import_killed_while_putting_in_place_gives_the_old_clip_back(video, tmp_path):
    directory = tmp_path / "clip"
    import_clip(video, directory, SMALL)
    before = snapshot(directory)
    stage = directory / ".blendsplat-import-abc"
    (stage / "old").mkdir(parents=True)
    for name in ("clip.json", "landmarks.npz", "images"):
        (directory / name).rename(stage / "old" / name)
    (directory / "images").mkdir()
    with pytest.raises(FormatError):
        Clip.open(directory)
    with pytest.raises(InputError, match="already holds a clip"):  # which must not be replaced unasked
        import_clip(video, directory, SMALL)
    with pytest.raises(NoFaceError):
        black = encode_video(tmp_path / "n.mp4", [np.zeros((64, 64, 3), np.uint8)] * 2)
        import_clip(black, directory, replace(SMALL, overwrite=True))
    assert snapshot(directory) == before


def test_mattes_from_a_folder(video, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for number in range(12):
        mask = np.zeros((360, 480), np.uint8)
        mask[:, : 100 + 10 * number] = 255
        Image.fromarray(mask).save(masks / f"m{number}.png")
    options = ClipOptions(crop=(60, 0, 360), size=360, matte=masks, start=0.2)
    clip = import_clip(video, tmp_path / "clip", options)
    for index in range(clip.frame_count):
        row = clip.matte(index)[100]
        assert int((row > 127).sum()) == 100 + 10 * (index + 5) - 60
    (masks / "m11.png").unlink()
    with pytest.raises(InputError, match="11 masks"):
        import_clip(video, tmp_path / "other", options)


def test_alpha_of_an_image_sequence_is_the_matte(scene, tmp_path):
    folder = tmp_path / "seq"
    folder.mkdir()
    alpha = np.where(np.arange(480) < 300, 255, 0).astype(np.uint8)[None].repeat(360, 0)
    for number in range(4):
        Image.fromarray(np.dstack([scene(), alpha])).save(folder / f"{number}.png")
    clip = import_clip(folder, tmp_path / "clip", ClipOptions(crop=(60, 0, 360), size=360, fps=12.5))
    assert clip.info.matte == "alpha" and clip.fps == 12.5
    np.testing.assert_array_equal(clip.matte(2), alpha[:, 60:420])


def test_an_alpha_with_holes_in_the_face_is_not_trusted(scene, tmp_path):
    """A key that took skin for the background: a matte is found anew, and whoever insists on the alpha is warned."""
    folder = tmp_path / "keyed"
    folder.mkdir()
    alpha = np.full((360, 480), 255, np.uint8)
    alpha[:, 400:] = 0
    cv2.circle(alpha, (225, 115), 48, 0, -1)  # cheeks, nose, mouth
    for number in range(6):
        Image.fromarray(np.dstack([scene(), alpha])).save(folder / f"{number}.png")
    clip = import_clip(folder, tmp_path / "clip", SMALL)
    points, _ = load_landmarks(clip.directory)
    nose = points[2][1].round().astype(int)
    assert clip.info.matte == "mediapipe-selfie" and clip.matte(2)[nose[1], nose[0]] > 240
    assert any("was not used: the matte was found anew" in note for note in clip.info.notes)
    assert sum("leaves out parts of the face" in note for note in clip.info.notes) == 1
    insisted = import_clip(folder, tmp_path / "alpha", replace(SMALL, matte="alpha"))
    assert insisted.info.matte == "alpha" and any("--matte auto finds one" in note for note in insisted.info.notes)


def test_an_opaque_alpha_channel_is_not_taken_for_a_matte(scene, tmp_path):
    folder = tmp_path / "seq"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.dstack([scene(), np.full((360, 480), 255, np.uint8)])).save(folder / f"{number}.png")
    assert import_clip(folder, tmp_path / "clip", SMALL).info.matte == "mediapipe-selfie"


def test_the_real_clip(test_data, tmp_path):
    clip = import_clip(test_data("video/d18.mp4"), tmp_path / "clip", ClipOptions(end=1.0, size=256))
    points, found = load_landmarks(clip.directory)
    assert clip.frame_count == 30 and found.all()
    steps = np.abs(np.diff(points[:, 1, :2], axis=0)).max()
    assert steps < 10 and (np.array([eye_line(p)[0] for p in points]) > 30).all()
    person = np.mean([clip.matte(i).mean() / 255 for i in range(30)])
    assert 0.3 < person < 0.7


def test_clip_folders_that_are_none(video, tmp_path):
    with pytest.raises(FormatError, match=r"clip\.json"):
        Clip.open(tmp_path)
    directory = tmp_path / "clip"
    clip = import_clip(video, directory, ClipOptions(size=64, matte="none"))
    assert (clip.valid(0) == 255).all()
    weights = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    clip.write_valid(2, weights)
    np.testing.assert_array_equal(Clip.open(directory).valid(2), weights)
    for bad in (weights[:30], weights.astype(np.float32)):
        with pytest.raises(InputError):
            clip.write_valid(2, bad)
    for index in (-1, 12):
        with pytest.raises(InputError, match="frames 0 to 11"):
            clip.image(index)
    (directory / "images" / "000004.png").write_bytes(b"broken")
    (directory / "images" / "000005.png").unlink()
    for index in (4, 5):
        with pytest.raises(FormatError, match=f"00000{index}"):
            clip.image(index)
    good = json.loads((directory / "clip.json").read_text())
    for change in (
        {"version": 99},
        {"format": "x"},
        {"fps": 0},
        {"timestamps": []},
        {"timestamps": "no"},
        {"width": None},
    ):
        (directory / "clip.json").write_text(json.dumps({**good, **change}))
        with pytest.raises(FormatError):
            Clip.open(directory)
    for text in ("{", "[]", "\xff"):
        (directory / "clip.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(FormatError):
            Clip.open(directory)


def test_an_import_is_known_again(video, tmp_path):
    """By file, trim, square, size and matte; not once the video has changed."""
    directory = tmp_path / "clip"
    options = replace(SMALL, start=0.08, end=0.4)
    import_clip(video, directory, options)
    assert is_import_of(directory, video, options)
    others = ({"start": 0.2}, {"end": 0.3}, {"size": 128}, {"matte": "none"}, {"crop": (0, 0, 64)}, {"end": None})
    for change in others:
        assert not is_import_of(directory, video, replace(options, **change)), change
    width, height = Clip.open(directory).info.source_size
    sticking_out = replace(options, crop=(-20, 0, height), overwrite=True)
    clip = import_clip(video, directory, sticking_out)
    assert clip.info.crop == (0, 0, min(width, height)) and any("sticks out" in note for note in clip.info.notes)
    assert is_import_of(directory, video, sticking_out), "the square that was moved into the picture is the same one"
    import_clip(video, directory, replace(options, overwrite=True))
    copy = tmp_path / "other.mp4"
    copy.write_bytes(video.read_bytes())
    assert not is_import_of(directory, copy, options) and not is_import_of(tmp_path, video, options)
    later = (directory / "clip.json").stat().st_mtime + 10
    os.utime(video, (later, later))
    assert not is_import_of(directory, video, options)
    (directory / "clip.json").write_text("{")
    assert not is_import_of(directory, video, options)


def test_a_video_that_broke_off_is_told(scene, tmp_path):
    """An index at the beginning promises 50 frames, and 55 % of the bytes hold half of them."""
    frames = [scene(40 + i % 30, 20) for i in range(50)]
    path = index_first(encode_video(tmp_path / "made.mp4", frames, gop=5), tmp_path / "cut.mp4")
    whole = import_clip(path, tmp_path / "whole", SMALL)
    assert not any("cut off" in note for note in whole.info.notes)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.55 * len(data))])
    clip = import_clip(path, tmp_path / "clip", SMALL)
    assert clip.frame_count < 40
    assert any(re.search(r"cut\.mp4 says that it lasts 2\.0 s, but .* cut off or damaged", n) for n in clip.info.notes)
    trimmed = import_clip(path, tmp_path / "trimmed", replace(SMALL, end=0.4))
    assert not any("cut off" in note for note in trimmed.info.notes), "all that was asked for is there"


def test_a_start_beyond_the_end_is_told_at_once(video, tmp_path):
    with pytest.raises(InputError, match=r"lasts 0\.48 s, so there is nothing from 5 s on"):
        import_clip(video, tmp_path / "clip", replace(SMALL, start=5.0))
    assert not (tmp_path / "clip").exists()


def test_numbers_of_pictures_are_time(scene, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 3, 7, 8, 9, 10, 11):
        Image.fromarray(scene(60 + number, 20)).save(folder / f"im{number}.png")
    clip = import_clip(folder, tmp_path / "clip", replace(SMALL, fps=10.0))
    np.testing.assert_allclose(clip.timestamps * 10, [0, 1, 2, 6, 7, 8, 9, 10], atol=1e-5)
    assert clip.fps == 10 and any("im1.png to im11.png 3 are missing" in note for note in clip.info.notes)
    part = import_clip(folder, tmp_path / "part", replace(SMALL, fps=10.0, start=0.6))
    assert part.frame_count == 5


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["a1.png", "a2.png", "a4.png"], [0, 1, 3]),
        (["s01e0010.png", "s01e0020.png", "s01e0040.png"], [0, 1, 3]),  # every tenth, of one shot
        (["1700.png", "9000.png", "9001.png"], [0, 1, 2]),  # no frame numbers
        (["a.png", "b.png"], [0, 1]),
        (["a1.png", "b2.png", "b3.png"], [0, 1, 2]),
        (["x1.png"], [0]),
        (["f01.png", "f1.png", "f2.png"], [0, 1, 2]),  # the same number twice
    ],
)
def test_places_of_a_sequence(names, places):
    assert sequence_places(names) == places
