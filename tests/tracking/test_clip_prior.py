# SPDX-License-Identifier: Apache-2.0
"""What a regressor reads in a clip, and what the tracker makes of it: cuts, losses, single frames, uneven time.

The pictures' red tells which frame they are, so the stand-in regressor knows the truth of what it is shown, and a
picture taken from the wrong frame is told from the right one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blendsplat.errors import Cancelled, InputError, NoFaceError
from blendsplat.fitting.face_prior import FacePrior
from blendsplat.fitting.fit import fit_clip
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks.detector import load_landmarks, save_landmarks
from blendsplat.progress import Progress
from blendsplat.tracking import TrackOptions, evaluate_tracking, track_clip
from blendsplat.tracking.clip_prior import between, frames_to_read, person_shape, read_clip, yaws
from blendsplat.video import Clip
from blendsplat.video.clip import ClipInfo, write_info, write_png
from synthetic_head import landmarks_of, make_head, make_truth

FRAMES, SIZE = 24, 128


class Seer:
    """A regressor that knows the truth of the frame it sees, wrong by ``noise``; frames: what it was shown."""

    name, face_share, step = "seer", 0.3, 1 / 15

    def __init__(self, truth: Performance, noise: float = 0.0) -> None:
        self.truth, self.rng, self.noise = truth, np.random.default_rng(0), noise
        self.frames: list[int] = []

    def __call__(self, picture: np.ndarray) -> FacePrior:
        frame = round(float(picture[len(picture) // 2, len(picture) // 2, 0]) * 255 / 8)
        assert picture.dtype == np.float32 and picture[0, 0].min() == 1  # white round the matte
        self.frames.append(frame)
        shape = self.truth.shape + self.noise * self.rng.normal(size=self.truth.shape.shape)
        return FacePrior(shape, self.truth.expression[frame : frame + 1], self.truth.jaw_pose[frame : frame + 1])

    def many(self, pictures: list[np.ndarray], points: list[np.ndarray] | None = None) -> list[FacePrior]:
        return [self(picture) for picture in pictures]


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return make_head()


@pytest.fixture(scope="module")
def truth(head: HeadModel) -> Performance:
    return make_truth(head, FRAMES, size=SIZE, fov=27)


def make_folder(
    folder: Path, head: HeadModel, truth: Performance, found: np.ndarray | None = None, shots: tuple[int, ...] = (0,)
) -> Path:
    """A clip folder whose pictures say their number; frames without a face are black."""
    found = np.ones(FRAMES, bool) if found is None else found
    for name in ("images", "mattes"):
        (folder / name).mkdir(parents=True)
    matte = np.zeros((SIZE, SIZE), np.uint8)
    matte[12:-12, 16:-16] = 255
    for frame in range(FRAMES):
        image = np.full((SIZE, SIZE, 3), 100, np.uint8)
        image[..., 0] = 8 * frame
        write_png(folder / "images" / f"{frame:06d}.png", image * found[frame])
        write_png(folder / "mattes" / f"{frame:06d}.png", matte)
    points = np.zeros((FRAMES, 478, 3), np.float32)
    points[..., :2] = landmarks_of(head, truth)
    save_landmarks(folder / "landmarks.npz", points * found[:, None, None], found, "truth")
    info = ClipInfo(
        "x.mp4", (SIZE, SIZE), 0.0, None, (0, 0, SIZE), SIZE, SIZE, 25.0, list(truth.timestamps), "external",
        shots=list(shots),
    )  # fmt: skip
    write_info(folder, info)
    return folder


def options(head: HeadModel, **more) -> TrackOptions:
    return TrackOptions(
        head="synthetic", head_model=head, refine="none", overlay=False, valid_maps=False, **more
    )  # fmt: skip


def read(folder: Path, seer: Seer):
    clip = Clip.open(folder)
    return read_clip(clip, *load_landmarks(folder), seer, Progress())


# --- the whole way


def test_a_true_reading_brings_the_shape_nearer_and_is_recorded(head, truth, tmp_path):
    folder = make_folder(tmp_path / "c", head, truth)
    plain = track_clip(folder, options(head))
    told = track_clip(folder, options(head, init="kaolrm", regressor=Seer(truth, 0.2)))
    error, error_told = (evaluate_tracking(result, truth, head)["vertex_error_mm"] for result in (plain, told))
    assert error_told < 0.8 * error
    again = Performance.load(folder)
    assert (plain.init, told.init, again.init) == ("landmarks", "seer", "seer")
    assert again.figures["frames_read"] >= FRAMES / 2 and "frames_read" not in plain.figures


def test_a_wrong_reading_does_not_win_against_the_landmarks(head, truth, tmp_path):
    """Somebody else's shape and the opposite expression: the landmarks keep the face where it is."""
    liar = Seer(replace(truth, shape=-truth.shape, expression=-truth.expression))
    folder = make_folder(tmp_path / "c", head, truth)
    told = track_clip(folder, options(head, init="kaolrm", regressor=liar))
    assert told.valid.all() and told.figures["landmark_error"] < 0.04


