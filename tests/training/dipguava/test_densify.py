# SPDX-License-Identifier: Apache-2.0
"""Densification on records made by hand: who is cloned, split, let go of; what a split draws; what a record gathers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from blendsplat.geometry import project_points, quat_to_matrix, rotvec_to_matrix
from blendsplat.splatting.scene import Cameras
from blendsplat.systems import make_preset
from blendsplat.training.dipguava.densify import SPLIT_SCALE, Record, change_of, last_of, split_values
from blendsplat.training.dipguava.trainer import DipGuavaTrainer
from blendsplat.training.tracked_clip import TrackedClip
from tiny_dipguava import TINY
from tiny_dipguava_training import GROWING, dipguava, steps, trainer_of

PULL, LARGE, FAINTEST = 2e-4, 2e-3, 0.05


def record_of(pull: list[float], opacity: list[float] | None = None, size: list[float] | None = None) -> Record:
    """Seen in four pictures each."""
    record = Record(len(pull), "cpu")
    record.pull, record.seen = 4 * torch.tensor(pull), torch.full((len(pull),), 4.0)
    record.opacity = torch.tensor(opacity or [0.9] * len(pull))
    record.size = torch.tensor(size or [1e-3] * len(pull))
    return record


def changed(record: Record, triangle: list[int] | None = None, most: int = 1000) -> tuple[list[int], list, list]:
    """(source, fresh, is_part) as lists."""
    bound = torch.tensor(triangle or list(range(len(record.pull))))
    change, parts = change_of(record, bound, PULL, LARGE, FAINTEST, most)
    return change.source.tolist(), change.fresh.tolist(), parts.tolist()


def test_what_nothing_pulls_at_stays() -> None:
    assert changed(record_of([0, 1e-4, 2e-4])) == ([0, 1, 2], [False] * 3, [False] * 3)


def test_the_small_are_cloned_and_the_large_are_split() -> None:
    source, fresh, parts = changed(record_of([0, 1, 1, 0], size=[1e-3, 1e-3, 5e-3, 5e-3]))
    assert source == [0, 1, 3, 1, 2, 2], "1 and its copy; 2 is gone for its two parts"
    assert fresh == [False, False, False, True, True, True] and parts == [False] * 4 + [True, True]


def test_the_pull_is_the_average_of_those_pictures_that_show_it() -> None:
    record = record_of([1.5e-4, 1.5e-4, 0])
    record.seen = torch.tensor([4.0, 2, 0])
    assert changed(record)[0] == [0, 1, 2, 1]


def test_the_faint_are_let_go_of_but_for_a_triangles_last() -> None:
    opacity = [0.01, 0.9, 0.01, 0.02, 0.04, 0.05]
    assert changed(record_of([0] * 6, opacity), [0, 0, 1, 1, 2, 3])[0] == [1, 3, 4, 5]


def test_copies_of_the_faint_go_with_them() -> None:
    """Pulled hard and never seen: neither it nor its parts stay where the triangle has another one."""
    source, _, parts = changed(record_of([1, 0, 1], [0.01, 0.9, 0.01], [1e-3, 1e-3, 5e-3]), [0, 0, 0])
    assert source == [1] and parts == [False]
    source, fresh, _ = changed(record_of([1, 1], [0.01, 0.01], [1e-3, 5e-3]), [0, 1])
    assert source == [0, 1] and fresh == [False, True], "one each, and of what was split a part"


@pytest.mark.parametrize("most", [0, 4, 5, 6, 7, 100])
def test_no_more_than_the_budget_and_the_hardest_pulled_first(most: int) -> None:
    source, fresh, parts = changed(record_of([3, 0, 9, 6], size=[1e-3, 1e-3, 1e-3, 5e-3]), most=most)
    assert len(source) == min(max(most, 4), 7)
    grown = {source[place] for place in range(len(source)) if fresh[place]}
    assert grown == set([2, 3, 0][: max(min(most, 7) - 4, 0)]) and any(parts) == (3 in grown)


def test_the_budget_never_grows_what_is_not_pulled() -> None:
    source = changed(record_of([1, 1e-4, 1, 0]), most=5)[0]
    assert source[:4] == [0, 1, 2, 3] and len(source) == 5 and source[4] in (0, 2)
    assert changed(record_of([1e-4] * 4), most=8)[0] == [0, 1, 2, 3]


def test_of_every_triangle_the_most_opaque_is_the_last() -> None:
    rng = np.random.default_rng(0)
    triangle, opacity = rng.integers(0, 12, 60), rng.choice(8, 60) / 8
    kept = rng.uniform(size=60) < 0.15
    found = last_of(torch.from_numpy(triangle), torch.from_numpy(opacity), torch.from_numpy(kept)).numpy()
    wanted = np.zeros(60, bool)
    for one in set(triangle.tolist()):
        mine = np.flatnonzero(triangle == one)
        if not kept[mine].any():
            wanted[mine[np.argmax(opacity[mine])]] = True
    np.testing.assert_array_equal(found, wanted)
    assert last_of(torch.zeros(0, dtype=torch.long), torch.zeros(0), torch.zeros(0, dtype=torch.bool)).shape == (0,)


def test_a_random_record_keeps_every_triangle_and_the_budget() -> None:
    rng = torch.Generator().manual_seed(5)
    for _ in range(20):
        n = int(torch.randint(1, 80, (1,), generator=rng))
        record = Record(n, "cpu")
        record.seen = torch.randint(0, 3, (n,), generator=rng).float()
        record.pull = record.seen * torch.rand(n, generator=rng) * 4e-4
        record.opacity, record.size = torch.rand(n, generator=rng) * 0.1, torch.rand(n, generator=rng) * 4e-3
        triangle = torch.randint(0, 20, (n,), generator=rng)
        most = n + int(torch.randint(0, 20, (1,), generator=rng))
        change, parts = change_of(record, triangle, PULL, LARGE, FAINTEST, most)
        assert len(change) <= most and set(triangle.tolist()) == set(change.of(triangle).tolist())
        assert (parts <= change.fresh).all() and len(parts) == len(change)


def test_parts_are_drawn_from_the_gaussian_they_come_from() -> None:
    """In the triangle's own frame and size (positions are local): mean, covariance and what is smaller."""
    count = 40_000
    position, quat = torch.tensor([0.3, -0.2, 0.1]), torch.tensor([0.9, 0.2, -0.3, 0.4]) * 3
    scale = torch.tensor([0.5, 0.1, 0.02])
    parts = torch.arange(count) % 2 == 0
    moved, smaller = split_values(
        position.repeat(count, 1), scale.log().repeat(count, 1), quat.repeat(count, 1), parts,
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(moved[~parts], position.expand(count // 2, 3)), "who is no part stays"
    assert torch.equal(smaller[~parts], scale.log().expand(count // 2, 3))
    torch.testing.assert_close(smaller[parts].exp(), (scale / SPLIT_SCALE).expand(count // 2, 3))
    offsets, turn = moved[parts] - position, quat_to_matrix(quat)
    spread = turn @ torch.diag(scale**2) @ turn.T
    deviation = 5 * math.sqrt(2 / (count / 2)) * float(spread.diagonal().max())  # of the estimates, five times
    torch.testing.assert_close(offsets.mT @ offsets / (count / 2), spread, atol=deviation, rtol=0)
    assert float((offsets.mean(0) @ turn / scale).abs().max()) < 5 / math.sqrt(count / 2)


def test_the_same_generator_draws_the_same_parts() -> None:
    values = torch.rand(3, 5, 3), torch.rand(5, 4), torch.ones(5, dtype=torch.bool)
    first, second = (
        split_values(values[0][0], values[0][1], values[1], values[2], torch.Generator().manual_seed(3))[0]
        for _ in range(2)
    )
    assert torch.equal(first, second) and len(set(first[:, 0].tolist())) == 5


def cameras_of(batch: int, width: int) -> Cameras:
    """Cameras that all look elsewhere."""
    views = torch.eye(4).double().repeat(batch, 1, 1)
    views[:, :3, :3] = rotvec_to_matrix(
        0.3 * torch.randn(batch, 3, generator=torch.Generator().manual_seed(8)).double()
    )
    views[:, 2, 3] = 1.2
    K = torch.tensor([[90.0, 0, width / 2], [0, 140, 20], [0, 0, 1]]).double()
    return Cameras(views, K.expand(batch, 3, 3).contiguous(), width, 40)


def test_a_record_is_how_hard_each_picture_pulls_at_the_place_in_it() -> None:
    """Each picture's loss is a function of the Gaussians' pixels; the length of its gradient there, by finite
    differences of the pixel, in half the picture's width and height, is what the record adds up. Pixels are not square
    and the picture neither."""
    rng, batch, count, width = torch.Generator().manual_seed(2), 3, 5, 64
    cameras = cameras_of(batch, width)
    means = (0.2 * torch.randn(batch, count, 3, generator=rng)).double().requires_grad_()

    def losses(pixels: Tensor) -> Tensor:
        """[B,N]: of each Gaussian's place in each picture."""
        return (0.05 * pixels[..., 0]).sin() * (0.03 * pixels[..., 1]).cos()

    pixels = project_points(means, cameras.viewmats, cameras.Ks)
    losses(pixels).sum(1).mean().backward()
    pull, step = torch.zeros(count).double(), 1e-4
    for b in range(batch):
        for n in range(count):
            place = pixels[b, n].detach()
            slopes = [
                float(losses(place + step * axis) - losses(place - step * axis)) / (2 * step)
                for axis in torch.eye(2).double()
            ]
            pull[n] += math.hypot(slopes[0] * width / 2, slopes[1] * cameras.height / 2)
    record = Record(count, "cpu")
    record.add(means.detach(), means.grad, torch.rand(batch, count), torch.rand(batch, count, 3), cameras)
    torch.testing.assert_close(record.pull.double(), pull, rtol=1e-5, atol=0)
    assert record.seen.tolist() == [batch] * count


def test_a_record_counts_pictures_and_keeps_the_highest() -> None:
    record, cameras = Record(3, "cpu"), cameras_of(2, 64)
    means, grads = torch.zeros(2, 3, 3), torch.zeros(2, 3, 3)
    grads[0, 1], grads[:, 2] = 1, -1
    cameras = Cameras(cameras.viewmats.float(), cameras.Ks.float(), 64, 40)
    for opacity, size in ((0.2, 3e-3), (0.7, 1e-3), (0.4, 2e-3)):
        opacities, sizes = torch.full((2, 3), opacity), torch.full((2, 3, 3), 1e-4)
        sizes[1, :, 2] = size
        record.add(means, grads, opacities, sizes, cameras)
    assert record.seen.tolist() == [0, 3, 6]
    assert record.opacity.tolist() == pytest.approx([0.7] * 3) and record.size.tolist() == pytest.approx([3e-3] * 3)
    once = Record(3, "cpu")
    once.add(means[:1], grads[1:] / 1, opacities[:1], sizes[:1], Cameras(cameras.viewmats[:1], cameras.Ks[:1], 64, 40))
    assert once.pull[1] == 0 and once.pull[2] > 0
    assert set(record.tensors()) == {"pull", "seen", "opacity", "size"}


def test_moments_follow_their_gaussians(tiny_clip: Path) -> None:
    """After a densification an old Gaussian's moments are its own, a new one's are zero, and the networks go on."""
    tracked = TrackedClip.open(tiny_clip)
    values = {"system": "dipguava", "image_size": 32, "images": 80, "stage_images": 40, "batch": 4, "avatar": TINY,
              "lpips_weight": 0, "densify_every": 0, "position_rate": 1e-2}  # fmt: skip
    trainer = DipGuavaTrainer(
        tracked.head, tracked.camera(32), tracked.load(list(range(8)), 32, 32), make_preset(values)
    )
    for _ in range(3):
        trainer.step()
    # every Gaussian gets another position first, by which it is known again
    before = {name: value.clone() for name, value in trainer.parameters.moments().items()}
    old = {name: value.detach().clone() for name, value in trainer.parameters.tensors()}
    count = trainer.avatar.gaussian_count
    record = trainer.record
    record.seen[:], record.pull[:], record.size[:], record.opacity[:] = 1, 0, 1e-3, 0.9
    record.pull[[3, 9]], record.size[9], record.pull[20] = 1, 5e-3, 1e-5
    trainer._densify()
    assert trainer.avatar.gaussian_count == count + 2 == len(trainer.record.pull)
    assert not trainer.record.seen.any(), "counted anew"
    source = [i for i in range(count) if i != 9] + [3, 9, 9]
    fresh = torch.arange(count + 2) >= count - 1
    assert trainer.avatar.triangle.tolist() == source
    after = trainer.parameters.moments()
    for name in ("positions", "log_scales", "quats"):
        assert after[f"optimiser.{name}.step"] == before[f"optimiser.{name}.step"] == 3
        for kind in ("exp_avg", "exp_avg_sq"):
            moved, was = after[f"optimiser.{name}.{kind}"], before[f"optimiser.{name}.{kind}"]
            assert torch.equal(moved[~fresh], was[source][~fresh]) and not moved[fresh].any()
        values = dict(trainer.parameters.tensors())[name]
        assert torch.equal(values[: count - 1], old[name][source[: count - 1]]), name
        assert torch.equal(values[count - 1], old[name][3]), "a clone is the same at first"
    parts = dict(trainer.parameters.tensors())["log_scales"][-2:]
    torch.testing.assert_close(parts, (old["log_scales"][9] - math.log(SPLIT_SCALE)).expand(2, 3))
    places = dict(trainer.parameters.tensors())["positions"][-2:]
    assert not torch.equal(places[0], places[1])
    networks = [name for name in before if ".base." in name]
    assert networks and all(torch.equal(after[name], before[name]) for name in networks)
    trainer.step()
    record = trainer.record
    record.seen[:], record.pull[:], record.opacity[:], record.opacity[count - 1] = 1, 0, 0.06, 0.04
    trainer._densify()
    assert trainer.avatar.triangle.tolist() == [*source[: count - 1], 9, 9], "the clone was too faint"


def test_densification_ends_with_its_part_of_stage_1(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava(**GROWING | {"densify_until": 0.5, "most_gaussians": 10**5}))
    counts = []
    while not trainer.done:
        trainer.step()
        counts.append(trainer.avatar.gaussian_count)
    assert counts[1] == 70 < counts[2] < counts[4] == counts[-1], counts
    trainer = trainer_of(tracked_clip, dipguava(**GROWING | {"most_gaussians": 1}))
    steps(trainer, 10)
    assert trainer.avatar.gaussian_count == 70, "no more than the budget, and none is taken from a triangle"
