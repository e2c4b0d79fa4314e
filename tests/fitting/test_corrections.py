# SPDX-License-Identifier: Apache-2.0
"""A frame that an artist corrected: it comes out as he put it, those around follow, the rest is untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.errors import FormatError, InputError
from blendsplat.files import read_npz, write_npz
from blendsplat.fitting.corrections import FORMAT, Corrections, corrected_frame, empty
from blendsplat.fitting.fit import fit_clip
from blendsplat.fitting.held_frames import REACH, SETTLING
from blendsplat.fitting.landmark_model import EXPRESSION, NECK, TRANSLATION
from blendsplat.fitting.refit import prepare, refit
from blendsplat.fitting.solver import linearise
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from synthetic_head import landmarks_of, make_head, make_truth

FRAMES, WRONG = 60, 30
FAR = int(np.ceil((REACH + SETTLING) * 25)) + 1
NUMBERS = ("neck_pose", "translation", "jaw_pose", "eyes_pose", "eyelids", "expression")


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return make_head()


@pytest.fixture(scope="module")
def truth(head: HeadModel) -> Performance:
    return make_truth(head, FRAMES)


@pytest.fixture(scope="module")
def points(head: HeadModel, truth: Performance) -> np.ndarray:
    return landmarks_of(head, truth)


def fitted(head: HeadModel, truth: Performance, points: np.ndarray, found: np.ndarray | None = None) -> Performance:
    found = np.ones(len(points), bool) if found is None else found
    return fit_clip(head, points, found, truth.timestamps, truth.width, truth.height)


@pytest.fixture(scope="module")
def tracked(head: HeadModel, truth: Performance, points: np.ndarray) -> Performance:
    return fitted(head, truth, points)


def degrees(a: Performance, b: Performance) -> np.ndarray:
    """[F]: angle between the heads' rotations."""

    def whole(p: Performance) -> torch.Tensor:
        return rotvec_to_matrix(torch.as_tensor(p.root_pose)) @ rotvec_to_matrix(torch.as_tensor(p.neck_pose))

    return np.degrees(matrix_to_rotvec(whole(a).transpose(1, 2) @ whole(b)).norm(dim=1).numpy())


def same(a: Performance, b: Performance, frames: np.ndarray | slice) -> bool:
    return all(np.array_equal(getattr(a, name)[frames], getattr(b, name)[frames]) for name in NUMBERS)


def turned(performance: Performance, frame: int, by: tuple[float, float, float]) -> np.ndarray:
    """The head's rotation at ``frame``, turned by degrees."""
    turn = rotvec_to_matrix(torch.tensor(np.radians(by), dtype=torch.float32))
    now = rotvec_to_matrix(torch.as_tensor(performance.neck_pose[frame]))
    return matrix_to_rotvec((turn @ now)[None])[0].numpy()


ALL = np.ones(FRAMES, bool)


def test_one_wrong_frame_comes_back_among_its_neighbours(head, truth, points, tracked):
    """The detector slipped in one frame; the artist puts the head right. The neighbours were right and stay so."""
    slipped = points.copy()
    slipped[WRONG] = (slipped[WRONG] - 256) * 1.02 + 256 + [25, -14]
    before = fitted(head, truth, slipped)
    away = np.linalg.norm(before.translation - tracked.translation, axis=1)
    assert away[WRONG] > 0.006 and np.median(away) < 0.002
    right = {name: getattr(tracked, name)[WRONG] for name in ("neck_pose", "translation")}
    corrections = corrected_frame(empty(before), before, WRONG, **right)
    after = refit(head, before, slipped, ALL, corrections)
    assert np.abs(after.translation[WRONG] - tracked.translation[WRONG]).max() < 0.0005
    assert degrees(after, tracked)[WRONG] < 0.3
    errors = np.linalg.norm(after.translation - tracked.translation, axis=1)
    around = np.r_[WRONG - 6 : WRONG, WRONG + 1 : WRONG + 7]
    assert errors[around].max() <= max(away[around].max(), 0.001), "right frames were pulled along"
    assert after.landmark_errors[WRONG] > before.landmark_errors[WRONG], "of landmarks that are wrong"


def test_an_older_tracking_tells_no_errors_afterwards_either(head, tracked, points):
    assert tracked.landmark_errors.min() > 0 and np.isclose(
        tracked.landmark_errors.mean(), tracked.figures["landmark_error"]
    )
    older = replace(tracked, landmark_errors=np.zeros(FRAMES, np.float32))
    corrections = corrected_frame(empty(older), older, WRONG, neck_pose=turned(older, WRONG, (0, 6, 0)))
    assert not refit(head, older, points, ALL, corrections).landmark_errors.any()


