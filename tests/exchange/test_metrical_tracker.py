# SPDX-License-Identifier: Apache-2.0
"""metrical-tracker's checkpoints: the skull stays at its pixels, lids and jaw come along, and no code is run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from blendsplat.errors import FormatError, UnsafeFileError
from blendsplat.exchange.metrical_tracker import paired_pictures
from blendsplat.exchange.registry import import_recording
from blendsplat.geometry import rotvec_to_matrix
from flame_recordings import (
    FRAMES,
    HEIGHT,
    WIDTH,
    K,
    cameras,
    head_params,
    parameters,
    projected,
    tracked_pixels,
    write_pictures,
)


def six(rotvecs: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(rotvecs.reshape(-1, 3)).as_matrix()[:, :2].reshape(len(rotvecs), -1) * 1.7


def test_metrical_tracker(head, tmp_path):
    rng = np.random.default_rng(2)
    values, viewmats, eyelids = parameters(rng), cameras(rng), rng.uniform(0, 1, (FRAMES, 2))
    for name in ("translation", "rotation", "neck_pose", "static_offset"):
        values[name] = np.zeros_like(values[name])
    folder = tmp_path / "person"
    write_pictures(folder / "images", rng, alpha=True)
    (folder / "checkpoint").mkdir()
    for index in range(FRAMES):
        path = folder / "checkpoint" / f"{index:05d}.frame"
        row = slice(index, index + 1)
        half = np.diag([0.5, 0.5, 1.0]) @ K  # the tracker worked at half the size
        content = {
            "flame": {
                "exp": values["expr"][row],
                "shape": values["shape"][None],
                "eyes": six(values["eyes_pose"][row]),
                "jaw": six(values["jaw_pose"][row]),
                "eyelids": eyelids[row],
            },
            "opencv": {"R": viewmats[None, index, :3, :3], "t": viewmats[None, index, :3, 3], "K": half[None]},
            "img_size": np.array([HEIGHT // 2, WIDTH // 2]),
            "frame_id": f"{index:05d}",
            "global_step": index,
        }
        torch.save(content, path)
    clip, tracking = import_recording(folder, tmp_path / "clip", head)
    truth = projected(head(head_params(values, eyelids)), viewmats)
    np.testing.assert_allclose(tracked_pixels(tracking, head), truth, atol=1e-3)
    np.testing.assert_allclose(
        rotvec_to_matrix(torch.as_tensor(tracking.jaw_pose)),
        Rotation.from_rotvec(values["jaw_pose"]).as_matrix(),
        atol=1e-5,
    )
    np.testing.assert_array_equal(clip.matte(2), np.array(Image.open(folder / "images" / "00002_00.png"))[..., 3])
    (folder / "images" / "00005_00.png").unlink()
    with pytest.raises(FormatError, match=r"00005\.frame has no picture number 5"):
        import_recording(folder, tmp_path / "other", head)


def files(folder: Path, pattern: str, numbers: Iterable[int]) -> list[Path]:
    return [folder / pattern.format(number) for number in numbers]


def pair(
    checkpoints: Iterable[int], pictures: Iterable[int], names: str = "{:05d}.png"
) -> tuple[list[str], list | None]:
    one, two = files(Path("c"), "{:05d}.frame", checkpoints), files(Path("p"), names, pictures)
    found, steps = paired_pictures(one, two)
    return [path.stem for path in found], None if steps is None else steps.tolist()


def test_pictures_are_paired_by_their_numbers() -> None:
    assert pair(range(3), range(3)) == (["00000", "00001", "00002"], None)
    assert pair(range(3), range(1, 4)) == (["00001", "00002", "00003"], None), "FFmpeg counts from 1"
    assert pair(range(3), range(1, 9))[0] == ["00001", "00002", "00003"], "the tracker was stopped"
    assert pair([0, 1, 3], [1, 2, 4]) == (["00001", "00002", "00004"], [0, 1, 3]), "both are gone: a gap in time"
    assert pair(range(7, 9), range(7, 9))[1] is None
    assert pair(range(3), range(3), "take2_{:04d}_00.png")[0] == ["take2_0000_00", "take2_0001_00", "take2_0002_00"]
    assert pair(range(3), [5, 5, 5], "same.png")[0] == ["same"] * 3, "without numbers in their order"


@pytest.mark.parametrize(
    ("checkpoints", "pictures", "words"),
    [
        ([0, 1, 3, 4], range(1, 6), r"00003\.png has no checkpoint number 2"),
        (range(5), [1, 2, 4, 5], r"00002\.frame has no picture number 3"),
        (range(5), [0, 1, 2, 3], r"00004\.frame has no picture number 4"),
        ([0, 1, 3, 4], range(5), r"00002\.png has no checkpoint number 2"),
        (range(1, 5), range(1, 6), "something before them is missing"),
        (range(5), range(2, 6), "something before them is missing"),
    ],
)
def test_what_has_no_partner_is_named(checkpoints: Iterable[int], pictures: Iterable[int], words: str) -> None:
    with pytest.raises(FormatError, match=f"{words}.* A frame needs both: put the missing file there"):
        pair(checkpoints, pictures)


class Malice:
    def __reduce__(self):
        return (os.system, ("touch harmed",))


def test_a_checkpoint_that_wants_to_run_code(head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "person" / "images", np.random.default_rng(0))
    (tmp_path / "person" / "checkpoint").mkdir()
    for index in range(FRAMES):
        torch.save({"flame": Malice()}, tmp_path / "person" / "checkpoint" / f"{index}.frame")
    with pytest.raises(UnsafeFileError):
        import_recording(tmp_path / "person", tmp_path / "clip", head)
    for index in range(FRAMES):
        torch.save({"flame": {"exp": [1.0]}}, tmp_path / "person" / "checkpoint" / f"{index}.frame")
    with pytest.raises(FormatError):
        import_recording(tmp_path / "person", tmp_path / "clip", head)
    assert not (tmp_path / "harmed").exists() and not (tmp_path / "clip").exists()
