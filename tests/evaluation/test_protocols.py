# SPDX-License-Identifier: Apache-2.0
"""The papers' protocols to the letter, and what keeps a figure from standing beside a paper's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.avatars.rendering import render_gaussians
from blendsplat.avatars.retarget import Reference
from blendsplat.errors import InputError
from blendsplat.evaluation import avatar as evaluation
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.evaluation.protocols import PROTOCOLS, caveats, last_frames, protocol_of
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import save_landmarks
from blendsplat.systems import load_avatar
from blendsplat.video import Clip
from tiny_clip import tiny_avatar, tiny_head, write_tiny_clip
from tiny_fixtures import tiny_head_by_name  # noqa: F401


def test_frames_are_the_clips_last_and_only_valid_ones() -> None:
    assert last_frames([True] * 10, 0.3) == [7, 8, 9]
    assert last_frames([True] * 7 + [False] + [True] * 2, 0.3) == [8, 9], "of the last 30 % of all frames"
    assert last_frames([True] * 400, 350) == list(range(50, 400))
    assert last_frames([True, False, True], 350) == [0, 2], "a shorter clip is scored whole, and says so"
    assert last_frames([False] * 4, 350) == []


def notes(name: str = "rgbavatar", **changes: Any) -> str:
    values = {"frames": 3000, "scored": range(2650, 3000), "trained": range(2650), "side": 512, "network": "vgg"}
    return " ".join(caveats(PROTOCOLS[name], **{**values, **changes}))


def test_a_faithful_evaluation_has_nothing_to_say() -> None:
    assert notes() == "" and notes(network=None) == ""
    assert notes("blendsplat", side=64, network="squeeze", frames=20, scored=range(14, 20), trained=range(14)) == ""
    assert notes("dipguava", frames=200, scored=range(140, 200), trained=range(140)) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trained": range(2660)}, "trained on 10 of the 350 frames that are scored. Train it with holdout = 350"),
        ({"trained": None}, "does not say which frames"),
        ({"frames": 587}, "this clip has 587 frames"),
        ({"side": 256}, "at 256 pixels"),
        ({"network": "squeeze"}, "squeeze's, the paper's is vgg's"),
    ],
)
def test_what_does_not_compare_is_said(changes: dict[str, Any], words: str) -> None:
    said = notes(**changes)
    assert words in said and said.count(".") <= 3


def test_a_protocol_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match="'insta'; choose of blendsplat, rgbavatar, dipguava"):
        protocol_of("insta")


@pytest.fixture(name="clip")
def clip_with_landmarks(tmp_path: Path) -> Path:
    """16 frames of 32 x 32, of which valid/ ignores the lower half; landmarks of a face in the upper one."""
    folder = tmp_path / "clip ü"
    write_tiny_clip(folder)
    points = np.full((16, 478, 3), 16.0, np.float32)
    for group, (x, y) in ((pts.LEFT_LIDS, (20, 10)), (pts.RIGHT_LIDS, (12, 10)), (pts.OUTER_LIPS, (16, 16))):
        angles = np.linspace(0, 2 * np.pi, len(group), endpoint=False)
        points[:, list(group), :2] = np.stack([x + 3 * np.cos(angles), y + 2 * np.sin(angles)], 1)
    points[:, list(pts.LEFT_IRIS), :2], points[:, list(pts.RIGHT_IRIS), :2] = [20, 10], [12, 10]
    angles = np.linspace(0, 2 * np.pi, len(pts.OVAL), endpoint=False)
    points[:, list(pts.OVAL), :2] = np.stack([16 + 8 * np.cos(angles), 13 + 9 * np.sin(angles)], 1)
    save_landmarks(folder / "landmarks.npz", points, np.arange(16) != 13, "test")
    weights = np.full((32, 32), 255, np.uint8)
    weights[16:] = 0
    for number in range(16):
        Clip.open(folder).write_valid(number, weights)
    return folder


@pytest.fixture(name="avatar")
def avatar_file(tmp_path: Path, clip: Path) -> Path:
    """Not quite the truth, and brighter than white in places."""
    avatar = tiny_avatar(tiny_head())
    avatar.colors.data += 0.3
    avatar.colors.data[:40] = 4.0
    tracking = Performance.load(clip)
    avatar.reference = Reference.of(tracking.params(), tracking.identity)
    avatar.training_record = {"preset": "test", "images": 1, "holdout": 0.3, "figures": {}}
    avatar.save(tmp_path / "a.avatar.npz")
    return tmp_path / "a.avatar.npz"


def naive_rgbavatar(avatar_path: Path, clip: Path, lpips: Any) -> dict[str, float]:
    """The paper's protocol written out in numpy, a frame at a time."""
    avatar, tracking, pictures = load_avatar(avatar_path), Performance.load(clip), Clip.open(clip)
    place = np.arange(11) - 5
    kernel = np.exp(-(place**2) / (2 * 1.5**2))
    window = np.outer(kernel, kernel) / kernel.sum() ** 2

    def blur(picture: np.ndarray) -> np.ndarray:
        padded = np.pad(picture, ((5, 5), (5, 5)))
        views = np.lib.stride_tricks.sliding_window_view(padded, (11, 11))
        return (views * window).sum((2, 3))

    rows = []
    for number in range(tracking.frame_count):  # fewer than 350
        camera = torch.as_tensor(tracking.viewmat), torch.as_tensor(tracking.K), 32, 32
        with torch.no_grad():
            image = render_gaussians(avatar.drive(tracking.params()[[number]]), *camera)[0][0].double().numpy()
        alpha = pictures.matte(number)[..., None] / 255.0
        target = np.floor(pictures.image(number) * alpha + 0.5) / 255  # 8 bit, as a file of it would be
        similarity = []
        for channel in range(3):
            x, y = image[..., channel], target[..., channel]
            mx, my = blur(x), blur(y)
            vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
            c1, c2 = 0.01**2, 0.03**2
            similarity.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
        pair = (torch.as_tensor(part, dtype=torch.float32)[None] for part in (image, target))
        rows.append((-10 * np.log10(((image - target) ** 2).mean()), np.mean(similarity), float(lpips(*pair))))
    return dict(zip(("psnr", "ssim", "lpips"), np.mean(rows, 0), strict=True))


