# SPDX-License-Identifier: Apache-2.0
"""FLAME folders as users have them: embeddings of every program, generous masks, metrical-tracker's lids, damage."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from blendsplat.heads.flame import load_flame
from blendsplat.heads.model import HeadModel
from flame_person import FULL, FULL_WITH_EYES, STATIC, STATIC_WITH_EYES, FlamePerson, flame_person

MM = 1e-3


@pytest.fixture(scope="module")
def person() -> FlamePerson:
    return flame_person()


def load(person: FlamePerson, folder: Path) -> HeadModel:
    return load_flame(person.write(folder), identities=person.identities)


@pytest.fixture(scope="module")
def bare(person: FlamePerson, tmp_path_factory) -> HeadModel:
    """The head from the pickle alone."""
    return load(person, tmp_path_factory.mktemp("bare"))


def teeth(head: HeadModel) -> np.ndarray:
    return head.template[np.concatenate([head.regions["teeth_upper"], head.regions["teeth_lower"]])].numpy()


def lips_middle(person: FlamePerson) -> np.ndarray:
    return (person.points[62] + person.points[66]) / 2


def assert_behind_the_lips(head: HeadModel, person: FlamePerson) -> None:
    away = teeth(head) - lips_middle(person)
    assert -10 * MM < away[:, 2].max() < -5 * MM  # a lip's thickness, neither before them nor in the throat
    assert np.abs(away[:, 1]).max() < 12 * MM and np.abs(away[:, 0].mean()) < 1 * MM
    width = np.abs(person.points[64, 0] - person.points[60, 0])
    assert 0.5 * width < np.ptp(away[:, 0]) < 0.8 * width


@pytest.mark.parametrize("count", [STATIC, STATIC_WITH_EYES, FULL])
def test_teeth_stand_behind_the_lips_by_every_embedding(person, tmp_path, capsys, count: int) -> None:
    person.write_landmarks(tmp_path, count)
    assert_behind_the_lips(load(person, tmp_path), person)
    assert not capsys.readouterr().err


def test_vhaps_whole_file(person, bare, tmp_path, capsys) -> None:
    """Its name, its 53 static and 70 full points, both of which end with eyes; and the full ones alone."""
    path = tmp_path / "landmark_embedding_with_eyes.npy"
    person.write_embedding(path, static=slice(17, 70), full=slice(0, FULL_WITH_EYES))
    both = load(person, tmp_path)
    assert_behind_the_lips(both, person)
    person.write_embedding(path, full=slice(0, FULL_WITH_EYES))
    np.testing.assert_array_equal(teeth(load(person, tmp_path)), teeth(both))
    person.write_embedding(path, static=slice(17, 57), full=slice(0, FULL))  # static ones of an unknown count
    np.testing.assert_array_equal(teeth(load(person, tmp_path)), teeth(both))
    assert not capsys.readouterr().err
    assert not np.array_equal(teeth(both), teeth(bare))  # it is read, not passed over


@pytest.mark.parametrize("count", [52, 60, 70 - 17 + 1])
def test_another_count_is_told_and_left_out(person, bare, tmp_path, capsys, count: int) -> None:
    rows = np.arange(count) % 68
    person.write_embedding(tmp_path / "landmark_embedding.npy", static=rows)
    np.testing.assert_array_equal(teeth(load(person, tmp_path)), teeth(bare))
    told = capsys.readouterr().err
    assert "landmark_embedding.npy" in told and f"{count} points" in told and "51, 53 or 68" in told


def test_an_embedding_of_another_mesh_is_told(person, bare, tmp_path, capsys) -> None:
    other = FlamePerson(**(vars(person) | {"faces": person.faces + len(person.arrays["f"])}))
    other.write_landmarks(tmp_path, STATIC)
    np.testing.assert_array_equal(teeth(load(person, tmp_path)), teeth(bare))
    assert "faces that the head does not have" in capsys.readouterr().err
    for content in (np.arange(9), np.array({"lmk_face_idx": 1}, dtype=object), np.array("text", dtype=object)):
        np.save(tmp_path / "landmark_embedding.npy", content, allow_pickle=True)
        np.testing.assert_array_equal(teeth(load(person, tmp_path)), teeth(bare))
        assert "landmark_embedding.npy" in capsys.readouterr().err
    (tmp_path / "landmark_embedding.npy").write_bytes(b"torn")
    np.testing.assert_array_equal(teeth(load(person, tmp_path)), teeth(bare))
    assert "landmark_embedding.npy" in capsys.readouterr().err
    person.write_landmarks(tmp_path, STATIC_WITH_EYES, "landmark_embedding_with_eyes.npy")  # a good one beside it
    assert_behind_the_lips(load(person, tmp_path), person)


def test_lips_are_what_lies_inside_their_outline(person, tmp_path) -> None:
    person.write_landmarks(tmp_path, STATIC_WITH_EYES)
    lips = load(person, tmp_path).regions["lips"]
    points, vertices = person.points[48:60], person.arrays["v_template"]
    assert len(lips) > 100 and np.isin(lips, person.lips).mean() > 0.98
    margin = 0.05 * np.ptp(points, axis=0) / 2 + 1e-6
    for axis in range(2):
        assert (vertices[lips, axis] > points[:, axis].min() - margin[axis]).all()
        assert (vertices[lips, axis] < points[:, axis].max() + margin[axis]).all()
    assert (vertices[lips, 2] > points[:, 2].min() - 12 * MM).all()
    for corner in (54, 48, 51, 57):  # both corners, the middle of either lip
        assert np.linalg.norm(vertices[lips] - person.points[corner], axis=1).min() < 3 * MM


@pytest.mark.parametrize("landmarks", [False, True])
def test_generous_masks_change_no_lip(person, bare, tmp_path, landmarks: bool) -> None:
    if landmarks:
        person.write_landmarks(tmp_path, STATIC_WITH_EYES)
    without = load(person, tmp_path) if landmarks else bare
    generous = person.around_the_mouth(16 * MM)
    assert len(generous) > 1.5 * len(person.lips)
    person.write_masks(tmp_path, generous)
    masked = load(person, tmp_path)
    np.testing.assert_array_equal(masked.regions["lips"], without.regions["lips"])
    np.testing.assert_array_equal(masked.template, without.template)
    np.testing.assert_array_equal(masked.shape_directions, without.shape_directions)
    assert len(masked.regions["face"]) > len(without.regions["face"])  # the other regions are the masks'


@pytest.mark.parametrize("masks", [["lips"], {"face": "text"}, {"face": [[1], [2, 3]]}, 7])
def test_masks_that_are_none_are_told(person, bare, tmp_path, capsys, masks) -> None:
    (tmp_path / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, 2))
    np.testing.assert_array_equal(load(person, tmp_path).regions["face"], bare.regions["face"])
    assert "FLAME_masks.pkl" in capsys.readouterr().err


def write_lids(folder: Path, left: np.ndarray, right: np.ndarray) -> None:
    np.save(folder / "l_eyelid.npy", left)
    np.save(folder / "r_eyelid.npy", right)


@pytest.mark.parametrize("swapped", [False, True])
def test_metrical_trackers_lids_are_read(person, bare, tmp_path, capsys, swapped: bool) -> None:
    """In metres, times 0 to 1; whoever is called left, the first closes the person's left eye."""
    lids = person.lids[::-1] if swapped else person.lids
    write_lids(tmp_path, *lids.astype(np.float32))
    head = load(person, tmp_path)
    count = person.lids.shape[1]
    np.testing.assert_allclose(head.eyelid_directions[:, :count], person.lids, atol=1e-7)
    assert not head.eyelid_directions[:, count:].any() and not capsys.readouterr().err  # teeth stay
    params = head.neutral()
    params.eyelids[0, 0] = 0.5
    moved = (head(params) - head(head.neutral()))[0].numpy()
    assert moved[:, 1].min() == pytest.approx(-4.5 * MM, abs=1e-6)
    assert (head.template[np.abs(moved).max(1) > 1e-6, 0] > 0).all()
    assert bare.eyelid_directions.any() and not np.allclose(bare.eyelid_directions, head.eyelid_directions)


