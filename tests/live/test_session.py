# SPDX-License-Identifier: Apache-2.0
"""What a session leaves and says, and what may happen to its source: nothing that was captured is ever lost."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import blendsplat.live.stages as stages
import blendsplat.live.take as take_module
from blendsplat.errors import Cancelled, InputError, NoFaceError, StorageError
from blendsplat.fitting.frame_fitter import FrameFitter
from blendsplat.heads.performance import Performance
from blendsplat.landmarks.detector import load_landmarks
from blendsplat.live.session import LEAST_BATCHES, take_folder
from blendsplat.systems import load_avatar, load_preset, read_avatar, train_avatar
from blendsplat.video import Clip
from live_source import (
    AWAY,
    COUNT,
    ODD,
    RATE,
    SIDE,
    FakeCamera,
    Listener,
    Session,
    TrueLook,
    WholePicture,
    gone,
    live,
    other_size,
    parts,
    preset,
)


def test_it_leaves_an_avatar_of_its_take(session: Session) -> None:
    result = session.result
    avatar, performance = load_avatar(result.avatar), Performance.load(result.directory)
    assert avatar.owns(performance) and avatar.gaussian_count == result.gaussians > 50
    gaussians = avatar.drive(performance.params()[[0]])
    assert all(bool(value.isfinite().all()) for value in gaussians.tensors())
    assert (result.frames, result.dropped, avatar.camera.width) == (COUNT, 2, SIDE)
    assert result.images >= 4 * 60 and result.figures["images"] == result.images
    assert avatar.training_record["preset"] == "live"


def test_the_take_is_a_clip_of_every_frame(session: Session) -> None:
    clip, performance = Clip.open(session.result.directory), Performance.load(session.result.directory)
    points, found = load_landmarks(session.result.directory)
    numbers = np.arange(2, COUNT)  # the first two pictures were for finding the square
    assert clip.frame_count == performance.frame_count == len(points) == len(numbers)
    assert np.allclose(np.diff(clip.timestamps), 1 / RATE) and clip.fps == pytest.approx(RATE)
    lost = np.isin(numbers, [*AWAY, *ODD])
    assert (performance.valid == ~lost).all() and (found == ~lost).all() and np.isfinite(points).all()
    assert performance.figures["landmark_error"] < 0.05
    for row in (0, 40, len(numbers) - 1):
        assert clip.image(row).shape == (SIDE, SIDE, 3) and clip.matte(row).max() == 255
        assert bool(clip.valid(row).any()) == bool(performance.valid[row])
    assert not (session.result.directory / take_module.JOURNAL).exists()
    assert "framed" in clip.info.notes and clip.info.matte == "external"


def test_tracking_is_back_at_once_when_the_face_is(session: Session) -> None:
    valid = Performance.load(session.result.directory).valid
    assert valid[AWAY.stop - 2] and valid[ODD[0] - 1]


def test_what_it_says(session: Session) -> None:
    said, last = session.listener, session.listener.figures[-1]
    assert {"dropped", "tracked", "fps", "local", "long_term", "images", "rate", "psnr", "new_psnr", "seconds",
            "face"} <= last.keys()  # fmt: skip
    # a busy machine reports last before it has learned from the last frames
    assert 10 <= last["local"] <= COUNT - 2 - len(AWAY) - len(ODD) and last["long_term"] == 0
    assert 10 < last["new_psnr"] < 60 and last["psnr"] > 10
    assert "live" in said.messages
    assert all(image.shape == (SIDE, 3 * SIDE, 3) and image.dtype == np.uint8 for image in said.previews)
    source, avatar, mesh = np.split(said.previews[-1].astype(int), 3, 1)
    assert np.abs(source - avatar).mean() > 1 and np.abs(source - mesh).mean() > 1
    with av.open(str(session.result.preview)) as film:
        times = [frame.time for frame in film.decode(video=0)]
    assert len(times) == len(said.previews) and np.all(np.diff(times) > 0)


def test_splats_are_where_the_head_is(session: Session) -> None:
    info, arrays = session.listener.splats[-1]
    count = info["splats"]
    shapes = {"position": (count, 3), "scale": (count, 3), "rotation": (count, 4), "opacity": (count,)}
    shapes["color"] = (count, 3)
    assert {name: value.shape for name, value in arrays.items()} == shapes
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in arrays.values())
    assert np.allclose(np.linalg.norm(arrays["rotation"], axis=1), 1, atol=1e-5) and (arrays["scale"] > 0).all()
    performance = Performance.load(session.result.directory)
    there = performance.translation[info["frame"] - 2]
    assert np.abs(arrays["position"].mean(0) - there).max() < 0.2


def test_an_offline_training_goes_on_from_it(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first step is as good as the session's last ones; and it takes no avatar of another make."""
    monkeypatch.setattr("blendsplat.training.loop._REPORT_SECONDS", 0.0)
    changes = {"image_size": SIDE, "uv_resolution": 20, "blendshapes": 4, "mlp_width": 16, "batch": 2, "images": 4000,
               "holdout": 0.0}  # fmt: skip
    first: dict[str, float] = {}

    class FirstSteps(Listener):
        def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
            if stage == "train" and "psnr" in figures and done < total:
                first.setdefault(str(self.messages), figures["psnr"])
                self.cancelled = True

    for name, start in (("on", session.result.avatar), ("anew", None)):
        listener = FirstSteps()
        listener.messages.append(name)
        with pytest.raises(Cancelled):
            train_avatar(
                session.result.directory, load_preset("draft", changes), tmp_path / f"{name}.avatar.npz", listener,
                start=start,
            )  # fmt: skip
    on, anew = first["['on']"], first["['anew']"]
    assert on > anew + 3 and on > session.result.figures["psnr"] - 2
    assert load_avatar(tmp_path / "on.avatar.npz").training_record["images"] > session.result.images - 1
    for wrong, words in (({"blendshapes": 5}, "cannot go on from"), ({"mlp_width": 8}, "cannot go on from")):
        with pytest.raises(InputError, match=words):
            train_avatar(
                session.result.directory, load_preset("draft", changes | wrong), tmp_path / "w.avatar.npz",
                start=session.result.avatar,
            )  # fmt: skip
    with pytest.raises(InputError, match=r"no w\.live\.safetensors"):
        train_avatar(session.result.directory, load_preset("draft"), tmp_path / "x", start=tmp_path / "w.avatar.npz")


