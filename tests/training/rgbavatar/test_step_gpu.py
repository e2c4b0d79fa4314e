# SPDX-License-Identifier: Apache-2.0
"""The step on a real GPU: captured as eager, as the CPU trains, and without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from blendsplat.splatting.backend import available_kernels
from blendsplat.systems import make_preset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.tracked_clip import TrackedClip

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available_kernels()["cuda"], reason="no CUDA device, or no CUDA kernels in this build"),
]
STEPS = 12


def new_trainer(folder: Path, device: str, **changes) -> RGBAvatarTrainer:
    values = {
        "uv_resolution": 14, "image_size": 32, "images": 10**6, "batch": 4, "blendshapes": 4, "mlp_width": 16,
        "texel_scale": 0.7, "blendshapes_after": 16, "color_init_images": 4, "drop_uninitialised": False,
    }  # fmt: skip
    tracked = TrackedClip.open(folder)
    data = tracked.load(list(range(8)), 32, 32, device)
    return RGBAvatarTrainer(tracked.head, tracked.camera(32), data, make_preset(values | changes), device=device)


def trained(trainer: RGBAvatarTrainer) -> dict[str, torch.Tensor]:
    for _ in range(STEPS):
        trainer.step()
    return {name: value.cpu().clone() for name, value in trainer.parameters.tensors()}


@pytest.fixture
def sync_mode() -> Iterator[Callable[[str], None]]:
    """torch.cuda.set_sync_debug_mode, as it was afterwards."""
    yield torch.cuda.set_sync_debug_mode
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("changes", [{}, {"ssim_weight": 0.2}, {"fit_exposure": True}], ids=["l1", "ssim", "exposure"])
def test_captured_steps_train_as_eager_ones(changes: dict, tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captured = new_trainer(tiny_clip, "cuda", **changes)
    with_graph = trained(captured)
    assert len(captured._step._graphed.captured) == 2, "one graph before the blendshapes, one with them"
    monkeypatch.setattr("blendsplat.training.graph._WARM_UP", 10**9)
    eager = trained(new_trainer(tiny_clip, "cuda", **changes))
    for name, value in eager.items():
        torch.testing.assert_close(with_graph[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_the_gpu_trains_as_the_cpu_does(tiny_clip: Path) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        trainer = new_trainer(tiny_clip, device)
        losses.append([float(trainer.step().loss) for _ in range(STEPS)])
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_a_steady_step_does_not_wait_for_the_device(tiny_clip: Path, sync_mode: Callable[[str], None]) -> None:
    trainer = new_trainer(tiny_clip, "cuda")
    for _ in range(STEPS):
        trainer.step()
    sync_mode("error")
    for _ in range(3):
        trainer.step()


def test_a_steady_step_allocates_nothing(tiny_clip: Path) -> None:
    trainer = new_trainer(tiny_clip, "cuda")
    for _ in range(STEPS):
        trainer.step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for _ in range(5):
        trainer.step()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
