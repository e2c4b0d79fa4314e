# SPDX-License-Identifier: Apache-2.0
"""The step by hand against autograd, for every parameter; that it allocates nothing; and what happens around it."""

from __future__ import annotations

import resource
import traceback
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from blendsplat.avatars.rendering import render_gaussians
from blendsplat.image_metrics.psnr_ssim import psnr
from blendsplat.splatting.adam import FusedAdam
from blendsplat.splatting.cuda import CudaBackend
from blendsplat.systems import make_preset
from blendsplat.training.losses import image_loss
from blendsplat.training.presets import Preset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.tracked_clip import TrackedClip

SIZE = 32


def new_trainer(folder: Path, **changes) -> RGBAvatarTrainer:
    """A trainer whose avatar is as if half trained: no parameter at a place where its gradient is zero."""
    values = {
        "uv_resolution": 14, "image_size": SIZE, "images": 10**6, "batch": 5, "blendshapes": 4, "mlp_width": 16,
        "texel_scale": 0.7, "blendshapes_after": 0, "color_init_images": 1, "drop_uninitialised": False,
    }  # fmt: skip
    tracked = TrackedClip.open(folder)
    data = tracked.load(list(range(8)), SIZE, SIZE)
    data.valid[:, :, :9] = torch.arange(9, dtype=torch.uint8) * 28  # pixels that count in part
    data.weigh(torch.linspace(0.2, 1.8, 8))
    trainer = RGBAvatarTrainer(tracked.head, tracked.camera(SIZE), data, make_preset(values | changes))
    generator = torch.Generator().manual_seed(7)
    spread = {"positions": 2e-3, "log_scales": 0.2, "opacity_logits": 1.0, "delta_positions": 1e-3, "exposure": 0.1}
    for name, value in trainer.parameters.tensors():
        value += spread.get(name, 0.1) * torch.randn(value.shape, generator=generator)
    return trainer


class Waits(TorchDispatchMode):
    """Notes every operation for which a GPU's host would wait: reading a number, or a size that depends on values."""

    def __init__(self, allowed: torch.Tensor) -> None:
        super().__init__()
        self.found: list[str] = []
        self._allowed = allowed.data_ptr()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else []
        by_mask = any(i is not None and i.dtype == torch.bool for i in indices)
        reads = name == "_local_scalar_dense" and args[0].data_ptr() != self._allowed
        if reads or by_mask or name in ("nonzero", "masked_select", "unique", "_unique2", "equal"):
            ours = [frame.name for frame in traceback.extract_stack() if "blendsplat" in Path(frame.filename).parts]
            self.found.append(f"{name} in {ours[-1]}")
        return func(*args, **(kwargs or {}))


