# SPDX-License-Identifier: Apache-2.0
"""Weights on disk: model.safetensors beside config.json, read by key with every key accounted for; never a pickle.

Reads KaoLRM's release and our own files (load_model), and OpenLRM's base to train from (load_openlrm). The published
loader accepts a file that lacks whole modules; this one names what is missing.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from blendsplat.errors import FormatError, InputError, UnsafeFileError
from blendsplat.files import atomic_path, write_json
from blendsplat.kaolrm.config import Config, read_config
from blendsplat.kaolrm.model import KaoLRM
from blendsplat.kaolrm.weight_catalogue import DEFAULT, find_weights
from blendsplat.tensor_files import write_tensors

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_SMALL = 1 << 26  # bytes of a file whose network may be built twice
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Not of this network, and why
_IGNORED = {
    "flame_model.": "FLAME's own arrays, which come from the user's FLAME file",
    "synthesizer.": "OpenLRM's radiance field, which the Gaussian decoder replaces",
    "encoder.model.mask_token": "DINOv2's mask token, used only when it was pre-trained",
}
# What OpenLRM's weights have no part for: it starts untrained
_FRESH = re.compile(r"(flame_decoder|gaussian_decoder)\.")


@dataclass(frozen=True)
class Inspection:
    """A weights file against the network that its config.json describes. It fits when the first three are empty."""

    config: Config
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]  # sentences: key, shape, and what it should be
    ignored: dict[str, int]  # reason -> how many keys
    fresh: tuple[str, ...]  # keys of the network that OpenLRM's weights do not have
    parameters: int  # numbers that are loaded
    size: int  # bytes of the file

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)


def load_model(directory: str | Path = DEFAULT, device: torch.device | str = "cpu") -> KaoLRM:
    """A folder with model.safetensors and config.json, or a name of the catalogue (left out: the weights that ship) ->
    the network, ready for regress.

    Raises InputError (no such folder), FormatError (damaged, incomplete or another network's file; the first wrong keys
    are named) and UnsafeFileError (a pickle).
    """
    folder = find_weights(directory)
    try:
        inspection = inspect_weights(folder)
        if inspection.fresh:
            raise FormatError(
                f"{folder / WEIGHTS} holds OpenLRM, which knows no heads: train from it, or fetch KaoLRM's weights."
            )
        return _load(folder, inspection, device).eval()
    except (FormatError, InputError) as error:
        if str(directory) != DEFAULT:
            raise
        raise FormatError(
            f"The weights {DEFAULT}, which ship with Blendsplat, are damaged; install it again, or choose others or "
            "'none'.", error.sentence,
        ) from error  # fmt: skip


def load_openlrm(
    directory: str | Path, device: torch.device | str = "cpu", **sizes: Any
) -> tuple[KaoLRM, tuple[str, ...]]:
    """OpenLRM's folder, or its name in the catalogue -> (a KaoLRM to train, keys that start untrained).

    sizes: fields of Config that OpenLRM's file does not decide (shape_count, token_gate, ...). Raises as load_model.
    """
    folder = find_weights(directory)
    inspection = inspect_weights(folder, **sizes)
    return _load(folder, inspection, device), inspection.fresh


def inspect_weights(directory: str | Path, **sizes: Any) -> Inspection:
    """Compare a folder's weights with its configuration, reading only the file's header."""
    folder = Path(directory)
    config = read_config(folder / CONFIG)
    if sizes:
        config = Config.model_validate({**config.model_dump(), **sizes})
    path = _weights_file(folder)
    with _opened(path) as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (not a dict)
    if config.transformer_layers + config.encoder_layers > len(shapes):
        raise FormatError(
            f"{folder / CONFIG} describes more layers than {path.name} holds; fetch both again, as a pair."
        )
    wanted = {key: tuple(tensor.shape) for key, tensor in _unfilled(config, path).state_dict().items()}
    ignored: dict[str, int] = {}
    for key in shapes.keys() - wanted.keys():
        reason = next((reason for prefix, reason in _IGNORED.items() if key.startswith(prefix)), None)
        if reason:
            ignored[reason] = ignored.get(reason, 0) + 1
    openlrm = any(key.startswith("synthesizer.") for key in shapes) and not any(map(_FRESH.match, shapes))
    fresh = tuple(sorted(filter(_FRESH.match, wanted))) if openlrm else ()
    return Inspection(
        config=config,
        missing=tuple(sorted(wanted.keys() - shapes.keys() - set(fresh))),
        unexpected=tuple(sorted(k for k in shapes.keys() - wanted.keys() if not k.startswith(tuple(_IGNORED)))),
        misshapen=tuple(
            f"{key} is {list(shapes[key])} instead of {list(wanted[key])}"
            for key in sorted(shapes.keys() & wanted.keys())
            if shapes[key] != wanted[key]
        ),
        ignored=ignored,
        fresh=fresh,
        parameters=sum(math.prod(shapes[key]) for key in shapes.keys() & wanted.keys()),
        size=path.stat().st_size,
    )


def save_model(directory: str | Path, model: KaoLRM, dtype: torch.dtype = torch.float32) -> None:
    """Write model.safetensors and config.json into a folder, each whole or not at all. Raises StorageError."""
    folder = Path(directory)
    tensors = {key: value.to("cpu", dtype) for key, value in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as path:
        write_tensors(path, tensors, {"format": "pt"})
    write_json(folder / CONFIG, model.config.as_json())


def file_sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, to compare with what others have."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(folder: Path, inspection: Inspection, device: torch.device | str) -> KaoLRM:
    path = _weights_file(folder)
    if not inspection.fits:
        raise FormatError(_fault(path, inspection))
    model: KaoLRM
    model = KaoLRM(inspection.config) if inspection.fresh else _unfilled(inspection.config, path)
    tensors: dict[str, Tensor] = {key: value for key, value in model.state_dict().items() if key in inspection.fresh}
    with _opened(path) as file:
        for key in model.state_dict().keys() - tensors.keys():
            try:
                tensor = file.get_tensor(key).to(device, torch.float32)
            except SafetensorError as error:
                raise FormatError(f"{path} is damaged at {key}; fetch it again.", repr(error)) from error
            if not bool(tensor.sum(dtype=torch.float64).isfinite()):
                raise FormatError(f"{path} holds values that are not finite in {key}; fetch it again.")
            tensors[key] = tensor
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.to(device)


def _unfilled(config: Config, path: Path) -> KaoLRM:
    """The network before its weights are read. A large one takes no memory; for a small one that way's own start (a
    second and a half of imports in torch) would be the slowest part of a fit."""
    if path.stat().st_size > _SMALL or _numbers_at_least(config) > path.stat().st_size:  # or another file's network
        with torch.device("meta"):
            return KaoLRM(config)
    with torch.random.fork_rng(devices=[]):
        return KaoLRM(config)


def _numbers_at_least(config: Config) -> int:
    """A lower bound of the network's parameters, from its largest matrices."""
    wide, first, second = config.flame_widths
    layers = (
        4 * config.transformer_dim**2 * config.transformer_layers
        + 4 * config.encoder_feat_dim**2 * config.encoder_layers
    )
    tokens = 3 * config.triplane_low_res**2 * config.transformer_dim + config.encoder_grid**2 * config.encoder_feat_dim
    patches = config.encoder_patch * config.encoder_feat_dim
    return layers + tokens + patches + wide * first + first * second + config.gaussian_width * config.triplane_dim


