# SPDX-License-Identifier: Apache-2.0
"""A fit that is killed before any of its changes on the disk: the folder holds the earlier fit or the new one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from blendsplat.files import read_json
from blendsplat.heads.performance import Performance
from blendsplat.photographs import fit_files
from blendsplat.photographs.convert_fit import is_fit
from blendsplat.photographs.fit_files import NAMES, ImageFit, save_fit
from blendsplat.photographs.photograph import Face, Photograph
from blendsplat.video.images import read_image
from blendsplat.video.staged_folder import recover
from soak.forked import _watch
from tiny_clip import tiny_head, tiny_tracking

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="kills are counted as Linux tells")
EARLIER, NEW = 40, 200  # grey of every picture, and what the numbers say
MOST = 200  # changes on the disk, far more than there are


def save(folder: Path, grey: int) -> None:
    """A fit of which every file says ``grey``."""
    picture = np.full((16, 16, 3), grey, np.uint8)
    photograph = Photograph(Path(f"{grey}.png"), picture, None, 1.0, 16, 16, None)
    tracking = tiny_tracking(tiny_head(), 1)
    tracking.figures = {"landmark_error": float(grey)}
    face = Face(np.zeros((478, 2)), np.zeros(478))
    save_fit(ImageFit(photograph, face, tracking, picture, picture[..., 0], "landmarks"), tiny_head(), folder)


def said(folder: Path) -> set[int]:
    """What the files of a fit say."""
    greys = {int(read_image(folder / name)[0][0, 0, 0]) for name in NAMES if name.endswith(("png", "jpg"))}
    numbers = read_json(folder / "fit.json")["figures"], Performance.load(folder).figures
    return greys | {int(figures["landmark_error"]) for figures in numbers}


def killed_at(folder: Path, change: int) -> bool:
    """Whether the saving of a new fit came so far that it died."""
    process = os.fork()
    if not process:
        try:
            _watch(str(folder), change, 0, 0, os.memfd_create("changes"))
            save(folder, NEW)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("earlier", [True, False])
def test_a_kill_leaves_one_whole_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool) -> None:
    monkeypatch.setattr(fit_files, "paint_overlay", lambda fit, _: fit.photograph.image)
    monkeypatch.setattr(fit_files, "make_texture", lambda fit, _: fit.photograph.image)
    seen = []
    for change in range(1, MOST):
        folder = tmp_path / f"{change}"
        if earlier:
            save(folder, EARLIER)
        killed = killed_at(folder, change)
        if is_fit(folder):  # what a reader that recovers nothing sees
            assert len(said(folder)) == 1, change
        recover(folder)
        seen.append(said(folder) if is_fit(folder) else set())
        assert not [path.name for path in folder.glob("*") if path.name not in NAMES], change
        if not killed:
            break
    assert not killed and seen[-1] == {NEW} and len(seen) > 2 * len(NAMES)
    before = {EARLIER} if earlier else set()
    assert all(one in (before, {NEW}) for one in seen)
    assert seen[0] == before and seen[-2] == {NEW}  # the last change is no file of the fit
