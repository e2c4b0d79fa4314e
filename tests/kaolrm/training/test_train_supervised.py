# SPDX-License-Identifier: Apache-2.0
"""Teaching from generated people: the canonical truth projects onto the pictures; training learns, stops, resumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blendsplat.errors import FormatError, InputError
from blendsplat.geometry import project_points
from blendsplat.heads import load_head
from blendsplat.heads.landmarks68 import landmarks68
from blendsplat.kaolrm.conventions import canonical_viewmat, intrinsics
from blendsplat.kaolrm.model import KaoLRM, head_vertices
from blendsplat.kaolrm.training.augment import SHIFT, ZOOM, turn_image, turned_camera
from blendsplat.kaolrm.training.generate import Generation, generate
from blendsplat.kaolrm.training.generated_dataset import COEFFICIENTS, GeneratedViews, SourceView
from blendsplat.kaolrm.training.optimiser import CHECKPOINT, learning_rate, shuffled
from blendsplat.kaolrm.training.parameter_loss import ParameterLoss, aligned
from blendsplat.kaolrm.training.presets import SupervisedPreset, load_preset
from blendsplat.kaolrm.training.train_supervised import SupervisedTrainer, train_supervised, wobble
from blendsplat.kaolrm.triplane import plane_means
from blendsplat.kaolrm.weights import load_model

SIZE = 56
TINY = {
    "head": "human", "shape_count": 81, "expression_count": 43, "camera_embed_dim": 8, "transformer_dim": 16,
    "transformer_layers": 1, "transformer_heads": 2, "triplane_low_res": 2, "triplane_high_res": 4, "triplane_dim": 4,
    "encoder_model_name": "custom", "encoder_feat_dim": 16, "encoder_layers": 1, "encoder_heads": 2,
    "encoder_patch": 28, "encoder_grid": 2, "image_size": SIZE, "flame_widths": (16, 16, 8), "focal": 4.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def head():
    return load_head("human")


@pytest.fixture(scope="module", params=[0.75, 4.0])
def any_folder(request, tmp_path_factory, head):
    directory = tmp_path_factory.mktemp("people")
    generate(head, directory, Generation(3, views=2, size=SIZE, seed=7, widest=60, focal=request.param))
    return directory, request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, head):
    directory = tmp_path_factory.mktemp("portraits")
    generate(head, directory, Generation(4, views=2, size=SIZE, seed=2, widest=60, focal=4.0))
    return directory


def preset(**values):
    return SupervisedPreset.model_validate(
        {"images": 24, "batch": 4, "held_out": 1, "warm_up": 0, "rate": 3e-3, "model": TINY} | values
    )


def test_canonical_truth_explains_the_picture(any_folder, head):
    """The canonical camera sees the true head's landmarks where the picture has them, for both kinds of cameras."""
    directory, focal = any_folder
    data = GeneratedViews(directory, SIZE)
    for view in data.views():
        truth = {name: value[None] for name, value in data.item(view)[1].items()}
        points = landmarks68(head, head_vertices(truth, head, focal))
        camera = torch.tensor(canonical_viewmat()).float()[None], torch.tensor(intrinsics(SIZE, focal)).float()[None]
        expected = np.load(data.people[view.person] / "lmks2d.npy")[view.view]
        # Lids follow a turned eye a little, and the network knows no gaze.
        assert np.abs(project_points(points, *camera)[0].numpy() - expected).max() < 0.2


def test_turning_the_camera_turns_picture_and_truth_alike(any_folder, head):
    """A dot drawn where a landmark is lies, after the turn, where the turned truth projects to."""
    directory, focal = any_folder
    data = GeneratedViews(directory, SIZE)
    K, rng = intrinsics(SIZE, focal), np.random.default_rng(3)
    rotation = turned_camera(rng, focal)
    ray = np.linalg.inv(K) @ np.array([SIZE / 2 + 6, SIZE / 2 - 4, 1.0])
    turned = K @ rotation @ ray
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    picture[..., 3] = 255
    picture[SIZE // 2 - 6 : SIZE // 2 - 2, SIZE // 2 + 4 : SIZE // 2 + 8] = 255
    moved = turn_image(picture, rotation, K)[..., 0].astype(float)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    centre = np.array([(moved * x).sum(), (moved * y).sum()]) / moved.sum()
    assert np.abs(centre - turned[:2] / turned[2]).max() < 0.3
    assert len(data.notes) == 0


@pytest.mark.slow
def test_training_learns_and_saves_what_load_model_reads(folder, tmp_path):
    trainer = SupervisedTrainer(folder, preset(images=10_000))
    batch = trainer.data.batch(trainer.training)
    losses = [trainer.step(batch) for _ in range(150)]
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[20:30]), losses[::10]  # the first steps only find the mean
    score = train_supervised(folder, preset(), tmp_path)
    assert np.isfinite([score.error_mm, score.mean_face_mm, score.wobble]).all()
    model = load_model(tmp_path)
    assert model.regress(torch.rand(2, 3, SIZE, SIZE))["shape"].shape == (2, 81)