class _Lpips:
    """Stands in for a network: feels values beyond [0,1]."""

    network = "vgg"

    def __init__(self, weights: Any = None) -> None:
        pass

    def to(self, device: Any) -> _Lpips:
        return self

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (images - targets).pow(4).mean((1, 2, 3))


def test_rgbavatars_protocol_is_that_of_its_code(avatar: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "Lpips", _Lpips)
    found = evaluate_avatar(avatar, clip, "weights", protocol="rgbavatar")
    want = naive_rgbavatar(avatar, clip, _Lpips())
    for name, value in want.items():
        assert found[name] == pytest.approx(value, rel=2e-4), name
    assert found["pixels"] == "whole" and found["share"] == 1 and found["frames"] == 16
    ours = evaluate_avatar(avatar, clip, "weights")
    assert ours["lpips"] < found["lpips"], "ours is held to [0,1]"
    assert sum("NOT COMPARABLE" in note for note in found["notes"]) == 2, "trained on them, and too short"
    assert not any("NOT COMPARABLE" in note for note in ours["notes"])


def test_pixels_and_frames_are_the_protocols_unless_asked_otherwise(avatar: Path, clip: Path) -> None:
    ours, theirs = evaluate_avatar(avatar, clip), evaluate_avatar(avatar, clip, protocol="dipguava")
    assert [row["frame"] for row in theirs["rows"]] == [row["frame"] for row in ours["rows"]] == [11, 12, 13, 14, 15]
    assert ours["pixels"] == "clip" and theirs["pixels"] == "whole" and theirs["share"] == 1 > ours["share"]
    own = evaluate_avatar(avatar, clip, protocol="dipguava", pixels="own")
    assert own["pixels"] == "own" and own["share"] == pytest.approx(0.5)
    assert own["psnr"] == evaluate_avatar(avatar, clip, pixels="own")["psnr"]


def test_a_result_tells_parts_percentiles_health_and_sides(avatar: Path, clip: Path) -> None:
    found = evaluate_avatar(avatar, clip)
    rows = {row["frame"]: row for row in found["rows"]}
    assert "mouth_psnr" in rows[12] and "mouth_psnr" not in rows[13], "its face was not detected"
    told = [row["mouth_psnr"] for row in found["rows"] if "mouth_psnr" in row]
    assert found["mouth_psnr"] == pytest.approx(np.mean(told))
    assert found["percentiles"]["mouth_psnr"]["50"] == pytest.approx(np.median(told))
    assert found["percentiles"]["psnr"]["5"] <= found["percentiles"]["psnr"]["95"]
    assert set(found["sides"]) == {"from_left", "from_front", "from_right"} and found["geometry"]["gaussians"] > 0
    assert "change" not in rows[11] and rows[12]["change"] > 0 and found["change_error"] < found["video_change"]
    (clip / "landmarks.npz").unlink()
    bare = evaluate_avatar(avatar, clip)
    assert "mouth_psnr" not in bare and any("no landmarks" in note for note in bare["notes"])


def test_an_avatar_of_another_tracking_is_not_vouched_for(avatar: Path, clip: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(clip, again)
    tracking = Performance.load(again)
    tracking.translation = tracking.translation + 0.001
    tracking.save(again / "tracking.npz")
    assert "does not say which frames" in " ".join(evaluate_avatar(avatar, again)["notes"])
