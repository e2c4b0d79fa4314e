# SPDX-License-Identifier: Apache-2.0
"""The published training on generated heads: both stages teach, stopping changes nothing, nothing bad gets in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from blendsplat.cli import app
from blendsplat.errors import BlendsplatError, Cancelled, FormatError, InputError
from blendsplat.heads.landmarks68 import landmarks68
from blendsplat.kaolrm import load_model
from blendsplat.kaolrm.model import head_vertices
from blendsplat.kaolrm.training.generate import Generation, generate
from blendsplat.kaolrm.training.objective import weighted_sum
from blendsplat.kaolrm.training.optimiser import CHECKPOINT, adamw, all_but_norms_and_biases
from blendsplat.kaolrm.training.presets import (
    ClosedFormPreset,
    LossWeights,
    PublishedPreset,
    SupervisedPreset,
    load_preset,
)
from blendsplat.kaolrm.training.train_published import MOST_SKIPPED, PublishedTrainer, network, train_published
from blendsplat.kaolrm.weights import CONFIG, WEIGHTS, save_model
from blendsplat.progress import Progress
from published_training import STAGE_1, STAGE_2, TINY, own_head, preset, write_multi_view

ROOT = Path(__file__).resolve().parents[3]
LAYOUTS = {"multi-view": ({}, 0.75), "mono": ({"side_views": 0, "model": {"focal": 4.0}}, 4.0)}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A folder of generated people per layout."""
    folders = {}
    for layout, (_, focal) in LAYOUTS.items():
        folders[layout] = tmp_path_factory.mktemp(layout)
        people = 3 if layout == "multi-view" else 2
        generate(own_head(), folders[layout], Generation(people, 3, 64, 5, layout, widest=40, focal=focal))
    return folders


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    """Data in no time, where only the course of the training matters."""
    directory = tmp_path_factory.mktemp("balls")
    for number in range(4):
        write_multi_view(directory / f"p{number}", views=3, seed=number)
    return directory


def trainer_on(folder, stage=None, **values):
    chosen = preset(**values)
    return PublishedTrainer(folder, chosen, own_head(), network(chosen), stage)


