# SPDX-License-Identifier: Apache-2.0
"""Decoding: colours against the standards' own formulas, orientation, time, damage, and files that are no videos."""

from __future__ import annotations

import wave

import av
import numpy as np
import pytest
from PIL import Image

from blendsplat.errors import InputError, VideoError
from blendsplat.video.color import hdr_to_sdr
from blendsplat.video.decode import missing_frames
from blendsplat.video.images import natural_key, open_source
from video_files import encode_video, set_display_matrix

PATCHES = [(128, 128, 128), (16, 16, 16), (240, 240, 240), (200, 120, 90), (40, 160, 60), (50, 70, 200), (255, 0, 0)]
LUMA = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}
TAG = {"601": 5, "709": 1, "2020": 9, None: 2}


def yuv_card(
    matrix: str, full: bool, bits: int, size=(32, 8 * len(PATCHES)), tag: str | None = "same"
) -> av.VideoFrame:
    """A card of PATCHES in YUV, computed from ITU-R BT.601/709/2020's definition rather than by FFmpeg."""
    rgb = np.repeat(np.array(PATCHES) / 255.0, -(-size[1] // len(PATCHES)), axis=0)[: size[1]]
    kr, kb = LUMA[matrix]
    y = rgb @ np.array([kr, 1 - kr - kb, kb])
    planes = [y, (rgb[:, 2] - y) / (2 * (1 - kb)), (rgb[:, 0] - y) / (2 * (1 - kr))]
    scale = 2 ** (bits - 8)
    top = 2**bits - 1
    if full:
        codes = [planes[0] * top, planes[1] * top + 128 * scale, planes[2] * top + 128 * scale]
    else:
        codes = [(planes[0] * 219 + 16) * scale, (planes[1] * 224 + 128) * scale, (planes[2] * 224 + 128) * scale]
    kind = np.uint8 if bits == 8 else np.uint16
    rows = np.stack([np.clip(np.round(c), 0, top).astype(kind)[None].repeat(size[0], 0) for c in codes])
    frame = av.VideoFrame(size[1], size[0], "yuv444p" if bits == 8 else "yuv444p10le")
    for plane, values in zip(frame.planes, rows, strict=True):
        line = np.zeros((plane.height, plane.line_size), np.uint8)
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(plane.height, -1)
        line[:, : raw.shape[1]] = raw
        plane.update(line.tobytes())
    frame.colorspace = TAG[matrix if tag == "same" else tag]
    frame.color_range = 2 if full else 1
    return frame


def patch_values(image: np.ndarray) -> np.ndarray:
    step = image.shape[1] // len(PATCHES)
    return np.stack([image[image.shape[0] // 2, i * step + step // 2] for i in range(len(PATCHES))])


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["601", "709", "2020"])
def test_a_colour_card_comes_back_in_its_colours(tmp_path, matrix, full, bits):
    frame = yuv_card(matrix, full, bits)
    tags = {"colorspace": TAG[matrix], "color_range": 2 if full else 1}
    path = encode_video(tmp_path / "card.mkv", [frame], "ffv1", frame.format.name, tags=tags)
    image = next(open_source(path).frames()).image
    np.testing.assert_allclose(patch_values(image).astype(int), PATCHES, atol=2)


@pytest.mark.parametrize(("size", "matrix"), [((64, 56), "601"), ((720, 1288), "709")])
def test_untagged_video_follows_its_size(tmp_path, size, matrix):
    frame = yuv_card(matrix, False, 8, size, tag=None)
    image = next(open_source(encode_video(tmp_path / "card.mkv", [frame], "ffv1", "yuv444p")).frames()).image
    np.testing.assert_allclose(patch_values(image).astype(int), PATCHES, atol=2)


def test_hdr_keeps_greys_grey_and_ordered():
    ramp = np.repeat((np.arange(256) * 257).astype(np.uint16)[None, :, None], 3, 2)
    for transfer in ("PQ", "HLG"):
        mapped = hdr_to_sdr(ramp, transfer).astype(int)[0]
        assert np.ptp(mapped, axis=1).max() <= 2
        assert (np.diff(mapped[:, 0]) >= 0).all() and mapped[0, 0] <= 2 and mapped[-1, 0] >= 250
        white = {"PQ": 0.58, "HLG": 0.75}[transfer]  # diffuse white, ITU-R BT.2408
        assert 215 <= mapped[round(white * 255), 0] <= 255


def test_hdr_video_is_mapped_and_said_so(tmp_path):
    frame = yuv_card("2020", False, 10)
    tags = {"colorspace": 9, "color_range": 1, "color_trc": 18, "color_primaries": 9}
    frame.color_trc, frame.color_primaries = 18, 9
    source = open_source(encode_video(tmp_path / "hdr.mkv", [frame], "ffv1", "yuv444p10le", tags=tags))
    values = patch_values(next(source.frames()).image).astype(int)
    assert "HLG" in source.notes[0]
    assert np.ptp(values[:3], axis=1).max() <= 3 and values[2].min() > 230 and values[0, 0] > 90


def corner_marks(width: int, height: int) -> np.ndarray:
    """Red upper left, green upper right, blue lower left, white lower right."""
    image = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    image[:h, :w], image[:h, w:], image[h:, :w], image[h:, w:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    return image


def corners(image: np.ndarray) -> str:
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    h, w = image.shape[:2]
    at = [(h // 4, w // 4), (h // 4, 3 * w // 4), (3 * h // 4, w // 4), (3 * h // 4, 3 * w // 4)]
    return "".join(names[tuple(int(v > 127) for v in image[y, x])] for y, x in at)


@pytest.mark.parametrize(
    ("matrix", "seen", "size"),
    [
        ((1, 0, 0, 1), "rgbw", (64, 48)),
        ((0, 1, -1, 0), "brwg", (48, 64)),  # a phone held upright: shown turned clockwise
        ((-1, 0, 0, -1), "wbgr", (64, 48)),
        ((0, -1, 1, 0), "gwrb", (48, 64)),
        ((-1, 0, 0, 1), "grwb", (64, 48)),  # a mirrored selfie
    ],
)
def test_rotation_and_mirroring_metadata(tmp_path, matrix, seen, size):
    path = encode_video(tmp_path / "phone.mp4", [corner_marks(64, 48)] * 3)
    set_display_matrix(path, *matrix)
    source = open_source(path)
    image = next(source.frames()).image
    assert (source.width, source.height) == size == image.shape[1::-1]
    assert corners(image) == seen


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = encode_video(tmp_path / "wide.mkv", [corner_marks(64, 48)] * 2, tags={"sample_aspect_ratio": 2})
    source = open_source(path)
    assert (source.width, source.height) == (128, 48)
    assert next(source.frames()).image.shape == (48, 128, 3)


def test_interlaced_frames_are_made_whole(tmp_path):
    def bar(x: int) -> np.ndarray:
        image = np.full((96, 128, 3), 40, np.uint8)
        image[:, x : x + 24] = 220
        return image

    fields = [(bar(8 + 6 * i), bar(11 + 6 * i)) for i in range(12)]
    frames = []
    for upper, lower in fields:
        frames.append(upper.copy())
        frames[-1][1::2] = lower[1::2]
    path = encode_video(tmp_path / "tape.mp4", frames, options={"x264-params": "tff=1:qp=6"})
    source = open_source(path)
    got = list(source.frames())
    np.testing.assert_allclose([f.timestamp for f in got], np.arange(12) / 25, atol=1e-6)
    combing = [np.abs(np.diff(image[..., 1].astype(int), axis=0)).mean() for image in (frames[6], got[6].image)]
    assert combing[1] < combing[0] / 4 and "interlaced" in source.notes[0]
    assert min(np.abs(got[6].image.astype(int) - field).mean() for field in fields[6]) < 3  # one moment, whole


@pytest.mark.parametrize("size", [(97, 75), (1, 1), (33, 64)])
def test_odd_sizes(tmp_path, size):
    image = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    path = encode_video(tmp_path / "odd.mkv", [image] * 2, "ffv1", "bgr0")
    frames = list(open_source(path).frames())
    np.testing.assert_array_equal(frames[1].image, image)


def grey(value: int) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


def test_variable_frame_rate_keeps_true_times(tmp_path):
    times = [0.5, 0.54, 0.6, 0.9, 1.5, 1.51, 3.0]  # the first frame is not at zero
    path = encode_video(tmp_path / "vfr.mkv", [grey(30 * i) for i in range(7)], times=times)
    got = [frame.timestamp for frame in open_source(path).frames()]
    np.testing.assert_allclose(got, np.array(times) - 0.5, atol=2e-3)


def test_trimming_finds_the_right_frames_behind_key_frames(tmp_path):
    path = encode_video(tmp_path / "long.mp4", [grey(i) for i in range(200)], fps=25, gop=60)
    source = open_source(path)
    for start, end in ((0, None), (0.4, 1.2), (3.0, 5.0), (7.92, None)):
        frames = list(source.frames(start, end))
        expected = [i for i in range(200) if i / 25 >= start - 1e-6 and (end is None or i / 25 < end - 1e-6)]
        np.testing.assert_allclose([f.timestamp for f in frames], np.array(expected) / 25, atol=1e-6)
        np.testing.assert_allclose([f.image.mean() for f in frames], expected, atol=3)
    assert len(list(source.frames(0, None, every=1.0))) == 8
    assert list(source.frames(100.0)) == []
    for start, end in ((2, 1), (-1, None), (3, 3)):
        with pytest.raises(InputError, match="trim"):
            list(source.frames(start, end))


@pytest.mark.parametrize(
    ("suffix", "codec"), [("avi", "mjpeg"), ("ts", "libx264"), ("mkv", "libx264"), ("mp4", "libx264")]
)
def test_damage_in_the_middle_is_skipped_and_counted(tmp_path, suffix, codec, caplog):
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(60)]
    path = encode_video(
        tmp_path / f"film.{suffix}", frames, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p", gop=6
    )
    data = bytearray(path.read_bytes())
    middle, width = int(len(data) * 0.4), len(data) // 10
    data[middle : middle + width] = rng.integers(0, 255, width, np.uint8).tobytes()
    path.write_bytes(bytes(data))
    source = open_source(path)
    got = list(source.frames())
    assert 30 <= len(got) < 60 and source.skipped > 0
    assert got[-1].timestamp > 2.0  # the part behind the damage was reached
    assert (np.diff([f.timestamp for f in got]) > 0).all()
    assert "damaged" in caplog.text


def test_missing_frames_are_told_from_uneven_time():
    even = np.arange(60) / 25
    assert missing_frames(list(even)) == 0
    assert missing_frames(list(np.delete(even, [20, 21, 22]))) == 3
    assert missing_frames(list(np.delete(even, np.arange(5, 55, 4)))) == 0
    assert missing_frames(list(np.cumsum(np.random.default_rng(0).uniform(0.01, 0.05, 60)))) == 0


def test_a_file_cut_off_gives_what_it_holds(tmp_path):
    path = encode_video(
        tmp_path / "cut.mkv", [np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8) for i in range(40)]
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 10 <= len(list(open_source(path).frames())) < 40


def test_what_is_no_video_is_refused_with_a_sentence(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("this is not a video\n" * 100)
    renamed = tmp_path / "really.mp4"
    renamed.write_bytes(text.read_bytes())
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).integers(0, 255, 5000, np.uint8).tobytes())
    empty = tmp_path / "empty.mov"
    empty.touch()
    headless = encode_video(tmp_path / "headless.mp4", [grey(5)] * 30)
    headless.write_bytes(headless.read_bytes()[:-400])  # the index lies at the end
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    (tmp_path / "folder").mkdir()
    for path in (text, renamed, noise, empty, headless, sound, tmp_path / "missing.mp4", tmp_path / "folder"):
        with pytest.raises(VideoError) as error:
            list(open_source(path).frames())
        assert str(path) in error.value.sentence
    with pytest.raises(VideoError, match="only sound"):
        open_source(sound)


def test_a_playlist_may_not_reach_out(tmp_path):
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/never.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError):
        open_source(playlist)


def with_alpha() -> np.ndarray:
    rgba = np.full((48, 64, 4), 200, np.uint8)
    rgba[..., 3] = np.where(np.arange(64) < 32, 255, 0)
    rgba[20:28, :, 3] = 128
    return rgba


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mkv", "ffv1", "bgra"),
    ],
)
def test_alpha_of_video_files(tmp_path, name, codec, pix_fmt):
    path = encode_video(tmp_path / name, [with_alpha()] * 3, codec, pix_fmt)
    source = open_source(path)
    frame = list(source.frames())[-1]
    assert source.has_alpha
    np.testing.assert_allclose(frame.alpha[5, ::8].astype(int), with_alpha()[5, ::8, 3], atol=12)
    np.testing.assert_allclose(frame.alpha[24, 10:54].astype(int), 128, atol=12)
    np.testing.assert_allclose(frame.image[10, 10].astype(int), 200, atol=6)


def test_image_sequences(tmp_path):
    folder = tmp_path / "séq uence"
    folder.mkdir()
    for number in (1, 2, 9, 10, 11):
        Image.fromarray(np.dstack([grey(number * 10), np.full((48, 64), 7, np.uint8)])).save(
            folder / f"shot{number}.png"
        )
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_bytes(b"x")
    source = open_source(folder, fps=10)
    frames = list(source.frames())
    assert [int(f.image[0, 0, 0]) for f in frames] == [10, 20, 90, 100, 110]
    assert source.has_alpha and frames[0].alpha[0, 0] == 7
    np.testing.assert_allclose([f.timestamp for f in frames], np.arange(5) / 10)
    assert [round(f.timestamp, 3) for f in source.frames(0.15, 0.35)] == [0.2, 0.3]

    (folder / "shot9.png").write_bytes((folder / "shot9.png").read_bytes()[:60])
    frames = list(source.frames())
    assert len(frames) == 4 and source.skipped == 1
    np.testing.assert_allclose([f.timestamp for f in frames], [0, 0.1, 0.3, 0.4])

    Image.fromarray(grey(1)[:20]).save(folder / "shot10.png")
    with pytest.raises(VideoError, match=r"shot10\.png is 64x20"):
        list(source.frames())


def test_pictures_are_turned_upright_and_deep_ones_scaled(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(corner_marks(64, 48)).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    assert corners(next(open_source(tmp_path / "phone.jpg").frames()).image) == "brwg"
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "deep.png")
    assert abs(int(next(open_source(tmp_path / "deep.png").frames()).image[0, 0, 0]) - 128) <= 1


def test_gif_with_uneven_delays(tmp_path):
    pictures = [Image.fromarray(grey(v)) for v in (0, 80, 160, 240)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[100, 40, 300, 100])
    frames = list(open_source(tmp_path / "a.gif").frames())
    np.testing.assert_allclose([f.timestamp for f in frames], [0, 0.1, 0.14, 0.44], atol=1e-6)
    assert [int(f.image.mean()) for f in frames] == [0, 80, 160, 240]


def test_natural_order():
    names = ["f1.png", "F2.png", "f9a.png", "f9b.png", "f10.png", "f²3.png"]
    assert sorted(names, key=natural_key) == names


def test_percent_signs_and_odd_names_are_names(tmp_path):
    path = encode_video(tmp_path / "50% off: take %03d 'ü'.mkv", [grey(9)] * 3)
    assert len(list(open_source(path).frames())) == 3
