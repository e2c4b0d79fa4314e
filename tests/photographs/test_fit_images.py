# SPDX-License-Identifier: Apache-2.0
"""fit-image: kinds of pictures, the camera of the whole photograph, priors, shared shapes, sentences for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blendsplat.errors import InputError, NoFaceError
from blendsplat.fitting.face_crop import cut_square, framing, tilt_of, turned
from blendsplat.fitting.face_prior import FacePrior
from blendsplat.fitting.fit import FitOptions, fit_clip
from blendsplat.heads import load_head
from blendsplat.heads.landmarks68 import OF_478
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.kaolrm.regressor import make_regressor
from blendsplat.landmarks.detector import LANDMARK_COUNT, Landmarks
from blendsplat.photographs.fit_files import NAMES
from blendsplat.photographs.fit_images import ImageFitOptions, fit_images
from blendsplat.photographs.photograph import find_face, photograph_files, read_photograph, recorded_focal
from synthetic_head import landmarks_of, make_head, make_truth

EYES = np.array([225.4, 103.0])  # the middle between the astronaut's irises, read off the picture


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


@pytest.fixture(scope="module")
def astronaut(test_data: Callable[[str], Path]) -> Image.Image:
    return Image.open(test_data("images/astronaut.png")).convert("RGB")


def projected(tracking: Performance, head: HeadModel) -> np.ndarray:
    """Landmarks [478,2] in the photograph's pixels."""
    import torch

    world = head.landmarks_of(head(tracking.params(), torch.as_tensor(tracking.vertex_offsets)))[0].numpy()
    camera = world @ tracking.viewmat[:3, :3].T + tracking.viewmat[:3, 3]
    flat = camera @ tracking.K.T
    return flat[:, :2] / flat[:, 2:]


def fitted(path: Path, head: HeadModel, output: Path, **options: object) -> Performance:
    fit_images([path], output, ImageFitOptions(head_model=head, weights="none", **options))  # type: ignore[arg-type]
    return Performance.load(output)


# --- the whole way


