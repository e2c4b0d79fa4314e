# SPDX-License-Identifier: Apache-2.0
"""avatar.drive through the protocol: the numbers of Avatar.drive, the file as it is now, sentences for wrong input."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.avatars.avatar import Gaussians
from blendsplat.errors import InputError
from blendsplat.heads.performance import Performance
from blendsplat.serving import drive as driving
from blendsplat.serving.drive import AvatarCache
from blendsplat.systems import load_avatar
from blendsplat.training.dipguava.distil import distilled
from engine_client import LocalServer
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking
from tiny_dipguava import tiny_dipguava

PARAMETERS = ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")
FRAMES = 5


@pytest.fixture(scope="module")
def avatar_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive ü") / "tiny.avatar.npz"
    tiny_avatar(tiny_head()).save(path)
    return path


@pytest.fixture(scope="module")
def performance() -> Performance:
    return tiny_tracking(tiny_head(), FRAMES)


def parameters(performance: Performance) -> dict[str, np.ndarray]:
    return {name: np.array(getattr(performance, name), np.float32) for name in PARAMETERS}


def test_the_same_as_driving_it_here(server: LocalServer, avatar_file: Path, performance: Performance) -> None:
    arrays = parameters(performance)
    message = server.answer(server.send("avatar.drive", arrays, path=str(avatar_file), device="cpu"))
    assert message.body["result"] == {}
    avatar = load_avatar(avatar_file)
    driven, count = avatar.drive(performance.params()), avatar.gaussian_count
    shapes = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "colors": (3,)}
    assert set(message.arrays) == set(shapes)
    for name, shape in shapes.items():
        got = message.arrays[name]
        assert got.shape == (FRAMES, count, *shape) and got.dtype == np.float32
        want = getattr(driven, name).detach().numpy()
        np.testing.assert_allclose(got, np.broadcast_to(want, got.shape), atol=1e-6, err_msg=name)
    assert np.ptp(message.arrays["means"], axis=0).max() > 1e-3  # the frames differ


def test_what_was_never_seen_can_be_held_back(server: LocalServer, avatar_file: Path, performance: Performance) -> None:
    asked: list[bool] = []
    held: list[float] = []

    class Watched:
        gaussian_count = 2

        def show(self, view: str) -> None:
            assert view == "full"

        def hold(self, strength: float) -> None:
            held.append(strength)

        def drive(self, params: Any, *, bounded: bool, vertices: Any) -> Gaussians:
            assert vertices is None
            asked.append(bounded)
            one = torch.zeros(1, 2, 3)  # the same in all frames
            return Gaussians(one, torch.zeros(1, 2, 4), one, one[..., 0], one)

    cache = AvatarCache(lambda path, device: Watched())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driving, "_avatars", cache)
        for more in ({}, {"bounded": True, "hold_back": 0.5}, {"bounded": False}):
            send = server.send("avatar.drive", parameters(performance), path=str(avatar_file), **more)
            assert server.answer(send).arrays["opacities"].shape == (FRAMES, 2)
        wrong = server.error("avatar.drive", parameters(performance), path=str(avatar_file), hold_back=1.5)
        assert "hold_back" in wrong["message"]
    assert asked == [False, True, False] and held == [0.0, 0.5, 0.0], "an earlier request's strength is forgotten"


def test_heads_that_are_deformed_otherwise(server: LocalServer, avatar_file: Path, performance: Performance) -> None:
    """The Gaussians lie on the vertices that are told, and are weighed by the parameters."""
    avatar, params = load_avatar(avatar_file), performance.params()
    vertices = avatar.vertices(params) * torch.tensor([1.2, 0.9, 1.0]) + 0.1
    arrays = parameters(performance) | {"vertices": vertices.numpy()}
    answer = server.answer(server.send("avatar.drive", arrays, path=str(avatar_file), device="cpu")).arrays
    with torch.no_grad():
        want = avatar.gaussians(avatar.weights(params), vertices)
    np.testing.assert_allclose(answer["means"], want.means.numpy(), atol=1e-6)
    np.testing.assert_allclose(answer["colors"], want.colors.numpy(), atol=1e-6)
    assert np.abs(answer["means"] - avatar.drive(params).means.detach().numpy()).max() > 0.05


def test_every_view_of_an_avatar(
    server: LocalServer, performance: Performance, tmp_path: Path, avatar_file: Path
) -> None:
    """A DipGuava's, one after the other and the first again: the loaded avatar remembers none."""
    path = tmp_path / "dip.avatar.npz"
    avatar = tiny_dipguava()
    params, arrays = performance.params(), parameters(performance)
    avatar.take_sliders(distilled(avatar, params, 3, 0.1))
    avatar.save(path)
    loaded, given = load_avatar(path), avatar.vertices(params) + 0.05
    for view in (*loaded.views, "full"):
        for heads, vertices in ((arrays, None), (arrays | {"vertices": given.numpy()}, given)):
            answer = server.answer(server.send("avatar.drive", heads, path=str(path), device="cpu", shown=view)).arrays
            with torch.no_grad():
                want = loaded.drive(params, shown=view, vertices=vertices)
            for name in ("means", "colors", "opacities"):
                expected = np.broadcast_to(getattr(want, name).numpy(), answer[name].shape)
                np.testing.assert_allclose(answer[name], expected, atol=1e-5, err_msg=f"{view} {name}")
    plain = server.error("avatar.drive", arrays, path=str(avatar_file), device="cpu", shown="residual")
    assert "has no view 'residual'; it has full, base" in plain["message"]


