# SPDX-License-Identifier: Apache-2.0
"""Pictures as people have them: turned, huge, damaged, drawn, empty; and folders that cannot be written or are full."""

from __future__ import annotations

import errno
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from blendsplat.errors import InputError, NoFaceError, StorageError
from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.heads.portrait import portrait_camera, take_portrait
from blendsplat.photographs import fit_files
from blendsplat.photographs.fit_files import NAMES
from blendsplat.photographs.fit_images import ImageFitOptions, fit_images
from blendsplat.photographs.photograph import WORKED, read_photograph


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


@pytest.fixture(scope="module")
def astronaut(test_data: Callable[[str], Path]) -> Image.Image:
    return Image.open(test_data("images/astronaut.png")).convert("RGB")


@pytest.fixture()
def fit(head: HeadModel, tmp_path: Path) -> Callable[[Path], dict]:
    options = ImageFitOptions(head_model=head, weights="none")
    return lambda path: fit_images([path], tmp_path / "out", options)["fits"][0]


# --- files


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_shown_upright(tmp_path: Path, orientation: int) -> None:
    """A picture with a red corner, stored as a camera held in each of the eight ways stores it."""
    upright = Image.new("RGB", (60, 40), (0, 0, 255))
    upright.paste((255, 0, 0), (0, 0, 16, 8))
    way = Image.Transpose
    stored = {
        1: None, 2: way.FLIP_LEFT_RIGHT, 3: way.ROTATE_180, 4: way.FLIP_TOP_BOTTOM, 5: way.TRANSPOSE,
        6: way.ROTATE_90, 7: way.TRANSVERSE, 8: way.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "a.png"):
        picture = upright if stored is None else upright.transpose(stored)
        picture.save(tmp_path / name, exif=exif)
        photograph = read_photograph(tmp_path / name)
        assert (photograph.width, photograph.height) == (60, 40)
        seen = photograph.image.astype(int)
        assert seen.shape[:2] == (40, 60) and seen[3, 4, 0] > 200 and seen[-4, -4, 2] > 200 and seen[3, -4, 2] > 200


def test_a_hundred_megapixels_need_the_memory_of_a_few(tmp_path: Path) -> None:
    Image.new("RGB", (11_000, 9_200), (120, 90, 80)).save(tmp_path / "huge.jpg", quality=60)
    tracemalloc.start()
    photograph = read_photograph(tmp_path / "huge.jpg")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (photograph.width, photograph.height) == (11_000, 9_200)
    assert max(photograph.image.shape) == WORKED and photograph.scale == pytest.approx(WORKED / 11_000)
    assert peak < 120e6  # whole it has 304 MB


def test_a_large_picture_keeps_its_places(tmp_path: Path) -> None:
    picture = np.zeros((3000, 6200, 3), np.uint8)
    picture[1500:1600, 4000:4100] = 255
    for name in ("a.png", "a.jpg"):
        Image.fromarray(picture).save(tmp_path / name)
        photograph = read_photograph(tmp_path / name)
        rows, columns = np.nonzero(photograph.image[..., 0] > 128)
        assert (columns.mean() + 0.5) / photograph.scale == pytest.approx(4050, abs=2)
        assert (rows.mean() + 0.5) / photograph.scale == pytest.approx(1550, abs=2)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and which holds next to nothing."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def cut_jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()[:2000]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("empty.jpg", b"", r"empty\.jpg is empty"),
        ("cut.jpg", cut_jpeg(), r"cut\.jpg is damaged or cut off"),
        ("bomb.png", png_claiming(60_000, 60_000), r"bomb\.png has too many pixels"),
        ("hollow.png", png_claiming(300, 300), r"hollow\.png (is damaged|cannot be read)"),
        ("flat.png", png_claiming(300, 0), r"flat\.png (cannot be read|has only|is damaged)"),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), r"phone\.heic is a HEIC or AVIF picture"),
        ("letter.jpg", b"%PDF-1.7 not a picture", r"letter\.jpg cannot be read as a picture"),
    ],
)
def test_files_that_are_no_pictures_are_told_apart(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=sentence):
        read_photograph(tmp_path / name)


