# SPDX-License-Identifier: Apache-2.0
"""DipGuava's file: what is written comes back the same up to the networks' half precision, what is broken is refused
with a sentence that names the way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.avatars.avatar import BlendshapeAvatar
from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.avatars.dipguava.network_set import flat_parameters, set_flat_parameters
from blendsplat.avatars.retarget import Reference
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.errors import FormatError
from blendsplat.files import write_npz
from blendsplat.systems import describe_avatar, load_avatar, read_avatar
from tiny_clip import tiny_head, tiny_tracking
from tiny_dipguava import tiny_dipguava

# Half precision keeps 11 bits of a weight; what five layers make of that is about a hundredth of the range of a sigmoid
# at worst, and of a Gaussian's local coordinates, which are 3.5 cm long here.
HALF = {"colors": 1e-2, "opacities": 1e-2, "means": 3e-4, "scales": 3e-4, "quats": 1e-2}
CASES = [
    {}, {"backbone": "mlp"}, {"base": "optimised"}, {"base": "none"}, {"residual_appearance": False},
    {"residual_geometry": False}, {"residual_appearance": False, "residual_geometry": False}, {"fusion": False},
    {"moving_uv": False}, {"uv_beyond": "clamp"}, {"uv_beyond": "walk"},
]  # fmt: skip


def with_sliders(avatar: DipGuava) -> DipGuava:
    """Blendshapes that say nothing; distil.py makes better ones."""
    thirds = torch.full((avatar.gaussian_count, 3), 1 / 3)
    made = RGBAvatar(avatar.head, avatar.triangle, thirds, avatar.camera, blendshapes=2, hidden=(8, 8))
    avatar.take_sliders(made)
    return avatar


@pytest.fixture
def avatar() -> DipGuava:
    return with_sliders(tiny_dipguava(per_face=2))


@pytest.fixture
def saved(avatar: DipGuava, tmp_path: Path) -> Path:
    path = tmp_path / "Zoë's head.avatar.npz"
    avatar.training_record = {"preset": "draft", "images": 3, "holdout": 0.3}
    avatar.reference = Reference("0123456789abcdef", torch.zeros(3), torch.eye(3))
    avatar.save(path)
    return path


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_the_file_gives_the_same_gaussians(settings: dict, tmp_path: Path) -> None:
    avatar, params = with_sliders(tiny_dipguava(per_face=2, **settings)), tiny_tracking(tiny_head(), 3).params()
    avatar.save(tmp_path / "a.avatar.npz")
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    assert isinstance(loaded, DipGuava) and loaded.settings == avatar.settings and loaded.stage == 2
    for bounded in (False, True):
        before, after = (one.drive(params, bounded=bounded) for one in (avatar, loaded))
        for name, tolerance in HALF.items():
            torch.testing.assert_close(getattr(after, name), getattr(before, name), atol=tolerance, rtol=0, msg=name)
    for name in ("positions", "log_scales", "quats", "condition_shift", "condition_scale", "condition_range"):
        assert torch.equal(getattr(loaded, name), getattr(avatar, name)), name
    loaded.save(tmp_path / "again.avatar.npz")
    (_, first), (_, second) = (read_avatar(tmp_path / f"{name}.avatar.npz") for name in ("a", "again"))
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_a_file_that_says_nothing_of_places_beyond_triangles_goes_on_affinely(saved: Path, tmp_path: Path) -> None:
    """As files did before there was a choice."""
    settings = read_avatar(saved)[0]["dipguava"]
    assert settings.pop("uv_beyond") == "extrapolate"
    older, params = load_avatar(broken(saved, tmp_path, {"dipguava": settings})), tiny_tracking(tiny_head(), 2).params()
    assert isinstance(older, DipGuava) and older.charts.beyond == "extrapolate"
    assert torch.equal(older.drive(params).colors, load_avatar(saved).drive(params).colors)
    clamped = load_avatar(broken(saved, tmp_path, {"dipguava": settings | {"uv_beyond": "clamp"}}))
    assert not torch.equal(older.drive(params).colors, clamped.drive(params).colors)


def test_the_header_says_what_it_is(avatar: DipGuava, saved: Path) -> None:
    loaded, meta = load_avatar(saved), describe_avatar(saved)
    assert (loaded.name, meta["system"], meta["gaussians"]) == ("tiny", "dipguava", avatar.gaussian_count)
    assert loaded.training_record == meta["training"] == avatar.training_record
    assert loaded.reference is not None and loaded.reference.performance == "0123456789abcdef"
    assert loaded.camera.width == 32 and meta["dipguava"]["uv_size"] == 16


def test_the_carrier_of_the_file_is_its_sliders(avatar: DipGuava, saved: Path) -> None:
    """What Blender reads is an RGBAvatar's."""
    loaded, params = load_avatar(saved), tiny_tracking(tiny_head(), 2).params()
    assert isinstance(loaded, DipGuava) and isinstance(loaded.sliders, BlendshapeAvatar)
    assert loaded.sliders.blendshape_count == describe_avatar(saved)["blendshapes"] == 2
    torch.testing.assert_close(loaded.sliders.drive(params).means, avatar.sliders.drive(params).means)