BROKEN = {
    "shape": lambda lids: (lids[0][:-1], lids[1]),
    "one row too many": lambda lids: (lids[0], lids[1][None]),
    "not finite": lambda lids: (np.where(lids[0] < 0, np.nan, lids[0]), lids[1]),
    "text": lambda lids: (np.full(lids[0].shape, "open"), lids[1]),
    "twice the same": lambda lids: (lids[0], lids[0]),
    "nothing": lambda lids: (lids[0], lids[1] * 0),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_lids_that_cannot_be_are_told(person, bare, tmp_path, capsys, what: str) -> None:
    write_lids(tmp_path, *BROKEN[what](person.lids))
    np.testing.assert_array_equal(load(person, tmp_path).eyelid_directions, bare.eyelid_directions)
    told = capsys.readouterr().err
    assert "_eyelid.npy" in told and "geometry" in told


def test_one_lid_alone_is_told(person, bare, tmp_path, capsys) -> None:
    write_lids(tmp_path, *person.lids)
    (tmp_path / "l_eyelid.npy").unlink()
    np.testing.assert_array_equal(load(person, tmp_path).eyelid_directions, bare.eyelid_directions)
    assert "l_eyelid.npy" in capsys.readouterr().err
    (tmp_path / "l_eyelid.npy").write_bytes(b"torn")
    np.testing.assert_array_equal(load(person, tmp_path).eyelid_directions, bare.eyelid_directions)
    assert "l_eyelid.npy" in capsys.readouterr().err