def test_an_animation_gives_its_first_picture(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    assert read_photograph(tmp_path / "a.gif").image[10, 10].tolist() == pytest.approx([250, 0, 0], abs=4)


# --- faces


def test_names_with_spaces_and_other_letters(astronaut: Image.Image, head: HeadModel, tmp_path: Path) -> None:
    path = tmp_path / "Фото моё 写真 é.png"
    astronaut.save(path)
    target = tmp_path / "mein Kopf ü"
    fit_images([path], target, ImageFitOptions(head_model=head, weights="none"))
    assert sorted(p.name for p in target.iterdir()) == sorted(NAMES)
    assert path.name in (target / "fit.json").read_text(encoding="utf-8")


def test_of_two_faces_the_larger_is_taken_and_it_is_said(
    astronaut: Image.Image, fit: Callable[[Path], dict], tmp_path: Path
) -> None:
    face = astronaut.crop((130, 0, 330, 220))
    both = Image.new("RGB", (900, 460), (150, 150, 150))
    both.paste(face, (60, 120))
    both.paste(face.resize((400, 440), Image.Resampling.BICUBIC), (480, 10))
    both.save(tmp_path / "two.png")
    told = fit(tmp_path / "two.png")
    assert any("2 faces are in the picture; the largest was taken" in warning for warning in told["warnings"])
    tracking = Performance.load(told["directory"])
    centre = tracking.K @ (tracking.viewmat[:3, :3] @ tracking.translation[0] + tracking.viewmat[:3, 3])
    assert centre[0] / centre[2] > 480


def drawn() -> np.ndarray:
    """A cartoon: a yellow disc, dots for eyes, a bow for a mouth."""
    image = np.full((400, 400, 3), 255, np.uint8)
    cv2.circle(image, (200, 200), 140, (255, 210, 60), -1)
    for x in (150, 250):
        cv2.circle(image, (x, 170), 18, (20, 20, 20), -1)
    cv2.ellipse(image, (200, 225), (70, 50), 0, 20, 160, (20, 20, 20), 8)
    return image


def profile(head: HeadModel) -> np.ndarray:
    viewmat, K = portrait_camera(head, np.radians(88), 0.0, 400)
    return take_portrait(head, head.neutral(), viewmat, K, 400).image


@pytest.mark.parametrize("kind", ["cartoon", "profile"])
def test_what_is_not_understood_is_never_silent(
    head: HeadModel, fit: Callable[[Path], dict], tmp_path: Path, kind: str
) -> None:
    """Either no face is found, with a sentence that says what is needed, or the result carries warnings."""
    Image.fromarray(drawn() if kind == "cartoon" else profile(head)).save(tmp_path / "a.png")
    try:
        told = fit(tmp_path / "a.png")
    except NoFaceError as error:
        assert "photograph" in error.sentence
    else:
        assert told["warnings"], told


# --- folders


def test_a_folder_that_cannot_be_written_is_told_before_any_work(
    head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blendsplat.photographs.fit_images.read_photograph", lambda path: pytest.fail("worked already"))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="choose another folder"):
        fit_images([tmp_path / "a.png"], tmp_path / "file" / "out", ImageFitOptions(head_model=head, weights="none"))


def test_earlier_results_stay_until_the_new_ones_are_whole(
    astronaut: Image.Image, fit: Callable[[Path], dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    astronaut.save(tmp_path / "a.png")
    folder = Path(fit(tmp_path / "a.png")["directory"])
    (folder / "mine.blend").write_bytes(b"the artist's own file")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "a.png")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fit_files, "described_fit", full)
        with pytest.raises(StorageError, match="No space left"):
            fit(tmp_path / "a.png")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    fit(tmp_path / "a.png")
    after = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert after.keys() == before.keys() and after["mine.blend"] == before["mine.blend"]
    assert all(after[name] != before[name] for name in NAMES)


def test_opaque_sunglasses_do_not_grow_ears(astronaut: Image.Image, head: HeadModel, tmp_path: Path) -> None:
    from blendsplat.landmarks.detector import make_detector
    from blendsplat.photographs.photograph import find_face

    astronaut.save(tmp_path / "plain.png")
    with make_detector(max_faces=4, moving=False) as detector:
        points = find_face(read_photograph(tmp_path / "plain.png"), detector).points
    right, left = points[468], points[473]
    eyes = float(np.linalg.norm(left - right))
    worn, black = astronaut.copy(), (12, 12, 14)
    pen = ImageDraw.Draw(worn)
    for eye, temple, side in ((right, points[127], -1), (left, points[356], 1)):
        pen.ellipse([*(eye - [0.45 * eyes, 0.33 * eyes]), *(eye + [0.45 * eyes, 0.38 * eyes])], fill=black)
        pen.line([*eye, *(temple + [side * 0.25 * eyes, 0])], fill=black, width=max(int(0.09 * eyes), 1))
    pen.line([*right, *left], fill=black, width=max(int(0.1 * eyes), 1))
    worn.save(tmp_path / "worn.png")
    ears = np.concatenate([head.regions["left_ear"], head.regions["right_ear"]])
    widths = []
    for name in ("plain", "worn"):
        fit_images([tmp_path / f"{name}.png"], tmp_path / name, ImageFitOptions(head_model=head))
        shape = Performance.load(tmp_path / name).shape
        person = head.template.numpy() + np.tensordot(shape, head.shape_directions.numpy(), 1)
        widths.append(np.ptp(person[ears, 0]))
    assert abs(widths[1] / widths[0] - 1) < 0.08