def test_weights_that_are_too_large_for_half_precision_stay_whole(avatar: DipGuava, tmp_path: Path) -> None:
    with torch.no_grad():
        avatar.base.last.bias[0] = 1e5
    avatar.save(tmp_path / "a.avatar.npz")
    _, arrays = read_avatar(tmp_path / "a.avatar.npz")
    assert arrays["dip.base"].dtype == np.float32 and arrays["dip.residual"].dtype == np.float16
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    assert torch.equal(loaded.base.last.bias, avatar.base.last.bias)


def test_without_sliders_it_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sliders"):
        tiny_dipguava().save(tmp_path / "a.avatar.npz")
    assert not list(tmp_path.iterdir())


def test_parameters_go_flat_and_back(avatar: DipGuava) -> None:
    other = tiny_dipguava(started=True).base
    set_flat_parameters(other, flat_parameters(avatar.base))
    for name, value in avatar.base.state_dict().items():
        assert torch.equal(other.state_dict()[name], value.half().float()), name


def broken(saved: Path, tmp_path: Path, meta: dict | None = None, **arrays: np.ndarray | None) -> Path:
    """The file with these entries changed; arrays that are None are left out."""
    old, values = read_avatar(saved)
    values |= {name.replace("_in_", "."): value for name, value in arrays.items()}
    path = tmp_path / "broken.avatar.npz"
    write_npz(path, old | (meta or {}), {name: value for name, value in values.items() if value is not None})
    return path


@pytest.mark.parametrize("name", ["base", "residual", "geometry"])
def test_a_file_without_a_network_or_with_one_of_another_size_is_refused(
    name: str, saved: Path, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=f"lacks its network '{name}'; train the avatar again"):
        load_avatar(broken(saved, tmp_path, **{f"dip_in_{name}": None}))
    whole = read_avatar(saved)[1][f"dip.{name}"]
    for values in (whole[:-1], np.append(whole, whole[0]), whole[:0]):
        with pytest.raises(FormatError, match=f"network '{name}' of another size; train the avatar again"):
            load_avatar(broken(saved, tmp_path, **{f"dip_in_{name}": values}))


