# SPDX-License-Identifier: Apache-2.0
"""What a head is comes from its arrays: families and model ids whatever the file is called; others are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.avatars.rig import head_of_rig, rig_arrays
from blendsplat.errors import InputError
from blendsplat.heads import load_head
from blendsplat.heads.families import family_of_vertices, model_id
from blendsplat.heads.flame import load_flame
from blendsplat.heads.load import load_head_of
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, check_same_head, same_head
from make_pickles import flame_arrays, write_flame
from synthetic_head import make_truth
from tiny_clip import tiny_head, tiny_tracking

EARLIER = Path(__file__).parents[1] / "support" / "earlier_head"


def other_model(head: HeadModel) -> HeadModel:
    """As FLAME 2023 is to 2020: every count and name is equal, the expressions are others."""
    return replace(head, name="tiny2", expression_directions=head.expression_directions.flip(0).contiguous())


def test_flame_is_recognised_under_any_name(tmp_path: Path) -> None:
    write_flame(tmp_path / "generic_model.pkl")
    write_flame(tmp_path / "flame2020.pkl")
    write_flame(tmp_path / "flame2023.pkl", flame_arrays(seed=1))
    generic, same, other = (
        load_flame(tmp_path / f"{name}.pkl", 6) for name in ("generic_model", "flame2020", "flame2023")
    )
    assert generic.family == same.family == other.family == "flame"
    assert generic.model_id == same.model_id != other.model_id


def test_the_shipped_head_and_facekit_have_families(test_data) -> None:
    assert load_head("human", landmarks=False).family == "human"
    head = load_head(test_data("heads/ict_facekit/ict_facekit_packed.npz"), landmarks=False)
    assert head.family == "ict" == family_of_vertices(head.vertex_count)


def test_families_are_told_from_counts() -> None:
    assert family_of_vertices(load_head("human", landmarks=False).vertex_count) == "human"
    assert family_of_vertices(5023) == family_of_vertices(5083) == "flame" and family_of_vertices(48) == ""


def test_the_head_of_earlier_versions_is_a_family_and_no_choice() -> None:
    assert family_of_vertices(6430) == "builtin"
    with pytest.raises(InputError, match=r"'builtin' of earlier versions is no longer made.*again.*'human'"):
        load_head("builtin")


@pytest.mark.parametrize("told", ["builtin", ""])
def test_its_tracked_clips_and_photographs_say_that_they_must_be_made_again_and_how(told: str) -> None:
    """Files older than head_family are known by their number of vertices."""
    earlier = replace(Performance.load(EARLIER / "tracking.npz"), head_family=told)
    with pytest.raises(
        InputError, match=r"no longer made.*Track Head.*track FOLDER --head human.*Fit Again.*fit-image"
    ):
        load_head_of(earlier)
    with pytest.raises(InputError, match=r"no longer made"):
        load_head_of(earlier.select([0]))


def test_a_tracked_clip_of_today_gives_its_head() -> None:
    head = load_head("human", landmarks=False)
    assert load_head_of(replace(make_truth(head, 2), head_source="human")) is head


def test_the_model_stays_when_the_person_changes() -> None:
    head = tiny_head()
    person = head.personalise(torch.ones(head.shape_count), torch.full_like(head.template, 0.01), "somebody")
    assert person.model_id == head.model_id == head.to("cpu", torch.float64).model_id
    meta = {"head": "x", "expression_names": head.expression_names, "expression_range": head.expression_range}
    assert head_of_rig(meta, rig_arrays(person)).model_id == head.model_id
    assert other_model(head).model_id != head.model_id
    assert replace(head, faces=head.faces.flip(0)).model_id != head.model_id


def test_the_id_is_the_addons() -> None:
    """tests/blender/test_rigs.py has the same number."""
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    directions = (np.arange(24).reshape(2, 4, 3) * 1.5e-6 - 1e-5).astype(np.float32)
    assert model_id(faces, directions) == "0edcd38e44ad4615"


def test_heads_of_equal_counts_are_told_apart() -> None:
    head = tiny_head()
    tracked = tiny_tracking(other_model(head), 2)
    assert not same_head(head, tracked) and same_head(other_model(head), tracked)
    with pytest.raises(InputError, match=r"'tiny2'.*'tiny'"):
        check_same_head(head, tracked)


def test_older_files_are_compared_by_counts_and_names(tmp_path: Path) -> None:
    head = tiny_head()
    older = replace(tiny_tracking(head, 2), head="another name", head_model="", head_family="")
    check_same_head(head, older)
    for change in (
        {"expression_names": ("a", "b", "c")},
        {"vertex_offsets": np.zeros((9, 3))},
        {"expression": np.zeros((2, 4))},
    ):
        with pytest.raises(InputError, match="another name"):
            check_same_head(head, replace(older, **change))


def test_performances_carry_their_head(tmp_path: Path) -> None:
    tracked = replace(tiny_tracking(tiny_head(), 2), head_family="flame")
    tracked.save(tmp_path / "tracking.npz")
    again = Performance.load(tmp_path)
    assert (again.head_model, again.head_family) == (tiny_head().model_id, "flame")
    unnamed = replace(tracked, head_model="", head_family="", vertex_offsets=np.zeros((5083, 3), np.float32))
    assert unnamed.family == "flame"


def test_a_head_file_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "generic_model.pkl"
    write_flame(path, flame_arrays(identities=300))
    head = load_head(path, landmarks=False)
    tracked = replace(tiny_tracking(head, 2), head_source=str(path))
    assert load_head_of(tracked).model_id == head.model_id
    write_flame(path, flame_arrays(seed=1, identities=300))
    with pytest.raises(InputError, match="is another one now"):
        load_head_of(tracked)
