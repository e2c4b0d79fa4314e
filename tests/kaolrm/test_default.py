# SPDX-License-Identifier: Apache-2.0
"""The weights that ship: they load by themselves, are small, meet people they have never seen better than the mean face
does, and name themselves when they are damaged. And the method that made them: what it writes is what it solved."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from blendsplat.errors import FormatError, InputError
from blendsplat.fitting.face_crop import framing, tilt_of, uprighted
from blendsplat.heads import load_head
from blendsplat.heads.landmarks68 import OF_478
from blendsplat.kaolrm import KaoLRM, load_model
from blendsplat.kaolrm import weight_catalogue as catalogue
from blendsplat.kaolrm.training.closed_form import edge_features, initialise_edges, ridge, write_decoder
from blendsplat.kaolrm.training.fit_closed_form import fit_closed_form, unsplit
from blendsplat.kaolrm.training.generate import Generation, generate
from blendsplat.kaolrm.training.generated_dataset import GeneratedViews
from blendsplat.kaolrm.training.presets import ClosedFormPreset, load_preset
from blendsplat.kaolrm.training.train_supervised import score_of
from blendsplat.kaolrm.weight_catalogue import CATALOGUE, DEFAULT, find_shipped


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Twelve people of another seed than those that the weights were made from."""
    directory = tmp_path_factory.mktemp("unseen")
    generate(load_head("human"), directory, Generation(12, views=3, size=224, seed=77, widest=30, focal=4.0))
    return directory


def test_it_loads_without_a_name_and_is_small():
    model, head = load_model(), load_head("human")
    files = {path.name: path.stat().st_size for path in find_shipped().iterdir()}
    assert {"model.safetensors", "config.json", "LICENSE"} <= set(files) and sum(files.values()) < 40e6
    assert model.config.head == head.name
    assert (model.config.shape_count, model.config.expression_count) == (head.shape_count, head.expression_count)
    assert model.config == load_preset("small").model
    entry = next(entry for entry in CATALOGUE if entry.name == DEFAULT)
    assert entry.licence == "Apache-2.0" and entry.folder == find_shipped()


def test_it_meets_unseen_people_better_than_the_mean_face(people):
    model = load_model()
    data = GeneratedViews(people, 224, model.config.framing_share)
    score = score_of(model, data, data.views(), load_head("human"), seed=0)
    assert score.error_mm < 0.93 * score.mean_face_mm, score


def test_the_default_that_is_damaged_names_itself(tmp_path, monkeypatch):
    folder = tmp_path / "default"
    shutil.copytree(find_shipped(), folder)
    monkeypatch.setattr(catalogue, "_SHIPPED", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(FormatError, match="ship with Blendsplat, are damaged"):
        load_model()
    weights.unlink()
    with pytest.raises(FormatError, match="ship with Blendsplat, are damaged"):
        load_model()
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="install it again"):
        load_model()


def test_the_initialised_planes_hold_oriented_edges():
    """A step from dark to bright along x is seen by the directions along x, at its own column, and by no other."""
    model = KaoLRM(load_preset("small").model).eval()
    initialise_edges(model)
    picture = torch.full((2, 3, 224, 224), 0.5)
    picture[1, :, :, 120:] = 0.8
    planes = edge_features(model, picture).reshape(2, 3, 14, 2, 14, 2)
    change = (planes[1] - planes[0]).permute(0, 2, 4, 1, 3).reshape(12, 14, 14)  # plane and slot: the direction
    assert change[0, 7, 7] > 0.5 and change[0, 7, 7] > 3 * change[0, 7, 2].abs() and change[6, 7, 7] < 0.2


def test_the_decoder_is_the_map_that_was_solved():
    model = KaoLRM(load_preset("small").model).eval()
    count = model.config.parameter_count
    features = torch.randn(400, 2352)
    targets = features[:, :count] * 0.3 + 0.01 * torch.randn(400, count)
    weight, bias = ridge(features, targets, 1e-3)
    write_decoder(model, weight, bias)
    want = features @ weight + bias
    with torch.no_grad():
        assert (model.flame_decoder(features) - want).abs().max() < 1e-3 * want.abs().max()
    with pytest.raises(InputError, match=f"at least {2 * count}"):
        narrow = load_preset("small").model.model_copy(update={"flame_widths": (100, 320, 320)})
        write_decoder(KaoLRM(narrow), weight, bias)


def test_solving_reads_every_picture_and_writes_what_load_model_reads(people, tmp_path):
    preset = ClosedFormPreset(method="solve", held_out=2, model=load_preset("small").model)
    score = fit_closed_form(people, preset, tmp_path)
    assert np.isfinite([score.error_mm, score.wobble]).all()
    model = load_model(tmp_path)
    data = GeneratedViews(people, 224, model.config.framing_share)
    batch = data.batch(data.views(0, 10, 55.0)[1:4], np.random.default_rng(3))
    yaw = model.regress(batch.images)["pose"][:, 1]
    assert (yaw - batch.coefficients["pose"][:, 1]).abs().mean() < 0.2  # of people it was made from
    raw = torch.rand(3, model.config.parameter_count) + 0.5
    split = raw.clone()
    place = model.config.shape_count + model.config.expression_count + 6
    split[:, place] = torch.nn.functional.softplus(raw[:, place])
    assert torch.allclose(unsplit(split, model), raw, atol=1e-5)


def test_sizes_that_cannot_start_from_edges_are_refused():
    with pytest.raises(InputError, match="cannot start from edges"):
        initialise_edges(KaoLRM(load_preset("small").model.model_copy(update={"transformer_heads": 2})))


@pytest.mark.parametrize("degrees", [-25.0, 0.0, 12.0])
def test_a_tilted_head_is_read_upright(degrees):
    from blendsplat.fitting.face_crop import _rest_points

    rest = _rest_points()
    points = np.stack([256 + 900 * rest[:, 0], 256 - 900 * rest[:, 1]], 1)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    middle = points.mean(0)
    tilted = (points - middle) @ np.array([[c, s], [-s, c]]) + middle  # clockwise: pictures have y down
    assert np.degrees(tilt_of(tilted)) == pytest.approx(degrees, abs=0.1)
    left, top, side = framing(tilted, 0.6)
    picture = np.ones((300, 300, 3), np.float32)
    x, y = ((tilted[10] - [left, top]) / side * 300).astype(int)
    picture[y - 3 : y + 4, x - 3 : x + 4] = 0  # the top of the brow
    rows, columns = np.nonzero(uprighted(picture, tilted)[..., 0] < 0.5)
    want = (points[10] - points[OF_478].mean(0)) / side * 300 + 150
    assert np.abs([columns.mean() + 0.5 - want[0], rows.mean() + 0.5 - want[1]]).max() < 2
