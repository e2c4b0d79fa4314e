# SPDX-License-Identifier: Apache-2.0
"""An avatar driven by another clip, as a job: videos, pictures and performances, and what it says when it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from acting import acted
from blendsplat.avatars.reenact import Reenactment, reenacted
from blendsplat.avatars.retarget import Reference
from blendsplat.cli import app
from blendsplat.errors import FormatError, InputError
from blendsplat.heads.arkit import ARKIT
from blendsplat.heads.load import load_head
from blendsplat.heads.performance import Performance
from blendsplat.jobs.kinds import KINDS
from blendsplat.jobs.options import validated
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar
from flame_recordings import make_head, write_vhap
from other_heads import turned_head
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking, write_tiny_clip


def run(**values: Any) -> dict[str, Any]:
    """As the server would."""
    options = {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
    return KINDS["reenact"].run(validated(KINDS["reenact"].options, options, "reenact"), Progress())


@pytest.fixture(name="avatar")
def an_avatar(tmp_path: Path) -> Path:
    """Of a clip of 24 frames; its file knows its neutral face."""
    own, avatar = tiny_tracking(tiny_head(), 24), tiny_avatar(tiny_head())
    avatar.reference = Reference.of(own.params(), own.identity, avatar.head)
    features = avatar.features(own.params())
    avatar.feature_range = torch_range(features)
    avatar.save(tmp_path / "a.avatar.npz")
    own.save(tmp_path / "own.npz")
    return tmp_path / "a.avatar.npz"


def torch_range(features: Any) -> Any:
    import torch

    return torch.stack([features.amin(0), features.amax(0)])


@pytest.fixture(name="driver")
def a_drivers_clip(tmp_path: Path) -> Path:
    clip = tmp_path / "Fahrer ü"
    tracked = write_tiny_clip(clip, 16)
    changed = replace(tracked, expression=0.5 * tracked.expression + np.float32(0.3))
    changed.save(clip / "tracking.npz")
    return clip


def pictures(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_video_beside_the_drivers(tmp_path: Path, avatar: Path, driver: Path) -> None:
    result = run(avatar=avatar, performance=driver, output=tmp_path / "o.mp4", beside=True, first=4, count=3, width=64,
                 height=64)  # fmt: skip
    assert (result["frames"], result["width"], result["notes"]) == (3, 64, [])
    shown = pictures(tmp_path / "o.mp4")
    assert len(shown) == 3 and shown[0].shape == (64, 128, 3)
    odd = run(avatar=avatar, performance=driver, output=tmp_path / "odd.mp4", beside=True, count=1, width=31, height=33)
    assert pictures(tmp_path / "odd.mp4")[0].shape == (34, 62, 3) and "62x34" in odd["notes"][0]
    picture = cv2.resize(cv2.imread(str(driver / "images" / "000005.png"))[..., ::-1], (64, 64))
    assert np.abs(shown[1][:, :64].astype(int) - picture).mean() < 12, "the same moment on the left"
    right = shown[1][:, 64:]
    assert right[0, 0].min() > 240 and right.min() < 200, "the avatar before white on the right"


def test_pictures_with_alpha(tmp_path: Path, avatar: Path, driver: Path) -> None:
    run(avatar=avatar, performance=driver / "tracking.npz", output=tmp_path / "png", first=14, beside=True, width=40)
    names = sorted(path.name for path in (tmp_path / "png").iterdir())
    assert names == ["000014.png", "000015.png"]
    picture = cv2.imread(str(tmp_path / "png" / names[0]), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (32, 80, 4) and (picture[:, :40, 3] == 255).all() and (picture[:, 40:, 3] == 0).any()
    assert (picture[:, :4, :3] == 0).all(), "the whole picture fits, on black"


def test_a_performance_to_load_in_blender(tmp_path: Path, avatar: Path, driver: Path) -> None:
    run(avatar=avatar, performance=driver, output=tmp_path / "o.npz", mouth=0.5)
    have, given, opened = Performance.load(tmp_path / "o.npz"), Performance.load(driver), load_avatar(avatar)
    assert opened.reference is not None
    want = reenacted(given, opened.head, opened.reference.face, Reenactment(mouth=0.5))
    np.testing.assert_array_equal(have.expression, want.expression)
    assert np.abs(have.expression - given.expression).max() > 0.05
    assert "'truth'" in have.notes[-1] and have.frame_count == 16
    again = run(avatar=avatar, performance=tmp_path / "o.npz", output=tmp_path / "again.npz")
    assert again["notes"] == []
    absolute = run(avatar=avatar, performance=driver, output=tmp_path / "o.mp4", relative=False)
    assert again["rest_mm"] < 0.6 * absolute["rest_mm"], "what is left of the driver at rest"
    twice = Performance.load(tmp_path / "again.npz")
    np.testing.assert_allclose(twice.expression, have.expression, atol=0.1)


def test_the_own_clip_comes_back(tmp_path: Path, avatar: Path) -> None:
    own = tmp_path / "own.npz"
    run(avatar=avatar, performance=own, output=tmp_path / "o.npz")
    for name in ("expression", "neck_pose", "translation"):
        np.testing.assert_array_equal(
            getattr(Performance.load(tmp_path / "o.npz"), name), getattr(Performance.load(own), name)
        )
    run(avatar=avatar, performance=own, output=tmp_path / "whole", count=1)
    from blendsplat.jobs.options import RenderOptions
    from blendsplat.jobs.render_work import run_render

    run_render(RenderOptions(avatar=avatar, performance=own, output=tmp_path / "rendered", count=1), Progress())
    assert (tmp_path / "whole/000000.png").read_bytes() == (tmp_path / "rendered/000000.png").read_bytes()


def test_a_file_that_does_not_know_its_neutral(tmp_path: Path, avatar: Path, driver: Path) -> None:
    """Says so and how to help it; with its own clip it is as if the file knew."""
    old = load_avatar(avatar)
    assert old.reference is not None
    old.reference = replace(old.reference, face=None)
    old.save(tmp_path / "old.avatar.npz")
    unknown = run(avatar=tmp_path / "old.avatar.npz", performance=driver, output=tmp_path / "o.npz")
    assert len(unknown["notes"]) == 1 and "--own" in unknown["notes"][0]
    played, given = Performance.load(tmp_path / "o.npz"), Performance.load(driver)
    np.testing.assert_array_equal(played.expression, given.expression)
    own = tmp_path / "own.npz"
    told = run(avatar=tmp_path / "old.avatar.npz", performance=driver, output=tmp_path / "told.npz", own=own)
    assert told["notes"] == []
    run(avatar=avatar, performance=driver, output=tmp_path / "known.npz")
    known, helped = (Performance.load(tmp_path / name).expression for name in ("known.npz", "told.npz"))
    np.testing.assert_allclose(helped, known, atol=1e-6)
    with pytest.raises(InputError, match="is not the clip that the avatar"):
        run(avatar=avatar, performance=driver, output=tmp_path / "o.npz", own=driver)


def test_a_moment_is_played_as_it_is(tmp_path: Path, avatar: Path, driver: Path) -> None:
    replace(Performance.load(driver).select([3]), part_of="").save(tmp_path / "one.npz")
    result = run(avatar=avatar, performance=tmp_path / "one.npz", output=tmp_path / "o.npz")
    assert "too few frames" in result["notes"][0]
    played = Performance.load(tmp_path / "o.npz")
    np.testing.assert_array_equal(played.expression, Performance.load(tmp_path / "one.npz").expression)
    assert run(avatar=avatar, performance=tmp_path / "one.npz", output=tmp_path / "o.mp4")["frames"] == 1


def test_bad_performances(tmp_path: Path, avatar: Path, driver: Path) -> None:
    given = Performance.load(driver)
    replace(given, valid=np.zeros(16, bool)).save(tmp_path / "none.npz")
    with pytest.raises(InputError, match="face in none of its frames"):
        run(avatar=avatar, performance=tmp_path / "none.npz", output=tmp_path / "o.mp4")
    poses = given.neck_pose.copy()
    poses[3] = np.nan
    replace(given, neck_pose=poses).save(tmp_path / "nan.npz")
    with pytest.raises(FormatError, match="'neck_pose' holds values that are not finite"):
        run(avatar=avatar, performance=tmp_path / "nan.npz", output=tmp_path / "o.mp4")
    with pytest.raises(InputError, match="16 frames"):
        run(avatar=avatar, performance=driver, output=tmp_path / "o.npz", first=16)
    assert not list(tmp_path.glob("o.*"))


def test_what_cannot_be_written_or_shown(tmp_path: Path, avatar: Path, driver: Path) -> None:
    for output, says in (("o.mov", r"an \.mp4 file.*or an \.npz file"), ("o.npz", "no pictures")):
        with pytest.raises(InputError, match=says):
            run(avatar=avatar, performance=driver, output=tmp_path / output, beside=True)
    with pytest.raises(InputError, match="does not lie in a tracked clip's folder"):
        run(avatar=avatar, performance=tmp_path / "own.npz", output=tmp_path / "o.mp4", beside=True)
    Performance.load(driver).select(slice(0, 9)).save(driver / "part.npz")
    with pytest.raises(InputError, match="16 images and the performance 9"):
        run(avatar=avatar, performance=driver / "part.npz", output=tmp_path / "o.mp4", beside=True)
    for wrong in ({"mouth": 2.5}, {"head": -1}, {"smooth": float("nan")}, {"lively": -1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            run(avatar=avatar, performance=driver, output=tmp_path / "o.mp4", **wrong)


# --- across head models


@pytest.fixture(name="of_human")
def an_avatar_of_the_shipped_head(tmp_path: Path) -> Path:
    """On the head that ships, of an acted clip."""
    human = load_head("human", landmarks=False)
    own, avatar = acted(human, {"mouthSmileLeft": 0.2}), tiny_avatar(human, 16)
    avatar.reference = Reference.of(own.params(), own.identity, avatar.head)
    avatar.save(tmp_path / "human.avatar.npz")
    return tmp_path / "human.avatar.npz"


def test_a_driver_of_another_head(tmp_path: Path, of_human: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expressions come by their names, to the avatar's neutral."""
    turned = turned_head(load_head("human"))
    real = load_head
    monkeypatch.setattr("blendsplat.heads.load.SHIPPED", ("human", "turned"))
    monkeypatch.setattr(
        "blendsplat.heads.load.load_head",
        lambda source, **more: turned if source == "turned" else real(source, **more),
    )
    ben = acted(turned, {"browDownLeft": 0.2}, frames=40)
    replace(ben, head_source="turned").save(tmp_path / "ben.npz")
    result = run(avatar=of_human, performance=tmp_path / "ben.npz", output=tmp_path / "o.npz")
    assert result["notes"] == [] and result["frames"] == 40
    played = Performance.load(tmp_path / "o.npz")
    human = load_head("human", landmarks=False)
    assert played.head == "human" and played.head_model == human.model_id
    face = load_avatar(of_human).reference.face  # type: ignore[union-attr]
    column = human.expression_names.index("mouthFunnel")
    np.testing.assert_allclose(played.expression[:, column] - face.expression[column], ben.expression[:, column],
                               atol=0.06)  # fmt: skip
    np.testing.assert_allclose(np.ptp(played.jaw_pose[:, 0]), np.ptp(ben.jaw_pose[:, 0]), rtol=0.15)