def terms_of(trainer, batch, weights):
    with torch.no_grad():
        return {name: float(term) for name, term in trainer.objective(batch, LossWeights(**weights), 0).items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stage_1_finds_the_head_and_stage_2_its_picture(people, layout):
    """On one batch: landmarks first; then the picture improves and the surfels bind to the mesh."""
    values = LAYOUTS[layout][0] | {"epochs": 1000, "stage_1_epochs": 500, "rate": 1e-2}
    trainer = trainer_on(people[layout], **values)
    batch = trainer.batch(0)
    before = terms_of(trainer, batch, STAGE_1)
    for _ in range(40):
        trainer.step(batch)
    after = terms_of(trainer, batch, STAGE_1)
    assert set(before) == {"landmarks", "shape", "expression", "alpha"}
    assert after["landmarks"] < 0.6 * before["landmarks"], (before, after)
    trainer.images = trainer.border
    before = terms_of(trainer, batch, STAGE_2)
    for _ in range(30):
        trainer.step(batch)
    after = terms_of(trainer, batch, STAGE_2)
    assert set(before) == {"landmarks", "shape", "expression", "pixel", "ssim", "depth", "normal"}
    for name, at_most in (("pixel", 0.9), ("ssim", 0.97), ("normal", 0.9)):
        assert after[name] < at_most * before[name], (name, before, after)
    assert after["depth"] < 2 * before["depth"]  # bound from the start: the points lie on the mesh


def test_the_true_head_has_the_landmarks_of_the_data(people):
    """Read back through cameras, sizes and normalisation, the people the data was made of fit it."""
    trainer = trainer_on(people["multi-view"])
    head, views = own_head(), trainer.data.batch([(0, [1]), (1, [2])])
    for person, (seed, name) in enumerate(zip((1, 2), trainer.data.layout.names, strict=False)):
        folder = people["multi-view"] / name
        with np.load(folder / "truth.npz") as archive:
            truth = {key: torch.from_numpy(archive[key])[None] for key in archive.files if key != "meta"}
        params = head.neutral()
        params.shape, params.expression, params.eyes_pose = truth["shape"], truth["expression"], truth["eyes_pose"]
        params.root_pose, params.jaw_pose = truth["pose"][:, :3], truth["pose"][:, 3:]
        points = landmarks68(head, head(params))[0] * truth["scale"] + truth["translation"]
        first = np.random.default_rng([seed]).permutation(3)[0]
        motion = torch.linalg.inv(views.viewmats[person, 0]) @ truth["viewmats"][0, first]
        moved = points @ motion[:3, :3].T + motion[:3, 3]
        camera = moved @ views.viewmats[person, 1, :3, :3].T + views.viewmats[person, 1, :3, 3]
        pixels = camera @ views.Ks[person, 1].T
        assert (pixels[:, :2] / pixels[:, 2:] - views.landmarks[person, 1]).abs().max() < 0.05


def test_stopped_and_resumed_is_the_same_as_at_one_go(balls, tmp_path):
    """Across the border of the stages, from the file."""
    whole = trainer_on(balls)
    while whole.images < whole.total:
        whole.step(whole.batch(whole.images))
    half = trainer_on(balls)
    while half.images < 4:
        half.step(half.batch(half.images))
    half.save_checkpoint(tmp_path / CHECKPOINT)
    rest = trainer_on(balls)
    rest.restore(tmp_path / CHECKPOINT)
    assert not rest.in_stage_2
    while rest.images < rest.total:
        rest.step(rest.batch(rest.images))
    assert rest.in_stage_2 and rest.images == whole.images == 12
    for one, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_each_stage_alone_and_what_is_written(balls, tmp_path):
    chosen = preset()
    first = train_published(balls, chosen, tmp_path, head="human", stage=1)
    assert first.stage == 1 and np.isfinite([first.landmark_pixels, first.psnr]).all()
    assert load_file(tmp_path / CHECKPOINT)["images"] == 6
    second = train_published(balls, chosen, tmp_path, head="human", stage=2)
    assert second.stage == 2 and load_file(tmp_path / CHECKPOINT)["images"] == 12
    answer = load_model(tmp_path).regress(torch.rand(1, 3, 56, 56))
    assert answer["shape"].shape == (1, 20)
    fresh = trainer_on(balls, stage=2)
    assert fresh.images == fresh.border and fresh.in_stage_2


def test_a_cancelled_training_keeps_its_files(balls, tmp_path):
    class Impatient(Progress):
        def update(self, stage, done, total, message="", **figures):
            self.cancelled = done >= 2

    with pytest.raises(Cancelled):
        train_published(balls, preset(), tmp_path, Impatient(), head="human")
    assert load_file(tmp_path / CHECKPOINT)["images"] == 2
    assert load_model(tmp_path).config.head == "human"


def test_gradients_that_are_not_finite_change_nothing(balls):
    trainer = trainer_on(balls, stage=2)
    batch = trainer.batch(0)
    batch.targets[0, 0, 3, 3] = float("nan")
    before = [p.clone() for p in trainer.model.parameters()]
    assert not np.isfinite(trainer.step(batch))
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    trainer.skipped = MOST_SKIPPED
    with pytest.raises(BlendsplatError, match="diverged"):
        trainer.step(batch)


def test_only_the_transformers_run_in_half_precision(balls):
    """Whatever a launcher sets round the objective: everything drawn and compared stays in float32."""
    trainer = trainer_on(balls, stage=2, precision="float32")
    views, weights = trainer.batch(0), trainer.preset.stage_2
    plain = trainer.objective(views, weights, 0)
    with torch.autocast("cpu", torch.bfloat16):
        wrapped = trainer.objective(views, weights, 0)
    for name, term in plain.items():
        assert torch.equal(term, wrapped[name]) and term.dtype == torch.float32, name
    with pytest.raises(InputError, match="nothing to learn"):
        weighted_sum(trainer.objective(views, LossWeights(), 0), LossWeights())


def test_damaged_checkpoints_and_other_presets_are_refused(balls, tmp_path):
    trainer_on(balls).save_checkpoint(tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="another preset"):
        trainer_on(balls, model={"transformer_dim": 8}).restore(tmp_path / CHECKPOINT)
    (tmp_path / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes()[:900])
    with pytest.raises(FormatError, match="damaged"):
        trainer_on(balls).restore(tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="float16"):
        trainer_on(balls, precision="float16")


def test_the_networks_head_is_told_by_its_arrays(balls):
    """A FLAME file may have any name; another model of the family is refused once the network knows its own."""
    few = preset(model={"head": "flame"})
    head = replace(own_head(), name="generic_model", family="flame")
    model = PublishedTrainer(balls, few, head, network(few)).model
    assert model.config.head_model == head.model_id
    other = replace(head, name="flame2023", expression_directions=head.expression_directions.flip(0))
    for refused in (other, replace(head, name="flame2023", family="")):
        with pytest.raises(InputError, match=r"'flame'.*'flame2023'"):
            PublishedTrainer(balls, few, refused, model if refused is other else network(few))


def test_training_starts_from_openlrm_and_from_kaolrm(tmp_path):
    """OpenLRM gives all but the decoders, whose sizes are the preset's; a KaoLRM everything but the focal length."""
    source = network(preset(seed=3))
    save_model(tmp_path, source)
    kao = network(preset(model={"focal": 4.0}), tmp_path)
    assert kao.config.focal == 4.0
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), kao.parameters(), strict=True))

    tensors = {k: v for k, v in load_file(tmp_path / WEIGHTS).items() if "_decoder." not in k}
    save_file(tensors | {"synthesizer.decoder.net.0.weight": torch.zeros(64, 144)}, tmp_path / WEIGHTS)
    config = json.loads((tmp_path / CONFIG).read_text())
    for name in ("shape_count", "expression_count", "flame_widths", "gaussian_width", "head"):
        config.pop(name)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    lrm = network(preset(model={"shape_count": 11, "focal": 4.0}), tmp_path)
    assert lrm.config.shape_count == 11 and lrm.config.focal == 4.0 and lrm.config.head == "human"
    assert torch.equal(lrm.pos_embed, source.pos_embed)
    assert all(p.requires_grad for p in lrm.parameters())


