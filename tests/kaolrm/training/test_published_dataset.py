# SPDX-License-Identifier: Apache-2.0
"""The readers of both published layouts: cameras, landmarks and pictures agree; what is damaged is named, not used."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from blendsplat.errors import FormatError, InputError
from blendsplat.kaolrm import conventions as frames
from blendsplat.kaolrm.training.dataset_files import on_colour, read_rgba
from blendsplat.kaolrm.training.published_dataset import BACKGROUNDS, HeadData, Sizes
from blendsplat.kaolrm.training.train_published import PublishedTrainer, network
from published_training import ball, own_head, preset, write_mono, write_multi_view

SIZES = Sizes(source=56, target=48, side_views=2, focal=0.75)


@pytest.fixture
def multi_view(tmp_path):
    for number in range(3):
        write_multi_view(tmp_path / f"people/p{number}", views=4, seed=number)
    return tmp_path / "people"


@pytest.fixture
def mono(tmp_path):
    write_mono(tmp_path / "mono", ["anna", "bert", "carl"])
    return tmp_path / "mono"


def test_multi_view_items_agree_with_themselves(multi_view):
    """Landmarks of all views are one set of points seen by the item's own cameras; the ball lies where they say."""
    data = HeadData(multi_view, SIZES)
    for person in range(3):
        views = data.batch([(person, [person])])
        assert views.sources.shape == (1, 3, 56, 56) and views.targets.shape == (1, 3, 48, 48, 3)
        viewmats, Ks = views.viewmats[0].double().numpy(), views.Ks[0].double().numpy()
        pixels = views.landmarks[0].double().numpy()
        assert np.allclose(viewmats[0][:3, :3], np.diag([1, -1, -1]), atol=1e-6)  # the source's camera is canonical
        assert np.allclose(viewmats[0][:2, 3], 0, atol=1e-6) and 1.9 <= viewmats[0][2, 3] <= 2.6
        assert np.allclose(views.cameras[0, 7], -viewmats[0][2, 3], atol=1e-6)  # at its own distance
        for point in (0, 30, 67):
            assert reprojection_error(viewmats, Ks, pixels[:, point]) < 1e-3
        for view in range(3):
            assert dot_in(views.alphas[0, view, ..., 0].numpy()) == pytest.approx(pixels[view, 30], abs=0.35)


def reprojection_error(viewmats: np.ndarray, Ks: np.ndarray, pixels: np.ndarray) -> float:
    """The best common point of some pixels [V,2] (linear triangulation), and how far from them it projects."""
    cameras = Ks @ viewmats[:, :3]
    rows = np.concatenate([p[:, None] * c[2] - c[:2] for p, c in zip(pixels, cameras, strict=True)])
    point = np.linalg.svd(rows)[2][-1]
    projected = cameras @ point
    return float(np.abs(projected[:, :2] / projected[:, 2:] - pixels).max())


def dot_in(alpha: np.ndarray) -> list[float]:
    """The centre of what is opaque, pixels."""
    rows, columns = np.mgrid[: alpha.shape[0], : alpha.shape[1]] + 0.5
    return [float((alpha * columns).sum() / alpha.sum()), float((alpha * rows).sum() / alpha.sum())]


def test_backgrounds_are_drawn_and_the_source_stands_on_white(multi_view):
    data = HeadData(multi_view, SIZES)
    seen = set()
    for seed in range(12):
        views = data.batch([(0, [seed])])
        empty = (views.alphas[0, ..., 0] == 0).numpy()
        level = float(views.backgrounds[0, 0])
        assert np.allclose(views.targets[0].numpy()[empty], level) and float(views.sources.max()) == 1.0
        assert np.allclose(views.sources[0, :, 0, 0], 1.0)
        seen.add(level)
    assert seen == set(BACKGROUNDS)
    again, other = (data.batch([(0, [seed])]) for seed in (11, 3))
    assert np.array_equal(again.viewmats, views.viewmats) and not np.array_equal(other.landmarks, views.landmarks)


def test_mono_items_use_the_canonical_camera_and_the_mask(mono):
    data = HeadData(mono, Sizes(56, 48, 0, 4.0))
    views = data.batch([(0, [0]), (2, [0])])
    assert views.targets.shape == (2, 1, 48, 48, 3) and views.masks.shape == (2, 1, 48, 48, 1)
    assert np.allclose(views.viewmats[0, 0], frames.canonical_viewmat())
    assert float(views.Ks[0, 0, 0, 0]) == 4.0 * 48
    assert np.allclose(views.cameras[0], [1, 0, 0, 0, 0, 0, -1, -2, 0, 1, 0, 0, 0.75, 0.75, 0.5, 0.5])
    assert dot_in(views.alphas[1, 0, ..., 0].numpy()) == pytest.approx(views.landmarks[1, 0, 30].numpy(), abs=0.35)


