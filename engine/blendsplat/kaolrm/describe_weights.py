# SPDX-License-Identifier: Apache-2.0
"""What lies in a folder of weights, in words: whose it is, for which head, whether a fit can use it.

The command ``weights`` and the add-on's preferences show the same answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blendsplat.heads.families import BUILTIN, HUMAN
from blendsplat.kaolrm.weight_catalogue import CATALOGUE, find_shipped, find_weights
from blendsplat.kaolrm.weights import WEIGHTS, Inspection, file_sha256, inspect_weights

_HEADS = {HUMAN: "Blendsplat's own head", BUILTIN: "the head of earlier versions, which is no longer made"}
_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt")


def describe_weights(weights: str | Path, sha256: bool = False) -> dict[str, Any]:
    """weights: "auto" (the shipped ones), "none", a folder or a name of the catalogue -> {folder, fits, usable,
    sentence, licence, head, kind, parameters, bytes, missing, unexpected, misshapen, ignored, config, sha256}.

    usable: a fit can use them. Raises InputError (no such folder), FormatError (damaged), UnsafeFileError (a pickle).
    """
    shipped = str(weights) == "auto"
    if str(weights) == "none":
        return _nothing(_NONE, usable=True)
    if shipped and not (find_shipped() / WEIGHTS).is_file():
        return _nothing(_NOT_SHIPPED, usable=False)
    folder = find_shipped() if shipped else find_weights(weights)
    found = inspect_weights(folder)
    retired = found.config.head == BUILTIN
    return {
        "folder": str(folder), "fits": found.fits, "usable": found.fits and not found.fresh and not retired,
        "sentence": _sentence(found, shipped), "licence": licence_of(folder), "head": found.config.head,
        "kind": "openlrm" if found.fresh else "kaolrm", "parameters": found.parameters, "bytes": found.size,
        "missing": list(found.missing), "unexpected": list(found.unexpected), "misshapen": list(found.misshapen),
        "ignored": found.ignored, "config": found.config.as_json(),
        "sha256": file_sha256(folder / WEIGHTS) if sha256 else None,
    }  # fmt: skip


def _nothing(sentence: str, usable: bool) -> dict[str, Any]:
    """The answer where no weights are looked at."""
    return {
        "folder": None, "fits": usable, "usable": usable, "sentence": sentence, "licence": None, "head": None,
        "kind": None, "parameters": 0, "bytes": 0, "missing": [], "unexpected": [], "misshapen": [], "ignored": {},
        "config": None, "sha256": None,
    }  # fmt: skip


_NONE = "No network: heads are fitted to the face's landmarks alone."
_NOT_SHIPPED = "This engine has no network of its own: heads are fitted to the face's landmarks alone."


def licence_of(folder: Path) -> str:
    """The licence of a folder's weights: the catalogue's, the folder's licence file's first line."""
    for entry in CATALOGUE:
        if entry.folder == folder:
            return entry.licence
    for name in _LICENCE_FILES:
        try:
            with open(folder / name, encoding="utf-8", errors="replace") as file:
                lines = (line.strip().lstrip("# ") for line in file)
                return next((line[:100] for line in lines if line), "unknown")
        except OSError:
            continue
    return "unknown: ask where you got them"


def _sentence(found: Inspection, shipped: bool) -> str:
    """What they are good for."""
    if not found.fits:
        wrong = [*found.missing, *found.misshapen, *found.unexpected]
        return f"They do not fit their config.json ({wrong[0]}); fetch both files again, as a pair."
    if found.fresh:
        return "OpenLRM: to train a KaoLRM from. It knows no heads, so no fit can use it."
    size = f"{found.parameters / 1e6:.0f} million parameters, {found.size / 2**20:.0f} MiB"
    head = _HEADS.get(found.config.head, f"the head {found.config.head!r} (your file)")
    return f"KaoLRM{', shipped with Blendsplat' if shipped else ''}, for {head}: {size}."