def test_the_untrained_network_answers_with_the_mean(folder):
    trainer = SupervisedTrainer(folder, preset())
    answer = trainer.model.regress(torch.rand(1, 3, SIZE, SIZE))
    truths = [trainer.data.item(view)[1] for view in trainer.training]
    for name in COEFFICIENTS:
        assert (answer[name][0] - torch.stack([t[name] for t in truths]).mean(0)).abs().max() < 0.15


def test_stopped_and_resumed_is_the_same_as_at_one_go(folder, tmp_path):
    whole = SupervisedTrainer(folder, preset())
    while whole.images < whole.total:
        whole.step(whole.batch(whole.images))
    half = SupervisedTrainer(folder, preset())
    while half.images < 12:
        half.step(half.batch(half.images))
    half.save_checkpoint(tmp_path / CHECKPOINT)
    rest = SupervisedTrainer(folder, preset())
    rest.restore(tmp_path / CHECKPOINT)
    while rest.images < rest.total:
        rest.step(rest.batch(rest.images))
    for one, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_another_presets_checkpoint_is_refused(folder, tmp_path):
    SupervisedTrainer(folder, preset()).save_checkpoint(tmp_path / CHECKPOINT)
    other = SupervisedTrainer(folder, preset(model=TINY | {"transformer_dim": 8}))
    with pytest.raises(InputError, match="another preset"):
        other.restore(tmp_path / CHECKPOINT)


def test_people_of_another_head_are_refused(folder, head):
    data = GeneratedViews(folder, 64)
    data.check_head(head)
    other = replace(head, name="flame2023", expression_directions=head.expression_directions.flip(0))
    with pytest.raises(InputError, match=r"'human'.*'flame2023'"):
        data.check_head(other)


def test_damaged_people_are_named_and_left_out(head, tmp_path):
    generate(head, tmp_path, Generation(2, views=1, size=SIZE, seed=2, focal=4.0))
    (tmp_path / "0002_000000" / "truth.npz").write_bytes(b"PK\x03\x04 no zip")
    (tmp_path / "0002_000001" / "rgba" / "000.png").write_bytes(b"no picture")
    data = GeneratedViews(tmp_path, SIZE)
    assert len(data.people) == 1 and "0002_000000" in data.notes[0]
    with pytest.raises(FormatError, match=r"000\.png"):
        data.item(SourceView(0, 0))
    with pytest.raises(InputError, match="generate more"):
        SupervisedTrainer(tmp_path, preset())
    with pytest.raises(InputError, match="generate-heads"):
        GeneratedViews(tmp_path / "nowhere")


def test_presets_refuse_what_they_do_not_know(tmp_path):
    assert load_preset("small").model.head == "human"
    (tmp_path / "mine.toml").write_text("imagez = 3\n")
    with pytest.raises(InputError, match="mine"):
        load_preset(tmp_path / "mine.toml")
    with pytest.raises(InputError, match="no preset"):
        load_preset("tiny")


def test_rate_rises_and_falls():
    rates = [learning_rate(3e-3, images, 4, 8, 24) for images in range(0, 25, 4)]
    assert rates[0] < rates[1] < rates[2] and rates[2] > rates[-1] and rates[-1] == pytest.approx(0, abs=1e-9)


def test_the_order_goes_through_everything_once_an_epoch_and_can_start_anywhere():
    whole = shuffled(3, 5, 0, 20)
    assert all(sorted(whole[start : start + 5]) == list(range(5)) for start in range(0, 20, 5))
    assert whole[:5] != whole[5:10] and shuffled(3, 5, 7, 11) == whole[7:18]


