# SPDX-License-Identifier: Apache-2.0
"""What is said of a folder of weights: whole, broken, another network's, whose; and over the protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blendsplat.errors import BlendsplatError, InputError
from blendsplat.kaolrm import describe_weights as described
from blendsplat.kaolrm import weight_catalogue as catalogue
from blendsplat.kaolrm.weights import save_model
from tiny_kaolrm import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ä weights")
    save_model(path, tiny())
    return path


def test_whole_weights_are_usable_and_their_licence_is_unknown(folder: Path) -> None:
    told = described.describe_weights(folder)
    assert told["usable"] and told["fits"] and told["kind"] == "kaolrm" and "KaoLRM" in told["sentence"]
    assert "ask where" in told["licence"] and "shipped" not in told["sentence"]
    json.dumps(told)  # goes over the protocol


def test_the_licence_file_is_quoted(folder: Path) -> None:
    (folder / "LICENSE.txt").write_text("\n# Creative Commons BY-NC 4.0\nmore\n", encoding="utf-8")
    assert described.describe_weights(folder)["licence"] == "Creative Commons BY-NC 4.0"


def test_weights_that_do_not_fit_are_told_and_not_usable(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["shape_count"] += 1
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    told = described.describe_weights(tmp_path)
    assert not told["usable"] and "do not fit their config.json" in told["sentence"] and told["misshapen"]


def test_what_is_no_weights_at_all_is_an_error_in_words(tmp_path: Path) -> None:
    for weights in (tmp_path / "absent", tmp_path):
        with pytest.raises(BlendsplatError):
            described.describe_weights(weights)
    with pytest.raises(InputError, match="kaolrm-mono"):
        described.describe_weights("kaolrm-momo")


def test_auto_is_what_ships_and_none_is_the_landmarks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert described.describe_weights("none")["usable"]
    monkeypatch.setattr(catalogue, "_SHIPPED", tmp_path / "nothing")
    assert not described.describe_weights("auto")["usable"]
    monkeypatch.setattr(catalogue, "_SHIPPED", folder)
    told = described.describe_weights("auto")
    assert told["usable"] and told["licence"] == "Apache-2.0" and "shipped with Blendsplat" in told["sentence"]