def test_a_base_without_its_blendshapes(server: LocalServer, performance: Performance, avatar_file: Path) -> None:
    avatar, params, arrays = load_avatar(avatar_file), performance.params(), parameters(performance)
    answers = {
        view: server.answer(server.send("avatar.drive", arrays, path=str(avatar_file), device="cpu", shown=view)).arrays
        for view in ("base", "full")
    }
    with torch.no_grad():
        want = avatar.gaussians(None, avatar.vertices(params))
    np.testing.assert_allclose(answers["base"]["colors"], want.colors.numpy(), atol=1e-5)
    assert np.abs(answers["full"]["colors"] - answers["base"]["colors"]).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expression": None}, "avatar.drive needs the attachments expression"),
        ({"shape": np.zeros(3, np.float32)}, "knows no attachment 'shape'; known are expression"),
        ({"jaw_pose": np.zeros((4, 3), np.float32)}, r"'jaw_pose' has shape \[4, 3\] instead of \[5, 3\]"),
        ({"eyes_pose": np.zeros((5, 6), np.float32)}, r"'eyes_pose' has shape \[5, 6\] instead of \[5, 2, 3\]"),
        ({"expression": np.zeros(5, np.float32)}, r"'expression' has shape \[5\] instead of \[B, E\]"),
        ({"expression": np.zeros((5, 2), np.float32)}, "with 3 expression values, but the performance has 2"),
        ({"translation": np.full((5, 3), np.inf, np.float32)}, "'translation' holds values that are not finite"),
        ({"vertices": np.zeros((5, 9, 3), np.float32)}, "lies on a head of 48 vertices, and this one has 9"),
        ({"vertices": np.zeros((4, 48, 3), np.float32)}, r"'vertices' has shape \[4, 48, 3\] instead of \[5, 48, 3\]"),
        ({"eyelids": np.zeros((5, 2), np.int32)}, "dtype int32 instead of float32"),
        (None, "at least one frame"),
    ],
)
def test_wrong_parameters_get_a_sentence(
    server: LocalServer, avatar_file: Path, performance: Performance, change: dict[str, Any] | None, words: str
) -> None:
    arrays = {name: array[: 0 if change is None else FRAMES] for name, array in parameters(performance).items()}
    arrays = {name: array for name, array in (arrays | (change or {})).items() if array is not None}
    error = server.error("avatar.drive", arrays, path=str(avatar_file), device="cpu")
    assert re.search(words, error["message"]), error
    assert error["code"] == -32602


def test_wrong_files_and_sizes_get_a_sentence(
    server: LocalServer, avatar_file: Path, performance: Performance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = parameters(performance)
    wrong = {str(tmp_path / "none.npz"): "does not exist", str(tmp_path): "is a folder", "a.npz": "absolute"}
    for path, words in wrong.items():
        assert re.search(words, server.error("avatar.drive", arrays, path=path)["message"])
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    assert "broken.npz" in server.error("avatar.drive", arrays, path=str(tmp_path / "broken.npz"))["message"]
    assert "no device" in server.error("avatar.drive", arrays, path=str(avatar_file), device="cuda:77")["message"]
    monkeypatch.setattr(driving, "MAX_ATTACHMENT_BYTES", 1000)
    assert "ask for fewer frames" in server.error("avatar.drive", arrays, path=str(avatar_file))["message"]


def test_an_avatar_is_loaded_once_until_its_file_changes(tmp_path: Path) -> None:
    loaded: list[tuple[str, str]] = []

    def load(path: Path, device: str) -> Any:
        if path.read_bytes() == b"bad":
            raise InputError("bad")
        loaded.append((path.name, device))
        return object()

    cache, path = AvatarCache(load), tmp_path / "a"
    path.write_bytes(b"1")
    first = cache.get(path, "cpu")
    assert cache.get(path, "cpu") is first and loaded == [("a", "cpu")]
    assert cache.get(path, "cuda:0") is not first and cache.get(path, "cpu") is first
    path.write_bytes(b"12")
    changed = cache.get(path, "cpu")
    assert changed is not first and cache.get(path, "cpu") is changed
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # as large as before
    assert cache.get(path, "cpu") is not changed

    path.write_bytes(b"bad")
    with pytest.raises(InputError):
        cache.get(path, "cpu")
    path.write_bytes(b"good")
    assert cache.get(path, "cpu") is not None


def test_the_cache_is_small(tmp_path: Path) -> None:
    loaded: list[str] = []
    cache = AvatarCache(lambda path, device: loaded.append(path.name) or object())
    paths = [tmp_path / name for name in "abcde"]
    for path in paths:
        path.write_bytes(b"1")
        cache.get(path, "cpu")
        cache.get(paths[0], "cpu")  # the one in use stays
    assert loaded == list("abcde")
    cache.get(paths[1], "cpu")
    assert loaded == [*"abcde", "b"]