def test_untrained_heads_fill_the_frame_whatever_the_focal_length():
    """A head of our own's size is about as large in a portrait's long camera as in the published one."""
    spans = []
    for focal in (0.75, 4.0):
        model = network(preset(model={"focal": focal}))
        points = head_vertices(model.regress(torch.rand(1, 3, 56, 56)), own_head(), focal)[0]
        spans.append(float((points[:, 1].max() - points[:, 1].min()) * focal / 2))
    assert 0.4 < spans[0] < 0.9 and spans[1] == pytest.approx(spans[0], rel=0.05)


def test_weight_decay_spares_norms_and_biases_only():
    model = network(preset())
    decayed, rest = (
        group["params"] for group in adamw(model, 1e-3, 0.05, all_but_norms_and_biases(model)).param_groups
    )
    spared = {id(p) for p in rest}
    norms = [p for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()]
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert spared == {id(p) for p in norms + biases}
    assert len(decayed) + len(rest) == len(list(model.parameters()))


def test_the_users_perceptual_weights_are_used(balls, test_data):
    trainer = trainer_on(balls, stage=2, lpips_weights=str(test_data("perceptual/lpips_squeeze.npz")), render_size=64)
    views = trainer.batch(0)
    terms = trainer.objective(views, LossWeights(lpips=1.0), 0)
    assert set(terms) == {"lpips"} and 0.01 < terms["lpips"].item() < 2
    terms["lpips"].backward()
    assert trainer.model.gaussian_decoder.decoder["net"][-1].weight.grad.abs().max() > 0
    assert not any("lpips" in name for name, _ in trainer.objective.named_buffers())