@pytest.mark.parametrize(
    "change",
    [
        {"uv_size": 17}, {"uv_size": 16.0}, {"unet_width": 10**9}, {"base": "bases"}, {"backbone": None},
        {"fusion": "yes"}, {"another": 1}, {"uv_beyond": "stop"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(change: dict, saved: Path, tmp_path: Path) -> None:
    settings = read_avatar(saved)[0]["dipguava"]
    with pytest.raises(FormatError, match="update it, or train again"):
        load_avatar(broken(saved, tmp_path, {"dipguava": settings | change}))


@pytest.mark.parametrize("header", [None, [], "unet", 3, {"uv_size": {}}], ids=str)
def test_a_broken_header_is_refused(header: object, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="update it, or train again"):
        load_avatar(broken(saved, tmp_path, {"dipguava": header}))


def test_a_header_without_the_networks_description_is_refused(saved: Path, tmp_path: Path) -> None:
    meta, arrays = read_avatar(saved)
    del meta["dipguava"]
    write_npz(tmp_path / "broken.avatar.npz", meta, arrays)
    with pytest.raises(FormatError, match=r"lacks 'dipguava' in its header; train"):
        load_avatar(tmp_path / "broken.avatar.npz")


@pytest.mark.parametrize(
    "largest",
    [{"unet_width": 128}, {"mlp_width": 512, "mlp_layers": 12}, {"base": "optimised", "uv_size": 512},
     {"texture_size": 1024}, {"backbone": "mlp", "mlp_width": 512}],
    ids=str,
)  # fmt: skip
def test_networks_that_a_file_does_not_hold_are_not_made(
    largest: dict, saved: Path, tmp_path: Path, monkeypatch
) -> None:
    """The largest that a header may ask for would take gigabytes before they were found not to fit."""
    path = broken(saved, tmp_path, {"dipguava": read_avatar(saved)[0]["dipguava"] | largest})
    honest = torch.nn.Parameter.__new__

    def only_small(cls: type, data: torch.Tensor | None = None, requires_grad: bool = True) -> torch.Tensor:
        assert data is None or data.is_meta or data.numel() < 10_000, "allocated"
        return honest(cls, data, requires_grad)

    monkeypatch.setattr(torch.nn.Parameter, "__new__", only_small)
    with pytest.raises(FormatError, match=r"(of another size|lacks its network).*train the avatar again"):
        load_avatar(path)


@pytest.mark.parametrize("beyond", [{"unet_width": 256}, {"uv_size": 1024}, {"mlp_width": 1024}, {"frequencies": 16}])
def test_settings_beyond_reason_are_refused(beyond: dict, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="update it, or train again"):
        load_avatar(broken(saved, tmp_path, {"dipguava": read_avatar(saved)[0]["dipguava"] | beyond}))


def test_settings_of_another_map_do_not_fit_its_networks(saved: Path, tmp_path: Path) -> None:
    settings = read_avatar(saved)[0]["dipguava"]
    for change in ({"unet_width": 8}, {"mlp_width": 16}, {"frequencies": 3}, {"mlp_layers": 4}):
        with pytest.raises(FormatError, match="of another size; train the avatar again"):
            load_avatar(broken(saved, tmp_path, {"dipguava": settings | change}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dip.positions", lambda a: a[:-1]),
        ("dip.positions", lambda a: a * np.nan),
        ("dip.log_scales", lambda a: a[:, :2]),
        ("dip.log_scales", lambda a: a.astype(np.float64) + 1e300),
        ("dip.quats", lambda a: a[:, :3]),
        ("dip.quats", lambda a: a.astype(np.int32)),
        ("dip.condition_scale", lambda a: a[:-1]),
        ("dip.condition_range", lambda a: a[::-1]),
        ("dip.condition_range", lambda a: a * np.inf),
        ("dip.base", lambda a: a[:, None]),
        ("dip.base", lambda a: np.full_like(a, np.inf)),
        ("dip.residual", lambda a: a.astype("U4")),
        ("dip.geometry", lambda a: a * np.float16(np.nan)),
        ("triangle", lambda a: a + 10_000),
    ],
)
def test_wrong_arrays_are_refused_and_named(saved: Path, tmp_path: Path, name: str, change) -> None:
    _, arrays = read_avatar(saved)
    with np.errstate(invalid="ignore"), pytest.raises(FormatError, match=f"{name}.*train"):
        load_avatar(broken(saved, tmp_path, **{name.replace(".", "_in_"): change(arrays[name])}))


def test_a_condition_of_another_head_is_refused(saved: Path, tmp_path: Path) -> None:
    _, arrays = read_avatar(saved)
    names = ("condition_shift", "condition_scale", "condition_range")
    longer = {f"dip_in_{name}": np.repeat(arrays[f"dip.{name}"], 2, -1) for name in names}
    with pytest.raises(FormatError, match="of another head; train the avatar again"):
        load_avatar(broken(saved, tmp_path, **longer))


@pytest.mark.parametrize("cut", [0, 10, 1000, -200])
def test_damaged_files_are_refused(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(FormatError, match="damaged"):
        load_avatar(saved)


def test_flipped_bytes_are_refused_or_change_nothing(saved: Path) -> None:
    """Wherever a byte of the file flips: never another error than the format's, never something that is not finite."""
    whole, params = saved.read_bytes(), tiny_tracking(tiny_head(), 1).params()
    before = load_avatar(saved).drive(params)
    for place in np.random.default_rng(0).integers(0, len(whole), 40):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        saved.write_bytes(flipped)
        try:
            after = load_avatar(saved).drive(params)
        except FormatError:
            continue
        assert torch.equal(after.means, before.means) and torch.equal(after.colors, before.colors), place


def test_an_rgbavatar_is_no_dipguava(saved: Path, tmp_path: Path) -> None:
    """The header names the system: read as another one, it is that one's, with what it lacks refused."""
    assert isinstance(load_avatar(broken(saved, tmp_path, {"system": "rgbavatar"})), RGBAvatar)
    meta, arrays = read_avatar(saved)
    bare = {name: value for name, value in arrays.items() if not name.startswith("dip.")}
    write_npz(tmp_path / "bare.avatar.npz", meta, bare)
    with pytest.raises(FormatError, match=r"lacks the array 'dip\..*train"):
        load_avatar(tmp_path / "bare.avatar.npz")