def damage(folder, what: str) -> None:
    if what == "landmarks":
        np.save(folder / "lmks2d.npy", np.zeros((4, 51, 2)))
    elif what == "not finite":
        np.save(folder / "lmks2d.npy", np.full((4, 68, 2), np.nan))
    elif what == "views":
        np.save(folder / "lmks2d.npy", np.ones((2, 68, 2)))
    elif what == "intrinsics":
        (folder / "intrinsics.npy").write_bytes(b"\x93NUMPY nothing")
    elif what == "focal":
        np.save(folder / "intrinsics.npy", np.array([[300.0, 300], [32, 32], [64, 64]]))
    elif what == "pickle":
        np.save(folder / "lmks2d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("what", ["landmarks", "not finite", "views", "intrinsics", "focal", "pickle"])
def test_a_damaged_person_is_named_and_left_out(multi_view, what):
    damage(multi_view / "p1", what)
    data = HeadData(multi_view, SIZES)
    assert data.layout.names == ["p0", "p2"]
    assert len(data.notes) == 1 and data.notes[0].startswith("p1 is left out") and data.notes[0].endswith(".")


@pytest.mark.parametrize(
    ("file", "sentence"),
    [("rgba", "cannot be read"), ("pose", "is missing"), ("flat", "no alpha"), ("wide", "square"), ("turn", "pose")],
)
def test_what_turns_out_damaged_later_is_replaced_by_the_next(multi_view, file, sentence):
    for view in range(4):
        picture, pose = multi_view / f"p1/rgba/{view:03d}.png", multi_view / f"p1/pose/{view:03d}.npy"
        if file == "rgba":
            picture.write_bytes(picture.read_bytes()[:60])
        elif file == "pose":
            pose.unlink()
        elif file == "turn":
            np.save(pose, np.zeros((3, 4)))
        else:
            Image.new("RGB" if file == "flat" else "RGBA", (64, 64) if file == "flat" else (64, 32)).save(picture)
    data = HeadData(multi_view, SIZES)
    views = data.batch([(1, [1]), (2, [1])])
    assert np.array_equal(views.landmarks[0], views.landmarks[1])
    assert len(data.notes) == 1 and "p1 is left out" in data.notes[0] and sentence in data.notes[0]


def test_nobody_left_is_an_error(multi_view, mono):
    for number in range(3):
        damage(multi_view / f"p{number}", "landmarks")
    with pytest.raises(InputError, match="nobody"):
        HeadData(multi_view, SIZES)
    shutil.rmtree(mono / "mask")
    data = HeadData(mono, Sizes(56, 48, 0, 4.0))
    with pytest.raises(InputError, match=r"Nobody.*mask"):
        data.batch([(0, [0])])


def test_mono_without_landmarks_is_named(mono):
    np.savez(mono / "lmks.npz", anna=np.ones((68, 2)), bert=np.ones((5, 2)))
    data = HeadData(mono, Sizes(56, 48, 0, 4.0))
    assert data.layout.names == ["anna"] and len(data.notes) == 2 and "carl" in data.notes[1]
    (mono / "lmks.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(FormatError, match="lmks"):
        HeadData(mono, SIZES)


def test_a_folder_without_either_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match="generate-heads"):
        HeadData(tmp_path, SIZES)


def test_too_few_people_to_hold_any_back(multi_view):
    with pytest.raises(InputError, match="held out"):
        PublishedTrainer(multi_view, preset(held_out=3), own_head(), network(preset()))


def test_colour_of_soft_edges_does_not_bleed(tmp_path):
    """A red disc whose hidden colour outside is green shows no green when it is made smaller."""
    image = np.zeros((64, 64, 4), np.uint8)
    image[..., 1] = 255
    image[16:48, 16:48] = (255, 0, 0, 255)
    Image.fromarray(image).save(tmp_path / "a.png")
    small = on_colour(read_rgba(tmp_path / "a.png", 20), 0.0)
    assert small[..., 1].max() < 0.02 and small[..., 0].max() > 0.98


def test_the_ball_is_where_its_landmarks_are():
    picture, landmarks = ball(frames.canonical_viewmat(), frames.intrinsics(64), 64)
    assert dot_in(np.asarray(picture)[..., 3].astype(float)) == pytest.approx(landmarks[30], abs=0.2)