def test_time_is_as_smooth_as_without(head, truth, tmp_path):
    folder = make_folder(tmp_path / "c", head, truth)
    plain = track_clip(folder, options(head))
    told = track_clip(folder, options(head, init="kaolrm", regressor=Seer(truth)))
    assert told.figures["jitter_px"] < 1.1 * plain.figures["jitter_px"]


def test_what_cannot_be_read_is_said_before_anything_is_done(head, truth, tmp_path):
    folder = make_folder(tmp_path / "c", head, truth)
    with pytest.raises(InputError, match="no weights of KaoLRM for the head 'synthetic'"):
        track_clip(folder, options(head, init="kaolrm"))
    with pytest.raises(InputError, match="choose landmarks or kaolrm"):
        track_clip(folder, options(head, init="guess"))
    with pytest.raises(InputError):
        track_clip(folder, options(head, init="kaolrm", weights=tmp_path / "nowhere"))
    assert not (folder / "tracking.npz").exists()


def test_a_clip_without_a_face_is_refused_as_ever(head, truth, tmp_path):
    folder = make_folder(tmp_path / "c", head, truth, np.zeros(FRAMES, bool))
    with pytest.raises(NoFaceError):
        track_clip(folder, options(head, init="kaolrm", regressor=Seer(truth)))


def test_reading_is_cancelled_between_batches(head, truth, tmp_path):
    class Stop(Progress):
        def update(self, stage, done, total, message="", **figures):
            self.cancelled = stage == "read faces"

    seer = Seer(truth)
    folder = make_folder(tmp_path / "c", head, truth)
    with pytest.raises(Cancelled):
        track_clip(folder, options(head, init="kaolrm", regressor=seer), Stop())
    assert 0 < len(seer.frames) < FRAMES / 2 and not (folder / "tracking.npz").exists()


def test_a_clip_without_mattes_is_segmented(head, truth, tmp_path):
    """A flat picture shows nobody: what is read is white."""
    folder = make_folder(tmp_path / "c", head, truth)
    for matte in (folder / "mattes").iterdir():
        matte.unlink()
    (folder / "mattes").rmdir()
    seen: list[np.ndarray] = []

    class Looks(Seer):
        def __call__(self, picture: np.ndarray) -> FacePrior:
            seen.append(picture)
            return FacePrior(truth.shape, truth.expression[:1], truth.jaw_pose[:1])

    read(folder, Looks(truth))
    assert all(picture.mean() > 0.9 for picture in seen)


# --- shots and losses


