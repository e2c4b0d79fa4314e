# SPDX-License-Identifier: Apache-2.0
"""A head that the camera does not show is refused before training, with a picture of where it is; and NaN poses too."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from blendsplat.errors import FormatError, InputError
from blendsplat.heads.performance import Performance
from blendsplat.systems import make_preset, train_avatar
from blendsplat.training.mesh_in_picture import PICTURE, check_mesh_in_picture, projected
from blendsplat.training.tracked_clip import TrackedClip

SMALL = {"uv_resolution": 12, "image_size": 32, "images": 4, "batch": 4, "blendshapes": 2, "mlp_width": 8}


@pytest.fixture(name="clip")
def own_clip(tiny_clip: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_clip, tmp_path / "klip ü")
    return tmp_path / "klip ü"


def change(folder: Path, **values: np.ndarray) -> None:
    tracking = Performance.load(folder)
    for name, value in values.items():
        setattr(tracking, name, value)
    tracking.save(folder / "tracking.npz")


def test_a_good_clip_is_not_disturbed(clip: Path) -> None:
    check_mesh_in_picture(TrackedClip.open(clip))
    assert not (clip / PICTURE).exists()
    pixels, before = projected(TrackedClip.open(clip), np.array([0, 3]))
    assert pixels.shape[0] == 2 and before.all() and (pixels > 0).all() and (pixels < 32).all()


@pytest.mark.parametrize("fault", ["beside", "behind", "lens"])
def test_a_camera_of_another_convention_is_told_before_training(clip: Path, tmp_path: Path, fault: str) -> None:
    tracking = Performance.load(clip)
    if fault == "beside":
        change(clip, translation=tracking.translation + np.float32([0.5, 0, 0]))
    elif fault == "behind":
        turned = tracking.viewmat.copy()
        turned[1:3] *= -1  # OpenGL's axes for OpenCV's
        change(clip, viewmat=turned)
    else:
        change(clip, K=np.float32([[3.2 * 32, 0, 500], [0, 3.2 * 32, 500], [0, 0, 1]]))  # of larger pictures
    (clip / "overlay.mp4").write_bytes(b"")
    output = tmp_path / "a.avatar.npz"
    said = r"lies outside of the picture: in frame .* Look at .*mesh_outside\.png and at .*overlay\.mp4"
    with pytest.raises(InputError, match=said) as raised:
        train_avatar(clip, make_preset(SMALL), output)
    assert ("behind the camera" in str(raised.value)) == (fault == "behind") and not output.exists()
    picture = cv2.imdecode(np.frombuffer((clip / PICTURE).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (96, 96, 3)
    dots = ((picture == (40, 150, 255)).all(-1)).sum()
    assert (dots > 0) == (fault != "behind"), "the mesh is drawn where the camera puts it"


def test_a_few_frames_outside_are_the_clips_business(clip: Path, tmp_path: Path) -> None:
    """A face that leaves the picture for a while."""
    moved = Performance.load(clip).translation.copy()
    moved[:6] += np.float32([0.5, 0, 0])
    change(clip, translation=moved)
    check_mesh_in_picture(TrackedClip.open(clip))


def test_what_is_not_finite_is_named_with_its_frame(clip: Path) -> None:
    poses = Performance.load(clip).neck_pose.copy()
    poses[7, 1] = np.nan
    change(clip, neck_pose=poses)
    with pytest.raises(FormatError, match=r"'neck_pose' holds values that are not finite in frame 7; track"):
        Performance.load(clip)
    poses[9] = np.inf
    tracking_file = clip / "tracking.npz"
    with np.load(tracking_file) as archive:
        arrays = dict(archive)
    np.savez(tracking_file, **{**arrays, "neck_pose": poses})
    with pytest.raises(FormatError, match="in frame 7 and 1 more"):
        Performance.load(clip)
    np.savez(tracking_file, **{**arrays, "K": np.full((3, 3), np.nan), "neck_pose": np.zeros_like(poses)})
    with pytest.raises(FormatError, match="'K' holds values that are not finite; track"):
        Performance.load(clip)
