# SPDX-License-Identifier: Apache-2.0
"""The weights a KaoLRM can start from: what each is, who gives it out, under which licence, where it must lie.

One set is ours and ships with the program. The others are neither shipped nor fetched: their licences are between
their owners and the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blendsplat.errors import InputError
from blendsplat.folders import weights_folder

DEFAULT = "blendsplat-small"  # the set that ships
_SHIPPED = Path(__file__).parent / "default"
_KAOLRM = "https://github.com/CyberAgentAILab/KaoLRM/releases"
_OPENLRM = "https://huggingface.co/zxhezexin/"


@dataclass(frozen=True)
class Entry:
    """One set of weights: a folder of that name with config.json and model.safetensors in it."""

    name: str
    purpose: str
    source: str
    licence: str
    focal: float | None = None  # of the cameras that a KaoLRM was trained to render to, over the image's size

    @property
    def shipped(self) -> bool:
        """Whether it comes with this program."""
        return self.name == DEFAULT

    @property
    def folder(self) -> Path:
        """Where it is looked for."""
        return _SHIPPED if self.shipped else weights_folder() / self.name


CATALOGUE = (
    Entry(
        DEFAULT,
        "Blendsplat's own head from one portrait; ships with it",
        "made by train-kaolrm from generated people alone (docs/kaolrm.md)",
        "Apache-2.0",
        4.0,
    ),
    Entry("kaolrm-multiview", "a FLAME head from one image, profiles too", _KAOLRM, "CC BY-NC 4.0", 0.75),
    Entry("kaolrm-mono", "a FLAME head from one portrait, frontal", _KAOLRM, "CC BY-NC 4.0", 20.0),
    *(
        Entry(name, "to train a KaoLRM from", f"{_OPENLRM}{name}", "CC BY-NC 4.0")
        for name in (f"openlrm-{data}-{size}-1.1" for data in ("obj", "mix") for size in ("small", "base", "large"))
    ),
)


def find_shipped() -> Path:
    """The folder of the weights that ship, there or not."""
    return _SHIPPED


def find_weights(name: str | Path) -> Path:
    """A catalogue's name, or a folder -> the folder. Raises InputError saying where it was looked for."""
    for entry in CATALOGUE:
        if entry.name == str(name):
            if entry.folder.is_dir():
                return entry.folder
            if entry.shipped:
                raise InputError("This installation lacks the weights that ship with Blendsplat; install it again.")
            raise InputError(
                f"The weights {entry.name} are not on this machine: fetch config.json and model.safetensors from "
                f"{entry.source} ({entry.licence}) into {entry.folder}."
            )
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    known = ", ".join(entry.name for entry in CATALOGUE)
    raise InputError(f"{name} is neither a folder nor weights this program knows ({known}).")
