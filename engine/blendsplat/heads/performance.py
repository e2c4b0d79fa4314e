# SPDX-License-Identifier: Apache-2.0
"""A head's parameters over time and their file ``tracking.npz``: what a clip shows, and what drives an avatar."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.errors import FormatError, InputError
from blendsplat.files import read_npz, write_npz
from blendsplat.heads.families import family_of_vertices
from blendsplat.heads.model import HeadModel, HeadParams

FORMAT = "blendsplat-tracking"
VERSION = 1
_FOLDERS_ABOVE = 5  # of a clip, in which a head is looked for that is not where it was
BATCH = 32  # frames posed at once
_PER_FRAME = {
    "timestamps": (), "valid": (), "expression": (None,), "root_pose": (3,), "neck_pose": (3,), "jaw_pose": (3,),
    "eyes_pose": (2, 3), "eyelids": (2,), "translation": (3,),
}  # fmt: skip
_MOVING = tuple(name for name in _PER_FRAME if name not in ("timestamps", "valid"))
_OPTIONAL = {"landmark_errors": (), "confidence": (), "region_confidence": (None,), "zoom": ()}  # per frame too
_PER_CLIP = {"shape": (None,), "vertex_offsets": (None, 3), "K": (3, 3), "viewmat": (4, 4)}


def _unknown() -> np.ndarray:
    return np.zeros(0, np.float32)


@dataclass
class Performance:
    """Numpy float32 arrays; row i belongs to image i of the clip. Frames that are not ``valid`` hold the nearest valid
    frame's values and must be neither trained on nor scored.

    The camera is one pinhole for the clip: K [3,3] in pixels of the clip's images, viewmat [4,4] world-to-camera
    (OpenCV axes); where the lens zooms during the take, frame i's focal length is zoom[i] times K's. The torso's
    orientation is root_pose (constant over a clip), the head's rotation is neck_pose.
    """

    head: str  # name of the HeadModel
    head_source: str  # "human", or the absolute path it was loaded from
    width: int
    height: int
    timestamps: np.ndarray  # [F] float64, seconds from the clip's start
    valid: np.ndarray  # [F] bool
    shape: np.ndarray  # [S]
    vertex_offsets: np.ndarray  # [V,3]
    expression: np.ndarray  # [F,E]
    root_pose: np.ndarray  # [F,3]
    neck_pose: np.ndarray  # [F,3]
    jaw_pose: np.ndarray  # [F,3]
    eyes_pose: np.ndarray  # [F,2,3]
    eyelids: np.ndarray  # [F,2]
    translation: np.ndarray  # [F,3]
    K: np.ndarray  # [3,3]
    viewmat: np.ndarray  # [4,4]
    expression_names: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)  # landmark error, jitter, frames per second, ...
    init: str = "landmarks"  # what the fit started from: the landmarks alone, or a regressor's name
    notes: tuple[str, ...] = ()  # what the user should know
    head_model: str = ""  # HeadModel.model_id; "": unknown, in older files
    head_family: str = ""  # HeadModel.family
    part_of: str = ""  # identity of the performance that these frames were selected from; in no file
    landmark_errors: np.ndarray = field(default_factory=_unknown)  # [F] of the distance between the eyes; 0: none seen
    confidence: np.ndarray = field(default_factory=_unknown)  # [F] 0 to 1: how well the picture confirms the fit
    region_confidence: np.ndarray = field(default_factory=_unknown)  # [F,R] the same of the face's regions
    regions: tuple[str, ...] = ()  # R names
    zoom: np.ndarray = field(default_factory=_unknown)  # [F] focal length over K's

    def __post_init__(self) -> None:
        """What nobody knows: full confidence, no error, no zoom."""
        frames = self.frame_count
        defaults = {
            "landmark_errors": np.zeros(frames, np.float32), "confidence": np.ones(frames, np.float32),
            "region_confidence": np.ones((frames, len(self.regions)), np.float32),
            "zoom": np.ones(frames, np.float32),
        }  # fmt: skip
        for name, default in defaults.items():
            if not getattr(self, name).size:
                setattr(self, name, default)

    @property
    def frame_count(self) -> int:
        return len(self.timestamps)

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that say whose clip's performance this is, the whole or a part: SHA-256 over the
        little-endian float32 bytes of expression, then translation, of the whole."""
        if self.part_of:
            return self.part_of
        digest = hashlib.sha256(np.ascontiguousarray(self.expression, "<f4").tobytes())
        digest.update(np.ascontiguousarray(self.translation, "<f4").tobytes())
        return digest.hexdigest()[:16]

    @property
    def family(self) -> str:
        """The head's family, where the file does not say it told from the head's number of vertices."""
        return self.head_family or family_of_vertices(len(self.vertex_offsets))

    def params(self, device: torch.device | str = "cpu") -> HeadParams:
        """As HeadParams of F frames (shape has one row)."""

        def tensor(value: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(value, dtype=torch.float32, device=device)

        return HeadParams(
            tensor(self.shape)[None], tensor(self.expression), tensor(self.root_pose), tensor(self.neck_pose),
            tensor(self.jaw_pose), tensor(self.eyes_pose), tensor(self.eyelids), tensor(self.translation),
        )  # fmt: skip

    def select(self, rows: np.ndarray | slice | list[int]) -> Performance:
        """The same clip with only the given frames."""
        return replace(
            self, part_of=self.identity, **{name: getattr(self, name)[rows] for name in (*_PER_FRAME, *_OPTIONAL)}
        )

    def save(self, path: Path | str) -> None:
        """Write the .npz atomically."""
        meta = {
            "format": FORMAT, "version": VERSION, "head": self.head, "head_source": self.head_source,
            "width": self.width, "height": self.height, "expression_names": list(self.expression_names),
            "figures": self.figures, "init": self.init, "notes": list(self.notes),
            "head_model": self.head_model, "head_family": self.head_family, "regions": list(self.regions),
        }  # fmt: skip
        write_npz(path, meta, {name: getattr(self, name) for name in (*_PER_FRAME, *_PER_CLIP, *_OPTIONAL)})

    @classmethod
    def load(cls, path: Path | str) -> Performance:
        """Read and check a tracking.npz (or the one inside a clip's folder). Raises FormatError.

        A head's file that is no longer where it was is looked for near the clip: moved with it, or named by a path that
        was relative (older files). head_source then says where it lies now.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "tracking.npz"
        meta, arrays = read_npz(path, FORMAT, VERSION)
        arrays = _checked(path, arrays)
        try:
            read = cls(
                head=str(meta["head"]), head_source=_found(str(meta["head_source"]), path),
                width=int(meta["width"]), height=int(meta["height"]), expression_names=_names(meta["expression_names"]),
                figures=dict(meta["figures"]), init=str(meta.get("init", "landmarks")),
                notes=tuple(map(str, meta.get("notes", ()))), head_model=str(meta.get("head_model", "")),
                head_family=str(meta.get("head_family", "")), part_of="",
                regions=tuple(map(str, meta.get("regions", ()))),
                **arrays,
            )  # fmt: skip
        except KeyError as error:
            raise FormatError(f"{path} lacks {error} in its header; track the clip again.") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"{path} has a header that makes no sense; track the clip again.", repr(error)) from error
        if min(read.width, read.height) < 1:
            raise FormatError(f"{path}: the header says {read.width} x {read.height} pixels; track the clip again.")
        return read


def _names(listed: Any) -> tuple[str, ...]:
    """Raises TypeError."""
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise TypeError("names that are no words")
    return tuple(listed)


def _found(source: str, tracking: Path) -> str:
    """Where the head's file ``source`` of the file ``tracking`` lies: there, or with as much of its path as fits in the
    folder of the clip or one of the folders above. As it is where it names no file, or none is found."""
    where = Path(source).expanduser()
    if not (where.is_absolute() or where.suffix or len(where.parts) > 1) or (where.is_absolute() and where.exists()):
        return source
    folder = Path(os.path.abspath(tracking)).parent
    parts = [part for part in where.parts if part not in (where.anchor, "..", ".")]
    for above in [folder, *folder.parents][:_FOLDERS_ABOVE]:
        for tail in range(len(parts)):
            moved = above.joinpath(*parts[tail:])
            if moved.exists():
                return str(moved)
    return os.path.abspath(where) if where.exists() else source


def _checked(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A file's arrays in the machine's byte order, ``valid`` as bool. Raises FormatError that names the array."""
    frames = arrays["timestamps"].size if "timestamps" in arrays else 0
    checked = {}
    known = {n: (frames, *s) for n, s in (*_PER_FRAME.items(), *_OPTIONAL.items())} | _PER_CLIP
    for name, want in known.items():
        if name not in arrays and name in _OPTIONAL:
            continue
        if name not in arrays:
            raise FormatError(f"{path} lacks the array {name!r}; track the clip again.")
        array = arrays[name]
        have = array.shape
        if len(have) != len(want) or any(w is not None and w != h for w, h in zip(want, have, strict=True)):
            raise FormatError(f"{path}: the array {name!r} has shape {have} instead of {want}; track the clip again.")
        if array.dtype.kind not in "fiub":
            raise FormatError(f"{path}: the array {name!r} holds {array.dtype}; track the clip again.")
        if not np.isfinite(array).all():
            raise FormatError(
                f"{path}: the array {name!r} holds values that are not finite{_where(name, array)}; track the clip "
                "again."
            )
        checked[name] = array.astype(bool if name == "valid" else array.dtype.newbyteorder("="), copy=False)
    if not frames:
        raise FormatError(f"{path} holds no frame; track the clip again.")
    if (checked.get("zoom", np.ones(1)) <= 0).any():
        raise FormatError(f"{path}: the array 'zoom' holds a focal length that is not positive; track the clip again.")
    return checked


def _where(name: str, array: np.ndarray) -> str:
    """ " in frame 12" for the first of a per-frame array's frames that is not finite."""
    if name in _PER_CLIP:
        return ""
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))
    return f" in frame {bad[0]}" + (f" and {len(bad) - 1} more" if len(bad) > 1 else "")