def test_a_frozen_transformer_stays_while_the_camera_embedder_learns(balls):
    trainer = trainer_on(balls, freeze_transformer=True)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.step(trainer.batch(0))
    moved = {n.split(".")[0] for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"camera_embedder", "flame_decoder", "gaussian_decoder"}


def test_shipped_presets_hold_the_published_values(tmp_path):
    multi, mono = load_preset("multi-view"), load_preset("mono")
    assert isinstance(multi, PublishedPreset) and isinstance(mono, PublishedPreset)
    assert multi.stage_1 == mono.stage_1 == LossWeights(**STAGE_1)
    assert multi.stage_2 == LossWeights(**STAGE_2)
    assert mono.stage_2 == LossWeights(**STAGE_2 | {"pixel": 0.1, "lpips": 0.1, "ssim": 0.1})
    assert (multi.epochs, multi.batch, multi.side_views) == (300, 16, 3)
    assert (mono.epochs, mono.batch, mono.side_views, mono.model.focal) == (200, 32, 0, 4.0)
    assert (multi.rate, multi.weight_decay, multi.clip, multi.warm_up_steps) == (4e-4, 0.05, 1.0, 3000)
    assert load_preset("multi-view", {"stage_2.lpips": "0", "epochs": "7"}).stage_2.lpips == 0
    assert isinstance(load_preset("small"), ClosedFormPreset) and isinstance(load_preset("descent"), SupervisedPreset)
    for overrides, named in (
        ({"stage_2.lpipz": "1"}, "lpipz"),
        ({"method": "magic"}, "magic"),
        ({"rate.x": 1}, "rate"),
    ):
        with pytest.raises(InputError, match=named):
            load_preset("multi-view", overrides)


def as_toml(values: dict) -> str:
    plain = [f"{k} = {json.dumps(v)}" for k, v in values.items() if not isinstance(v, dict)]
    tables = [f"[{k}]\n{as_toml(v)}" for k, v in values.items() if isinstance(v, dict)]
    return "\n".join(plain + tables)


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(as_toml(preset().model_dump(mode="json", exclude={"model"}) | {"model": TINY}))
    return path


def test_the_command_trains_and_names_who_is_left_out(toml, tmp_path):
    for number in range(4):
        write_multi_view(tmp_path / f"data/p{number}", views=3, seed=number)
    (tmp_path / "data/p2/lmks2d.npy").write_bytes(b"nothing")
    command = ["train-kaolrm", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--preset", str(toml), "--stage", "1"])
    assert done.exit_code == 0, done.output
    assert "p2 is left out" in done.output and "Held-out landmarks" in done.output
    refused = CliRunner().invoke(app, [*command, "--preset", "small", "--stage", "1"])
    assert refused.exit_code == 2


@pytest.mark.slow
@pytest.mark.skipif(find_spec("accelerate") is None, reason="needs accelerate (the extra train)")
def test_two_processes_train_together(balls, toml, tmp_path):
    """They start equal, take different people, and one file comes out; every step counts both batches."""
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "blendsplat"]
    job = ["train-kaolrm", str(balls), "-o", str(tmp_path / "out"), "--preset", str(toml), "--device", "cpu", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "engine"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launch, *job], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(results) == 1 and np.isfinite(results[0]["landmark_pixels"])
    assert load_file(tmp_path / "out" / CHECKPOINT)["images"] == 12
    steps = [v for k, v in load_file(tmp_path / "out" / CHECKPOINT).items() if k.endswith(".step")]
    assert {float(s) for s in steps} == {3.0}  # 12 people seen, 2 processes of 2 people each
