# SPDX-License-Identifier: Apache-2.0
"""VHAP's export of several cameras: every vertex at its pixels in every picture, other lenses too, and a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from blendsplat.avatars.rendering import render_gaussians
from blendsplat.errors import FormatError, InputError
from blendsplat.exchange.recording import to_performance
from blendsplat.exchange.registry import import_recording
from blendsplat.exchange.vhap import read_vhap
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.systems import load_avatar, load_preset, train_avatar
from blendsplat.training.tracked_clip import TrackedClip
from flame_recordings import FRAMES, HEIGHT, WIDTH, head_params, make_head, parameters, projected, tracked_pixels
from flame_recordings import K as INTRINSICS
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking

CAMERAS = (2, 5, 7)


def viewmat_from(yaw: float, distance: float = 1.0) -> np.ndarray:
    """World-to-camera of a camera beside the one in front of the face, turned about the head; OpenCV axes."""
    turned = np.diag([1.0, -1.0, -1.0, 1.0])
    turned[:3, :3] = turned[:3, :3] @ Rotation.from_rotvec([0.05, yaw, 0]).as_matrix()
    turned[:3, 3] = [0.01, 0.02, distance]
    return turned


def write_views(
    folder: Path, values: dict[str, np.ndarray], viewmats: list[np.ndarray], Ks: list[np.ndarray], pictures: Any
) -> Path:
    """An export of all cameras. pictures(frame, camera): RGBA [H,W,4] uint8."""
    for name in ("images", "fg_masks", "flame_param"):
        (folder / name).mkdir(parents=True)
    entries = []
    shared = {"shape": values["shape"], "static_offset": values["static_offset"]}
    for frame in range(len(values["expr"])):
        moving = {k: v[frame : frame + 1] for k, v in values.items() if k not in shared}
        np.savez(folder / f"flame_param/{frame:05d}.npz", **moving, **shared)
        for place, (viewmat, K) in enumerate(zip(viewmats, Ks, strict=True)):
            rgba, name = pictures(frame, place), f"{frame:05d}_{place:02d}.png"
            Image.fromarray(rgba[..., :3]).save(folder / "images" / name)
            Image.fromarray(rgba[..., 3]).save(folder / "fg_masks" / name)
            entries.append({
                "timestep_index": frame, "camera_index": CAMERAS[place], "cx": K[0, 2], "cy": K[1, 2], "fl_x": K[0, 0],
                "fl_y": K[1, 1], "transform_matrix": (np.linalg.inv(viewmat) @ np.diag([1, -1, -1, 1])).tolist(),
                "file_path": f"images/{name}", "fg_mask_path": f"fg_masks/{name}",
                "flame_param_path": f"flame_param/{frame:05d}.npz",
            })  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps({"frames": entries[::-1]}))
    return folder


def noise(frame: int, camera: int) -> np.ndarray:
    return np.random.default_rng([frame, camera]).integers(0, 255, (HEIGHT, WIDTH, 4), np.uint8)


VIEWS = [viewmat_from(yaw, distance) for yaw, distance in ((0.0, 1.0), (0.8, 1.2), (-1.4, 0.9))]


def test_every_vertex_stays_at_its_pixels_in_every_view(tmp_path: Path, head: HeadModel) -> None:
    """Of the torso, too: between cameras all turns as one, while a moving camera's torso is held."""
    head.skin_weights[:10] = torch.tensor([1.0, 0, 0, 0, 0])
    values = parameters(np.random.default_rng(1))
    folder = write_views(tmp_path / "v", values, VIEWS, [INTRINSICS] * 3, noise)
    clip, tracking = import_recording(folder, tmp_path / "clip", head, views=True)
    vertices = head(head_params(values), torch.as_tensor(values["static_offset"][0]))
    truth = np.stack([projected(vertices, np.repeat(view[None], FRAMES, 0)) for view in VIEWS], 1).reshape(18, -1, 2)
    np.testing.assert_allclose(tracked_pixels(tracking, head), truth, atol=2e-3)
    assert clip.frame_count == 18 and not (clip.directory / "valid").exists()
    for row in (0, 4, 17):
        np.testing.assert_array_equal(clip.image(row), noise(row // 3, row % 3)[..., :3])
    assert (np.diff(tracking.timestamps) > 0).all() and (tracking.zoom == 1).all()
    _, first = import_recording(folder, tmp_path / "first", head)
    assert first.frame_count == FRAMES, "the first camera alone, where nothing is asked for"


def test_other_lenses_become_the_first_ones(tmp_path: Path, head: HeadModel) -> None:
    other = np.array([[100.0, 0, 28], [0, 90, 21], [0, 0, 1]])

    def dot(frame: int, camera: int) -> np.ndarray:
        """White at a place whose pixel in the first lens is (40, 30) to (42, 32), whichever lens took it."""
        picture = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        K = other if camera == 1 else INTRINSICS
        low, high = (
            (K @ np.linalg.inv(INTRINSICS) @ [x, y, 1])[:2].round().astype(int) for x, y in ((36, 26), (46, 36))
        )
        picture[low[1] : high[1], low[0] : high[0]] = 255
        return picture

    folder = write_views(
        tmp_path / "v", parameters(np.random.default_rng(1)), VIEWS, [INTRINSICS, other, INTRINSICS], dot
    )
    clip, tracking = import_recording(folder, tmp_path / "clip", head, views=True)
    np.testing.assert_allclose(tracking.K, INTRINSICS)
    for row in range(3):
        for picture in (clip.image(row)[..., 0], clip.matte(row)):
            y, x = np.nonzero(picture > 127)
            np.testing.assert_allclose([x.mean() + 0.5, y.mean() + 0.5], [41, 31], atol=0.6)
    assert (clip.valid(0) == 255).all(), "the first lens is what it was"
    assert (clip.valid(1)[24] == 0).any() or (clip.valid(1)[:, 32] == 0).any(), "what the longer lens did not see"
    recording = read_vhap(folder, views=True)
    recording.views = False
    with pytest.raises(FormatError, match="principal point"):  # as one camera that moves, that is no recording
        to_performance(recording, head, "x", WIDTH, HEIGHT, np.arange(18.0))


def test_one_camera_is_not_several(tmp_path: Path, head: HeadModel) -> None:
    folder = write_views(tmp_path / "v", parameters(np.random.default_rng(1)), VIEWS[:1], [INTRINSICS], noise)
    with pytest.raises(InputError, match="one camera only"):
        import_recording(folder, tmp_path / "clip", head, views=True)
    assert not (tmp_path / "clip").exists()
    import_recording(folder, tmp_path / "clip", head)


def test_an_avatar_is_trained_from_all_sides_on_expressions_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three cameras around a head that speaks; held-out moments are right in all of them."""
    monkeypatch.setattr("blendsplat.heads.load.load_head", lambda source, **_: tiny_head())
    head, size, count = tiny_head(), 32, 14
    truth, tracking = tiny_avatar(head), tiny_tracking(head, count)
    K = np.array([[2.6 * size, 0, size / 2], [0, 2.6 * size, size / 2], [0, 0, 1.0]])
    views = [viewmat_from(yaw) for yaw in (0.0, 0.5, -0.5)]
    zeros = np.zeros((count, 3))
    values = {
        "expr": tracking.expression, "rotation": zeros, "neck_pose": tracking.neck_pose, "jaw_pose": zeros,
        "translation": zeros, "eyes_pose": np.zeros((count, 6)), "shape": np.zeros(2),
        "static_offset": np.zeros((1, head.vertex_count, 3)),
    }  # fmt: skip
    params: HeadParams = tracking.params()

    def picture(frame: int, camera: int) -> np.ndarray:
        view = torch.as_tensor(views[camera], dtype=torch.float32)
        gaussians = truth.drive(params[[frame]])
        image, alpha, _ = render_gaussians(gaussians, view, torch.as_tensor(K, dtype=torch.float32), size, size)
        straight = (image / alpha.clamp_min(1e-3))[0].clamp(0, 1)
        return (torch.cat([straight, alpha[0]], -1).detach() * 255 + 0.5).to(torch.uint8).numpy()

    folder = write_views(tmp_path / "v", values, views, [K] * 3, picture)
    import_recording(folder, tmp_path / "clip", head, views=True)
    small = {
        "uv_resolution": 14, "image_size": size, "images": 600, "batch": 6, "blendshapes": 4, "mlp_width": 16,
        "blendshapes_after": 40, "decay_images": 0, "texel_scale": 0.7, "rate_end_factor": 0.1, "position_rate": 8e-4,
        "position_rate_end": 8e-5, "opacity_rate": 0.1, "scale_rate": 0.025, "rotation_rate": 0.005,
        "color_rate": 0.0125,
    }  # fmt: skip
    preset = load_preset("rgbavatar-multiview", small)
    assert not preset.pose_input and preset.ssim_weight == 0.2
    result = train_avatar(tmp_path / "clip", preset, tmp_path / "a.avatar.npz")
    assert result.figures["psnr"] > 26, result.figures
    tracked, avatar = TrackedClip.open(tmp_path / "clip"), load_avatar(tmp_path / "a.avatar.npz")
    turns = torch.as_tensor(tracked.tracking.root_pose[:3])
    assert float((turns[1] - turns[2]).norm()) > 0.8
    weights = avatar.weights(tracked.tracking.params())
    torch.testing.assert_close(weights[0::3], weights[1::3], atol=1e-5, rtol=1e-4)  # the camera changes no expression


def test_flame_sized_heads_keep_their_offsets(tmp_path: Path) -> None:
    head = make_head(5023)
    values = parameters(np.random.default_rng(1), 5143)
    folder = write_views(tmp_path / "v", values, VIEWS[:2], [INTRINSICS] * 2, noise)
    _, tracking = import_recording(folder, tmp_path / "clip", head, views=True)
    np.testing.assert_allclose(tracking.vertex_offsets, values["static_offset"][0, :5023], atol=1e-7)