def test_heads_that_cannot_be_laid_onto_each_other(tmp_path: Path, avatar: Path, of_human: Path, driver: Path) -> None:
    ben = acted(load_head("human", landmarks=False), {}, frames=12)
    ben.save(tmp_path / "ben.npz")
    with pytest.raises(InputError, match=r"'human'.*and the avatar lies on 'tiny'.*--avatar-head"):
        run(avatar=avatar, performance=tmp_path / "ben.npz", output=tmp_path / "o.mp4")
    with pytest.raises(InputError, match="the avatar lies on another, 'tiny'"):
        run(avatar=avatar, performance=tmp_path / "ben.npz", output=tmp_path / "o.mp4", avatar_head="human")
    with pytest.raises(InputError, match=r"'tiny'.*cannot be laid onto the avatar's.*--driver-head"):
        run(avatar=of_human, performance=driver, output=tmp_path / "o.mp4")


def test_a_phones_capture(tmp_path: Path, of_human: Path) -> None:
    """Without a picture: before the avatar's own camera, held as in its own clip."""
    names = ["Timecode", "BlendShapeCount", *(name[:1].upper() + name[1:] for name in ARKIT)]
    lines = [",".join(names)]
    for frame in range(20):
        values = [f"{0.5 * (frame > 12) * (name == 'mouthFunnel'):.3f}" for name in ARKIT]
        lines.append(",".join([f"01:00:00:{frame:02d}.000", "52", *values]))
    (tmp_path / "take.csv").write_text("\n".join(lines), encoding="utf-8")
    run(avatar=of_human, performance=tmp_path / "take.csv", output=tmp_path / "o.npz")
    played, avatar = Performance.load(tmp_path / "o.npz"), load_avatar(of_human)
    assert avatar.reference is not None and avatar.reference.face is not None
    column = played.expression_names.index("mouthFunnel")
    still = avatar.reference.face.expression[column]
    np.testing.assert_allclose(played.expression[[0, 19], column], [still, still + 0.5], atol=1e-4)
    np.testing.assert_allclose(played.translation, np.tile(avatar.reference.translation.numpy(), (20, 1)), atol=1e-6)
    np.testing.assert_array_equal(played.viewmat, avatar.camera.viewmat.numpy())
    with pytest.raises(InputError, match="no video to put beside"):
        run(avatar=of_human, performance=tmp_path / "take.csv", output=tmp_path / "o.mp4", beside=True)