def test_a_step_that_searches_colours_waits_for_nothing(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = pytest.importorskip("blendsplat._kernels_cuda_emulated", reason="needs BLENDSPLAT_EMULATION")
    monkeypatch.setattr("blendsplat.splatting.backend.backend_for", lambda device: CudaBackend(kernels))
    trainer = new_trainer(tiny_clip, color_init_images=0, drop_uninitialised=False)
    trainer.step()
    assert trainer._searches_colors() and trainer.initialised.any()
    trainer.initialised.zero_()
    with Waits(allowed=trainer._step._raster._seen) as waits:  # which lies in the host's memory
        trainer.step()
    # on the CPU only, where this step's loss runs, the rows are looked at
    assert waits.found == ["_local_scalar_dense in image_loss_into"] * 2
    assert trainer.initialised.any()


def watched_step(
    trainer: RGBAvatarTrainer, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict, list[int], torch.Tensor, object]:
    """One step without Adam: gradients by name, the rows and backgrounds it took, and its report."""
    seen: dict = {}

    def keep(self: FusedAdam, grads: list, skip: torch.Tensor | None = None) -> None:
        seen.update({n: None if g is None else g.clone() for n, g in zip(trainer.parameters.names, grads, strict=True)})

    with monkeypatch.context() as patch:
        patch.setattr(FusedAdam, "step", keep)
        report = trainer.step()
    loss = trainer._step.loss
    return seen, loss.rows.tolist(), loss.backgrounds.clone(), report


def by_autograd(trainer: RGBAvatarTrainer, rows: list[int], backgrounds: torch.Tensor, preset: Preset):
    """(gradients by name, loss, image, target, valid) of the same batch through autograd."""
    avatar, camera = trainer.avatar, trainer.avatar.camera
    named = dict(avatar.named_parameters()) | {"exposure": trainer.exposure.values}
    weights = avatar.weights_of(trainer.features[rows]) if trainer._stage().blended else None
    gaussians = avatar.bound_gaussians(weights, trainer.surfaces[rows])
    image, alpha, _ = render_gaussians(gaussians, camera.viewmat, camera.K, camera.width, camera.height)
    if preset.fit_exposure:
        image = trainer.exposure(image, alpha, rows)
    image = image + (1 - alpha) * backgrounds[:, None, None]
    frames = trainer.data.batch(rows)
    target = frames.target(backgrounds)
    loss = image_loss(
        image, target, frames.valid, frames.weights, preset, trainer.lpips if trainer._stage().perceptual else None
    )
    names = trainer.parameters.names
    grads = torch.autograd.grad(loss, [named[name] for name in names], allow_unused=True)
    return dict(zip(names, grads, strict=True)), loss.detach(), image.detach(), target, frames.valid


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"blendshapes_after": 10**6}, {"ssim_weight": 0.2, "l1_weight": 0.8}, {"fit_exposure": True},
        {"lpips_weight": 0.3, "lpips_after": 0}, {"standardise_features": True, "batch": 1},
        {"mapping": "linear"}, {"space": "world", "pose_input": False},
    ],
    ids=["whole", "base", "ssim", "exposure", "lpips", "one", "linear", "world"],
)  # fmt: skip
def test_gradients_are_autograds(changes: dict, tiny_clip: Path, test_data, monkeypatch: pytest.MonkeyPatch) -> None:
    if "lpips_weight" in changes:
        changes = changes | {"lpips_weights": str(test_data("perceptual/lpips_squeeze.npz"))}
    trainer = new_trainer(tiny_clip, **changes)
    trainer.images = 2  # past the colour initialisation
    grads, rows, backgrounds, report = watched_step(trainer, monkeypatch)
    trainer.images = 2
    wanted, loss, image, target, valid = by_autograd(trainer, rows, backgrounds, trainer.preset)
    assert {name for name, grad in grads.items() if grad is None} == {n for n, g in wanted.items() if g is None}
    for name, grad in wanted.items():
        if grad is not None:
            assert grad.any(), f"{name}: nothing to compare"
            error = (grads[name] - grad).abs().max() / grad.abs().max()
            assert error < 2e-4, f"{name}: {error:.2e} of the largest gradient"
    assert float(report.loss) == pytest.approx(float(loss), rel=1e-5)
    assert report.psnr() == pytest.approx(float(psnr(image, target, valid).mean()), abs=1e-3)


def test_a_step_moves_every_parameter_and_counts_only_those_that_took_part(tiny_clip: Path) -> None:
    trainer = new_trainer(tiny_clip, blendshapes_after=8)
    before = {name: value.clone() for name, value in trainer.parameters.tensors()}
    trainer.step()
    moved = {name for name, value in trainer.parameters.tensors() if not torch.equal(value, before[name])}
    assert moved == {"positions", "log_scales", "quats", "opacity_logits", "colors"}
    for _ in range(2):
        trainer.step()
    steps = dict(zip(trainer.parameters.names, trainer.parameters.optimiser.steps.tolist(), strict=True))
    assert steps["positions"] == 3 and steps["delta_quats"] == steps["mlp.2.bias"] == 1
    assert {name for name, value in trainer.parameters.tensors() if torch.equal(value, before[name])} == set()
    assert trainer.parameters.moments()["optimiser.mlp.2.bias.step"] == 1


