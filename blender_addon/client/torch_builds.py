# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of torch an installation takes, from where, and how large that is: said before anything is downloaded.

torch's own index has a build for processors and one for each generation of graphics drivers. The ordinary package
index has one build only, on Linux that for graphics cards: it is taken where the artist chose it, never because another
failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

VERSION = "2.13.0"  # the one that the tests run with (constraints.txt)
INDEX = "https://download.pytorch.org/whl/"
# The least driver for each of this version's stable builds, the newest first.
_CUDA = (((13, 0), "cu130"), ((12, 6), "cu126"))
GIGABYTE = 10**9
# Estimates: (installed, engine and all; what passes through the disk while torch comes).
_SIZES = {True: (6 * GIGABYTE, 8 * GIGABYTE), False: (2 * GIGABYTE, int(1.2 * GIGABYTE))}


@dataclass(frozen=True)
class Build:
    """One build of torch: pip's words for it, its index ("" for pip's own), whether it is for graphics cards; source:
    torch's own index, a copy of that, or an ordinary index of packages."""

    words: tuple[str, ...]
    index: str
    for_card: bool
    source: str = "packages"  # torch, copy, packages

    @property
    def installed(self) -> int:
        """Bytes on the disk in the end, all that the engine needs with it; an estimate."""
        return _SIZES[self.for_card][0]

    @property
    def moved(self) -> int:
        """Bytes of torch that are written while it is installed, downloads too; an estimate."""
        return _SIZES[self.for_card][1]


def builds(
    choice: str, index: str = "", torch_index: str = "", driver: Callable[[], tuple[int, int] | None] | None = None
) -> list[Build]:
    """What to try, in this order; the next only where an index answers that it lacks this version.

    choice: AUTO, CPU, CUDA or INDEX, as in the preferences. index, torch_index: the artist's addresses, "" for none.
    driver: tells the newest CUDA that the graphics driver takes; asked only when that matters.
    """
    wanted = f"torch=={VERSION}"
    card = choice == "CUDA" or (choice == "AUTO" and has_card())
    if torch_index:
        known = re.search(r"/(cpu|cu\d+)/?$", torch_index)  # else it says nothing
        copy = known is not None and known[1] != "cpu"
        others = ("--extra-index-url", index) if index else ()
        return [Build((wanted, "--index-url", torch_index, *others), torch_index, copy if known else card, "copy")]
    if choice == "INDEX" or index or any(os.environ.get(n) for n in ("PIP_INDEX_URL", "PIP_NO_INDEX")):
        return [Build((wanted, *(("--index-url", index) if index else ())), index, ordinary_is_for_card())]
    flavours = flavours_for((driver or cuda_of_driver)()) if card else []
    if choice == "CUDA" and not flavours:
        flavours = [name for _least, name in _CUDA]  # the card is to come, or belongs to another machine
    return [_own(wanted, flavour) for flavour in flavours or ["cpu"]]


def _own(wanted: str, flavour: str) -> Build:
    # Named by its whole version, so that another build that is installed already is replaced. macOS has but one.
    label = "" if sys.platform == "darwin" else f"+{flavour}"
    address = INDEX + flavour
    return Build((wanted + label, "--index-url", address), address, flavour != "cpu", "torch")


def planned(choice: str, index: str = "", torch_index: str = "") -> Build:
    """What an installation will most likely take, without asking the graphics driver: for panels."""
    return builds(choice, index, torch_index, driver=lambda: (999, 0))[0]


def flavours_for(driver: tuple[int, int] | None) -> list[str]:
    """The builds for graphics cards that a driver takes, the newest first; [] for none."""
    return [name for least, name in _CUDA if driver is not None and driver >= least]


def ordinary_is_for_card() -> bool:
    """Whether the ordinary package index's build is the large one for graphics cards."""
    return sys.platform.startswith("linux")


def has_card() -> bool:
    """Whether a graphics driver of Nvidia's seems to be here: quick, for panels."""
    return sys.platform != "darwin" and shutil.which("nvidia-smi") is not None


def cuda_of_driver(
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> tuple[int, int] | None:
    """The newest CUDA that the graphics driver takes, as nvidia-smi says; None without one. Takes up to 20 s."""
    if sys.platform == "darwin":
        return None
    try:
        text = run(["nvidia-smi"], capture_output=True, encoding="utf-8", errors="replace", timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def in_words(build: Build) -> str:
    """What will be installed, for the panel, before it is."""
    kind = "for the graphics card" if build.for_card else "for the processor"
    if build.for_card and build.source == "packages":
        kind = "for graphics cards (the package index has no smaller one)"
    return f"Installs torch {VERSION} {kind} and the engine: about {build.installed // GIGABYTE} GB on the disk."


def way_out(build: Build) -> str:
    """What an artist can choose when torch's own index failed."""
    if build.source != "torch":
        return ""
    size = "for graphics cards, about 6 GB" if ordinary_is_for_card() else "about 2 GB"
    return (
        " No other build was taken in its place. In the add-on's preferences you can give another address as Torch "
        f"Index, or choose the Package Index's own torch ({size})."
    )