def test_captures_of_other_programs(tmp_path: Path, of_human: Path) -> None:
    """A table without times plays at the rate that is given; what had to be guessed is said."""
    lines = ["jawOpen;mouthFunnel;eyeBlink_L;eyeBlink_R;browInnerUp"]
    lines += [f"{'0,5' if frame > 12 else '0'};0;0;0;0" for frame in range(20)]
    (tmp_path / "take.csv").write_text("\n".join(lines), encoding="utf-8")
    result = run(avatar=of_human, performance=tmp_path / "take.csv", output=tmp_path / "o.npz", fps=24, relative=False)
    played = Performance.load(tmp_path / "o.npz")
    np.testing.assert_allclose(played.timestamps, np.arange(20) / 24)
    np.testing.assert_allclose(result["fps"], 24)
    np.testing.assert_allclose(played.jaw_pose[[0, 19], 0], [0, 0.5 * 0.372], atol=1e-6)
    assert any("no column for" in note for note in result["notes"])
    untold = run(avatar=of_human, performance=tmp_path / "take.csv", output=tmp_path / "o.npz")
    assert any("60 frames a second were taken" in note for note in untold["notes"])


def test_other_trackers_folders(tmp_path: Path, of_human: Path) -> None:
    """VHAP's numbers drive an avatar of the same FLAME without its pictures; another head asks for the model's file."""
    head = replace(make_head(30), family="flame").to("cpu", torch.float32)
    avatar = tiny_avatar(head)
    avatar.save(tmp_path / "flame.avatar.npz")
    _, values, _ = write_vhap(tmp_path / "vhap")
    for picture in (tmp_path / "vhap" / "images").iterdir():
        picture.unlink()
    result = run(avatar=tmp_path / "flame.avatar.npz", performance=tmp_path / "vhap", output=tmp_path / "o.npz", fps=10)
    played = Performance.load(tmp_path / "o.npz")
    np.testing.assert_allclose(played.expression, values["expr"], atol=1e-6)
    np.testing.assert_allclose(played.timestamps, np.arange(6) / 10)
    assert any("own FLAME" in note for note in result["notes"])
    with pytest.raises(InputError, match=r"moves a FLAME head.*'human'.*--driver-head"):
        run(avatar=of_human, performance=tmp_path / "vhap", output=tmp_path / "o.npz")


# --- the command


def test_the_command(tmp_path: Path, avatar: Path, driver: Path) -> None:
    output = tmp_path / "o.npz"
    given = ["reenact", str(avatar), "-p", str(driver), "-o", str(output), "--smooth", "0.2", "--json"]
    result = CliRunner().invoke(app, [*given, "--mouth", "0", "--eyes", "0", "--brows", "0"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["frames"] == 16
    face = load_avatar(avatar).reference.face  # type: ignore[union-attr]
    np.testing.assert_allclose(Performance.load(output).expression, np.tile(face.expression, (16, 1)), atol=1e-6)
    failed = CliRunner().invoke(app, ["reenact", str(avatar), "-p", str(tmp_path / "gone"), "-o", str(output)])
    assert failed.exit_code == 2
