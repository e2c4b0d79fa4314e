# SPDX-License-Identifier: Apache-2.0
"""safetensors of our writing, as the library reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from blendsplat.files import atomic_path
from blendsplat.tensor_files import write_tensors

TENSORS = {
    "wide": torch.arange(24.0).reshape(2, 3, 4).transpose(0, 2),  # no contiguous one
    "number": torch.tensor(7),
    "none": torch.zeros(0, 5),
    "flags": torch.tensor([True, False, True]),  # three bytes: what follows must not lie askew
    "half": torch.tensor([1.5, -2.0, 65504.0], dtype=torch.float16),
    "brain": torch.tensor([1e38, -3.0], dtype=torch.bfloat16),
    "double": torch.tensor([[1e-300]], dtype=torch.float64),
    "Büste/影": torch.tensor([-128, 127], dtype=torch.int8),
    "learned": torch.nn.Parameter(torch.tensor([0.1, torch.inf])),
}


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {"made": "für 影"})
    read = load_file(path)
    assert read.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert read[name].dtype == value.dtype and read[name].shape == value.shape, name
        assert torch.equal(read[name], value), name
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"made": "für 影"}


def test_numbers_lie_at_multiples_of_their_size(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS)
    whole = path.read_bytes()
    assert (8 + int.from_bytes(whole[:8], "little")) % 8 == 0
    place = whole.index(TENSORS["double"].numpy().tobytes())
    assert place % 8 == 0


@pytest.mark.parametrize("metadata", [None, {}])
def test_nothing_is_a_file_too(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {}, metadata)
    assert load_file(path) == {}


def test_unknown_numbers_are_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"complex64.*phase"):
        write_tensors(tmp_path / "a.safetensors", {"phase": torch.zeros(2, dtype=torch.complex64)})


def test_no_second_temporary_file_is_made(tmp_path: Path) -> None:
    """Killed at any moment, only names that the next process sweeps may lie there; and the locked file stays ours."""
    target = tmp_path / "a.safetensors"
    with atomic_path(target) as temporary:
        before = temporary.stat().st_ino
        write_tensors(temporary, TENSORS)
        assert [path.name for path in tmp_path.iterdir()] == [temporary.name]
        assert temporary.stat().st_ino == before
