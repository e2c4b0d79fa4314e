# SPDX-License-Identifier: Apache-2.0
"""KaoLRM's files: what is saved loads, what does not fit is named, what is damaged or a pickle is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from blendsplat.cli import app
from blendsplat.errors import BlendsplatError, FormatError, InputError, UnsafeFileError
from blendsplat.kaolrm import load_model, load_openlrm, save_model
from blendsplat.kaolrm.weight_catalogue import CATALOGUE, DEFAULT
from blendsplat.kaolrm.weights import inspect_weights
from tiny_kaolrm import TINY, tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "grüße 影", tiny())
    return tmp_path / "grüße 影"


def rewrite(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def openlrm(folder: Path, **sizes: Any) -> dict[str, Tensor]:
    """A folder as OpenLRM's: its keys, its configuration."""
    model = tiny(seed=7, **sizes)
    tensors = {k: v.detach() for k, v in model.state_dict().items() if "_decoder." not in k}
    tensors["synthesizer.decoder.net.6.weight"] = torch.zeros(4, 64)
    tensors["encoder.model.mask_token"] = torch.zeros(1, 16)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    values = {**TINY, **sizes, "rendering_samples_per_ray": 96}
    (folder / "config.json").write_text(json.dumps(values))
    return tensors


def test_saved_is_loaded(folder: Path) -> None:
    model = load_model(folder)
    assert not model.training and model.config == tiny().config
    for key, value in tiny().state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    images = torch.rand(1, 3, 56, 56)
    torch.testing.assert_close(model.regress(images), tiny().regress(images))
    model(images)[0]["shape"].sum().backward()  # what was loaded can be trained on


def test_half_precision_on_disk(tmp_path: Path) -> None:
    save_model(tmp_path, tiny(), torch.float16)
    model = load_model(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.pos_embed, tiny().pos_embed, atol=2e-3, rtol=1e-3)


def test_flames_own_arrays_are_left_out(folder: Path) -> None:
    rewrite(
        folder, lambda t: t.update({"flame_model.v_template": torch.zeros(9, 3), "flame_model.faces": torch.zeros(1)})
    )
    inspection = inspect_weights(folder)
    assert inspection.fits and list(inspection.ignored.values()) == [2]
    load_model(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("upsampler.bias"), "lacks upsampler.bias"),
        (lambda t: [t.pop(k) for k in list(t) if k.startswith("flame_decoder")], r"lacks flame_decoder\.\S+, \S+ and"),
        (lambda t: t.update(extra=torch.zeros(1)), "has what this network does not: extra"),
        (lambda t: t.update(pos_embed=torch.zeros(1, 5, 16)), r"pos_embed is \[1, 5, 16\] instead of \[1, 27, 16\]"),
        (lambda t: t["pos_embed"].fill_(float("nan")), "not finite in pos_embed"),
        (lambda t: t["pos_embed"][0, 3].fill_(float("inf")), "not finite in pos_embed"),
    ],
)
def test_what_does_not_fit_is_named(folder: Path, change: Any, words: str) -> None:
    rewrite(folder, change)
    with pytest.raises(FormatError, match=words):
        load_model(folder)


def test_another_size(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "transformer_layers": 3}))
    with pytest.raises(FormatError, match=r"lacks transformer\.layers\.2\."):
        load_model(folder)


@pytest.mark.parametrize("kept", [0, 5, 8, 100, 0.5, -1])
def test_truncated(folder: Path, kept: float) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)] if 0 < kept < 1 else data[: int(kept)])
    with pytest.raises(FormatError, match="truncated"):
        load_model(folder)


def test_rubbish_in_the_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    for bad in (b"\xff" * 8 + data[8:], data[:8] + b"x" * 200 + data[208:], b"<html>404</html>" * 50):
        path.write_bytes(bad)
        with pytest.raises(BlendsplatError):
            load_model(folder)


class Trap:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_in_disguise(folder: Path, zipped: bool) -> None:
    path = folder / "model.safetensors"
    if zipped:
        torch.save({"a": Trap()}, path)
    else:
        path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UnsafeFileError, match="pickle under another name"):
        load_model(folder)
    path.rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match=r"pytorch_model\.bin, a pickle"):
        load_model(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "no configuration"),
        ('{"transformer_dim": "wide"}', "transformer_dim"),
        ('{"transformer_dimension": 4}', "transformer_dimension"),
        ('{"encoder_type": "clip"}', "encoder_type"),
        ('{"transformer_dim": 770}', "12 heads"),
    ],
)
def test_bad_configurations(folder: Path, text: str, words: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(FormatError, match=words) as caught:
        load_model(folder)
    assert "config.json" in caught.value.sentence


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLENDSPLAT_WEIGHTS", str(tmp_path / "weights"))
    with pytest.raises(InputError, match=r"fetch config\.json and model\.safetensors from https.*CC BY-NC"):
        load_model("kaolrm-mono")
    with pytest.raises(InputError, match="neither a folder nor weights"):
        load_model(tmp_path / "nothing")
    with pytest.raises(FormatError, match=r"config\.json is missing"):
        load_model(tmp_path)
    save_model(tmp_path / "weights" / "kaolrm-mono", tiny())
    load_model("kaolrm-mono")


@pytest.mark.parametrize("sizes", [{}, {"transformer_dim": 24, "transformer_heads": 3}])
def test_training_from_openlrm(tmp_path: Path, sizes: dict[str, Any]) -> None:
    """Also where the widths differ, as in OpenLRM small and large: three projections in place of one."""
    tensors = openlrm(tmp_path / "o", **sizes)
    if sizes:
        assert tensors["transformer.layers.0.cross_attn.k_proj_weight"].shape == (24, 16)
    model, fresh = load_openlrm(tmp_path / "o", token_gate=True)
    assert fresh and all(key.startswith(("flame_decoder.", "gaussian_decoder.")) for key in fresh)
    state = model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in tensors.items() if k in state)
    coefficients, _ = model(torch.rand(1, 3, 56, 56))
    assert coefficients["shape"].abs().max() < 0.5 and coefficients["scale"] > 3  # untrained: about the mean head
    coefficients["shape"].sum().backward()
    with pytest.raises(FormatError, match="OpenLRM, which knows no heads"):
        load_model(tmp_path / "o")


def test_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLENDSPLAT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("BLENDSPLAT_LOG_DIR", str(tmp_path / "logs"))
    save_model(tmp_path / "weights" / "kaolrm-mono", tiny())

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["weights", *map(str, arguments)])

    listed = run()
    assert listed.exit_code == 0 and str(tmp_path / "weights") in listed.stdout
    for entry in CATALOGUE:
        line = next(line for line in listed.stdout.splitlines() if f" {entry.name} " in line)
        assert ("here" in line) == (entry.name in ("kaolrm-mono", DEFAULT)) and entry.licence in line
    assert len(json.loads(run("--json").stdout)["weights"]) == len(CATALOGUE)

    checked = run("kaolrm-mono", "--sha256")
    assert checked.exit_code == 0 and "KaoLRM, for the head 'flame'" in checked.stdout
    import hashlib

    data = (tmp_path / "weights" / "kaolrm-mono" / "model.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() in checked.stdout

    rewrite(folder, lambda t: t.pop("upsampler.bias"))
    wrong = run(folder)
    assert wrong.exit_code == 2 and "missing: upsampler.bias" in wrong.stdout
    assert json.loads(run(folder, "--json").stdout)["missing"] == ["upsampler.bias"]
    absent = run("kaolrm-multiview")
    assert absent.exit_code == 2 and "fetch config.json" in absent.stderr and "Traceback" not in absent.output
