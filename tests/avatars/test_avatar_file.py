# SPDX-License-Identifier: Apache-2.0
"""The avatar file: what is written comes back the same, what is broken is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.avatars.file import write_avatar
from blendsplat.avatars.retarget import Reference
from blendsplat.avatars.rgbavatar.model import SCHEMA, RGBAvatar
from blendsplat.avatars.seen import Seen
from blendsplat.errors import FormatError, InputError, StorageError
from blendsplat.files import write_npz
from blendsplat.systems import describe_avatar, load_avatar, read_avatar
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking


@pytest.fixture
def avatar() -> RGBAvatar:
    return tiny_avatar(tiny_head())


@pytest.fixture
def saved(avatar: RGBAvatar, tmp_path: Path) -> Path:
    path = tmp_path / "Zoë's head.avatar.npz"
    avatar.training_record = {"preset": "draft", "images": 3, "holdout": 0.3}
    avatar.reference = Reference("0123456789abcdef", torch.zeros(3), torch.eye(3))
    avatar.feature_range = torch.tensor([[-1.0], [1.0]]).repeat(1, len(avatar.feature_scale))
    avatar.weight_range = torch.tensor([[-1.0], [1.0]]).repeat(1, avatar.blendshape_count)
    avatar.weight_mean, avatar.weight_covariance = torch.zeros(3), torch.eye(3)
    avatar.weight_reach = torch.ones(1)
    avatar.seen = Seen.of(tiny_tracking(tiny_head(), 9).params(), avatar.camera.viewmat)
    avatar.save(path)
    return path


def test_the_file_gives_the_same_gaussians(avatar: RGBAvatar, saved: Path) -> None:
    params = tiny_tracking(tiny_head(), 3).params()
    loaded = load_avatar(saved)
    before, after = avatar.drive(params).detach(), loaded.drive(params).detach()
    for name in ("means", "quats", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=1e-5, atol=1e-6)
    assert loaded.name == "truth"
    assert loaded.camera.width == 32
    assert describe_avatar(saved)["training"]["preset"] == "draft"


def test_a_frame_follows_the_formulas_of_the_format(avatar: RGBAvatar, saved: Path) -> None:
    """docs/formats.md, evaluated in plain numpy as the add-on does it."""
    tracking = tiny_tracking(tiny_head(), 2)
    _, a = read_avatar(saved)
    gaussians = avatar.drive(tracking.params()[[1]]).detach()
    with torch.no_grad():
        features = avatar.features(tracking.params()[[1]])[0].numpy()
        vertices = avatar.vertices(tracking.params()[[1]])[0].numpy()
    hidden = np.maximum(a["mlp.0.weight"] @ features + a["mlp.0.bias"], 0)
    hidden = np.maximum(a["mlp.1.weight"] @ hidden + a["mlp.1.bias"], 0)
    weights = a["mlp.2.weight"] @ hidden + a["mlp.2.bias"]
    local = a["positions"] + np.einsum("k,knc->nc", weights, a["delta_positions"])
    rgb = np.maximum(0, 0.28209479 * (a["colors"] + np.einsum("k,knc->nc", weights, a["delta_colors"])) + 0.5)
    n = 17
    corners, texels = vertices[a["rig.faces"][a["triangle"][n]]], a["rig.uvs"][a["rig.uv_faces"][a["triangle"][n]]]
    e1, e2, d1, d2 = corners[1] - corners[0], corners[2] - corners[0], texels[1] - texels[0], texels[2] - texels[0]
    det = d1[0] * d2[1] - d2[0] * d1[1]
    t, b, normal = (e1 * d2[1] - e2 * d1[1]) / det, (e2 * d1[0] - e1 * d2[0]) / det, np.cross(e1, e2)
    frame = np.stack([v / np.linalg.norm(v) for v in (t, b, normal)], 1)
    mean = a["barycentrics"][n] @ corners + frame @ local[n]
    np.testing.assert_allclose(gaussians.means[0, n].numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(gaussians.colors[0].numpy(), rgb, atol=1e-5)


def test_half_bases_stay_half_in_file_and_memory(avatar: RGBAvatar, saved: Path, tmp_path: Path) -> None:
    params, whole = tiny_tracking(tiny_head(), 3).params(), saved.stat().st_size
    avatar.halve_bases()
    avatar.save(tmp_path / "half.avatar.npz")
    assert (tmp_path / "half.avatar.npz").stat().st_size < whole
    _, arrays = read_avatar(tmp_path / "half.avatar.npz")
    loaded = load_avatar(tmp_path / "half.avatar.npz")
    assert isinstance(loaded, RGBAvatar) and loaded.halved
    for name in ("delta_positions", "delta_quats", "delta_colors"):
        assert arrays[name].dtype == np.float16 and torch.equal(getattr(loaded, name), getattr(avatar, name))
    assert arrays["positions"].dtype == np.float32
    before, after = avatar.drive(params), loaded.drive(params)
    assert torch.equal(before.colors, after.colors) and torch.equal(before.means, after.means)
    assert not load_avatar(saved).halved  # an earlier file plays as it always did


def test_half_bases_that_are_not_finite_are_refused(avatar: RGBAvatar, saved: Path, tmp_path: Path) -> None:
    meta, arrays = read_avatar(saved)
    arrays["delta_colors"] = np.full_like(arrays["delta_colors"], np.inf, dtype=np.float16)
    write_npz(tmp_path / "bad.avatar.npz", meta, arrays)
    with pytest.raises(FormatError, match="delta_colors"):
        load_avatar(tmp_path / "bad.avatar.npz")


def test_standardised_features_are_folded_into_the_first_layer(avatar: RGBAvatar, tmp_path: Path) -> None:
    params = tiny_tracking(tiny_head(), 4).params()
    avatar.feature_shift.uniform_(-1, 1)
    avatar.feature_scale.uniform_(0.5, 20)
    avatar.save(tmp_path / "a.avatar.npz")
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    torch.testing.assert_close(loaded.weights(params), avatar.weights(params), rtol=1e-4, atol=1e-4)


def test_shape_of_the_performer_does_not_leak(avatar: RGBAvatar) -> None:
    tracking = tiny_tracking(tiny_head(), 2)
    other = tiny_tracking(tiny_head(), 2)
    other.shape = other.shape + 3
    torch.testing.assert_close(avatar.drive(tracking.params()).means, avatar.drive(other.params()).means)


def test_another_head_is_refused(avatar: RGBAvatar) -> None:
    with pytest.raises(InputError, match="performance has 5"):
        avatar.drive(tiny_tracking(tiny_head(expressions=5), 2).params())


def test_newer_version_and_other_files_are_refused(saved: Path, tmp_path: Path) -> None:
    meta, arrays = read_avatar(saved)
    newer = tmp_path / "newer.avatar.npz"
    write_npz(newer, meta | {"version": 99}, arrays)
    with pytest.raises(FormatError, match="update Blendsplat"):
        load_avatar(newer)
    for version in (0, True, 2.0, "2"):
        write_npz(newer, meta | {"version": version}, arrays)
        with pytest.raises(FormatError, match="make it again"):
            load_avatar(newer)
    write_npz(newer, meta | {"system": "dipguava9"}, arrays)
    with pytest.raises(FormatError, match="dipguava9"):
        load_avatar(newer)
    with pytest.raises(FormatError, match="does not exist"):
        load_avatar(tmp_path / "nothing.avatar.npz")


@pytest.mark.parametrize("cut", [0, 10, 1000, -200])
def test_damaged_files_are_refused(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(FormatError, match="damaged"):
        load_avatar(saved)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("colors", lambda a: a[:-1]),
        ("delta_quats", lambda a: a[..., :3]),
        ("mlp.1.weight", lambda a: a[:, :-1]),
        ("triangle", lambda a: a + 10_000),
        ("triangle", lambda a: a - 10_000),
        ("rig.faces", lambda a: a.astype(np.float32)),
        ("positions", lambda a: np.where(a == a, np.nan, a)),
        ("rig.skin_weights", lambda a: a[:, :4]),
        ("positions", lambda a: a.astype(">f4").view(np.int32)),
        ("colors", lambda a: a.astype("U4")),
        ("camera.K", lambda a: a.astype(bool)),
        ("camera.size", lambda a: a * 0),
        ("log_scales", lambda a: a.astype(np.float64) - 1e300),
        ("neutral_rotation", lambda a: a * 3),
        ("neutral_rotation", lambda a: -a),
        ("neutral_rotation", lambda a: a.astype("U4")),
        ("neutral_translation", lambda a: a[:2]),
        ("feature_range", lambda a: a[::-1]),
        ("weight_range", lambda a: a[::-1]),
        ("weight_range", lambda a: a * np.nan),
        ("weight_mean", lambda a: a[:-1]),
        ("weight_covariance", lambda a: -a),
        ("weight_covariance", lambda a: np.triu(a + 1)),
        ("weight_covariance", lambda a: a[:, :2]),
        ("weight_covariance", lambda a: a * np.inf),
        ("weight_reach", lambda a: a.astype("U4")),
        ("seen.expression", lambda a: a[::-1]),
        ("seen.jaw_pose", lambda a: a[:2]),
        ("seen.eyelids", lambda a: a * np.nan),
        ("seen.views", lambda a: -a - 1),
        ("seen.views", lambda a: a[:, :8]),
    ],
)
def test_wrong_arrays_are_refused_on_reading_and_name_the_array(saved: Path, tmp_path: Path, name: str, change) -> None:
    meta, arrays = read_avatar(saved)
    arrays[name] = change(arrays[name])
    broken = tmp_path / "broken.avatar.npz"
    write_npz(broken, meta, arrays)
    with pytest.raises(FormatError, match=name):
        load_avatar(broken)


def test_any_width_and_byte_order_of_numbers_opens(saved: Path, tmp_path: Path) -> None:
    meta, arrays = read_avatar(saved)
    other = tmp_path / "other.avatar.npz"
    wide = {name: array.astype(f">{array.dtype.kind}8") for name, array in arrays.items()}
    write_npz(other, meta, wide)
    for name, array in read_avatar(other)[1].items():
        assert array.dtype == arrays[name].dtype and np.array_equal(array, arrays[name]), name
    params = tiny_tracking(tiny_head(), 2).params()
    assert torch.equal(load_avatar(other).drive(params).means, load_avatar(saved).drive(params).means)


def test_wrong_headers_are_refused(saved: Path, tmp_path: Path) -> None:
    meta, arrays = read_avatar(saved)
    broken = tmp_path / "broken.avatar.npz"
    for change in (
        {"blendshapes": 4},
        {"feature_layout": [["expression", 3]]},
        {"feature_layout": 3},
        {"gaussians": None},
        {"gaussians": float("inf")},
        {"training": None},
        {"training": [1]},
        {"expression_range": [None, 1]},
        {"expression_range": "ab"},
        {"expression_range": [3, -3]},
        {"expression_names": "abc"},
        {"expression_names": [1, 2, 3]},
        {"performance": 3},
        {"name": ["a"]},
        {"head": None},
    ):
        write_npz(broken, meta | change, arrays)
        with pytest.raises(FormatError, match="train"):
            load_avatar(broken)
    write_npz(broken, {key: value for key, value in meta.items() if key != "engine"}, arrays)
    with pytest.raises(FormatError, match="engine"):
        load_avatar(broken)


def test_a_pickle_inside_is_never_executed(saved: Path, tmp_path: Path) -> None:
    meta, arrays = read_avatar(saved)
    header = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    evil = tmp_path / "evil.avatar.npz"
    np.savez(evil, meta=header, **(arrays | {"colors": np.array([print], dtype=object)}))
    with pytest.raises(FormatError, match="damaged"):
        load_avatar(evil)


def test_a_failed_write_leaves_the_old_avatar(avatar: RGBAvatar, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*_args, **_kwargs) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(StorageError, match="No space left"):
        avatar.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_write_checks_as_reading_does(saved: Path, tmp_path: Path) -> None:
    meta, arrays = read_avatar(saved)
    with pytest.raises(FormatError, match="opacity_logits"):
        write_avatar(
            tmp_path / "x.avatar.npz", SCHEMA, meta, arrays | {"opacity_logits": arrays["opacity_logits"][:-1]}
        )
    assert not (tmp_path / "x.avatar.npz").exists()