def allocations(work, steps: int) -> list[int]:
    """Sizes of the tensors' memory blocks that ``work`` asks torch for."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        for _ in range(steps):
            work()
    events = profile.profiler.kineto_results.events()
    return [event.nbytes() for event in events if event.name() == "[memory]" and event.nbytes() > 0]


def test_a_steady_step_allocates_nothing(tiny_clip: Path) -> None:
    trainer = new_trainer(tiny_clip, ssim_weight=0.2)
    for _ in range(4):
        trainer.step()
    assert allocations(lambda: torch.zeros(1000), 3) == [4000] * 3, "the meter works"
    sizes = allocations(trainer.step, 10)
    # what remains: checks of cameras and rows on the CPU read a few flags each
    assert max(sizes, default=0) <= 512 and sum(sizes) <= 10 * 4096, sizes


def test_memory_stays_over_two_hundred_steps(tiny_clip: Path) -> None:
    trainer = new_trainer(tiny_clip)
    for _ in range(20):
        trainer.step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        trainer.step()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2048  # kilobytes


def test_the_last_batch_may_be_smaller_and_the_same_seed_gives_the_same_avatar(tiny_clip: Path) -> None:
    results = []
    for _ in range(2):
        trainer = new_trainer(tiny_clip, images=22)
        sizes = []
        while not trainer.done:
            sizes.append(len(trainer.step().losses))
        assert sizes == [5, 5, 5, 5, 2] and trainer.images == 22
        results.append({name: value.clone() for name, value in trainer.parameters.tensors()})
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_a_batch_that_lost_gaussians_is_trained_on_again_with_new_graphs(tiny_clip: Path) -> None:
    trainer = new_trainer(tiny_clip)
    trainer.step()
    step, answers, forgotten = trainer._step, [True, False, False], []
    step._raster.overflowed = lambda: answers.pop(0)
    step._graphed.forget = lambda: forgotten.append(True)
    trainer.step()
    assert trainer.parameters.optimiser.steps[0] == 3 and trainer.images == 10 and forgotten == [True]
    trainer.step()
    assert trainer.parameters.optimiser.steps[0] == 4 and not answers


def test_the_pose_of_every_batch_is_used_when_surfaces_are_not_kept(
    tiny_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = new_trainer(tiny_clip)
    monkeypatch.setattr("blendsplat.training.rgbavatar.trainer._SURFACE_BUDGET", 0)
    posed = new_trainer(tiny_clip)
    assert posed.surfaces is None
    for _ in range(3):
        assert float(kept.step().loss) == pytest.approx(float(posed.step().loss), rel=1e-5)


def test_colours_are_searched_in_every_early_batch_and_now_and_then_later(tiny_clip: Path) -> None:
    trainer = new_trainer(tiny_clip, color_init_images=0, batch=4)
    searched = []
    for images in range(0, 200, 4):
        trainer.images = images
        searched.append(trainer._searches_colors())
    assert searched[:4] == [True] * 4, "two passes over eight frames"
    assert [i for i, found in enumerate(searched) if found and i >= 4] == list(range(8, 50, 8))
    trainer = new_trainer(tiny_clip, color_init_images=9)
    trainer.images = 10
    assert not trainer._searches_colors()


def test_a_checkpoint_of_torchs_adam_goes_on_as_torch_would(tiny_clip: Path) -> None:
    """Checkpoints written before the optimiser was ours hold torch.optim.Adam's state under the same names."""
    trainer = new_trainer(tiny_clip)
    names, values = trainer.parameters.names, [value.clone() for _, value in trainer.parameters.tensors()]
    theirs = torch.optim.Adam(values, lr=1e-2, eps=1e-15)
    generator = torch.Generator().manual_seed(3)

    def gradients() -> list[torch.Tensor]:
        return [torch.randn(value.shape, generator=generator) for value in values]

    def step_theirs(grads: list[torch.Tensor], without: str) -> None:
        for name, value, grad in zip(names, values, grads, strict=True):
            value.grad = None if name.startswith(without) else grad
        theirs.step()

    step_theirs(gradients(), without="delta_")
    step_theirs(gradients(), without="nothing")
    snapshot = trainer.snapshot()
    snapshot.tensors = {k: v for k, v in snapshot.tensors.items() if not k.startswith("optimiser.")}
    for name, value in zip(names, values, strict=True):
        snapshot.tensors[f"parameter.{name}"] = value.clone()
        snapshot.tensors |= {f"optimiser.{name}.{key}": state for key, state in theirs.state[value].items()}
    trainer.restore(snapshot)
    ours = trainer.parameters.optimiser
    assert dict(zip(names, ours.steps.tolist(), strict=True))["delta_quats"] == 1
    ours.rates.fill_(1e-2)
    grads = gradients()
    ours.step(grads)
    step_theirs(grads, without="nothing")
    for name, mine, want in zip(names, ours.parameters, values, strict=True):
        torch.testing.assert_close(mine, want, atol=1e-6, rtol=1e-5, msg=name)
