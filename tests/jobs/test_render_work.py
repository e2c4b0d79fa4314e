# SPDX-License-Identifier: Apache-2.0
"""What surrounds the rendering of a driven avatar: backgrounds, alpha, the frames that are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from blendsplat.avatars.ply import read_ply
from blendsplat.avatars.retarget import Reference
from blendsplat.errors import InputError
from blendsplat.heads.performance import Performance
from blendsplat.jobs.options import ExportOptions, RenderOptions
from blendsplat.jobs.render_work import (
    frame_range,
    parse_background,
    performance_fps,
    run_export,
    run_render,
    to_straight8,
    writes_video,
)
from blendsplat.progress import Progress
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking


def test_backgrounds() -> None:
    assert parse_background(None, is_video=False) is None
    assert parse_background(None, is_video=True) == (1, 1, 1)
    assert parse_background("transparent", is_video=False) is None
    assert parse_background("#ff0000", is_video=True) == (1, 0, 0)
    assert parse_background("0.5,0,1", is_video=True) == (0.5, 0, 1)
    assert parse_background((0, 0, 0), is_video=True) == (0, 0, 0)
    for bad in ("pink-ish", "#ff", "1,2", "2,0,0", "nan,0,0"):
        with pytest.raises(InputError, match="background"):
            parse_background(bad, is_video=False)
    with pytest.raises(InputError, match="transparency"):
        parse_background("transparent", is_video=True)


def test_straight_alpha() -> None:
    rgba = np.array([[[0.25, 0, 0, 0.5], [0, 0, 0, 0], [1, 1, 1, 1], [0.7, 0.1, 0, 0.5]]], np.float32)
    np.testing.assert_array_equal(to_straight8(rgba)[0], [[128, 0, 0, 128], [0, 0, 0, 0], [255] * 4, [255, 51, 0, 128]])


def performance(frames: int, fps: float = 25.0) -> Performance:
    zeros = np.zeros((frames, 3), np.float32)
    return Performance(
        "human", "human", 64, 64, np.arange(frames) / fps, np.ones(frames, bool), np.zeros(2, np.float32),
        np.zeros((4, 3), np.float32), np.arange(frames, dtype=np.float32)[:, None], zeros, zeros, zeros,
        np.zeros((frames, 2, 3), np.float32), np.zeros((frames, 2), np.float32), zeros, np.eye(3, dtype=np.float32),
        np.eye(4, dtype=np.float32),
    )  # fmt: skip


def test_frames_of_a_performance() -> None:
    whole = performance(10, 30.0)
    assert frame_range(whole, 4, 3) == slice(4, 7)
    assert frame_range(whole, 8, None) == frame_range(whole, 8, 100) == slice(8, 10)
    assert performance_fps(whole) == pytest.approx(30.0)
    assert performance_fps(whole.select(frame_range(whole, 0, 1))) == 25.0
    with pytest.raises(InputError, match=r"10 frames \(0 to 9\)"):
        frame_range(whole, 10, 1)


@pytest.mark.parametrize("foreign", [False, True], ids=["own clip", "another clip"])
def test_a_part_of_a_performance_is_as_in_the_whole(foreign: bool, tmp_path: Path) -> None:
    """Whose performance it is, and about what it moves, the whole says, whatever part is rendered or exported."""
    own, avatar = tiny_tracking(tiny_head(), 12), tiny_avatar(tiny_head())
    avatar.reference = replace(Reference.of(own.params()), performance=own.identity)
    features = avatar.features(own.params())
    avatar.feature_range = torch.stack([features.amin(0), features.amax(0)])
    avatar.save(tmp_path / "a.avatar.npz")
    played = replace(own, expression=1.5 * own.expression, neck_pose=own.neck_pose + np.float32(0.1))
    (played if foreign else own).save(tmp_path / "tracking.npz")
    shared = {"avatar": tmp_path / "a.avatar.npz", "performance": tmp_path / "tracking.npz", "width": 24, "height": 24}
    run_render(RenderOptions(output=tmp_path / "whole", **shared), Progress())
    run_render(RenderOptions(output=tmp_path / "part", first=8, count=2, **shared), Progress())
    for name in ("000008.png", "000009.png"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    del shared["width"], shared["height"]
    run_export(ExportOptions(output=tmp_path / "a.ply", frame=8, **shared), Progress())
    adopted = avatar.adopted(played) if foreign else own
    with torch.no_grad():
        want = avatar.drive(adopted.select([8]).params(), bounded=foreign)
    torch.testing.assert_close(read_ply(tmp_path / "a.ply").means, want.means, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "said"), [((24, 24), None), ((25, 24), "26x24"), ((24, 27), "24x28")])
def test_a_videos_odd_sides_are_told(size: tuple[int, int], said: str | None, tmp_path: Path) -> None:
    own, avatar = tiny_tracking(tiny_head(), 2), tiny_avatar(tiny_head())
    avatar.save(tmp_path / "a.avatar.npz")
    own.save(tmp_path / "own.npz")
    files = {"avatar": tmp_path / "a.avatar.npz", "performance": tmp_path / "own.npz"}
    options = RenderOptions(output=tmp_path / "o.mp4", width=size[0], height=size[1], **files)
    notes = run_render(options, Progress())["notes"]
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        written = f"{stream.width}x{stream.height}"
    assert [written in note for note in notes] == ([True] if said else []) and written == (said or "24x24")
    pictures = RenderOptions(output=tmp_path / "frames", width=size[0], height=size[1], **files)
    assert run_render(pictures, Progress())["notes"] == []


def test_no_folder_is_made_of_a_files_name() -> None:
    for name in ("a.mpg", "b.TIFF", "c.wmv"):
        with pytest.raises(InputError, match=r"\.mp4 file, or a folder"):
            writes_video(Path(name))
    assert writes_video(Path("d.MP4")) and not writes_video(Path("take.01"))


def test_what_the_clip_never_showed_is_held_back_unless_it_is_let_go(tmp_path: Path) -> None:
    """Of the own clip, whose features are not kept inside: the tracked one to the bit, a louder one held."""
    own, avatar = tiny_tracking(tiny_head(), 12), tiny_avatar(tiny_head())
    avatar.note_seen(avatar.features(own.params()))
    avatar.save(tmp_path / "a.avatar.npz")
    shared = {"avatar": tmp_path / "a.avatar.npz", "width": 24, "height": 24, "first": 7, "count": 1}
    pictures = {}
    for name, played in (("own", own), ("loud", replace(own, expression=6 * own.expression))):
        played.save(tmp_path / f"{name}.npz")
        for hold_back in (0.0, 1.0):
            folder = tmp_path / f"{name} {hold_back}"
            options = RenderOptions(output=folder, performance=tmp_path / f"{name}.npz", hold_back=hold_back, **shared)
            run_render(options, Progress())
            pictures[name, hold_back] = (folder / "000007.png").read_bytes()
    assert pictures["own", 0.0] == pictures["own", 1.0] and pictures["loud", 0.0] != pictures["loud", 1.0]
    files = {"avatar": tmp_path / "a.avatar.npz", "performance": tmp_path / "loud.npz", "frame": 7}
    for hold_back in (0.0, 1.0):
        run_export(ExportOptions(output=tmp_path / f"{hold_back}.ply", hold_back=hold_back, **files), Progress())
    assert not torch.equal(read_ply(tmp_path / "0.0.ply").means, read_ply(tmp_path / "1.0.ply").means)