def test_told_to_stop_it_is_done(tmp_path: Path) -> None:
    """A camera without an end; paused meanwhile, when nothing is captured and training goes on."""
    said: dict[str, float] = {}

    def when(figures: dict[str, float], message: str) -> dict[str, bool] | None:
        if message == "paused" and "seen" not in said:
            said.update(figures)
            return None
        if message == "paused" and figures["images"] > said["images"] + 20:
            assert figures["seen"] <= said["seen"] + 1
            return {"pause": False, "stop": True}
        return {"pause": True} if figures["images"] > 20 and not said else None

    camera = FakeCamera(None, live=True)
    result = live(tmp_path, camera, Listener(when))
    assert camera.closed and result.images > said["images"] and result.frames > result.dropped
    assert load_avatar(result.avatar).gaussian_count and Clip.open(result.directory).frame_count


def test_a_cancelled_one_is_saved(tmp_path: Path) -> None:
    (tmp_path / "a.avatar.npz").write_bytes(b"the artist's")
    listener = Listener(lambda figures, message: "cancel" if figures["images"] else None)
    with pytest.raises(Cancelled, match="the take is kept"):
        live(tmp_path, FakeCamera(None, live=True), listener)
    assert load_avatar(tmp_path / "a.avatar.npz").gaussian_count and Clip.open(tmp_path / "a").frame_count
    assert (tmp_path / "a.before-1.avatar.npz").read_bytes() == b"the artist's"


@pytest.mark.parametrize("made", [parts(framing=WholePicture(never=True)), parts(TrueLook(range(99)))])
def test_without_a_face_nothing_is_written(tmp_path: Path, made: stages.Shared) -> None:
    with pytest.raises(NoFaceError, match="No face was seen in The camera Test"):
        live(tmp_path, FakeCamera(30), None, made, preview=None)
    assert not list(tmp_path.iterdir())


def test_a_take_of_one_second(tmp_path: Path) -> None:
    result = live(tmp_path, FakeCamera(25, live=True))
    assert result.images >= LEAST_BATCHES * 2 and Clip.open(result.directory).frame_count > 5
    assert load_avatar(result.avatar).gaussian_count == result.gaussians


