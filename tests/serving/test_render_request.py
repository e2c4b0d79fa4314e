# SPDX-License-Identifier: Apache-2.0
"""render.gaussians through the protocol: the same numbers as the rasterizer, and nothing wrong reaches a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.splatting import rasterize_gaussians
from engine_client import LocalServer


def scene(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    viewmat, K = np.eye(4), np.array([[60.0, 0, 24], [0, 60, 16], [0, 0, 1]])
    viewmat[2, 3] = 3.0
    arrays = {
        "means": random.normal(0, 0.5, (count, 3)), "quats": random.normal(size=(count, 4)),
        "scales": random.uniform(0.02, 0.2, (count, 3)), "opacities": random.uniform(0, 1, count),
        "colors": random.uniform(0, 1, (count, 3)), "viewmat": viewmat, "K": K,
    }  # fmt: skip
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def rendered(server: LocalServer, arrays: dict[str, np.ndarray], **params: Any) -> dict[str, np.ndarray]:
    message = server.answer(
        server.send("render.gaussians", arrays, **{"width": 48, "height": 32, "device": "cpu", **params})
    )
    assert "error" not in message.body, message.body
    return message.arrays


@pytest.mark.parametrize("count", [1, 7, 20_000])
def test_same_as_the_rasterizer(server: LocalServer, count: int) -> None:
    arrays = scene(count)
    got = rendered(server, arrays)
    batch = [torch.from_numpy(array)[None] for array in arrays.values()]
    image, alpha, depth = rasterize_gaussians(*batch, 48, 32)
    for name, want in (("image", image), ("alpha", alpha), ("depth", depth)):
        np.testing.assert_allclose(got[name], want[0].numpy(), atol=1e-6, err_msg=name)
    assert got["image"].shape == (32, 48, 3) and got["alpha"].shape == got["depth"].shape == (32, 48, 1)


def test_no_gaussians_is_an_empty_picture(server: LocalServer) -> None:
    got = rendered(server, scene(0))
    assert got["image"].shape == (32, 48, 3) and not any(array.any() for array in got.values())


def test_half_and_double_precision_are_taken(server: LocalServer) -> None:
    arrays = {name: array.astype(np.float64) for name, array in scene(5).items()}
    np.testing.assert_array_equal(rendered(server, arrays)["image"], rendered(server, scene(5))["image"])
    rendered(server, {**scene(5), "colors": scene(5)["colors"].astype(np.float16)})


def _changed(name: str, array: Any) -> dict[str, np.ndarray]:
    return {**scene(6), name: array}


@pytest.mark.parametrize(
    ("arrays", "params", "words"),
    [
        ({}, {}, "needs the attachments means, quats"),
        (_changed("means", np.zeros((6, 2), np.float32)), {}, r"'means' has shape \[6, 2\] instead of \[6, 3\]"),
        (_changed("quats", np.zeros((5, 4), np.float32)), {}, r"'quats' has shape \[5, 4\] instead of \[6, 4\]"),
        (_changed("opacities", np.zeros((6, 1), np.float32)), {}, "'opacities'"),
        (_changed("means", np.float32(1)[...]), {}, "'means' has shape"),
        (_changed("K", np.zeros((1, 3, 3), np.float32)), {}, "'K'"),
        (_changed("K", np.zeros((3, 3), np.float32)), {}, "focal lengths"),
        (_changed("colors", np.zeros((6, 3), np.uint8)), {}, "dtype uint8 instead of float32"),
        (_changed("scales", np.full((6, 3), np.nan, np.float32)), {}, "'scales' holds values that are not finite"),
        (_changed("means", np.full((6, 3), 1e300)), {}, "'means' holds values that are not finite"),
        (_changed("sh", np.zeros(3, np.float32)), {}, "no attachment 'sh'"),
        (scene(6), {"width": 0}, "'width' cannot be 0"),
        (scene(6), {"width": 64.0}, "'width'"),
        (scene(6), {"height": 10**6}, "'height'"),
        (scene(6), {"width": 16384, "height": 16384}, "too large for one answer"),
        (scene(6), {"device": "cuda:77"}, "no device 'cuda:77'"),
        (scene(6), {"colour": 1}, "no option 'colour'"),
    ],
)
def test_wrong_requests_get_a_sentence(server: LocalServer, arrays: Any, params: dict[str, Any], words: str) -> None:
    import re

    error = server.error("render.gaussians", arrays, **{"width": 48, "height": 32, **params})
    assert re.search(words, error["message"]), error
    assert error["code"] == -32602 and error["data"]["code"] == "input"


def test_renders_while_a_job_runs(server: LocalServer) -> None:
    job = server.start("selftest", seconds=60, steps=600)
    rendered(server, scene(10))
    assert job in server.call("ping")["jobs"]
    server.call("job.cancel", job=job)
    assert server.finished(job)["state"] == "cancelled"


def _wall(depth: float) -> dict[str, np.ndarray]:
    corners = np.array([[-9, -9, depth], [9, -9, depth], [9, 9, depth], [-9, 9, depth]], np.float32)
    return {"occluders": corners, "occluder_faces": np.array([[0, 1, 2], [0, 2, 3]], np.int32)}


def test_a_mesh_hides_what_is_behind_it(server: LocalServer) -> None:
    whole = rendered(server, scene(50))
    assert not any(array.any() for array in rendered(server, scene(50) | _wall(-2.9)).values())
    for name, array in rendered(server, scene(50) | _wall(20.0)).items():
        np.testing.assert_array_equal(array, whole[name])
    part = rendered(server, scene(50) | _wall(0.0))["alpha"]
    assert 0 < part.sum() < whole["alpha"].sum()


@pytest.mark.parametrize(
    "wrong",
    [
        {"occluder_faces": None}, {"occluders": None}, {"occluder_faces": np.array([[0, 1, 4]], np.int32)},
        {"occluder_faces": np.array([[0, -1, 2]], np.int32)}, {"occluder_faces": np.array([[0, 1, 2]], np.int64)},
        {"occluder_faces": np.array([0, 1, 2], np.int32)}, {"occluders": np.full((4, 3), np.nan, np.float32)},
        {"occluders": np.zeros((4, 2), np.float32)},
    ],
)  # fmt: skip
def test_a_wrong_mesh_is_named(server: LocalServer, wrong: dict[str, np.ndarray | None]) -> None:
    arrays = {name: array for name, array in (scene(3) | _wall(1.0) | wrong).items() if array is not None}
    body = server.answer(server.send("render.gaussians", arrays, width=8, height=8, device="cpu")).body
    assert "occluder" in body["error"]["message"]
