# SPDX-License-Identifier: Apache-2.0
"""A session through the protocol, as Blender starts one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blendsplat.live.session import Parts
from engine_client import LocalServer
from live_source import SIDE, FakeCamera, parts

SMALL = {"image_size": SIDE, "uv_resolution": 16, "blendshapes": 2, "mlp_width": 8, "batch": 2}


@pytest.fixture(name="engine")
def local_server() -> LocalServer:
    server = LocalServer()
    yield server
    server.close()


def test_a_session_over_the_wire(engine: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parts, "usual", lambda settings, progress: parts())
    monkeypatch.setattr("blendsplat.live.cameras.open_source", lambda *_: FakeCamera(None, live=True))
    assert isinstance(engine.call("camera.list")["cameras"], list)
    output = tmp_path / "me.avatar.npz"
    job = engine.start("live", source="0", output=str(output), overrides=SMALL, device="cpu")
    while not engine.notes("job.frame", job):
        engine.step()
    assert engine.call("job.frame", job=job, info={"stop": True})["accepted"]
    ended = engine.finished(job)
    assert ended["state"] == "done", ended
    result = ended["result"]
    assert (result["avatar"], result["directory"], result["preview"]) == (str(output), str(tmp_path / "me"), None)
    assert {"frames", "dropped", "images", "seconds", "gaussians", "figures", "notes"} <= result.keys()
    splats = engine.notes("job.frame", job)[0]
    assert splats.arrays["position"].shape == (splats.body["params"]["info"]["splats"], 3)
    assert splats.arrays["position"].dtype == np.float32
    preview = engine.notes("job.preview", job)[-1].arrays["image"]
    assert preview.shape == (SIDE, 3 * SIDE, 3)
    stages = {note.body["params"]["stage"] for note in engine.notes("job.progress", job)}
    assert stages == {"live"}


def test_offered_frames_never_wait(engine: LocalServer) -> None:
    """A reader that has gone to sleep costs memory for one frame, and the session nothing."""
    from blendsplat.jobs.kinds import KINDS
    from blendsplat.serving.job import Job, JobProgress
    from blendsplat.serving.priority import Priority

    sent: list[tuple] = []

    class Outbox:
        def notify(self, method, params, arrays=None, *, droppable=False, slot=None):
            sent.append((method, params["info"], slot))

        def wait_for_room(self, stop):
            raise AssertionError("waits for the reader")

    progress = JobProgress(
        Job("job-7", KINDS["live"], KINDS["live"].options(source="0", output="a")), Outbox(), Priority()
    )
    progress.offer_frame({"splats": 1}, {"position": np.zeros((1, 3))})
    assert sent == [("job.frame", {"splats": 1}, "job.frame job-7")]