def test_a_relative_head_is_found_from_another_folder(
    astronaut: Image.Image, head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    astronaut.save(tmp_path / "a.png")
    (tmp_path / "flame.pkl").touch()
    monkeypatch.chdir(tmp_path)
    fit_images([Path("a.png")], Path("out"), ImageFitOptions(head="flame.pkl", head_model=head, weights="none"))
    tracking = Performance.load("out")
    assert tracking.head_source == str(tmp_path / "flame.pkl")
    assert json.loads((tmp_path / "out/fit.json").read_text())["head_source"] == tracking.head_source


def test_the_head_lies_on_the_photograph_and_everything_is_saved(
    astronaut: Image.Image, head: HeadModel, tmp_path: Path
) -> None:
    astronaut.save(tmp_path / "a.png")
    tracking = fitted(tmp_path / "a.png", head, tmp_path / "out")
    points = projected(tracking, head)
    assert tracking.figures["landmark_error"] < 0.08
    assert np.allclose(points[[468, 473]].mean(0), EYES, atol=4)  # between her eyes
    assert points[468, 0] < points[473, 0]  # the person's right eye is on the left: not mirrored
    assert points[152, 1] > points[10, 1]  # chin below forehead
    record = json.loads((tmp_path / "out/fit.json").read_text())
    assert record["method"] == "landmarks" and record["image"].endswith("a.png")
    assert np.allclose(record["shape"], tracking.shape) and np.allclose(record["K"], tracking.K)
    with Image.open(tmp_path / "out/crop.png") as crop:
        assert crop.mode == "RGBA"
        alpha = np.asarray(crop)[..., 3]
        assert alpha[len(alpha) // 2, len(alpha) // 2] == 255
    with Image.open(tmp_path / "out/overlay.png") as overlay:
        assert overlay.size == (640, 640)  # small photographs are enlarged
    with Image.open(tmp_path / "out/texture.png") as texture:
        assert texture.size == (1024, 1024) and texture.mode == "RGB"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(NAMES)


def as_grey(image: Image.Image) -> Image.Image:
    return image.convert("L")


def as_16_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def as_alpha(image: Image.Image) -> Image.Image:
    rgba = np.dstack([np.asarray(image), np.full(image.size[::-1], 255, np.uint8)])
    rgba[:, 400:] = (255, 0, 0, 0)  # what lies under transparency must not be seen
    return Image.fromarray(rgba)


@pytest.mark.parametrize(
    ("make", "suffix"),
    [(as_grey, "png"), (as_16_bit, "png"), (as_alpha, "png"), (lambda i: i.convert("CMYK"), "jpg"),
     (lambda i: i.convert("P"), "gif")],
)  # fmt: skip
def test_kinds_of_pictures(
    astronaut: Image.Image, tmp_path: Path, make: Callable[[Image.Image], Image.Image], suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    make(astronaut).save(path)
    photograph = read_photograph(path)
    assert photograph.image.shape == (512, 512, 3) and photograph.image.dtype == np.uint8
    seen = photograph.image[60:200, 170:290].mean() / np.asarray(astronaut)[60:200, 170:290].mean()
    assert 0.75 < seen < 1.25  # neither black nor washed out nor negative


def test_orientation_and_recorded_focal_length(astronaut: Image.Image, head: HeadModel, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    exif.get_ifd(0x8769)[0xA405] = 85
    astronaut.crop((0, 0, 512, 400)).rotate(90, expand=True).save(tmp_path / "a.jpg", exif=exif, quality=95)
    tracking = fitted(tmp_path / "a.jpg", head, tmp_path / "out")
    assert (tracking.width, tracking.height) == (512, 400)
    assert tracking.K[0, 0] == pytest.approx(85 * np.hypot(512, 400) / np.hypot(36, 24), rel=1e-5)
    assert np.allclose(tracking.K[:2, 2], [256, 200])
    assert np.allclose(projected(tracking, head)[[468, 473]].mean(0), EYES, atol=4)


@pytest.mark.parametrize("value", [0, -5, 5000])
def test_a_nonsensical_focal_length_is_not_believed(astronaut: Image.Image, tmp_path: Path, value: int) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = max(value, 0)
    astronaut.save(tmp_path / "a.jpg", exif=exif)
    assert recorded_focal(tmp_path / "a.jpg") is None


def test_a_large_photograph_keeps_its_own_camera(astronaut: Image.Image, head: HeadModel, tmp_path: Path) -> None:
    small = fitted_of(astronaut, head, tmp_path / "small")
    large = fitted_of(astronaut.resize((3584, 3584), Image.Resampling.BICUBIC), head, tmp_path / "large")
    assert large.width == 3584 and large.K[0, 0] == pytest.approx(7 * small.K[0, 0], rel=1e-4)
    assert np.abs(projected(large, head) / 7 - projected(small, head)).max() < 3


def fitted_of(image: Image.Image, head: HeadModel, folder: Path) -> Performance:
    folder.mkdir()
    image.save(folder / "a.png", compress_level=1)
    return fitted(folder / "a.png", head, folder / "out")


def test_tiny_pictures(astronaut: Image.Image, head: HeadModel, tmp_path: Path) -> None:
    face = astronaut.crop((130, 0, 330, 200))
    face.resize((40, 40), Image.Resampling.LANCZOS).save(tmp_path / "tiny.png")
    result = fit_images([tmp_path / "tiny.png"], tmp_path / "out", ImageFitOptions(head_model=head, weights="none"))
    assert any("pixels apart" in warning for warning in result["fits"][0]["warnings"])
    face.resize((12, 12)).save(tmp_path / "dot.png")
    with pytest.raises(InputError, match="only 12 x 12 pixels"):
        read_photograph(tmp_path / "dot.png")


# --- bad input


def test_no_face_no_picture_no_file(head: HeadModel, tmp_path: Path) -> None:
    options = ImageFitOptions(head_model=head, weights="none")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)).save(tmp_path / "noise.png")
    with pytest.raises(NoFaceError, match=r"No face was found in noise\.png"):
        fit_images([tmp_path / "noise.png"], tmp_path / "out", options)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png cannot be read"):
        fit_images([tmp_path / "text.png"], tmp_path / "out", options)
    with pytest.raises(InputError, match="does not exist"):
        fit_images([tmp_path / "absent.png"], tmp_path / "out", options)
    with pytest.raises(InputError, match="named twice"):
        fit_images([tmp_path / "text.png", tmp_path / "text.png"], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_one_bad_picture_does_not_stop_the_others(astronaut: Image.Image, head: HeadModel, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    astronaut.save(folder / "b.png")
    astronaut.save(folder / "b.jpg")  # two of one stem must not overwrite each other
    (folder / "a.png").write_bytes(b"\x89PNG broken")
    result = fit_images([folder], tmp_path / "out", ImageFitOptions(head_model=head, weights="none"))
    assert [Path(f["image"]).name for f in result["failed"]] == ["a.png"]
    folders = {fit["directory"] for fit in result["fits"]}
    assert len(folders) == 2
    for place in folders:
        Performance.load(place)


class Scattering:
    """A detector whose mouth jumps about between crops, as real ones do where a hand lies over it."""

    name = "scattering"

    def __init__(self, points: np.ndarray, jump: float) -> None:
        self.points, self.jump, self.calls = points, jump, 0

    def detect_all(self, image: np.ndarray, timestamp_s: float) -> list[Landmarks]:
        from blendsplat.landmarks import points as pts

        points = self.points.copy()
        if self.calls:  # the first call looks at the whole picture
            points = points - points.mean(0) + 256
        points[list(pts.OUTER_LIPS + pts.INNER_LIPS), 1] += self.jump * (self.calls % 2)
        self.calls += 1
        return [Landmarks(points)]


@pytest.mark.parametrize(("jump", "warned"), [(0.0, False), (40.0, True)])
def test_a_mouth_that_the_crops_disagree_on_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float, warned: bool
) -> None:
    monkeypatch.setattr("blendsplat.landmarks.turned_crops.CROPS", ((0.0, 1.0),) * 4)  # this detector sees no pictures
    Image.new("RGB", (512, 512), (128, 128, 128)).save(tmp_path / "a.png")
    face = np.zeros((LANDMARK_COUNT, 3), np.float32)
    truth = make_truth(make_head(), 1, size=512, fov=27)
    face[:, :2] = landmarks_of(make_head(), truth)[0]
    found = find_face(read_photograph(tmp_path / "a.png"), Scattering(face, jump))  # type: ignore[arg-type]
    assert any("mouth" in warning for warning in found.warnings) is warned


# --- the prior, and one shape for one person


def test_a_prior_moves_the_fit_only_as_far_as_the_landmarks_allow() -> None:
    head = make_head()
    truth = make_truth(head, 4, size=512, fov=27)
    pixels = landmarks_of(head, truth)[:1]
    options = {"focal": float(truth.K[0, 0]), "smoothing": 0.0, "offsets": False, "shape_sigma": 0.1}

    def shape_with(prior: FacePrior | None) -> np.ndarray:
        wanted = FitOptions(**options, prior=prior)  # type: ignore[arg-type]
        return fit_clip(head, pixels, np.ones(1, bool), np.zeros(1), 512, 512, wanted).shape

    right = FacePrior(truth.shape, truth.expression[:1], truth.jaw_pose[:1])
    plain, told = shape_with(None), shape_with(right)
    assert np.linalg.norm(told - truth.shape) < 0.5 * np.linalg.norm(plain - truth.shape)
    same = shape_with(FacePrior(np.zeros(0), np.zeros((1, 0)), np.zeros((1, 3))))
    assert np.allclose(same, plain)  # a prior that says nothing is none


class Told:
    """A regressor that says what it is told, and keeps what it was shown."""

    name, face_share = "told", 0.37

    def __init__(self, shape: float) -> None:
        self.shape, self.shown = shape, np.zeros(0)

    def many(self, pictures: list[np.ndarray], points: list[np.ndarray] | None = None) -> list[FacePrior]:
        self.shown, self.points = pictures[0], points
        return [FacePrior(np.full(5, self.shape), np.zeros((1, 4)), np.zeros((1, 3)))]


def test_the_regressor_sees_the_framing_on_white_and_is_heard(
    astronaut: Image.Image, head: HeadModel, tmp_path: Path
) -> None:
    astronaut.save(tmp_path / "a.png")
    shapes = []
    for value in (0.0, 1.5):
        told = Told(value)
        options = ImageFitOptions(head_model=head, regressor=told)
        assert fit_images([tmp_path / "a.png"], tmp_path / "o", options)["fits"][0]["method"] == "told"
        shapes.append(Performance.load(tmp_path / "o").shape[:5])
    assert told.points is not None and told.points[0].shape == (478, 3)
    nose, eyes = told.points[0][1], told.points[0][[33, 263]]
    assert nose[2] < eyes[:, 2].min(), "smaller is nearer"
    assert told.shown.shape[0] == told.shown.shape[1] and told.shown[:12, :12].min() > 0.97
    assert 0.05 < (shapes[1] - shapes[0]).mean() < 1.5


def test_photographs_of_one_person_share_the_shape_in_their_own_cameras(
    astronaut: Image.Image, head: HeadModel, tmp_path: Path
) -> None:
    astronaut.save(tmp_path / "a.png")
    astronaut.crop((60, 0, 400, 300)).resize((680, 600)).save(tmp_path / "b.png")
    options = ImageFitOptions(head_model=head, weights="none", same_person=True)
    fit_images([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "o", options)
    one, two = Performance.load(tmp_path / "o/a"), Performance.load(tmp_path / "o/b")
    assert np.array_equal(one.shape, two.shape)
    assert (two.width, two.height) == (680, 600) and one.frame_count == two.frame_count == 1
    assert np.allclose(projected(two, head)[[468, 473]].mean(0), (EYES - [60, 0]) * 2, atol=8)


# --- pieces


def test_framing_puts_the_landmarks_where_the_network_expects_them() -> None:
    points = np.random.default_rng(1).uniform(100, 300, (478, 2))
    left, top, side = framing(points, 0.37)
    inside = (points[OF_478] - [left, top]) / side
    upright = turned(inside, -tilt_of(points))
    assert np.allclose(inside.mean(0), 0.5) and np.ptp(upright[:, 1]) == pytest.approx(0.37)


@pytest.mark.parametrize("side", [40.0, 200.0, 3000.0])
def test_a_cut_square_puts_pixels_where_they_belong(side: float) -> None:
    y, x = np.mgrid[:4000, :4000]
    image = np.dstack([x, y]).astype(np.float32) + 0.5  # every pixel holds where its centre lies
    cut = cut_square(image, (500.0, 700.0, side), 64)
    centres = (np.arange(64) + 0.5) * side / 64
    inner = slice(2, -2)
    assert np.allclose(cut[inner, inner, 0], (500 + centres)[None, inner], atol=side / 64 * 0.1 + 0.05)
    assert np.allclose(cut[inner, inner, 1], (700 + centres)[inner, None], atol=side / 64 * 0.1 + 0.05)


def test_weights_for_another_head_are_refused(head: HeadModel, tmp_path: Path) -> None:
    from blendsplat.kaolrm import save_model
    from tiny_kaolrm import tiny

    save_model(tmp_path / "w", tiny())
    with pytest.raises(InputError, match="are for the head 'flame'"):
        make_regressor(tmp_path / "w", head)
    save_model(tmp_path / "own", tiny(head="human"))
    regressor = make_regressor(tmp_path / "own", head)
    assert regressor is not None and regressor.face_share == 0.28
    seen = regressor.many([np.ones((512, 512, 3), np.float32)])[0]
    assert seen.shape.shape == (5,) and seen.expression.shape == (1, 4) and seen.jaw_pose.shape == (1, 3)
    assert make_regressor("none", head) is None


def test_files_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("p10.png", "p2.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in photograph_files([tmp_path])] == ["p2.jpg", "p10.png"]


def test_a_firm_prior_of_the_expression_is_obeyed() -> None:
    head = make_head()
    truth = make_truth(head, 4, size=512, fov=27)
    told = FacePrior(truth.shape, np.full((1, 2), 0.3), np.array([[0.1, 0.0, 0.0]]))
    options = FitOptions(
        focal=float(truth.K[0, 0]), smoothing=0.0, offsets=False, expression_sigma=1e-3, prior=told
    )  # fmt: skip
    fit = fit_clip(head, landmarks_of(head, truth)[:1], np.ones(1, bool), np.zeros(1), 512, 512, options)
    assert np.allclose(fit.expression[0, :2], 0.3, atol=0.02) and np.allclose(fit.expression[0, 2:], 0, atol=0.02)
