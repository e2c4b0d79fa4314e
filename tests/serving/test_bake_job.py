# SPDX-License-Identifier: Apache-2.0
"""The job "bake" through the protocol: heads in, shapes out, sentences for what cannot be baked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.avatars.dipguava.bake import baked
from blendsplat.avatars.dipguava.carrier import DrivenHeads
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.splatting.bind import SH_DC
from blendsplat.systems import load_avatar
from blendsplat.training.dipguava.distil import distilled
from engine_client import LocalServer
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking
from tiny_dipguava import tiny_dipguava

PARAMETERS = ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")
FRAMES = 12


@pytest.fixture(scope="module")
def avatar_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bake ü") / "dip.avatar.npz"
    avatar = tiny_dipguava()
    avatar.take_sliders(distilled(avatar, performance().params(), 3, 0.1))
    avatar.save(path)
    return path


def performance() -> Performance:
    return tiny_tracking(tiny_head(), FRAMES)


def heads(vertices: np.ndarray, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    arrays = {name: np.array(getattr(performance(), name), np.float32) for name in PARAMETERS}
    return {name: array[rows] for name, array in (arrays | {"vertices": vertices}).items()}


def run(server: LocalServer, path: Path, parts: list[dict[str, np.ndarray]], **options: Any) -> tuple[str, dict]:
    job = server.start("bake", avatar=str(path), frames=options.pop("frames", FRAMES), device="cpu", **options)
    for part in parts:
        assert server.call("job.frame", part, job=job)["accepted"]
    return job, server.finished(job)


def test_what_comes_back_adds_up_to_the_frames(server: LocalServer, avatar_file: Path) -> None:
    avatar, params = load_avatar(avatar_file), performance().params()
    vertices = avatar.vertices(params) + 0.03
    parts = [heads(vertices.numpy(), rows) for rows in (slice(0, 5), slice(5, 6), slice(6, None))]
    job, ended = run(server, avatar_file, parts, most=6, error=0.0, bounded=True)
    assert ended["state"] == "done", ended
    want = baked(avatar, DrivenHeads(params, vertices, True), 6, 0.0, Progress())
    result, (first, *shapes) = ended["result"], server.notes("job.frame", job)
    assert (result["keys"], result["frames"], result["gaussians"]) == (6, FRAMES, avatar.gaussian_count)
    assert result["error"] == pytest.approx(want.error, rel=1e-3)
    assert 20 < result["lowest_psnr"] <= result["psnr"] <= 100 and 0 <= result["lowest_frame"] < FRAMES
    assert [message.body["params"]["info"] for message in shapes] == [{"key": key} for key in range(6)]
    corners = avatar.head.faces[avatar.triangle].numpy()
    np.testing.assert_array_equal(first.arrays["corners"], corners)
    np.testing.assert_allclose(first.arrays["barycentrics"], 1 / 3)
    weights = first.arrays["weights"]
    for row in (0, 7):
        frame = want.frame(row)
        truth = dict(zip(("positions", "log_scales", "quats", "opacities", "colors"), frame.parts, strict=True))
        truth = {name: part[0].numpy() for name, part in truth.items()}
        truth["opacities"], truth["colors"] = truth["opacities"][:, 0], SH_DC * truth["colors"] + 0.5
        for name, true in truth.items():
            sums = first.arrays[name] + sum(
                w * shape.arrays[name] for w, shape in zip(weights[row], shapes, strict=True)
            )
            np.testing.assert_allclose(sums, true, atol=2e-4, err_msg=name)


def test_what_cannot_be_baked_is_said(server: LocalServer, avatar_file: Path, tmp_path: Path) -> None:
    vertices = load_avatar(avatar_file).vertices(performance().params()).numpy()
    whole = heads(vertices)
    tiny_avatar(tiny_head()).save(tmp_path / "rgb.avatar.npz")
    wrong = [
        (tmp_path / "rgb.avatar.npz", [], "rgb.avatar.npz has no networks to bake"),
        (tmp_path / "none.npz", [], "does not exist"),
        (avatar_file, [whole, whole], "The heads of 24 frames came"),
        (avatar_file, [{"expression": whole["expression"]}], "The job 'bake' needs the attachments root_pose"),
        (avatar_file, [heads(vertices[:, :9])], "lies on a head of 48 vertices"),
        (avatar_file, [whole | {"expression": whole["expression"][:, :2]}], "with 3 expression values"),
    ]
    for path, parts, words in wrong:
        job = server.start("bake", avatar=str(path), frames=FRAMES, device="cpu")
        for part in parts:
            server.send("job.frame", part, job=job)
        ended = server.finished(job)
        assert ended["state"] == "failed" and words in ended["error"]["message"], (words, ended)


def test_it_waits_for_heads_and_can_be_cancelled_meanwhile(server: LocalServer, avatar_file: Path) -> None:
    job = server.start("bake", avatar=str(avatar_file), frames=FRAMES, device="cpu")
    vertices = load_avatar(avatar_file).vertices(performance().params()).numpy()
    server.call("job.frame", heads(vertices, slice(0, 3)), job=job)
    while not any(note.body["params"]["done"] == 3 for note in server.notes("job.progress", job)):
        server.step()
    server.call("job.cancel", job=job)
    assert server.finished(job)["state"] == "cancelled"


def test_frames_are_drawn_without_gradients(avatar_file: Path) -> None:
    made = baked(load_avatar(avatar_file), DrivenHeads(performance().params()), 3, 0.0, Progress())
    assert not any(part.requires_grad for part in (*made.mean.parts, *made.basis.parts, made.weights))
    assert isinstance(made.weights, torch.Tensor)
