# SPDX-License-Identifier: Apache-2.0
"""One entrance for every head: the one that ships, the user's FLAME pickle, the user's ICT-FaceKit.

What was loaded last is kept, so that a running engine's next job has it at once; nobody may change a head he gets.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

from blendsplat.errors import InputError
from blendsplat.heads.families import BUILTIN
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, describe_head, same_head
from blendsplat.progress import Progress

SHIPPED = ("human",)  # heads that have a name instead of a file
_RETIRED = "builtin"
_NO_LONGER_MADE = f"The head {_RETIRED!r} of earlier versions is no longer made"
KEPT = 2  # heads, some tens of megabytes each: an avatar's, and one that another person's performance comes with
_FILES_LOOKED_AT = 1000  # in a head's folder: with more, it is read anew every time
_kept: dict[tuple[object, ...], HeadModel] = {}  # the one that was asked for last is last
_keeping = threading.Lock()
_KINDS = "'human', a FLAME .pkl, or ICT-FaceKit's FaceXModel folder or packed .npz"


def load_head(source: str | Path, *, landmarks: bool = True, progress: Progress | None = None) -> HeadModel:
    """``source`` -> HeadModel with its landmark embedding (landmarks=False needs no detector, and may leave it out).

    source: "human"; a path to FLAME 2020, 2023 or 2023 Open (.pkl); ICT-FaceKit's folder or packed .npz. An embedding
    is detected once per head (some ten seconds, reported as the stage "embedding") and then comes from the user's cache
    folder. Raises InputError, FormatError, UnsafeFileError with the way out.
    """
    state = _state(source)
    head = _take(state) or _read(source)
    if landmarks and head.landmarks is None:
        # needs splatting and the detector; heads alone need neither
        from blendsplat.heads.embedding import cached_embedding

        head = replace(head, landmarks=cached_embedding(head, progress))
    if state is not None and _state(source) == state:  # the files did not change while they were read
        _keep(state, head)
    return head


def _state(source: str | Path) -> tuple[object, ...] | None:
    """What tells whether a head's files are still those that were read; None where nobody can tell.

    Files beside a head's may belong to it (heads/flame_companions.py), so the whole folder counts.
    """
    if str(source) in SHIPPED:
        return (str(source),)
    path = Path(os.path.abspath(Path(source).expanduser()))
    files = []
    try:
        for file in path.rglob("*") if path.is_dir() else path.parent.iterdir():
            facts = file.stat()
            files.append((str(file), facts.st_mtime_ns, facts.st_size))
            if len(files) > _FILES_LOOKED_AT:
                return None
    except OSError:
        return None
    return (str(path), *sorted(files))


def _take(state: tuple[object, ...] | None) -> HeadModel | None:
    with _keeping:
        return None if state is None else _kept.get(state)


def _keep(state: tuple[object, ...], head: HeadModel) -> None:
    with _keeping:
        _kept.pop(state, None)
        _kept[state] = head
        while len(_kept) > KEPT:
            del _kept[next(iter(_kept))]


def stored_source(source: str | Path) -> str:
    """What a file says of where a head came from: a shipped head's name, or the file's absolute path, so that it is
    found from every folder; what names neither, as it is."""
    path = Path(source).expanduser()
    return str(source) if str(source) in SHIPPED or not path.exists() else os.path.abspath(path)


def load_head_of(performance: Performance, *, landmarks: bool = False, progress: Progress | None = None) -> HeadModel:
    """The head that a performance was tracked with, from where it lay then (or lies now: Performance.load).

    Raises as load_head, and InputError when no head lies there now, or another, and when it is of earlier versions.
    """
    if performance.family == BUILTIN:
        raise InputError(
            f"{_NO_LONGER_MADE}: track the clip again with the head 'human' (in Blender: Track Head; else blendsplat "
            "track FOLDER --head human), or fit the photograph again (in Blender: Fit Again; else blendsplat "
            "fit-image). Avatars that were trained with it still open."
        )
    source = performance.head_source
    try:
        head = load_head(source, landmarks=landmarks, progress=progress)
    except InputError as error:
        if source in SHIPPED or Path(source).expanduser().exists():
            raise
        raise InputError(
            f"The head {performance.head!r} ({describe_head(performance)}) is missing: it was {source}. Put it there "
            "again or, under the same name, into the tracked folder or a folder above it; or track the clip (fit the "
            "photograph) again with --head and its new path."
        ) from error
    fits = len(performance.vertex_offsets) == head.vertex_count and len(performance.shape) == head.shape_count
    if not fits or not same_head(head, performance):
        raise InputError(
            f"The head {performance.head!r} ({describe_head(performance)}) was tracked, and {performance.head_source} "
            f"is another one now, {head.name!r} ({describe_head(head)}); track the clip "
            "again, or fit the photograph again."
        )
    return head


def _read(source: str | Path) -> HeadModel:
    if str(source) == "human":
        from blendsplat.heads.human import human_head

        return human_head()
    if str(source) == _RETIRED:
        raise InputError(
            f"{_NO_LONGER_MADE}: track the clip again, or fit the photograph again, with the head 'human'."
        )
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"The head {str(source)!r} does not exist. Give {_KINDS}.")
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".npz":
        from blendsplat.heads.ict import load_ict

        return load_ict(path)
    if suffix in (".pkl", ".pickle"):
        from blendsplat.heads.flame import load_flame

        return load_flame(path)
    raise InputError(f"{path} is not a head this program knows. Give {_KINDS}.")