def test_neighbours_follow_a_bias_and_fade_out(head, tracked, points):
    """The artist turns the head in a frame that fits its neighbours: they are taken to be wrong as well."""
    put = turned(tracked, WRONG, (0, 6, 0))
    after = refit(head, tracked, points, ALL, corrected_frame(empty(tracked), tracked, WRONG, neck_pose=put))
    angle = degrees(after, tracked)
    assert angle[WRONG] == pytest.approx(6, abs=0.3)
    assert angle[WRONG - 1] > 4 and angle[WRONG + 1] > 4
    assert np.abs(np.diff(angle)).max() < 1.6, "the head jumps"
    near = angle[WRONG : WRONG + 12]
    assert (np.diff(near) < 0.2).all(), "it does not fade out"
    far = np.abs(np.arange(FRAMES) - WRONG) >= FAR
    assert same(after, tracked, far) and far.sum() > 20
    assert same(after, tracked, ~after.valid) and after.figures["corrected_frames"] == 1


def test_what_was_not_moved_stays(head, tracked, points):
    """A head that is turned against its landmarks must not bend the face to please them."""
    put = turned(tracked, WRONG, (0, 6, 0))
    after = refit(head, tracked, points, ALL, corrected_frame(empty(tracked), tracked, WRONG, neck_pose=put))
    assert np.abs(after.expression[WRONG] - tracked.expression[WRONG]).max() < 0.5
    assert np.abs(after.translation[WRONG] - tracked.translation[WRONG]).max() < 0.002


def test_a_slider_alone(head, tracked, points):
    smile = tracked.expression[WRONG].copy()
    smile[3] += 1.0
    after = refit(head, tracked, points, ALL, corrected_frame(empty(tracked), tracked, WRONG, expression=smile))
    assert after.expression[WRONG, 3] == pytest.approx(smile[3], abs=0.05)
    more = after.expression[:, 3] - tracked.expression[:, 3]
    assert more[WRONG + 2] > 0.4 and abs(more[WRONG + 13]) < 0.2
    assert degrees(after, tracked).max() < 1.0


def test_a_blink_stays_short(head, tracked, points):
    frame = int(np.flatnonzero(tracked.eyelids.max(1) < 0.05)[10])
    after = refit(
        head, tracked, points, ALL, corrected_frame(empty(tracked), tracked, frame, eyelids=np.ones(2, np.float32))
    )
    assert after.eyelids[frame].min() > 0.9
    assert np.abs(after.eyelids[frame + 4] - tracked.eyelids[frame + 4]).max() < 0.1


def test_several_add_up_and_one_is_forgotten_without_a_trace(head, tracked, points):
    one = corrected_frame(empty(tracked), tracked, 20, neck_pose=turned(tracked, 20, (5, 0, 0)))
    both = corrected_frame(one, tracked, 27, neck_pose=turned(tracked, 27, (-5, 0, 0)))
    after = refit(head, tracked, points, ALL, both)
    angle = degrees(after, tracked)
    assert angle[20] == pytest.approx(5, abs=0.3) and angle[27] == pytest.approx(5, abs=0.3)
    nod = after.neck_pose[20:28, 0] - tracked.neck_pose[20:28, 0]
    assert (np.diff(nod) < 0.005).all(), "between two corrections the one goes over into the other"
    alone, again = (refit(head, tracked, points, ALL, item) for item in (one, both.without(27)))
    assert same(alone, again, slice(None))
    assert refit(head, tracked, points, ALL, both.without(27).without(20)) is tracked
    with pytest.raises(InputError, match="corrected frames: 20, 27"):
        both.without(3)


def test_the_same_frame_again_keeps_what_was_said_before(tracked):
    first = corrected_frame(empty(tracked), tracked, 9, neck_pose=turned(tracked, 9, (5, 0, 0)))
    shown = replace(tracked, neck_pose=tracked.neck_pose.copy())
    shown.neck_pose[9] = first.neck_pose[0]
    second = corrected_frame(first, shown, 9, translation=tracked.translation[9] + 0.01)
    assert list(second.frames) == [9]
    assert second.changed[0, NECK].any() and second.changed[0, TRANSLATION].all()
    assert not second.changed[0, EXPRESSION].any()
    assert np.array_equal(second.neck_pose[0], first.neck_pose[0])