@pytest.mark.parametrize("shots", [(0,), (0, 9), (0, 1, 2, 9), (0, 23)])
def test_every_shot_is_read_from_its_first_frame_to_its_last(head, truth, tmp_path, shots):
    folder, seer = make_folder(tmp_path / "c", head, truth, shots=shots), Seer(truth)
    reading = read(folder, seer)
    ends = {start - 1 for start in shots if start} | {FRAMES - 1}
    assert set(shots) | ends <= set(seer.frames) and reading.read == len(seer.frames)
    assert seer.frames == sorted(set(seer.frames))
    np.testing.assert_allclose(reading.prior.expression[seer.frames], truth.expression[seer.frames], atol=1e-6)
    np.testing.assert_allclose(reading.prior.jaw_pose[seer.frames], truth.jaw_pose[seer.frames], atol=1e-6)


def test_a_loss_ends_a_run_and_the_return_begins_a_new_one(head, truth, tmp_path):
    found = np.ones(FRAMES, bool)
    found[[0, 8, 9, 10, 17]] = False
    folder, seer = make_folder(tmp_path / "c", head, truth, found), Seer(truth)
    reading = read(folder, seer)
    assert {1, 7, 11, 16, 18, 23} <= set(seer.frames) and not {0, 8, 9, 10, 17} & set(seer.frames)
    assert (reading.prior.expression[~found] == 0).all()
    result = track_clip(folder, options(head, init="kaolrm", regressor=Seer(truth)))
    assert (result.valid == found).all() and result.figures["shots"] == 3


def test_nothing_is_carried_over_a_cut(head, truth, tmp_path):
    """An expression that jumps at the cut jumps in the prior and in the result, whichever way it is known."""
    jumping = replace(truth, expression=truth.expression.copy(), jaw_pose=truth.jaw_pose.copy())
    jumping.expression[:], jumping.jaw_pose[:] = 0, 0
    jumping.expression[13:, 0], jumping.jaw_pose[13:, 0] = 1, 0.3
    folder = make_folder(tmp_path / "c", head, jumping, shots=(0, 13))
    reading = read(folder, Seer(jumping))
    np.testing.assert_allclose(reading.prior.expression, jumping.expression, atol=1e-6)
    result = track_clip(folder, options(head, init="kaolrm", regressor=Seer(jumping)))
    assert result.figures["shots"] == 2
    assert result.jaw_pose[12, 0] < 0.1 and result.jaw_pose[13, 0] > 0.2


def test_uneven_time_is_read_by_the_clock(head, truth, tmp_path):
    times = np.cumsum(np.where(np.arange(FRAMES) % 2, 1 / 120, 1 / 20))
    uneven = replace(truth, timestamps=times - times[0])
    seer = Seer(uneven)
    reading = read(make_folder(tmp_path / "c", head, uneven), seer)
    assert np.diff(uneven.timestamps[seer.frames]).max() < 1 / 15 + 1 / 20 + 1e-6
    assert len(seer.frames) < FRAMES and np.isfinite(reading.prior.expression).all()


@pytest.mark.parametrize(("other", "told"), [(1.0, False), (-1.0, True)])
def test_two_people_in_two_shots_are_told(head, truth, other, told):
    """The second shot of the same person, then of somebody of the opposite shape; both stay tracked."""
    second = replace(make_truth(head, FRAMES, seed=4, size=SIZE, fov=27), shape=other * truth.shape)
    pixels = np.concatenate([landmarks_of(head, truth)[:12], landmarks_of(head, second)[:12]])
    shots = np.array([0, 12])
    result = fit_clip(head, pixels, np.ones(24, bool), truth.timestamps, SIZE, SIZE, shots=shots)
    assert result.valid.all() and result.figures["shots"] == 2
    assert any("begins at frame 12 seems to show somebody else" in note for note in result.notes) == told
    one = fit_clip(head, pixels[:15], np.ones(15, bool), truth.timestamps[:15], SIZE, SIZE, shots=shots)
    assert one.notes == ()  # three frames are too few to tell


# --- pieces


