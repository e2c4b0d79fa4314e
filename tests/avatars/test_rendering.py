# SPDX-License-Identifier: Apache-2.0
"""Driving an avatar with a performance, and the PLY that other viewers read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.avatars.avatar import Gaussians
from blendsplat.avatars.ply import export_ply, read_ply
from blendsplat.avatars.rendering import fitted_intrinsics, render_gaussians, render_performance
from blendsplat.errors import InputError
from blendsplat.jobs.options import ExportOptions, RenderOptions
from blendsplat.jobs.render_work import run_export, run_render
from blendsplat.progress import Progress
from tiny_clip import tiny_avatar, tiny_camera, tiny_head, tiny_tracking


def test_performance_gives_premultiplied_frames_and_depth() -> None:
    head = tiny_head()
    tracking, avatar = tiny_tracking(head, 6), tiny_avatar(head)
    frames = list(render_performance(avatar, tracking, 40, 40))
    assert len(frames) == 6
    rgba, depth = frames[3]
    assert rgba.shape == (40, 40, 4) and rgba.dtype == np.float32 and depth.shape == (40, 40)
    assert rgba[20, 20, 3] > 0.8 and rgba[0, 0, 3] == 0 and depth[0, 0] == 0
    assert abs(depth[20, 20] - 0.95) < 0.05  # the sheet's middle is 6 cm in front of the origin, the camera 1 m
    over_red = list(render_performance(avatar, tracking, 40, 40, background=(1, 0, 0)))[3][0]
    np.testing.assert_allclose(over_red[..., :3], rgba[..., :3] + (1 - rgba[..., 3:]) * np.array([1, 0, 0]), atol=1e-5)
    assert (over_red[..., 3] == 1).all()


def test_frames_do_not_depend_on_their_batch() -> None:
    head = tiny_head()
    tracking, avatar = tiny_tracking(head, 5), tiny_avatar(head)
    all_of_them = list(render_performance(avatar, tracking, 32, 32))
    alone = avatar.drive(tracking.params()[[4]])
    camera = tiny_camera()
    image, _, _ = render_gaussians(alone, camera.viewmat, camera.K, 32, 32)
    np.testing.assert_allclose(all_of_them[4][0][..., :3], image[0].detach().numpy(), atol=1e-5)


def test_a_lens_that_zooms_draws_every_frame_with_its_own_focal_length() -> None:
    head = tiny_head()
    tracking, avatar = tiny_tracking(head, 5), tiny_avatar(head)
    zoom = np.array([1.0, 1.2, 0.7, 1.0, 1.5], np.float32)
    together = list(render_performance(avatar, replace(tracking, zoom=zoom), 32, 32))
    for frame, factor in enumerate(zoom):
        K = tracking.K * np.array([[factor, factor, 1], [factor, factor, 1], [1, 1, 1]], np.float32)
        alone = next(render_performance(avatar, replace(tracking, K=K), 32, 32, rows=slice(frame, frame + 1)))
        for have, want in zip(together[frame], alone, strict=True):
            np.testing.assert_allclose(have, want, atol=1e-5)


def test_another_aspect_keeps_pixels_square_and_the_head_centred() -> None:
    K = torch.tensor([[100.0, 0, 30], [0, 100, 34], [0, 0, 1]])
    wide = fitted_intrinsics(K, (64, 64), (256, 128))
    assert wide[0, 0] == wide[1, 1] == 200
    assert wide[0, 2] == 60 + 64 and wide[1, 2] == 68
    with pytest.raises(InputError, match="0 x 128"):
        fitted_intrinsics(K, (64, 64), (0, 128))


def test_a_performance_of_another_head_is_refused() -> None:
    """Of equal counts: what its expressions do tells it apart, not its name."""
    head = tiny_head()
    other = replace(head, name="flame2023", expression_directions=head.expression_directions.flip(0))
    with pytest.raises(InputError, match="flame2023"):
        next(render_performance(tiny_avatar(head), tiny_tracking(other, 2), 8, 8))
    next(render_performance(tiny_avatar(head), replace(tiny_tracking(head, 2), head="my_file"), 8, 8))


@pytest.mark.parametrize(("run", "output"), [(run_export, "a.ply"), (run_render, "pictures")])
def test_the_commands_refuse_another_head_of_equal_counts(tmp_path: Path, run, output: str) -> None:
    head = tiny_head()
    other = replace(head, name="flame2023", expression_directions=head.expression_directions.flip(0))
    tiny_avatar(head).save(tmp_path / "tiny.avatar.npz")
    tiny_tracking(other, 2).save(tmp_path / "tracking.npz")
    given = {"avatar": tmp_path / "tiny.avatar.npz", "performance": tmp_path / "tracking.npz", "device": "cpu"}
    options = (ExportOptions if run is run_export else RenderOptions)(output=tmp_path / output, **given)
    with pytest.raises(InputError, match=r"'flame2023'.*'tiny'"):
        run(options, Progress())
    assert not (tmp_path / output).exists()
    tiny_tracking(head, 2).save(tmp_path / "tracking.npz")
    run(options, Progress())
    assert (tmp_path / output).exists()


def test_ply_renders_as_the_avatar_does(tmp_path: Path) -> None:
    head = tiny_head()
    gaussians = tiny_avatar(head).drive(tiny_tracking(head, 3).params()[[2]]).detach()
    gaussians = replace(gaussians, colors=gaussians.colors.clamp(0, 1))
    count = export_ply(tmp_path / "frame.ply", gaussians)
    assert count == gaussians.means.shape[1]
    camera = tiny_camera()
    wanted = render_gaussians(gaussians, camera.viewmat, camera.K, 32, 32)[0]
    shown = render_gaussians(read_ply(tmp_path / "frame.ply"), camera.viewmat, camera.K, 32, 32)[0]
    torch.testing.assert_close(shown, wanted, atol=2e-5, rtol=1e-4)


def test_ply_turned_for_viewers_looks_the_same_from_a_turned_camera(tmp_path: Path) -> None:
    head = tiny_head()
    gaussians = tiny_avatar(head).drive(tiny_tracking(head, 3).params()[[1]]).detach()
    export_ply(tmp_path / "a.ply", gaussians)
    export_ply(tmp_path / "b.ply", gaussians, y_down=True)
    camera = tiny_camera()
    turned = camera.viewmat @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    first = render_gaussians(read_ply(tmp_path / "a.ply"), camera.viewmat, camera.K, 32, 32)[0]
    second = render_gaussians(read_ply(tmp_path / "b.ply"), turned, camera.K, 32, 32)[0]
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


def test_ply_header_and_values_other_viewers_expect(tmp_path: Path) -> None:
    """The header is read here as any PLY reader does; wild values are clamped or left out."""
    one = torch.ones(1, 5, 1)
    gaussians = Gaussians(
        torch.arange(15.0).reshape(1, 5, 3), one * torch.tensor([2.0, 0, 0, 0]), one * torch.tensor([0.01, 0.02, 0.03]),
        torch.tensor([[1.0, 0.5, 0.001, 0.5, 0.0]]), one * torch.tensor([1.7, 0.5, 0.0]),
    )  # fmt: skip
    gaussians.means[0, 3, 1] = float("nan")
    assert export_ply(tmp_path / "f.ply", gaussians) == 2
    head, body = (tmp_path / "f.ply").read_bytes().split(b"end_header\n", 1)
    lines = head.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 2"]
    names = [line.split()[2] for line in lines[3:]]
    rows = np.frombuffer(body, "<f4").reshape(2, len(names))
    values = dict(zip(names, rows[1], strict=True))
    assert [values[k] for k in "xyz"] == [3, 4, 5]
    assert abs(values["f_dc_0"] * 0.28209479 + 0.5 - 1) < 1e-5, "colours above 1 wrap around in some viewers"
    assert abs(values["opacity"]) < 1e-6 and abs(values["scale_1"] - np.log(0.02)) < 1e-5
    assert [values[f"rot_{i}"] for i in range(4)] == [1, 0, 0, 0]
    assert np.isfinite(rows).all()


def test_ply_of_nothing_is_refused(tmp_path: Path) -> None:
    gaussians = Gaussians(*(torch.zeros(1, 2, size) for size in (3, 4, 3)), torch.zeros(1, 2), torch.zeros(1, 2, 3))
    with pytest.raises(InputError, match="No Gaussian is visible"):
        export_ply(tmp_path / "f.ply", gaussians)
    assert not list(tmp_path.iterdir())