def same_head(head: HeadModel, performance: Performance) -> bool:
    """Whether ``performance`` moves heads of the model that ``head``, personalised or not, is of: by the model's id
    where the performance knows it, else by counts and the expressions' names."""
    if performance.head_model:
        return performance.head_model == head.model_id
    names = performance.expression_names
    counts = len(performance.vertex_offsets), performance.expression.shape[1]
    return counts == (head.vertex_count, head.expression_count) and names in ((), head.expression_names)


def check_same_head(head: HeadModel, performance: Performance) -> None:
    """Raise InputError naming both heads unless same_head."""
    if not same_head(head, performance):
        theirs = f"{performance.head!r} ({describe_head(performance)})"
        raise InputError(
            f"The performance was tracked with the head {theirs}, which is another than {head.name!r} "
            f"({describe_head(head)}): their expressions differ. Track it again with {head.name!r}."
        )


def describe_head(of: HeadModel | Performance) -> str:
    """What tells a head from another of the same name: its family, size and model."""
    if isinstance(of, HeadModel):
        family, vertices, expressions, model = of.family, of.vertex_count, of.expression_count, of.model_id
    else:
        vertices, expressions = len(of.vertex_offsets), of.expression.shape[1]
        family, model = of.family, of.head_model or "unknown"
    return f"{family and family + ', '}{vertices} vertices, {expressions} expressions, model {model[:8]}"