@given(st.lists(st.sampled_from([-1, 0, 0, 0, 1]), min_size=1, max_size=60), st.floats(5, 120), st.floats(2, 30))
@settings(max_examples=100, deadline=None)
def test_what_is_read_covers_every_run(steps, rate, wanted):
    """steps: -1 a lost frame, 0 the run goes on, 1 a cut."""
    runs, run = [], 0
    for step in steps:
        run += step != 0
        runs.append(-1 if step < 0 else run)
    runs = np.array(runs)
    times = np.arange(len(runs)) / rate
    frames = frames_to_read(runs, times, 1 / wanted)
    assert (np.diff(frames) > 0).all() and (runs[frames] >= 0).all()
    for number in set(runs.tolist()) - {-1}:
        rows = np.flatnonzero(runs == number)
        mine = frames[runs[frames] == number]
        assert mine[0] == rows[0] and mine[-1] == rows[-1]
        assert (np.diff(times[mine]) < 1 / wanted + 1 / rate + 1e-6).all()
    line = times[:, None] * [1.0, -2.0] + runs[:, None]
    got = between(line[frames], frames, runs, times)
    np.testing.assert_allclose(got, np.where(runs[:, None] < 0, 0, line), atol=1e-5)


def test_the_persons_shape_withstands_bad_frames():
    rng = np.random.default_rng(2)
    person = rng.normal(size=20)
    shapes = person + 0.2 * rng.normal(size=(40, 20))
    shapes[:12] = rng.normal(size=(12, 20)) * 5  # a hand, a blur
    shape, scatter = person_shape(shapes, np.ones(40, bool))
    assert np.abs(shape - person).max() < 0.4 and 0.1 < scatter < 0.5
    turned = np.arange(40) >= 12
    assert np.abs(person_shape(shapes, turned)[0] - person).max() < 0.15
    assert np.array_equal(person_shape(shapes[:1], np.zeros(1, bool))[0], shapes[0].astype(np.float32))


def test_yaw_is_read_from_the_detectors_depths():
    face = np.zeros((1, 478, 3), np.float32)
    for degrees in (-60, 0, 25):
        face[:, 468:473, :] = [100, 100, 0]
        face[:, 473:478, :] = [100 + 60 * np.cos(np.radians(degrees)), 100, 60 * np.sin(np.radians(degrees))]
        assert yaws(face)[0] == pytest.approx(degrees, abs=1e-3)


def test_many_pictures_are_read_as_one_by_one(tmp_path):
    from blendsplat.heads.human import human_head
    from blendsplat.kaolrm import save_model
    from blendsplat.kaolrm.regressor import make_regressor
    from tiny_kaolrm import tiny

    save_model(tmp_path / "own", tiny(head="human"))
    regressor = make_regressor(tmp_path / "own", human_head())
    assert regressor is not None
    pictures = list(np.random.default_rng(1).random((3, 64, 64, 3), np.float32))
    for one, many in zip((regressor.many([p])[0] for p in pictures), regressor.many(pictures), strict=True):
        np.testing.assert_allclose(one.shape, many.shape, atol=2e-5)
        np.testing.assert_allclose(one.expression, many.expression, atol=2e-5)
        np.testing.assert_allclose(one.jaw_pose, many.jaw_pose, atol=2e-5)


def test_the_jobs_result_tells_the_start_and_the_notes(head, truth, tmp_path, monkeypatch):
    from blendsplat.jobs import kinds
    from blendsplat.jobs.options import TrackOptions as Wanted

    got = []

    def fake(directory, options, progress):
        got.append(options)
        return replace(truth, init="kaolrm:default", notes=("Look.",))

    monkeypatch.setattr("blendsplat.tracking.track_clip", fake)
    folder = make_folder(tmp_path / "c", head, truth)
    wanted = Wanted(directory=folder, init="kaolrm", weights="w", device="cpu")
    result = kinds.run_track(wanted, Progress())
    assert (result["init"], result["notes"]) == ("kaolrm:default", ["Look."])
    assert (got[0].init, got[0].weights) == ("kaolrm", "w")