def test_wobble_is_zero_for_one_answer_per_person_and_one_for_noise():
    views = [SourceView(p, v) for p in range(50) for v in range(20)]
    per_person = torch.randn(50, 1, 3).expand(50, 20, 3).reshape(-1, 3)
    assert wobble(per_person, views) == pytest.approx(0, abs=1e-6)
    assert wobble(torch.randn(1000, 3), views) == pytest.approx(1, abs=0.05)


def test_alignment_takes_out_motion_and_size_and_nothing_else():
    points = torch.randn(2, 30, 3)
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    rotation = rotation * torch.det(rotation)
    assert (aligned(1.3 * points @ rotation.T + 2.0, points) - points).abs().max() < 1e-4
    mirrored, stretched = points * torch.tensor([-1.0, 1, 1]), points * torch.tensor([1.1, 1, 1])
    for other in (mirrored, stretched):
        assert (aligned(other, points) - points).norm(dim=-1).mean() > 0.02


def test_the_loss_hears_of_shape_expression_and_jaw_apart_from_the_pose(folder, head):
    """Without ``world`` the head's place does not count; each of the three does, and zero is the truth alone."""
    truth = SupervisedTrainer(folder, preset()).data.batch([SourceView(0, 0), SourceView(1, 1)]).coefficients
    spread = {name: torch.ones_like(value[0]) for name, value in truth.items()}
    loss = ParameterLoss(head, spread, 4.0, world=0.0, coefficient=0.0)
    assert float(loss(truth, truth)) == 0
    moved = truth["pose"].clone()
    moved[:, :3] += 0.3
    assert float(loss({**truth, "pose": moved, "translation": truth["translation"] + 1}, truth)) < 1e-7
    jaw = truth["pose"].clone()
    jaw[:, 3] += 0.1
    for wrong in ({"pose": jaw}, {"shape": truth["shape"] + 0.3}, {"expression": truth["expression"] + 0.3}):
        assert float(loss({**truth, **wrong}, truth)) > 1e-4


def test_an_initialised_network_tells_pictures_apart(folder):
    """Every layer of the decoder passes differences on at their size, where torch's own start loses them."""
    trainer = SupervisedTrainer(folder, preset())
    pictures = trainer.data.batch(trainer.training).images
    spread = {}
    for name, model in (("initialised", trainer.model), ("torch's own", KaoLRM(preset().model))):
        with torch.no_grad():
            hidden = plane_means(model.upsampler, model.tokens(pictures), model.config.triplane_low_res)
            for layer in list(model.flame_decoder.decoder)[:-1]:
                hidden = layer(hidden)
        spread[name] = float(hidden.std(0).mean())
    assert spread["initialised"] > 0.2 > 20 * spread["torch's own"], spread


def test_portraits_are_framed_as_the_fit_frames_them(folder, head):
    """The augmented portrait's landmarks lie in the middle and take face_share of the height; the truth follows."""
    data = GeneratedViews(folder, SIZE, face_share=0.6)
    for number, view in enumerate(data.views()):
        truth = {name: value[None] for name, value in data.item(view, np.random.default_rng(number))[1].items()}
        points = landmarks68(head, head_vertices(truth, head, 4.0))
        camera = torch.tensor(canonical_viewmat()).float()[None], torch.tensor(intrinsics(1, 4.0)).float()[None]
        seen = project_points(points, *camera)[0, :, :2].numpy()
        assert np.abs(seen.mean(0) - 0.5).max() < SHIFT + 0.02
        assert 0.6 / ZOOM / 1.12 < np.ptp(seen[:, 1]) < 0.6 * ZOOM * 1.12  # roll and perspective change it a little


def test_views_from_the_side_can_be_left_out(folder):
    data = GeneratedViews(folder, SIZE)
    few = data.views(widest=30.0)
    assert 0 < len(few) < len(data.views())
    assert all(abs(float(data.item(view)[1]["pose"][1])) < np.radians(30.5) for view in few)


def test_a_stem_of_convolutions_trains_and_is_read_back(folder, tmp_path):
    stem = TINY | {"encoder_stem": True}
    train_supervised(folder, preset(model=stem, images=8), tmp_path)
    assert load_model(tmp_path).regress(torch.rand(1, 3, SIZE, SIZE))["shape"].shape == (1, 81)
    with pytest.raises(ValueError, match="encoder_stem"):
        preset(model=stem | {"encoder_patch": 7, "encoder_grid": 8})