def frame_intrinsics(tracking: Performance) -> np.ndarray:
    """K [F,3,3] float32 of every frame: a lens that zooms changes the focal length and nothing else."""
    K = np.repeat(tracking.K[None].astype(np.float32), tracking.frame_count, 0)
    K[:, :2, :2] *= tracking.zoom[:, None, None]
    return K


def head_vertices(tracking: Performance, head: HeadModel, frames: np.ndarray | None = None) -> np.ndarray:
    """Vertices [F,V,3] in the camera's axes, metres, of the given (or all) frames."""
    rows = np.arange(tracking.frame_count) if frames is None else np.asarray(frames)
    params, offsets = tracking.params(), torch.as_tensor(tracking.vertex_offsets, dtype=torch.float32)
    view = torch.as_tensor(tracking.viewmat, dtype=torch.float32)
    parts = []
    for start in range(0, len(rows), BATCH):
        world = head(params[torch.as_tensor(rows[start : start + BATCH])], offsets)
        parts.append((world @ view[:3, :3].T + view[:3, 3]).numpy())
    return np.concatenate(parts)


def without_lost(performance: Performance) -> Performance:
    """The performance whose frames that are not ``valid`` hold what the nearest valid one does, whatever they held."""
    source = shown_frames(performance)
    return replace(performance, **{name: getattr(performance, name)[source] for name in _MOVING})


def shown_frames(performance: Performance) -> np.ndarray:
    """[F]: the frame whose values each frame repeats: itself, or the nearest valid one."""
    every, valid = np.arange(performance.frame_count), np.flatnonzero(performance.valid)
    if not len(valid):
        return every
    after = np.clip(np.searchsorted(valid, every), 0, len(valid) - 1)
    before = np.clip(after - 1, 0, None)
    nearer = np.abs(valid[before] - every) <= np.abs(valid[after] - every)
    return np.where(performance.valid, every, np.where(nearer, valid[before], valid[after]))