def _fault(path: Path, inspection: Inspection) -> str:
    """One sentence on the first of what is wrong."""
    parts = []
    for what, keys in (
        ("lacks", inspection.missing),
        ("has a wrong size:", inspection.misshapen),
        ("has what this network does not:", inspection.unexpected),
    ):
        if keys:
            more = f" and {len(keys) - 2} more" if len(keys) > 2 else ""
            parts.append(f"{what} {', '.join(keys[:2])}{more}")
    return f"{path} does not fit the {CONFIG} beside it: it {'; it '.join(parts)}. Fetch both files again, as a pair."


def _weights_file(folder: Path) -> Path:
    """The folder's model.safetensors. Raises InputError, and UnsafeFileError for what is a pickle."""
    path = folder / WEIGHTS
    if not path.is_file():
        pickles = sorted(found.name for pattern in _PICKLES for found in folder.glob(pattern))
        if pickles:
            raise UnsafeFileError(
                f"{folder} holds {pickles[0]}, a pickle, which may run anything: fetch {WEIGHTS} of the same weights."
            )
        raise InputError(f"{folder} has no {WEIGHTS}; put it there, with its {CONFIG}.")
    with open(path, "rb") as file:
        start = file.read(9)
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        raise UnsafeFileError(
            f"{path} is a pickle under another name, which may run anything: fetch the real {WEIGHTS}."
        )
    return path


def _opened(path: Path) -> Any:
    """safetensors' reader. Raises FormatError for a truncated or foreign file."""
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        size = path.stat().st_size / 2**20
        raise FormatError(
            f"{path} ({size:.0f} MiB) is truncated or no safetensors file; fetch it again.", repr(error)
        ) from error
