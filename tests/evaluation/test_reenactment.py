# SPDX-License-Identifier: Apache-2.0
"""A head that is driven is compared with who drives it: by what a tracker reads from both, and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.errors import InputError, NoFaceError
from blendsplat.evaluation import reenactment
from blendsplat.evaluation.reenactment import compared, evaluate_reenactment
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from blendsplat.jobs.kinds import KINDS
from blendsplat.landmarks.detector import Landmarks, load_landmarks
from blendsplat.progress import Progress
from synthetic_clip import FRAMES, SIZE, head_with_neck, make_folder
from synthetic_head import make_truth


@pytest.fixture(scope="module", name="head")
def one_head() -> HeadModel:
    return head_with_neck()


def test_the_same_twice_has_no_distance_and_a_known_one_is_found(head: HeadModel) -> None:
    truth, both = make_truth(head, FRAMES, size=SIZE), np.ones(FRAMES, bool)
    assert all(value < 1e-5 + 0.05 * (name == "apd_deg") for name, value in compared(truth, truth, head, both).items())
    other = replace(truth, expression=truth.expression + np.float32(0.1))
    figures = compared(other, truth, head, both)
    assert figures["aed"] == pytest.approx(0.1, abs=1e-6) and figures["aed_relative"] < 1e-6 < figures["aed_mm"]
    turn = rotvec_to_matrix(torch.tensor([0.0, np.radians(7.0), 0.0], dtype=torch.float32))
    neck = matrix_to_rotvec(turn @ rotvec_to_matrix(torch.as_tensor(truth.neck_pose))).numpy()
    figures = compared(replace(truth, neck_pose=neck, shape=truth.shape + 1), truth, head, both)
    assert figures["apd_deg"] == pytest.approx(7, abs=1e-2) and figures["aed"] == 0 and figures["aed_mm"] < 1e-4


def test_only_frames_that_both_show_are_compared(head: HeadModel) -> None:
    truth, both = make_truth(head, FRAMES, size=SIZE), np.ones(FRAMES, bool)
    other = replace(truth, expression=truth.expression.copy(), valid=np.arange(FRAMES) != 3)
    other.expression[[3, 5]] += 100
    both[5] = False
    assert compared(other, truth, head, both)["aed"] == 0
    with pytest.raises(InputError, match="No frame shows a face both"):
        compared(other, truth, head, np.zeros(FRAMES, bool))


class Scene:
    """A clip of the synthetic head, an avatar on it, and a detector that sees what it is told."""

    def __init__(self, head: HeadModel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.truth = make_truth(head, FRAMES, size=SIZE)
        self.clip = make_folder(folder / "clip", head, self.truth)
        self.truth.save(self.clip / "tracking.npz")
        camera = TrainingCamera(torch.as_tensor(self.truth.K), torch.as_tensor(self.truth.viewmat), SIZE, SIZE)
        person = head.personalise(torch.as_tensor(self.truth.shape))
        avatar = RGBAvatar.on_head(person, 16, camera, blendshapes=1, hidden=(4, 4), name="a")
        self.avatar = folder / "a.avatar.npz"
        avatar.save(self.avatar)
        self.points, _ = load_landmarks(self.clip)
        self.blind: set[int] = set()
        scene = self

        class Detector:
            def __init__(self) -> None:
                self.frame = -1

            def __enter__(self) -> Detector:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def detect(self, image: np.ndarray, timestamp: float) -> Landmarks | None:
                self.frame += 1
                assert image.shape == (SIZE, SIZE, 3) and timestamp == scene.truth.timestamps[self.frame]
                return None if self.frame in scene.blind else Landmarks(scene.points[self.frame])

        monkeypatch.setattr(reenactment, "make_detector", Detector)
        monkeypatch.setattr(reenactment, "load_head", lambda source, **_: head)
        monkeypatch.setattr("blendsplat.heads.load.load_head", lambda source, **_: head)

    def run(self, **more: Any) -> dict[str, Any]:
        return evaluate_reenactment(self.avatar, self.clip, **more)


@pytest.fixture(name="scene")
def driven(head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(head, tmp_path, monkeypatch)


def test_a_render_that_does_the_same_scores_zero_and_a_frozen_one_does_not(scene: Scene) -> None:
    same = scene.run()
    assert same["aed"] < 1e-4 and same["apd_deg"] < 0.05 and same["frames"] == FRAMES and same["lost"] == 0
    assert "csim" not in same and "no reenactment" in same["notes"][0]
    scene.points[:] = scene.points[0]
    scene.blind = {2, 3}
    frozen = scene.run()
    assert frozen["aed"] > 0.02 > 100 * same["aed"] and frozen["aed_mm"] > 0.3 and frozen["apd_deg"] > 0.5
    assert frozen["frames"] == FRAMES - 2 and frozen["lost"] == 2


def test_likeness_is_to_the_own_clip_and_needs_it(scene: Scene) -> None:
    def colours(batch: np.ndarray) -> np.ndarray:
        return batch.mean((2, 3)) + 2

    with pytest.raises(InputError, match="own clip beside"):
        scene.run(session=colours)
    found = scene.run(session=colours, own=scene.clip, frames=5)
    assert 0.5 < found["csim"] <= 1 and found["csim"] == pytest.approx(found["csim_driver"])


def test_a_render_without_a_face_and_a_clip_without_landmarks_are_said(scene: Scene) -> None:
    scene.blind = set(range(FRAMES))
    with pytest.raises(NoFaceError, match="blendsplat render"):
        scene.run()
    (scene.clip / "landmarks.npz").unlink()
    with pytest.raises(InputError, match="has no landmarks"):
        scene.run()
    (scene.clip / "tracking.npz").unlink()
    kind = KINDS["evaluate_reenactment"]
    with pytest.raises(InputError, match="not tracked yet"):
        kind.run(kind.options(avatar=scene.avatar, driver=scene.clip), Progress())