def test_a_camera_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on when the camera is back; with what there is when it is not, or when another one is."""
    monkeypatch.setattr(stages, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(stages, "PATIENCE", 0.2)
    opened = [FakeCamera(70, live=True, trouble=gone(45))]

    def again() -> FakeCamera:
        opened.append(FakeCamera(70, live=True, first=45))
        return opened[-1]

    result = live(tmp_path, lambda: opened[0] if not opened[0].closed else again())
    times = Clip.open(result.directory).timestamps
    assert len(opened) == 2 and opened[0].closed and result.frames == 70 and (np.diff(times) > 0).all()
    for name, back, words in (
        ("never", lambda: (_ for _ in ()).throw(InputError("gone")), "lost after 45 frames"),
        ("other", lambda: other_size(FakeCamera(70, live=True)), "changed the size"),
    ):
        first = FakeCamera(70, live=True, trouble=gone(45))
        (tmp_path / name).mkdir()
        result = live(tmp_path / name, lambda first=first, back=back: back() if first.closed else first)
        assert any(words in note for note in result.notes) and Clip.open(result.directory).frame_count


def test_a_stream_that_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session says so, trains on, and stops when told, though the source never answers."""
    monkeypatch.setattr("blendsplat.live.session.STALL_SECONDS", 0.2)
    monkeypatch.setattr("blendsplat.live.session._HANG_SECONDS", 0.1)
    release = threading.Event()
    hang = lambda number: release.wait(60) if number == 45 else None  # noqa: E731
    stalled: list[float] = []

    def when(figures: dict[str, float], message: str) -> dict[str, bool] | None:
        if "has sent nothing" in message:
            stalled.append(figures["images"])
        return {"stop": True} if stalled and figures["images"] > stalled[0] + 20 else None

    begun = time.monotonic()
    result = live(tmp_path, FakeCamera(None, live=True, trouble=hang), Listener(when))
    assert time.monotonic() - begun < 50 and result.frames == 45 and Clip.open(result.directory).frame_count
    release.set()


def test_a_full_disk_ends_the_recording_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = take_module.write_png, []

    def full(path: Path, array: np.ndarray) -> None:
        if len(written) == 3 * 30 + 1:
            raise StorageError("Could not write: no space left on the device.")
        written.append(path)
        write(path, array)

    monkeypatch.setattr(take_module, "write_png", full)
    result = live(tmp_path, FakeCamera(60))
    assert any("Recording the take ended after 30 frames" in note for note in result.notes)
    assert Clip.open(result.directory).frame_count == 30 and len(list((result.directory / "images").iterdir())) == 30
    assert load_avatar(result.avatar).owns(Performance.load(result.directory)) and result.figures["local"] > 50


def test_a_pose_that_is_no_number_teaches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = FrameFitter.fit

    def odd(self: FrameFitter, landmarks, previous, timestamp):
        state = fit(self, landmarks, previous, timestamp)
        if abs(timestamp - 55 / RATE) < 1e-6:
            state.expression[:] = np.nan
            state.unknowns[:] = torch.nan
        return state

    monkeypatch.setattr(FrameFitter, "fit", odd)
    result = live(tmp_path, FakeCamera(60))
    valid = Performance.load(result.directory).valid
    assert (~valid).sum() == 1 and not valid[53] and valid[54]
    assert all(bool(value.isfinite().all()) for value in load_avatar(result.avatar).parameters())


def test_a_light_that_changes(tmp_path: Path, session: Session) -> None:
    """Half the light from the 45th picture on: tracked on, and the avatar grows darker than without it."""
    listener, camera = Listener(), FakeCamera(COUNT)

    def dim(now: int) -> None:
        if now == 45:
            camera.footage = replace(camera.footage, images=camera.footage.images // 2)

    camera.trouble = dim
    result = live(tmp_path, camera, listener, chosen=preset(online_images_per_frame=6))
    assert Performance.load(result.directory).valid.all()
    assert all(bool(value.isfinite().all()) for value in load_avatar(result.avatar).parameters())
    before, after = (read_avatar(one.avatar)[1]["colors"].mean() for one in (session.result, result))
    assert after < before - 0.04


def test_where_a_take_goes(tmp_path: Path) -> None:
    output = tmp_path / "me.avatar.npz"
    assert take_folder(output, None) == tmp_path / "me"
    (tmp_path / "me").mkdir()
    (tmp_path / "me-2").mkdir()
    assert take_folder(output, None) == tmp_path / "me-3"
    (tmp_path / "me" / "clip.json").write_text("{}")
    with pytest.raises(InputError, match="already holds a clip"):
        live(tmp_path, FakeCamera(1), directory=tmp_path / "me")


def test_a_preset_that_cannot_stream_is_refused(tmp_path: Path) -> None:
    for name, words in (("draft", "samples offline"), ("dipguava-draft", "only those of RGBAvatar")):
        with pytest.raises(InputError, match=words):
            live(tmp_path, FakeCamera(1), chosen=load_preset(name))
        assert not load_preset(name).streams
    with pytest.raises(InputError, match="decay_images"):
        live(tmp_path, FakeCamera(1), chosen=preset(decay_images=0))
    assert preset().streams and not preset(decay_images=0).streams
