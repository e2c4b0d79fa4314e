# SPDX-License-Identifier: Apache-2.0
"""Generated people: the files of the published layouts, cameras and landmarks that agree with the pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from blendsplat.errors import InputError
from blendsplat.geometry import matrix_to_rotvec, project_points, rotvec_to_matrix
from blendsplat.heads import load_head
from blendsplat.heads.landmarks68 import landmarks68
from blendsplat.kaolrm import conventions as frames
from blendsplat.kaolrm.training.generate import Generation, generate, straight
from blendsplat.synthetic.people import random_person

SIZE = 64


@pytest.fixture(scope="module")
def head():
    return load_head("human")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, head):
    directory = tmp_path_factory.mktemp("heads")
    assert generate(head, directory, Generation(2, views=3, size=SIZE, seed=4)) == 2
    return directory


def person_folders(folder):
    return [folder / uid for uid in json.loads((folder / "uids.json").read_text())]


def truth_of(folder):
    with np.load(folder / "truth.npz", allow_pickle=False) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files if name != "meta"}


def params_of(head, truth):
    params = head.neutral()
    params.shape, params.expression = truth["shape"][None], truth["expression"][None]
    params.root_pose, params.jaw_pose = truth["pose"][None, :3], truth["pose"][None, 3:]
    params.eyes_pose = truth["eyes_pose"][None]
    return params


def test_published_files_are_there(folder):
    for person in person_folders(folder):
        assert sorted(path.name for path in (person / "rgba").iterdir()) == ["000.png", "001.png", "002.png"]
        assert np.load(person / "pose" / "002.npy").shape == (3, 4)
        assert np.load(person / "intrinsics.npy").shape == (3, 2)
        assert np.load(person / "lmks2d.npy").shape == (3, 68, 2)
        image = Image.open(person / "rgba" / "000.png")
        assert image.mode == "RGBA" and image.size == (SIZE, SIZE)


def test_parameters_and_cameras_explain_the_landmarks(folder, head):
    """From the files alone: pose -> camera, truth -> vertices -> projected landmarks."""
    for person in person_folders(folder):
        truth = truth_of(person)
        points = landmarks68(head, head(params_of(head, truth))) * truth["scale"] + truth["translation"]
        K = np.load(person / "intrinsics.npy")
        K = torch.tensor([[K[0, 0], 0, K[1, 0]], [0, K[0, 1], K[1, 1]], [0, 0, 1]], dtype=torch.float32)
        for view in range(3):
            viewmat = frames.viewmat_of_pose(np.load(person / "pose" / f"{view:03d}.npy"))
            pixels = project_points(points, torch.tensor(viewmat, dtype=torch.float32)[None], K[None])[0]
            expected = np.load(person / "lmks2d.npy")[view]
            assert np.abs(pixels.numpy() - expected).max() < 0.05


def test_the_head_stands_where_the_landmarks_are(folder):
    """Nose and lips lie on the silhouette in every view: the picture is drawn by the same cameras."""
    for person in person_folders(folder):
        for view, points in enumerate(np.load(person / "lmks2d.npy")):
            alpha = np.asarray(Image.open(person / "rgba" / f"{view:03d}.png"))[..., 3]
            near = [
                alpha[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].max()
                for column, row in points[27:].astype(int).clip(0, SIZE - 1)
            ]
            assert np.mean(np.array(near) > 100) > 0.95
            assert 0.05 < (alpha > 127).mean() < 0.7


def test_same_seed_same_person_and_others_differ(head):
    first, again, other = (random_person(head, np.random.default_rng(seed), 32) for seed in (1, 1, 2))
    assert torch.equal(first.params.shape, again.params.shape) and torch.equal(first.drawn, again.drawn)
    assert torch.equal(first.texture, again.texture) and first.light == again.light
    assert not torch.equal(first.params.shape, other.params.shape)


def test_a_stopped_run_continues(tmp_path, head, monkeypatch):
    job = Generation(2, views=1, size=32, seed=9)
    generate(head, tmp_path, Generation(1, views=1, size=32, seed=9))
    before = (tmp_path / "0009_000000" / "rgba" / "000.png").stat().st_mtime_ns
    assert generate(head, tmp_path, job) == 1
    assert (tmp_path / "0009_000000" / "rgba" / "000.png").stat().st_mtime_ns == before


def test_mono_layout(tmp_path, head):
    generate(head, tmp_path, Generation(1, seed=3, layout="mono"))
    assert Image.open(tmp_path / "rgba" / "0003_000000.png").size == (512, 512)
    mask = Image.open(tmp_path / "mask" / "0003_000000.png")
    alpha = np.asarray(Image.open(tmp_path / "rgba" / "0003_000000.png").getchannel("A")) > 0
    face = np.asarray(mask) > 127
    assert mask.mode == "L" and not (face & ~alpha).any() and 0.02 < face.sum() / alpha.sum() < 0.7
    assert np.load(tmp_path / "lmks.npz")["0003_000000"].shape == (68, 2)


@pytest.mark.parametrize("job", [Generation(0), Generation(1, layout="both"), Generation(1, size=4)])
def test_nonsense_is_refused(tmp_path, head, job):
    with pytest.raises(InputError):
        generate(head, tmp_path, job)


def test_canonical_camera_gives_the_published_vector():
    vector = frames.camera_vector(frames.canonical_viewmat())
    assert np.allclose(vector, [1, 0, 0, 0, 0, 0, -1, -2, 0, 1, 0, 0, 0.75, 0.75, 0.5, 0.5])


def test_poses_survive_both_conversions(folder):
    pose = np.load(person_folders(folder)[0] / "pose" / "000.npy")
    assert np.allclose(frames.blender_pose(frames.viewmat_of_pose(pose)), pose, atol=1e-6)  # as orthogonal as float32


def test_normalising_moves_world_and_cameras_together(folder, head):
    """Projections do not change, the first camera becomes canonical, and moved parameters give the moved vertices."""
    person = person_folders(folder)[1]
    truth = truth_of(person)
    viewmats = np.stack([frames.viewmat_of_pose(np.load(person / "pose" / f"{view:03d}.npy")) for view in range(3)])
    moved_views, motion = frames.normalise_views(viewmats)
    assert np.allclose(moved_views[0][:3, :3], np.diag([1, -1, -1]), atol=1e-6)
    assert np.allclose(moved_views[0][:2, 3], 0, atol=1e-6)
    params = params_of(head, truth)
    params.root_pose = torch.tensor([[0.1, -0.3, 0.05]])
    vertices = head(params)[0] * truth["scale"] + truth["translation"]
    rotation, translation = frames.move_parameters(
        rotvec_to_matrix(params.root_pose)[0].numpy(), truth["translation"].numpy(), float(truth["scale"]),
        truth["root_joint"].numpy(), motion,
    )  # fmt: skip
    params.root_pose = matrix_to_rotvec(torch.tensor(rotation, dtype=torch.float32))[None]
    again = head(params)[0] * truth["scale"] + torch.tensor(translation, dtype=torch.float32)
    expected = vertices @ torch.tensor(motion[:3, :3].T, dtype=torch.float32) + torch.tensor(motion[:3, 3]).float()
    assert (again - expected).abs().max() < 2e-4


def test_straight_alpha_keeps_colour_at_soft_edges():
    rgba = np.array([[[0.25, 0.1, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]]], np.float32)
    assert straight(rgba).tolist() == [[[128, 51, 0, 128], [0, 0, 0, 0]]]