def test_nothing_crosses_a_cut(head, tracked, points):
    put = turned(tracked, WRONG, (0, 6, 0))
    corrections = corrected_frame(empty(tracked), tracked, WRONG, neck_pose=put)
    after = refit(head, tracked, points, ALL, corrections, shots=np.array([WRONG + 3]))
    assert same(after, tracked, slice(WRONG + 3, None))
    assert degrees(after, tracked)[WRONG + 2] > 3


def test_a_frame_that_the_detector_lost(head, truth, points):
    found = ALL.copy()
    found[WRONG - 3 : WRONG + 4] = False
    before = fitted(head, truth, points, found)
    assert not before.valid[WRONG]
    put = {name: getattr(truth, name)[WRONG] for name in NUMBERS}
    blind = points.copy()
    blind[~found] = 0
    after = refit(head, before, blind, found, corrected_frame(empty(before), before, WRONG, **put))
    assert after.valid[WRONG] and not after.valid[WRONG + 2]
    assert np.abs(after.neck_pose[WRONG] - truth.neck_pose[WRONG]).max() < 1e-3
    assert np.array_equal(after.neck_pose[WRONG + 1], after.neck_pose[WRONG]), "a lost frame has the nearest one's"
    assert all(np.isfinite(getattr(after, name)).all() for name in (*NUMBERS, "landmark_errors"))


def test_a_lost_frame_says_nothing_of_its_neighbours(head, truth, points):
    """Beside a frame that was tracked: what the lost one had was that one's, so the difference is no fault of it."""
    found = ALL.copy()
    found[WRONG : WRONG + 2] = False
    before = fitted(head, truth, points, found)
    put = {name: getattr(truth, name)[WRONG] for name in NUMBERS}
    put["neck_pose"] = turned(truth, WRONG, (0, 8, 0))
    after = refit(head, before, points, found, corrected_frame(empty(before), before, WRONG, **put))
    assert degrees(after, before)[WRONG - 8 : WRONG - 2].max() < 1.5
    assert after.valid[WRONG] and not after.valid[WRONG + 1]


def test_another_lens_and_torso_mean_the_same(head, truth, tracked, points):
    """Tracked again with twice the focal length, the corrected head is still seen in its place."""
    longer = fit_clip(
        head, points, ALL, truth.timestamps, truth.width, truth.height,
        replace(fit_options(), focal=1.6 * float(tracked.K[0, 0])),
    )  # fmt: skip
    moved = tracked.translation[WRONG] + np.float32([0.01, 0.0, 0.0])
    after = refit(head, longer, points, ALL, corrected_frame(empty(tracked), tracked, WRONG, translation=moved))
    assert after.translation[WRONG, 0] - longer.translation[WRONG, 0] == pytest.approx(0.01, abs=0.003)
    base = empty(tracked)
    upright = corrected_frame(base, tracked, 5, translation=moved)
    torso = rotvec_to_matrix(torch.tensor([[0.0, 0.3, 0.0]]))
    neck = matrix_to_rotvec(torso.transpose(1, 2) @ rotvec_to_matrix(torch.as_tensor(upright.neck_pose)))
    leaning = replace(upright, root_pose=np.float32([[0, 0.3, 0]]), neck_pose=neck.numpy())
    assert torch.allclose(leaning.unknowns(tracked), upright.unknowns(tracked), atol=1e-5)


def fit_options():
    from blendsplat.fitting.fit import FitOptions

    return FitOptions()


def test_zoom_does_not_move_what_was_not_corrected(head, tracked, points):
    """Frames whose lens was longer: the same pixels, once told of the zoom, give the same fit."""
    zoom = np.linspace(1.0, 1.5, FRAMES).astype(np.float32)
    zoomed = tracked.K[:2, 2] + (points - tracked.K[:2, 2]) * zoom[:, None, None]
    put = turned(tracked, WRONG, (0, 4, 0))
    corrections = corrected_frame(empty(tracked), tracked, WRONG, neck_pose=put)
    plain = refit(head, tracked, points, ALL, corrections)
    told = refit(head, replace(tracked, zoom=zoom), zoomed, ALL, corrections)
    assert degrees(plain, told).max() < 0.05


