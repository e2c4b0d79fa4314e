# SPDX-License-Identifier: Apache-2.0
"""Writing tensors as safetensors, piece by piece, into a file that is open already.

The library's own writer makes a second temporary file beside ours and renames it in its place: killed between, it
leaves a name that nobody sweeps, and what it puts there is not locked (files.atomic_path). So the container (eight
bytes, a JSON header and the numbers: README of huggingface/safetensors) is written here; reading is the library's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_ALIGNED = 8  # bytes that the header's length is a multiple of, so that mapped numbers lie well


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write ``tensors`` by name and ``metadata`` into ``path``, which is emptied first. At most one tensor's copy is
    made at a time.

    Raises OSError, and TypeError for numbers that the format has no name for.
    """
    unknown = [name for name, value in tensors.items() if value.dtype not in _NAMES]
    if unknown:
        raise TypeError(f"safetensors has no {tensors[unknown[0]].dtype} ({unknown[0]})")
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))  # all lie at their own size
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, value in ordered:
        begin, end = end, end + value.numel() * value.element_size()
        header[name] = {"dtype": _NAMES[value.dtype], "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, value in ordered:
            if value.numel():
                plain = value.detach().cpu().contiguous().reshape(-1)
                file.write(plain.view(torch.uint8).numpy().data)
