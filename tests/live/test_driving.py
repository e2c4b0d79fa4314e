# SPDX-License-Identifier: Apache-2.0
"""A session that learns nothing: it tracks, records its take and tells what the head does, to drive an avatar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blendsplat.errors import Cancelled, NoFaceError
from blendsplat.heads.performance import Performance
from live_source import AWAY, COUNT, ODD, FakeCamera, Listener, TrueLook, live, parts


def test_it_tells_every_face_and_keeps_the_take(tmp_path: Path) -> None:
    listener, made = Listener(), parts(TrueLook(AWAY, ODD))
    result = live(tmp_path, FakeCamera(COUNT), listener, made, learn=False, drive=True)
    assert (result.avatar, result.images, result.gaussians, result.frames) == (None, 0, 0, COUNT)
    assert not list(tmp_path.glob("*.avatar.npz")) and not list(tmp_path.glob("*.safetensors"))
    take = Performance.load(tmp_path / "a")
    told = [(info, arrays) for info, arrays in listener.splats if "head" in info]
    assert len(told) == len(listener.splats) == int(take.valid.sum()), "no Gaussians, and no face that was not there"
    for (info, arrays), row in zip(told, np.flatnonzero(take.valid), strict=True):
        assert info["head"] == made.head.model_id
        np.testing.assert_allclose(info["seconds"] - told[0][0]["seconds"], take.timestamps[row] - take.timestamps[0])
        np.testing.assert_allclose(arrays["neck_pose"][0], take.neck_pose[row], atol=1e-5)
        np.testing.assert_allclose(arrays["expression"][0], take.expression[row], atol=1e-5)
        assert arrays["eyes_pose"].shape == (1, 2, 3) and arrays["eyes_pose"].dtype == np.float32
    assert listener.messages[-1] in ("live", "no face in the picture") and listener.previews


def test_ends_that_are_none_of_a_learner(tmp_path: Path) -> None:
    cancel = Listener(lambda figures, _message: "cancel" if figures["tracked"] > 40 else None)
    with pytest.raises(Cancelled, match="0 images; the take is kept"):
        live(tmp_path / "one", FakeCamera(COUNT), cancel, learn=False)
    assert (tmp_path / "one" / "a" / "tracking.npz").is_file()
    with pytest.raises(NoFaceError):
        live(tmp_path / "two", FakeCamera(30), Listener(), parts(TrueLook(range(30))), learn=False)