def test_the_gradient_of_what_is_held(head, tracked, points):
    """Twice the system's gradient is the derivative of its cost: the hold's part by finite differences."""
    corrections = corrected_frame(empty(tracked), tracked, WRONG, neck_pose=turned(tracked, WRONG, (0, 6, 0)))
    work = prepare(head, tracked, points, ALL, corrections)
    rows = torch.as_tensor(np.flatnonzero(work.rows == WRONG))
    problem = work.problem.frames(rows)
    free = replace(problem, held=None, hold=None)
    at = work.start[rows] + 0.01
    gradient = linearise(problem, at).gradient - linearise(free, at).gradient
    held = linearise(problem, at).matrix - linearise(free, at).matrix

    def cost(x: torch.Tensor) -> float:
        assert problem.held is not None and problem.hold is not None
        return float((problem.hold.double() * (x.double() - problem.held.double()) ** 2).sum())

    assert float((linearise(problem, at).cost - linearise(free, at).cost)[0]) == pytest.approx(cost(at), rel=1e-3)
    for unknown in (0, 4, 7, 20):
        step = torch.zeros_like(at)
        step[0, unknown] = 1e-3
        slope = (cost(at + step) - cost(at - step)) / 2e-3
        assert float(gradient[0, unknown]) == pytest.approx(slope / 2, rel=2e-2, abs=1e-2)
    assert torch.allclose(torch.diag(held[0]), problem.hold[0], rtol=1e-3, atol=1.0)
    few = problem.pose_only()
    assert few.held.shape == few.hold.shape == (1, 15)
    assert torch.equal(few.hold, problem.hold[:, :15])


def test_the_hook_gets_the_fit_and_its_holds(head, tracked, points):
    corrections = corrected_frame(empty(tracked), tracked, WRONG, neck_pose=turned(tracked, WRONG, (0, 6, 0)))
    seen = []

    def finish(work, unknowns):
        seen.append(work)
        moved = unknowns.clone()
        moved[:, TRANSLATION.start] += 1.0
        return moved

    after = refit(head, tracked, points, ALL, corrections, finish=finish)
    assert after.translation[WRONG, 0] > 0.9 and after.translation[0, 0] < 0.5
    assert seen[0].problem.held.shape == seen[0].start.shape == seen[0].problem.hold.shape


def test_the_file_comes_back(tracked, tmp_path):
    written = corrected_frame(empty(tracked), tracked, 7, eyelids=np.ones(2, np.float32))
    written.save(tmp_path / "corrections.npz")
    read = Corrections.load(tmp_path)
    assert read.head_model == tracked.head_model and len(read) == 1
    for name in (*NUMBERS, "frames", "changed", "root_pose", "focal", "distance"):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
    nothing = empty(tracked)
    nothing.save(tmp_path / "none.npz")
    assert len(Corrections.load(tmp_path / "none.npz")) == 0


@pytest.mark.parametrize("name", ["frames", "changed", "expression", "focal"])
def test_a_file_that_lacks_something_is_named(tracked, tmp_path, name):
    path = tmp_path / "corrections.npz"
    corrected_frame(empty(tracked), tracked, 7, eyelids=np.ones(2, np.float32)).save(path)
    meta, arrays = read_npz(path, FORMAT, 1)
    del arrays[name]
    write_npz(path, meta, arrays)
    with pytest.raises(FormatError, match=r"corrections\.npz"):
        Corrections.load(path)


def test_damaged_files_are_named(tracked, tmp_path):
    path: Path = tmp_path / "corrections.npz"
    good = corrected_frame(empty(tracked), tracked, 7, eyelids=np.ones(2, np.float32))
    broken = {
        "nan": replace(good, neck_pose=np.full((1, 3), np.nan, np.float32)),
        "shape": replace(good, translation=np.zeros((1, 2), np.float32)),
        "negative": replace(good, frames=np.array([-1])),
        "twice": good.rows(np.array([0, 0])),
        "lens": replace(good, focal=np.zeros(1, np.float32)),
    }
    for what in broken.values():
        what.save(path)
        with pytest.raises(FormatError, match=r"corrections\.npz.*delete the file"):
            Corrections.load(path)
    good.save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FormatError, match=r"corrections\.npz is damaged"):
        Corrections.load(path)


def test_another_head_and_another_clip_are_refused(head, tracked, points):
    corrections = corrected_frame(empty(tracked), tracked, 7, eyelids=np.ones(2, np.float32))
    with pytest.raises(InputError, match="another head"):
        refit(head, tracked, points, ALL, replace(corrections, head_model="0" * 16))
    with pytest.raises(InputError, match="60 frames"):
        refit(head, tracked, points, ALL, replace(corrections, frames=np.array([99])))
    fewer = replace(corrections, head_model="", expression=corrections.expression[:, :4])
    with pytest.raises(InputError, match="expressions"):
        refit(head, replace(tracked, head_model=""), points, ALL, fewer)
