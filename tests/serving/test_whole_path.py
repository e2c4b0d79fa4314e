# SPDX-License-Identifier: Apache-2.0
"""The whole path on a second of real video, through a real engine process that is killed in the middle of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from engine_client import EngineProcess

pytestmark = pytest.mark.slow
TINY = {
    "uv_resolution": 48, "image_size": 96, "blendshapes": 4, "batch": 2, "images": 400, "checkpoint_seconds": 0.2,
    "blendshapes_after": 0,
}  # fmt: skip


def done(engine: EngineProcess, kind: str, **params: object) -> dict:
    ended = engine.finished(engine.start(kind, **params))
    assert ended["state"] == "done", ended["error"]
    return ended["result"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole path") / "Grüße 影"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def tracked(folder: Path, test_data: Callable[[str], Path]) -> Path:
    engine = EngineProcess(folder)
    clip = folder / "clip"
    imported = done(engine, "import", video=str(test_data("video/d18.mp4")), directory=str(clip), end=0.8, size=192)
    assert imported["frames"] == 24 and imported["width"] == 192
    result = done(engine, "track", directory=str(clip))
    assert result["valid"] == result["frames"] == 24
    assert engine.close() == 0
    return clip


def test_a_killed_training_continues(tracked: Path, folder: Path) -> None:
    avatar, checkpoint = folder / "a.avatar.npz", folder / "a.checkpoint.safetensors"
    params = {
        "directory": str(tracked), "output": str(avatar), "preset": "draft", "overrides": TINY, "device": "cpu",
    }  # fmt: skip
    engine = EngineProcess(folder)
    job = engine.start("train", **params)
    while not checkpoint.exists():
        assert engine.step().body.get("method") != "job.finished", engine.seen[-1].body
    engine.process.kill()
    engine.process.wait(30)

    engine = EngineProcess(folder)
    result = done(engine, "train", **params)
    assert 0 < result["resumed_from"] < 400 and result["images"] == 400
    assert Path(result["avatar"]) == avatar and result["figures"]["psnr"] > 10
    assert job == "job-1" and engine.close() == 0


def test_what_blender_asks_for(tracked: Path, folder: Path) -> None:
    avatar, engine = folder / "a.avatar.npz", EngineProcess(folder)
    assert avatar.exists(), "the training before failed"
    header = engine.call("avatar.describe", path=str(avatar))
    assert header["format"] == "blendsplat-avatar" and header["blendshapes"] == 4

    message = engine.answer(engine.send("head.rig", directory=str(tracked)))
    rig, arrays = message.body["result"], message.arrays
    assert rig["head"] == header["head"] and rig["expression_names"] == header["expression_names"]
    assert arrays["rig.template"].shape[1] == 3 and arrays["rig.faces"].max() < len(arrays["rig.template"])
    assert np.ptp(arrays["rig.template"][:, 1]) < 1.0  # metres

    frames, video = folder / "frames", folder / "out.mp4"
    drive = {"avatar": str(avatar), "performance": str(tracked)}
    assert done(engine, "render", **drive, output=str(frames), first=3, count=2)["frames"] == 2
    image = np.asarray(Image.open(frames / "000003.png"))
    assert image.shape == (192, 192, 4) and image[..., 3].max() > 200 and image[0, 0, 3] < 30
    done(engine, "render", **drive, output=str(video), count=3, width=64, height=48)
    with av.open(str(video)) as container:
        assert [(f.width, f.height) for f in container.decode(video=0)] == [(64, 48)] * 3

    scores = done(engine, "evaluate", avatar=str(avatar), directory=str(tracked))
    assert scores["psnr"] > 10 and scores["frames"] > 0
    assert done(engine, "export", **drive, output=str(folder / "a.ply"), frame=5)["gaussians"] > 100
    assert (folder / "a.ply").read_bytes().startswith(b"ply")
    ended = engine.finished(engine.start("export", **drive, output=str(folder / "b.ply"), frame=99))
    assert "frame 99 does not exist" in ended["error"]["message"]
    assert "does not exist" in engine.error("avatar.describe", path=str(folder / "nothing.npz"))["message"]
    assert engine.close() == 0
